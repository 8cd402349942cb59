//! Wattle's node: one process on one machine, in any number of groups.
//!
//! `core` decides, `driver` moves bytes, `files` those of files, `store` keeps, `net` is libp2p, `api` is how people and
//! programs reach all of it; `backup` is what is kept apart from the machine.

pub mod api;
pub mod backup;
pub mod client;
pub mod config;
pub mod core;
pub mod driver;
pub mod files;
pub mod net;
pub mod store;
