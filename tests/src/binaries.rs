//! Where the programs are that the stories start: beside the test's own executable.

use std::path::PathBuf;

/// `wattle`.
pub(crate) fn wattle() -> PathBuf {
    find("wattle")
}

/// `wattle-rendezvous`.
pub(crate) fn rendezvous() -> PathBuf {
    find("wattle-rendezvous")
}

fn find(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test's own path");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps");
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "{} is not there: run `cargo test --workspace`, or first \
         `cargo build -p node -p rendezvous --bins`",
        program.display()
    );
    program
}
