//! The local API.

pub mod socket;
pub mod types;
