//! Cards and whereabouts of those who are or were members.

use alloc::{collections::BTreeMap, vec::Vec};

use super::wire::Presence;
use crate::{
    identity::SignedCard,
    ids::MemberId,
    membership::{Kind, Op, OpSet},
};

/// Addresses taken from one member, and the bytes of one.
const ADDRESSES: usize = 16;
const ADDRESS_BYTES: usize = 256;

#[derive(Default)]
pub(super) struct People {
    pub cards: BTreeMap<MemberId, SignedCard>,
    pub presences: BTreeMap<MemberId, Presence>,
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

    pub fn addresses(&self, member: &MemberId) -> Vec<Vec<u8>> {
        let presence = self.presences.get(member);
        presence.map_or_else(Vec::new, |presence| {
            presence.addresses.iter().map(|address| address.to_vec()).collect()
        })
    }
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
