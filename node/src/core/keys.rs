//! This node's own keys: made anew by time, told to the groups, kept until nothing needs them; and
//! the machines that the card names.
//!
//! > A new card is stored before anybody is told it.

use std::sync::Arc;

use protocol::{
    endpoint::Endpoint,
    group::Group,
    ids::{MemberId, Timestamp},
    sign::SigningSecret,
};
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

use super::{
    Core, ENDPOINT, HOUR_MS, NODE_KEY, VerbError, membership::is_active, step::random, words,
};
use crate::{
    api::types::{Machine, Machines, VERSION, What},
    net::address,
    store::{Store, StoreError, unhex},
};

/// How old a node key becomes, in milliseconds: 30 days. It changes at a start only.
const NODE_KEY_MS: u64 = 30 * 24 * HOUR_MS;
/// When the node key was made.
pub(super) const NODE_KEY_MADE: &str = "node key made";

/// The node key that follows. The card names it, too: whoever has the card of today knows this node by
/// its next key, though no relay brings the next card.
pub(super) const NODE_KEY_NEXT: &str = "node key next";

/// The node key of this run: that of the last one, or where that is too old the one that the card has
/// named beside it. The card names the one before, too, for those who had a card without the next.
pub(super) fn node_key(
    store: &mut Store,
    me: &mut Endpoint,
    stored: Zeroizing<[u8; 32]>,
    now: Timestamp,
    rng: &mut ChaCha20Rng,
) -> Result<Zeroizing<[u8; 32]>, StoreError> {
    let made = store.read(|tx| tx.meta(NODE_KEY_MADE))?;
    let next = store.read(|tx| tx.meta(NODE_KEY_NEXT))?;
    let made = made.and_then(|made| made.as_slice().try_into().ok()).map(u64::from_be_bytes);
    let age = made.map_or(0, |made| now.0.abs_diff(made));
    let next: Option<[u8; 32]> = next.and_then(|next| next.as_slice().try_into().ok());
    let (key, next, is_new) = match next.map(Zeroizing::new) {
        Some(next) if age >= NODE_KEY_MS => (next, Zeroizing::new(random::<32>(rng)), true),
        Some(next) => (stored, next, false),
        None => (stored, Zeroizing::new(random::<32>(rng)), false),
    };
    let peer = |key: &[u8; 32]| address::peer_id(&SigningSecret::from_seed(key).public());
    let own: Vec<Vec<u8>> = [peer(&key), peer(&next)].into_iter().flatten().collect();
    let before = me.card().card().nodes.iter().map(|node| node.to_vec());
    let before: Vec<_> = before.filter(|node| !own.contains(node)).take(1).collect();
    me.set_nodes(own.into_iter().chain(before).collect());
    store.transaction(|tx| {
        if is_new || made.is_none() {
            tx.put_meta(NODE_KEY, key.as_slice())?;
            tx.put_meta(NODE_KEY_MADE, &now.0.to_be_bytes())?;
        }
        tx.put_meta(NODE_KEY_NEXT, next.as_slice())?;
        tx.put_meta(ENDPOINT, &me.save())
    })?;
    Ok(key)
}

/// Between the first two cards in a run that overtake another copy's, in milliseconds; twice as long
/// from each to the next, and at most six hours.
const OVERTAKE_MS: u64 = HOUR_MS / 60;
/// See [`OVERTAKE_MS`].
const OVERTAKE_MAX_MS: u64 = 6 * HOUR_MS;

/// How often this run has overtaken another copy of this identity, and when it may again: two
/// copies that run would else overtake each other without end, and have everybody seal anew each time.
#[derive(Default)]
pub(super) struct Overtaking {
    times: u32,
    due: Timestamp,
}

impl Overtaking {
    fn note(&mut self, now: Timestamp) {
        let pause = OVERTAKE_MS.saturating_mul(1 << self.times.min(16)).min(OVERTAKE_MAX_MS);
        self.due = now.plus_ms(pause);
        self.times = self.times.saturating_add(1);
    }

    /// The clock was set back.
    pub(super) fn all_due(&mut self) {
        self.due = Timestamp::default();
    }
}

impl Core {
    /// Makes the keys that are due, tells the card where that has changed, and deletes keys that
    /// nothing can need any more.
    pub(super) fn renew_keys(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.overtake(now)?;
        let mut me = Endpoint::clone(&self.me);
        // A card below the one that others know would tell nobody anything.
        if self.overtake_due().is_none() {
            me.renew(now, &mut self.rng);
        }
        if self.groups.values().all(|group| group.has_caught_up(now)) {
            me.forget_superseded(now);
        }
        self.put_endpoint(me, now)
    }

    /// Where members know a newer card of this identity than this node has, it was taken up from an
    /// old copy: a card above theirs is made, once it is time. From the second time in a run on,
    /// people are told: another copy makes cards, too.
    pub(super) fn overtake(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.overtake_due().is_none_or(|due| due > now) {
            return Ok(());
        }
        // Also where the store refuses: it is not asked without end.
        self.overtaking.note(now);
        let mut me = Endpoint::clone(&self.me);
        me.overtake(self.known_card(), now, &mut self.rng);
        self.put_endpoint(me, now)?;
        if self.overtaking.times < 2 {
            return Ok(());
        }
        self.record(now, |step| step.emit(None, What::Alarm { text: words::COPIED.into() }))
    }

    /// When a newer card of this identity that members know may be overtaken, if there is one.
    pub(super) fn overtake_due(&self) -> Option<Timestamp> {
        (self.known_card() > self.me.card().card().seq).then_some(self.overtaking.due)
    }

    /// This machine and those that its card names.
    pub fn machines(&mut self) -> Result<Machines, VerbError> {
        let named = self.me.card().card().machines.clone().unwrap_or_default();
        let me = self.me.member();
        let linked = |other: &MemberId| {
            let cards = self.groups.values().filter_map(|group| group.card(other));
            cards.max_by_key(|card| card.card().seq).is_some_and(|card| card.card().names(&me))
        };
        let linked: Vec<bool> = named.iter().map(linked).collect();
        let refs = self.store.read(|tx| {
            let all = named.iter().chain([&me]).map(|id| tx.member(*id));
            all.collect::<Result<Vec<_>, StoreError>>()
        })?;
        let (own, others) = refs.split_last().ok_or(StoreError::Damaged)?;
        let machines = others.iter().cloned().zip(linked);
        Ok(Machines {
            v: VERSION,
            me: own.clone(),
            machines: machines.map(|(machine, linked)| Machine { machine, linked }).collect(),
        })
    }

    /// Names another machine of the same person on the card. It counts once that one's card names
    /// this one.
    pub fn add_machine(&mut self, asked: &str, now: Timestamp) -> Result<Machines, VerbError> {
        let machine = identity(asked)?;
        self.name_machines(now, |machines| machines.push(machine))
    }

    /// Names a machine no more.
    pub fn remove_machine(&mut self, asked: &str, now: Timestamp) -> Result<Machines, VerbError> {
        let machine = identity(asked)?;
        self.name_machines(now, |machines| machines.retain(|named| *named != machine))
    }

    fn name_machines(
        &mut self,
        now: Timestamp,
        change: impl FnOnce(&mut Vec<MemberId>),
    ) -> Result<Machines, VerbError> {
        let mut me = Endpoint::clone(&self.me);
        let mut machines = me.card().card().machines.clone().unwrap_or_default();
        change(&mut machines);
        me.set_machines(machines)?;
        self.put_endpoint(me, now)?;
        self.finish(now);
        self.machines()
    }

    /// The `seq` of the newest card of this identity that any group knows.
    fn known_card(&self) -> u64 {
        let me = self.me.member();
        let cards = self.groups.values().filter_map(|group| group.card(&me));
        cards.map(|card| card.card().seq).max().unwrap_or_default()
    }

    /// Takes an endpoint up in place of the last, once it is stored; tells its card.
    pub(super) fn put_endpoint(&mut self, me: Endpoint, now: Timestamp) -> Result<(), StoreError> {
        let saved = me.save();
        if *saved != *self.me.save() {
            self.store.transaction(|tx| {
                tx.put_name(me.member(), &me.card().card().name)?;
                tx.put_meta(ENDPOINT, &saved)
            })?;
            self.me = Arc::new(me);
        }
        let (member, seq) = (self.me.member(), self.me.card().card().seq);
        let behind = |group: &&Group| {
            is_active(group) && group.card(&member).is_none_or(|card| card.card().seq < seq)
        };
        let behind: Vec<_> = self.groups.values().filter(behind).map(Group::id).collect();
        for id in behind {
            self.step(id, now, |group, step| {
                group.tell_card(step.cx());
                Ok::<_, StoreError>(())
            })?;
        }
        Ok(())
    }
}

/// An identity as people give it: all of its digits.
fn identity(asked: &str) -> Result<MemberId, VerbError> {
    unhex(asked)
        .and_then(|bytes| MemberId::from_slice(&bytes))
        .ok_or_else(|| VerbError::NoIdentity { asked: asked.chars().take(80).collect() })
}
