//! What the command line says beside a node that runs: each file in `tests/cmd/` is a case.
//!
//! Ana, who founded `tea`, types those in `admin/`, Ben those in `member/`; a case that changes something has a group of
//! its own. `TRYCMD=overwrite` writes what is said now into the files; read the difference before it is kept.

use std::path::Path;

use harness::{Node, PATIENCE, World};
use trycmd::{TestCases, schema::Bin};

#[test]
fn the_command_line_says_what_its_files_say() {
    let world = World::new();
    let relay = world.relay();
    let (ana, ben) = world.pair(&relay);
    ana.send("tea", "the kettle is on");
    ben.hears("tea", "the kettle is on");
    cases(&ana, "admin");
    cases(&ben, "member");
}

fn cases(node: &Node, who: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cmd").join(who);
    assert!(folder.read_dir().is_ok_and(|mut files| files.next().is_some()), "there are none");
    let cases = TestCases::new();
    cases
        .register_bin("wattle", Bin::Path(harness::wattle()))
        .env("WATTLE_DATA_DIR", node.data_dir().display().to_string())
        .timeout(PATIENCE)
        .case(folder.join("*.trycmd"));
    cases.run();
}
