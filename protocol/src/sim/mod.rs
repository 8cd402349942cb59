//! Groups in memory, under whatever a seed brings.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a simulation stops where it is wrong itself"
)]

pub mod fuzz;
#[cfg_attr(not(test), allow(dead_code, reason = "some of it is for tests alone"))]
pub(crate) mod world;
