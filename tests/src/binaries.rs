//! Where the programs are that are started: where this one, a test or a benchmark, was built.

use std::path::PathBuf;

/// The program `wattle`.
#[must_use]
pub fn wattle() -> PathBuf {
    find("wattle")
}

/// `wattle-rendezvous`.
pub(crate) fn rendezvous() -> PathBuf {
    find("wattle-rendezvous")
}

fn find(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("this program's own path");
    // A test is in target/PROFILE/deps, a benchmark in target/PROFILE.
    let folder = here.parent().expect("a folder");
    let folder = match folder.ends_with("deps") {
        true => folder.parent().expect("target/PROFILE"),
        false => folder,
    };
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "{} is not there: run `cargo test --workspace`, or first \
         `cargo build -p node -p rendezvous --bins`, with --release if this is built so",
        program.display()
    );
    program
}
