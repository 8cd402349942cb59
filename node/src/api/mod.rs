//! The local API.

pub mod types;
