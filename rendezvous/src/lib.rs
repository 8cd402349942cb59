//! Wattle's blind relay: append-only logs of padded envelopes, for members who can't meet
//! directly or are not there at the same time.
//!
//! > A relay can decrypt nothing: it is built without `protocol`'s feature `endpoint`. It logs no
//! > PeerIds, log ids or addresses, and acknowledges nothing before it is on disk.
//!
//! The binary `wattle-rendezvous` is this library with a command line; a node embeds it too.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )
)]

pub mod config;
pub mod limits;
pub mod repair;
pub mod settings;
pub mod store;
pub mod tokens;

mod blocks;
mod data_dir;
mod log_service;
mod net;
mod pace;
mod relay;
mod strain;
mod watch;

pub use config::{Cluster, Config, Storage};
pub use data_dir::DataDirError;
pub use limits::Limits;
pub use log_service::set_clock_ahead;
pub use net::{ListenError, client, probe};
pub use relay::{Controls, Pulse, Relay, StartError};
pub use strain::raise_open_files;
pub use tokens::Access;
pub use watch::{WatchConfig, WatchError};
