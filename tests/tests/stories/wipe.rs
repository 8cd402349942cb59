//! A group is erased from a machine.

use std::fs;

use harness::{Forms, World, absent, files_below, unseal};
use node::api::types::{FileStanding, GroupState};

use super::files::{file, until};

#[test]
fn what_is_erased_is_in_no_row_and_no_file_and_the_others_keep_theirs() {
    let world = World::new();
    let relay = world.relay();
    let (ana, mut ben) = world.pair(&relay);
    ana.create_group("cake");
    ben.join(&ana.invite("cake"));
    ana.send("tea", "the kettle is on");
    ben.hears("tea", "the kettle is on");
    ana.send("cake", "flour and eggs");
    ben.hears("cake", "flour and eggs");
    let (path, _) = file(&ana, "plan.pdf", 100_000);
    ana.cli(&["file", "send", "tea", path.to_str().unwrap()]).ok();
    until(&ben, "the offer", |file| file.state == FileStanding::Offered);
    ben.cli(&["file", "get", "tea", "plan.pdf"]).ok();
    let fetched = files_below(&ben.data_dir().join("files"));
    assert!(fetched.iter().any(|file| file.ends_with("plan.pdf")), "{fetched:?}");
    let tea = ben.group("tea").summary.id;

    let refused = ben.cli(&["wipe", "tea"]).refused(5);
    assert!(refused.contains("leave tea") || refused.contains("group leave"), "{refused}");
    ben.leave("tea");
    ben.until_out("tea", GroupState::Left);
    let said = ben.cli_until(&["--json", "wipe", "tea"], |said| said.code == Some(0)).ok();
    assert!(said.contains(&tea) && said.contains("\"files\":1"), "{said}");
    ben.cli(&["history", "tea"]).refused(6);
    assert!(ben.cli(&["history", "cake"]).ok().contains("flour and eggs"));
    let fetched = files_below(&ben.data_dir().join("files"));
    assert!(fetched.is_empty(), "{fetched:?}");

    ben.stop();
    let rows = world.dir().join("rows");
    harness::copy_dir(&ben.data_dir(), &rows);
    unseal(&rows);
    let gone = [
        Forms::text("what was said", "the kettle is on"),
        Forms::text("a file's name", "plan.pdf"),
        Forms::hex("the group's id", &tea),
    ];
    for file in files_below(&rows) {
        absent(&gone, &file.display().to_string(), &fs::read(&file).unwrap());
    }
    ben.start_again();
    assert!(ben.texts("cake").contains(&"flour and eggs".into()));
    assert!(ana.texts("tea").contains(&"the kettle is on".into()));
}
