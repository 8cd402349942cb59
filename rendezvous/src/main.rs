//! `wattle-rendezvous`: a relay from the command line.
//!
//! Standard output is data: the addresses, a settings file, or one JSON line. Words go to standard
//! error. Exit codes: 0 done, 1 unexpected, 2 usage, 4 can't listen.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
