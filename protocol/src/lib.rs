//! Wattle's protocol, without input or output.
//!
//! > Time and randomness are arguments. Nothing here names a socket, a file, a clock, a thread or
//! > an async runtime, and the same inputs give the same bytes.
//!
//! > A method that returns `Err` has changed nothing. Bytes from a peer never panic, and never
//! > allocate more than a bound stated in [`limits`].
//!
//! Without features this crate is what a relay may know: [`ids`], [`relay_log`] and the bounds.
//! The feature `endpoint` adds everything that a member of a group needs; a relay is built without
//! it, which is why it can't open anything. The feature `sim` adds the simulator, in which groups
//! live through whatever a seed brings.
#![no_std]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )
)]

extern crate alloc;
#[cfg(any(test, feature = "sim"))]
extern crate std;

pub mod codec;
pub mod hash;
pub mod ids;
pub mod limits;
pub mod relay_log;
pub mod sign;

#[cfg(feature = "endpoint")]
pub mod audit;
#[cfg(feature = "endpoint")]
pub mod bundle;
#[cfg(feature = "endpoint")]
pub mod chain;
#[cfg(feature = "endpoint")]
pub mod endpoint;
#[cfg(feature = "endpoint")]
pub mod envelope;
#[cfg(feature = "endpoint")]
pub mod evidence;
#[cfg(feature = "endpoint")]
pub mod file;
#[cfg(feature = "endpoint")]
pub mod fingerprint;
#[cfg(feature = "endpoint")]
pub mod gossip;
#[cfg(feature = "endpoint")]
pub mod group;
#[cfg(feature = "endpoint")]
pub mod hidden;
#[cfg(feature = "endpoint")]
pub mod identity;
#[cfg(feature = "endpoint")]
pub mod invite;
#[cfg(feature = "endpoint")]
pub mod join;
#[cfg(feature = "endpoint")]
pub mod kem;
#[cfg(feature = "endpoint")]
pub mod lan;
#[cfg(feature = "endpoint")]
pub mod membership;
#[cfg(feature = "endpoint")]
pub mod noise;
#[cfg(feature = "endpoint")]
pub mod pair;
#[cfg(feature = "endpoint")]
pub mod recovery;
#[cfg(feature = "endpoint")]
pub mod said;
#[cfg(all(feature = "endpoint", any(test, feature = "sim")))]
pub mod sim;
#[cfg(feature = "endpoint")]
pub mod snapshot;
#[cfg(feature = "endpoint")]
pub mod topic;
