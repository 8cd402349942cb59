//! `wattle-rendezvous`: a relay from the command line.
//!
//! Standard output is data: the addresses, a settings file, or one JSON line. Words go to standard
//! error. Exit codes: 0 done, 1 unexpected (or, of `status`, no entries are taken; of `bench`, memory or files
//! grow), 2 usage, 4 can't listen or can't be used from there, 8 acknowledged and not delivered, 10 a damaged
//! store, 130 interrupted.

mod cli;

use std::process::ExitCode;

/// What a relay frees goes back to the system within seconds, and its memory does not fall to pieces
/// (docs/decisions/0022).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run()
}
