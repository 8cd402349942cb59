//! libp2p, and nothing above it: how bytes reach a member's node and come from it.
//!
//! > libp2p is named here and nowhere else in the node. What comes in from a peer is bounded before
//! > it is allocated, and no queue that a peer can fill grows without end.
//!
//! [`mesh`] is the main swarm, which members alone may use; [`relay`] the client of a relay's logs;
//! `circuit` makes
//! a circuit through a relay, for a stream of a file; `lan` finds members' nodes on the local networks; [`change`] tells when the
//! machine's network is another; [`mapping`] asks the router for a way in, where a person wants one.

pub mod address;
pub mod change;
pub mod mapping;
pub mod mesh;
pub mod relay;

mod beat;
mod behaviour;
mod book;
mod channel;
mod circuit;
mod dial;
mod file;
mod frames;
mod gate;
mod join;
mod lan;
mod listen;
mod outside;
mod queue;
mod reach;
mod silence;
mod six;
mod streams;

pub use libp2p::Multiaddr;
use libp2p::{PeerId, identity::Keypair};
use zeroize::Zeroizing;

pub use book::BookEntry;
pub use circuit::{Circuit, CircuitFault, Circuits, Place};
pub use file::{FileEnd, FileReader, FileStream, FileWriter};
pub use lan::Trouble;
pub use listen::{ListenSyntax, listen_addresses};
pub(crate) use listen::{free_port, is_free, reachable};
pub use outside::Outside;
pub use reach::Reach;

/// The PeerId of the node key with this Ed25519 seed.
#[must_use]
pub fn peer_id(seed: &[u8; 32]) -> Option<PeerId> {
    Some(node_key(seed)?.public().to_peer_id())
}

/// The PeerId of whoever has this Ed25519 public key.
fn peer_of(public: &[u8; 32]) -> Option<PeerId> {
    let key = libp2p::identity::ed25519::PublicKey::try_from_bytes(public).ok()?;
    Some(PeerId::from_public_key(&key.into()))
}

fn node_key(seed: &[u8; 32]) -> Option<Keypair> {
    let mut seed = Zeroizing::new(*seed);
    Keypair::ed25519_from_bytes(seed.as_mut_slice()).ok()
}
