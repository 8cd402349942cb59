//! Cards and whereabouts of those who are or were members.

use alloc::{collections::BTreeMap, vec::Vec};

use super::wire::Presence;
use crate::{
    identity::{Card, Prekey, SignedCard},
    ids::{MemberId, Timestamp},
    limits::CARD_STRIDE,
    membership::{Kind, Op, OpSet},
};

/// Addresses taken from one member, and the bytes of one.
const ADDRESSES: usize = 16;
const ADDRESS_BYTES: usize = 256;
/// How far ahead clocks of those who tell of others may be, in milliseconds.
const TOLD_AHEAD_MS: u64 = 60 * 60 * 1000;
/// How far a bundle's prekey may be ahead of the card that is known: 256 cards of the widest stride.
const LEAP: u64 = CARD_STRIDE << 8;

#[derive(Default)]
pub(super) struct People {
    pub cards: BTreeMap<MemberId, SignedCard>,
    pub presences: BTreeMap<MemberId, Presence>,
    /// The newest prekey that each member's bundles brought.
    prekeys: BTreeMap<MemberId, Prekey>,
}

impl People {
    /// The cards in these ops.
    pub fn of(ops: &OpSet) -> Self {
        let mut people = Self::default();
        ops.iter().filter_map(card_in).for_each(|card| {
            people.take_card(card);
        });
        people
    }

    /// Takes a card up if none as new is known of that member; answers whether it did.
    pub fn take_card(&mut self, card: SignedCard) -> bool {
        let member = card.card().member;
        let newer = self.cards.get(&member).is_none_or(|known| known.card().seq < card.card().seq);
        if newer {
            self.cards.insert(member, card);
        }
        newer
    }

    /// A bundle of that member came with this prekey.
    pub fn note_prekey(&mut self, member: MemberId, prekey: Prekey) {
        let newer = self.prekeys.get(&member).is_none_or(|known| known.id.0 < prekey.id.0);
        let ahead = self.cards.get(&member).is_some_and(|card| is_ahead(card.card(), &prekey));
        if newer && ahead {
            self.prekeys.insert(member, prekey);
        }
    }

    /// The newest prekey of whoever this is the newest card of.
    pub fn prekey(&self, card: &Card) -> Prekey {
        let brought = self.prekeys.get(&card.member).filter(|prekey| is_ahead(card, prekey));
        brought.copied().unwrap_or(card.prekey)
    }

    /// Takes a presence up if it is newer than the one known and within bounds.
    pub fn take_presence(&mut self, member: MemberId, presence: Presence) -> bool {
        let newer = self.presences.get(&member).is_none_or(|known| known.at < presence.at);
        let bounded = presence.addresses.len() <= ADDRESSES
            && presence.addresses.iter().all(|address| address.len() <= ADDRESS_BYTES);
        if newer && bounded {
            self.presences.insert(member, presence);
        }
        newer && bounded
    }

    /// The same of what somebody else says of a member: never one of a time that the member's own next word may not
    /// have reached.
    pub fn take_told(&mut self, now: Timestamp, member: MemberId, presence: Presence) -> bool {
        presence.at <= now.plus_ms(TOLD_AHEAD_MS) && self.take_presence(member, presence)
    }

    pub fn addresses(&self, member: &MemberId) -> Vec<Vec<u8>> {
        let presence = self.presences.get(member);
        presence.map_or_else(Vec::new, |presence| {
            presence.addresses.iter().map(|address| address.to_vec()).collect()
        })
    }
}

/// Whether a prekey came with a later card than this: its id is that card's `seq`. Version 1 chose
/// ids at random; those are hardly ever within the leap.
fn is_ahead(card: &Card, prekey: &Prekey) -> bool {
    let seq = u64::from(u32::from_be_bytes(prekey.id.0));
    card.seq < seq && seq - card.seq <= LEAP
}

/// As many and as long addresses as members take.
pub(super) fn bounded(mut addresses: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    addresses.retain(|address| address.len() <= ADDRESS_BYTES);
    addresses.truncate(ADDRESSES);
    addresses
}

/// The card that an op admits somebody with.
pub(super) fn card_in(op: &Op) -> Option<SignedCard> {
    match &op.body().kind {
        Kind::Genesis { card, .. } | Kind::Admit { card, .. } => SignedCard::from_bytes(card).ok(),
        _ => None,
    }
}
