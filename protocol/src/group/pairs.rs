//! Conversations of two: a new chain at each turn.
//!
//! > Each own bundle brings a prekey of its own, and the other one's next bundle is sealed to it. So
//! > what was copied from a node opens nothing any more once each side has had a turn.
//!
//! The bundle of a turn leaves in the step of the message that it is for, in an envelope before it.
//! docs/spec/history.md, docs/decisions/0010.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use super::{Group, records::Key};
use crate::{
    bundle::{SignedHead, slot_prekey},
    codec,
    identity::Prekey,
    ids::{ChainId, GroupId, MemberId, OpId, PrekeyId},
    membership::Kind,
    snapshot::SnapshotError,
};

/// Own prekeys kept: the other one may not have the newest yet.
const KEPT: usize = 4;

/// The prekeys of the turns.
#[derive(Default)]
pub(super) struct Turns {
    /// Oldest first.
    own: Vec<TurnKey>,
    /// The other one's, of its newest bundle.
    other: Option<Prekey>,
    /// The other one spoke since the own chain began.
    pub spoke: bool,
}

struct TurnKey {
    id: PrekeyId,
    secret: StaticSecret,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Stored {
    #[n(0)]
    own: Vec<StoredKey>,
    #[n(1)]
    other: Option<Prekey>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct StoredKey {
    #[n(0)]
    id: PrekeyId,
    #[cbor(n(1), with = "minicbor::bytes")]
    secret: [u8; 32],
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Turns {
    pub fn save(&self) -> Option<Vec<u8>> {
        let own: Vec<StoredKey> = self
            .own
            .iter()
            .map(|key| StoredKey { id: key.id, secret: key.secret.to_bytes() })
            .collect();
        let any = !own.is_empty() || self.other.is_some();
        any.then(|| codec::encode(&Stored { own, other: self.other }))
    }

    pub fn load(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let stored: Stored = codec::decode(bytes).map_err(|_| SnapshotError::Damaged)?;
        let own = stored
            .own
            .iter()
            .map(|key| TurnKey { id: key.id, secret: StaticSecret::from(key.secret) })
            .collect();
        Ok(Self { own, other: stored.other, spoke: false })
    }
}

impl Group {
    /// Whether this is a conversation of two: the Genesis says so, once for all.
    #[must_use]
    pub fn is_pair(&self) -> bool {
        self.ops.op(&OpId(self.id.0)).is_some_and(
            |op| matches!(&op.body().kind, Kind::Genesis { policy, .. } if policy.is_pair()),
        )
    }

    /// Whether somebody may be let in beside those who are members: a conversation of two is never
    /// one of three.
    pub(super) fn has_place(&self) -> bool {
        !self.is_pair() || self.ops.resolve().members.len() < 2
    }

    /// The prekey that the next own bundle brings, where it is a turn's.
    pub(super) fn next_turn(&mut self, rng: &mut impl CryptoRng) -> Option<Prekey> {
        if !self.is_pair() {
            return None;
        }
        let mut bytes = Zeroizing::new([0; 36]);
        rng.fill_bytes(bytes.as_mut());
        let (mut secret, mut id) = (Zeroizing::new([0; 32]), [0; 4]);
        secret.copy_from_slice(&bytes[..32]);
        id.copy_from_slice(&bytes[32..]);
        // Those of cards count from 0: these are apart from them.
        id[0] |= 0x80;
        let key = TurnKey { id: PrekeyId(id), secret: StaticSecret::from(*secret) };
        let prekey = Prekey { id: key.id, public: PublicKey::from(&key.secret).to_bytes() };
        self.turns.own.push(key);
        let excess = self.turns.own.len().saturating_sub(KEPT);
        self.turns.own.drain(..excess);
        self.turns.spoke = false;
        self.dirty.mark(Key::Turns);
        Some(prekey)
    }

    /// The other one's prekey of its last turn, where it has had one.
    pub(super) fn turn_prekey(&self) -> Option<Prekey> {
        self.turns.other.filter(|_| self.is_pair())
    }

    /// The secret that a slot asks for, where it is of an own turn.
    pub(super) fn turn_secret(&self, page: &[u8], position: usize) -> Option<&StaticSecret> {
        let id = slot_prekey(page, position).ok()?;
        self.turns.own.iter().find(|key| key.id == id).map(|key| &key.secret)
    }

    /// A chain of the other one was opened: what it was sealed to is the oldest that is still
    /// needed, and what it brings is what comes next.
    pub(super) fn take_turn(&mut self, chain: &ChainId) {
        let Some(entry) = self.receiving.chains.get(chain).filter(|_| self.is_pair()) else {
            return;
        };
        let said = entry.head.head();
        let follows = |head: &SignedHead| {
            head.head().sender == said.sender
                && head.head().closing.is_some_and(|closing| closing.chain == *chain)
        };
        let newest = !self.receiving.chains.values().any(|other| follows(&other.head));
        let used = entry.pages.first().and_then(|page| slot_prekey(page, 0).ok());
        let place = self.turns.own.iter().position(|key| Some(key.id) == used);
        if newest {
            self.turns.other = (said.prekey.id.0[0] & 0x80 != 0).then_some(said.prekey);
        }
        self.turns.own.drain(..place.unwrap_or(0));
        self.dirty.mark(Key::Turns);
    }

    /// The other one could not open what was sealed to it: it is sealed to the prekey on its card
    /// again.
    pub(super) fn forget_turn(&mut self, member: &MemberId) {
        if *member != self.me && self.turns.other.take().is_some() {
            self.dirty.mark(Key::Turns);
        }
    }
}

/// Which of two conversations of the same two people stays, where both began one at once. Both
/// sides come to the same answer; the other one is left.
#[must_use]
pub fn the_one_that_stays(one: GroupId, other: GroupId) -> GroupId {
    one.min(other)
}
