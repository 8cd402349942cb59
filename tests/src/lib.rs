//! The harness: real processes on this machine, told as a story.
//!
//! > Nothing here waits by the clock. A step waits for what it needs, at most [`PATIENCE`], and
//! > fails with what it waited for and the logs of every process.
//!
//! A [`World`] is one temporary directory and everything that runs in it. [`Relay`] and [`Node`]
//! are processes of the programs that this workspace builds, with ports chosen by the system and
//! data directories of their own. A [`Link`] stands between a node and the relay; it can cut,
//! delay and record.
//!
//! ```no_run
//! let world = harness::World::new();
//! let relay = world.relay();
//! let ana = world.node("ana").relay(&relay).start();
//! let ben = world.node("ben").relay(&relay).start();
//! ana.create_group("tea");
//! ben.join(&ana.invite("tea"));
//! ana.send("tea", "the kettle is on");
//! ben.hears("tea", "the kettle is on");
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the harness is test code: it fails by panicking"
)]

use std::time::Duration;

mod available;
mod beside;
mod binaries;
mod chance;
mod chaos;
mod cli;
mod left;
mod liar;
mod link;
mod memory;
mod netns;
mod node;
mod process;
mod relay;
mod scan;
mod stored;
mod watch;
mod world;

pub use available::available;
pub use beside::Beside;
pub use binaries::wattle;
pub use chance::{Chance, asked};
pub use chaos::{Chaos, Disk};
pub use cli::{Said, Talk};
pub use liar::Liar;
pub use link::Link;
pub use netns::{INSIDE, Machine, Nat, Nets, Network, Weather};
pub use node::{Node, NodeSetup};
pub use relay::{Relay, Token, port_of};
pub use scan::{Forms, absent, files_below};
pub use stored::{Place, copy_dir, seal, unseal};
pub use world::{World, on_day};

/// The longest that any step waits before it fails: long enough for a machine that is busy, and whose host takes most of
/// it for others. Nothing waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(180);
