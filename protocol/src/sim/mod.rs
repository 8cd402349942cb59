//! Groups in memory, under whatever a seed brings.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a simulation stops where it is wrong itself"
)]
#![cfg_attr(not(test), allow(dead_code, reason = "some of it is for tests alone"))]

mod checks;
mod draw;
mod facts;
pub mod fuzz;
mod invariant;
mod misbehave;
mod network;
mod oracle;
mod play;
mod rules;
mod run;
#[cfg(test)]
mod schedules;
mod shrink;
mod step;
#[cfg(test)]
mod tests;
mod tracker;
mod watch;
mod words;
pub(crate) mod world;

pub use self::{
    invariant::{Failure, Invariant},
    network::Trick,
    play::Setup,
    rules::Rule,
    run::{Outcome, draw, replay, setup, told},
    shrink::shrink,
    step::Step,
    watch::{Counts, EXPECTED},
    words::{Seen, Way},
};
