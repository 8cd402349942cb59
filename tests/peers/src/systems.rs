//! The systems, one file each.

pub mod iroh;
pub mod mqtt;
pub mod nats;
pub mod raw;
pub mod wattle;
