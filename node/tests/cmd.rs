//! What the command line says where there is no node: each file in `cmd/` is a case.
//!
//! `TRYCMD=overwrite` writes what is said now into the files; read the difference before it is kept.

use std::{fs, path::Path, time::Duration};

use trycmd::TestCases;

#[test]
fn the_command_line_says_what_its_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd");
    assert!(folder.read_dir().is_ok_and(|mut files| files.next().is_some()), "there are none");
    let home = tempfile::tempdir().expect("a directory");
    let home_dir = home.path().display().to_string();
    let cases = TestCases::new();
    cases
        .default_bin_path(env!("CARGO_BIN_EXE_wattle"))
        .register_bin("wattle", trycmd::schema::Bin::Path(env!("CARGO_BIN_EXE_wattle").into()))
        .env("HOME", &home_dir)
        .env("XDG_DATA_HOME", &home_dir)
        .env("XDG_CONFIG_HOME", &home_dir)
        .timeout(Duration::from_secs(60))
        .case(folder.join("*.trycmd"))
        .case(folder.join("*.toml"));
    cases.run();
    // What is refused leaves an empty folder at most.
    let folders = fs::read_dir(home.path()).expect("it is still there").flatten();
    let mut left = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten());
    assert!(left.next().is_none(), "a command that was refused left something behind");
}
