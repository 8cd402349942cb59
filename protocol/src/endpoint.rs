//! One node's own secrets, lent to every group that it is in.
//!
//! > What was sealed to a key can be opened for at least 35 days after another took its place, and
//! > until all that was sent before the start has been read: [`Endpoint::forget_superseded`] is
//! > called then and only then.
//!
//! A new prekey is made at most daily, a new ML-KEM key every 30 days; each comes with a new card,
//! and the prekey's id is that card's `seq`. docs/spec/identity.md.

mod backup;
mod keys;
mod stored;
#[cfg(test)]
mod tests;

use alloc::{string::String, vec::Vec};

use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use self::keys::Ring;
pub use self::stored::LoadError;
use crate::{
    identity::{Card, Prekey, SignedCard, is_name},
    ids::{Incarnation, MemberId, PrekeyId, Timestamp},
    kem::KemSecret,
    limits,
    recovery::RecoveryKey,
    sign::SigningSecret,
};

/// An identity with its card and prekeys, in one run of a process.
#[derive(Clone)]
pub struct Endpoint {
    identity: SigningSecret,
    card: SignedCard,
    prekeys: Ring<PrekeySecret>,
    kems: Ring<KemSecret>,
    recovery: Option<RecoveryKey>,
    incarnation: Incarnation,
}

/// A name that can't stand on a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 64 bytes, no control or hidden characters and no space at its ends")]
pub struct BadName;

/// Machines that can't stand on a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMachines {
    /// More than a person has.
    #[error("one person has at most {} machines", limits::MACHINES)]
    TooMany,
    /// This identity itself.
    #[error("that is this machine's own identity")]
    Own,
}

#[derive(Clone)]
struct PrekeySecret {
    id: PrekeyId,
    secret: StaticSecret,
}

/// How old a prekey becomes, in milliseconds: a day.
const PREKEY_MS: u64 = 24 * 60 * 60 * 1000;
/// How old an ML-KEM key becomes, in milliseconds: 30 days.
const KEM_MS: u64 = 30 * PREKEY_MS;
/// Prekeys and ML-KEM keys kept.
const PREKEYS: usize = 64;
const KEMS: usize = 4;

impl Endpoint {
    /// Makes a new identity with its first keys. `nodes` are the libp2p PeerIds of this node.
    pub fn generate(
        name: &str,
        nodes: Vec<Vec<u8>>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, BadName> {
        if !is_name(name) {
            return Err(BadName);
        }
        let identity = SigningSecret::generate(rng);
        let secret = PrekeySecret::generate(1, rng);
        let kem = KemSecret::generate(rng);
        let recovery = RecoveryKey::generate(rng);
        let card = Card {
            version: Card::VERSION,
            member: identity.id(),
            recovery: Some(recovery.public()),
            seq: 1,
            name: String::from(name),
            nodes: nodes.into_iter().map(Into::into).collect(),
            prekey: secret.public(),
            kk: Some(kem.public()),
            machines: None,
        };
        Ok(Self {
            card: SignedCard::sign(card, &identity),
            identity,
            prekeys: Ring::new(secret),
            kems: Ring::new(kem),
            recovery: Some(recovery),
            incarnation: incarnation(rng),
        })
    }

    /// Makes the keys that are due. `true`: there is a new card, to be stored and told.
    pub fn renew(&mut self, now: Timestamp, rng: &mut impl CryptoRng) -> bool {
        let prekey = self.prekeys.is_due(now, PREKEY_MS) && self.prekeys.len() < PREKEYS;
        let kem = self.kems.is_due(now, KEM_MS) && self.kems.len() < KEMS;
        if kem {
            self.kems.supersede(KemSecret::generate(rng), now);
        }
        if prekey {
            self.new_prekey(above(self.card.card().seq, rng), now, rng);
        } else if kem {
            self.issue(above(self.card.card().seq, rng), |_| {});
        }
        prekey || kem
    }

    /// Deletes the keys that others took the place of 35 days ago or earlier; answers whether there
    /// were any. Called only when all that was sent before the start of the process has been read.
    pub fn forget_superseded(&mut self, now: Timestamp) -> bool {
        let prekeys = self.prekeys.forget(now);
        self.kems.forget(now) || prekeys
    }

    /// A peer knows a card of this identity with this `seq`, which this state doesn't: it is an old
    /// copy. A card above it is made, with a prekey of its own, for the newest that peers know is
    /// lost. `true`: there is a new card, to be stored and told.
    pub fn overtake(&mut self, seq: u64, now: Timestamp, rng: &mut impl CryptoRng) -> bool {
        let behind = self.card.card().seq < seq;
        if behind && self.prekeys.len() < PREKEYS {
            self.new_prekey(above(seq, rng), now, rng);
        } else if behind {
            self.issue(above(seq, rng), |_| {});
        }
        behind
    }

    /// Puts these PeerIds on the card, at most 4. `true`: there is a new card.
    pub fn set_nodes(&mut self, nodes: Vec<Vec<u8>>) -> bool {
        let nodes: Vec<_> = nodes.into_iter().take(4).map(Into::into).collect();
        let other = self.card.card().nodes != nodes;
        if other {
            self.issue(self.next_seq(), |card| card.nodes = nodes);
        }
        other
    }

    /// Puts another name on the card. `Ok(true)`: there is a new card.
    pub fn set_name(&mut self, name: &str) -> Result<bool, BadName> {
        if !is_name(name) {
            return Err(BadName);
        }
        let other = self.card.card().name != name;
        if other {
            self.issue(self.next_seq(), |card| card.name = String::from(name));
        }
        Ok(other)
    }

    /// Names these identities as the same person's other machines. `Ok(true)`: there is a new card.
    pub fn set_machines(&mut self, mut machines: Vec<MemberId>) -> Result<bool, BadMachines> {
        machines.sort_unstable();
        machines.dedup();
        if machines.len() >= limits::MACHINES {
            return Err(BadMachines::TooMany);
        }
        if machines.contains(&self.member()) {
            return Err(BadMachines::Own);
        }
        let machines = Some(machines).filter(|machines| !machines.is_empty());
        let other = self.card.card().machines != machines;
        if other {
            self.issue(self.next_seq(), |card| card.machines = machines);
        }
        Ok(other)
    }

    /// Forgets the recovery key's secret half; answers whether it was here.
    pub fn forget_recovery(&mut self) -> bool {
        self.recovery.take().is_some()
    }

    /// The recovery key, until it is forgotten.
    #[must_use]
    pub fn recovery(&self) -> Option<&RecoveryKey> {
        self.recovery.as_ref()
    }

    /// The identity key.
    #[must_use]
    pub fn identity(&self) -> &SigningSecret {
        &self.identity
    }

    /// The identity's public half.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.card.card().member
    }

    /// The current card.
    #[must_use]
    pub fn card(&self) -> &SignedCard {
        &self.card
    }

    /// The newest recipient prekey's public half.
    #[must_use]
    pub fn prekey(&self) -> Prekey {
        self.card.card().prekey
    }

    /// The secret half of a recipient prekey that is still kept.
    #[must_use]
    pub fn prekey_secret(&self, id: PrekeyId) -> Option<&StaticSecret> {
        self.prekeys.iter().find(|kept| kept.id == id).map(|kept| &kept.secret)
    }

    /// The ids of the recipient prekeys that are still kept.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn prekeys_kept(&self) -> impl Iterator<Item = PrekeyId> + '_ {
        self.prekeys.iter().map(|kept| kept.id)
    }

    /// The ML-KEM keys that are still kept, newest first, at most 4.
    pub fn kem_secrets(&self) -> impl Iterator<Item = &KemSecret> {
        self.kems.iter()
    }

    /// This run of the process.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The same with a card that names no ML-KEM key, as version 1 made them.
    #[cfg(test)]
    pub(crate) fn classical(mut self) -> Self {
        let card = Card { version: 1, kk: None, machines: None, ..self.card.card().clone() };
        self.card = SignedCard::sign(card, &self.identity);
        self
    }

    fn next_seq(&self) -> u64 {
        self.card.card().seq.saturating_add(1)
    }

    fn new_prekey(&mut self, seq: u64, now: Timestamp, rng: &mut impl CryptoRng) {
        let secret = PrekeySecret::generate(seq, rng);
        let prekey = secret.public();
        self.prekeys.supersede(secret, now);
        self.issue(seq, |card| card.prekey = prekey);
    }

    /// Signs a card that differs from the last one so.
    fn issue(&mut self, seq: u64, change: impl FnOnce(&mut Card)) {
        let mut card = self.card.card().clone();
        card.version = Card::VERSION;
        card.seq = seq;
        card.kk = Some(self.kems.newest().public());
        change(&mut card);
        self.card = SignedCard::sign(card, &self.identity);
    }
}

/// A number for a card above this one, some way up: two copies of one state that both make new keys
/// shall not sign two cards under one number, for neither would ever hear that it is the older.
fn above(seq: u64, rng: &mut impl CryptoRng) -> u64 {
    seq.saturating_add(1 + u64::from(rng.next_u32()) % limits::CARD_STRIDE)
}

impl PrekeySecret {
    /// A new one, for the card with this `seq`.
    fn generate(seq: u64, rng: &mut impl CryptoRng) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(secret.as_mut());
        Self { id: prekey_id(seq), secret: StaticSecret::from(*secret) }
    }

    fn public(&self) -> Prekey {
        Prekey { id: self.id, public: PublicKey::from(&self.secret).to_bytes() }
    }
}

/// The id of the prekey that came with the card of this `seq`: its last four bytes.
pub(crate) fn prekey_id(seq: u64) -> PrekeyId {
    let [.., a, b, c, d] = seq.to_be_bytes();
    PrekeyId([a, b, c, d])
}

fn incarnation(rng: &mut impl CryptoRng) -> Incarnation {
    let mut bytes = [0; 8];
    rng.fill_bytes(&mut bytes);
    Incarnation(bytes)
}
