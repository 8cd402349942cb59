//! Gossip of a group's envelopes over the members' own channels: an epidemic broadcast tree
//! (Plumtree; Leitão, Pereira, Rodrigues 2007).
//!
//! An envelope is pushed to the *eager* neighbours, its id is told to the *lazy* ones. A duplicate
//! push makes a neighbour lazy ([`Frame::Prune`]); an id whose envelope does not follow in time
//! makes it eager again ([`Frame::Graft`]). What a neighbour can make this hold is bounded by the
//! constants below.
//!
//! It decides who gets what; it reads no envelope. docs/spec/sync.md.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use crate::{
    envelope,
    ids::{EnvelopeId, MemberId, Timestamp},
};

/// Neighbours that get envelopes at once.
pub const EAGER: usize = 8;
/// Envelope ids remembered, to drop duplicates.
pub const SEEN: usize = 16_384;
/// Recent envelopes kept for neighbours that ask for them, and their bytes.
pub const RECENT: usize = 256;
/// See [`RECENT`].
pub const RECENT_BYTES: usize = 2 * 1024 * 1024;
/// Ids announced whose envelopes are awaited.
pub const AWAITED: usize = 1024;
/// Ids in one announcement or request.
pub const IDS: usize = 64;
/// How long an announced envelope may take before it is asked for, in milliseconds.
pub const GRAFT_MS: u64 = 300;

/// What goes to one neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An envelope, whole.
    Push(Vec<u8>),
    /// Ids of envelopes that can be had here.
    Have(Vec<EnvelopeId>),
    /// Push to me again, beginning with these.
    Graft(Vec<EnvelopeId>),
    /// Don't push to me; ids will do.
    Prune,
}

/// Where an envelope that is to be spread came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// It was made here.
    Here,
    /// A relay's log, which others most likely follow too: they are told its id only.
    Log,
    /// A neighbour, who is not told of it again.
    Neighbour(MemberId),
}

/// The state of one group's gossip. None of it is stored: sync mends what a restart forgets.
#[derive(Default)]
pub struct Gossip {
    neighbours: BTreeMap<MemberId, Push>,
    seen: Memory,
    recent: VecDeque<(EnvelopeId, Vec<u8>)>,
    recent_bytes: usize,
    awaited: BTreeMap<EnvelopeId, Awaited>,
    out: VecDeque<(MemberId, Frame)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Push {
    Eager,
    Lazy,
}

struct Awaited {
    from: MemberId,
    due: Timestamp,
}

/// The ids of the latest envelopes, oldest forgotten first, each with whether a neighbour gave it.
#[derive(Default)]
struct Memory {
    order: VecDeque<EnvelopeId>,
    set: BTreeMap<EnvelopeId, bool>,
}

impl Memory {
    fn insert(&mut self, id: EnvelopeId, by_neighbour: bool) -> bool {
        if self.set.contains_key(&id) {
            return false;
        }
        self.set.insert(id, by_neighbour);
        self.order.push_back(id);
        if self.order.len() > SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
    }
}

impl Gossip {
    /// A channel to a member stands.
    pub fn up(&mut self, member: MemberId) {
        let eager = self.neighbours.values().filter(|push| **push == Push::Eager).count();
        let push = if eager < EAGER { Push::Eager } else { Push::Lazy };
        self.neighbours.insert(member, push);
    }

    /// A member's channel is gone.
    pub fn down(&mut self, member: &MemberId) {
        self.neighbours.remove(member);
        self.awaited.retain(|_, awaited| awaited.from != *member);
    }

    /// Whether a channel to this member stands.
    #[must_use]
    pub fn is_neighbour(&self, member: &MemberId) -> bool {
        self.neighbours.contains_key(member)
    }

    /// The members to whom a channel stands.
    pub fn neighbours(&self) -> impl Iterator<Item = &MemberId> {
        self.neighbours.keys()
    }

    /// Whether this envelope has been here lately.
    #[must_use]
    pub fn has_seen(&self, id: &EnvelopeId) -> bool {
        self.seen.set.contains_key(id)
    }

    /// A pushed envelope came, perhaps not the first time; answers whether it is new. Its sender
    /// is told to stop where another neighbour was faster. Where only the relay was, it goes on: the
    /// relay may be gone at the next one.
    pub fn on_push(&mut self, from: MemberId, id: &EnvelopeId) -> bool {
        if let Some(by_neighbour) = self.seen.set.get(id) {
            if *by_neighbour && self.turn(&from, Push::Lazy) == Some(Push::Eager) {
                self.out.push_back((from, Frame::Prune));
            }
            return false;
        }
        self.turn(&from, Push::Eager);
        true
    }

    /// Remembers an envelope without a word to anybody: it is from a log that is still being read,
    /// which the others read too. Whoever misses it hears of it by sync.
    pub fn keep(&mut self, bytes: &[u8]) {
        let id = envelope::id(bytes);
        self.awaited.remove(&id);
        if self.seen.insert(id, false) {
            self.remember(id, bytes);
        }
    }

    /// Spreads an envelope that was made or accepted here.
    pub fn spread(&mut self, bytes: &[u8], origin: Origin) {
        let id = envelope::id(bytes);
        self.awaited.remove(&id);
        if !self.seen.insert(id, matches!(origin, Origin::Neighbour(_))) {
            return;
        }
        self.remember(id, bytes);
        for (member, push) in &self.neighbours {
            let frame = match (origin, push) {
                (Origin::Neighbour(giver), _) if giver == *member => continue,
                (Origin::Here | Origin::Neighbour(_), Push::Eager) => Frame::Push(bytes.into()),
                _ => Frame::Have(Vec::from([id])),
            };
            self.out.push_back((*member, frame));
        }
    }

    /// A neighbour announced envelopes.
    pub fn on_have(&mut self, from: MemberId, ids: &[EnvelopeId], now: Timestamp) {
        for id in ids.iter().take(IDS) {
            if !self.has_seen(id) && self.awaited.len() < AWAITED {
                let due = now.plus_ms(GRAFT_MS);
                self.awaited.entry(*id).or_insert(Awaited { from, due });
            }
        }
    }

    /// A neighbour wants to be pushed to. What it wants to begin with is in [`Self::recent`].
    pub fn on_graft(&mut self, from: MemberId) {
        self.turn(&from, Push::Eager);
    }

    /// A recent envelope.
    #[must_use]
    pub fn recent(&self, id: &EnvelopeId) -> Option<&[u8]> {
        self.recent.iter().find(|(recent, _)| recent == id).map(|(_, bytes)| bytes.as_slice())
    }

    /// A neighbour wants ids only.
    pub fn on_prune(&mut self, from: MemberId) {
        self.turn(&from, Push::Lazy);
    }

    /// When [`Self::on_deadline`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.awaited.values().map(|awaited| awaited.due).min()
    }

    /// Asks for what was announced and did not come.
    pub fn on_deadline(&mut self, now: Timestamp) {
        let mut wanted: BTreeMap<MemberId, Vec<EnvelopeId>> = BTreeMap::new();
        self.awaited.retain(|id, awaited| {
            let due = awaited.due <= now;
            if due {
                wanted.entry(awaited.from).or_default().push(*id);
            }
            !due
        });
        for (member, ids) in wanted {
            self.turn(&member, Push::Eager);
            for ids in ids.chunks(IDS) {
                self.out.push_back((member, Frame::Graft(ids.into())));
            }
        }
    }

    /// The next frame to hand out.
    pub fn poll(&mut self) -> Option<(MemberId, Frame)> {
        self.out.pop_front()
    }

    fn turn(&mut self, member: &MemberId, push: Push) -> Option<Push> {
        self.neighbours.get_mut(member).map(|standing| core::mem::replace(standing, push))
    }

    fn remember(&mut self, id: EnvelopeId, bytes: &[u8]) {
        self.recent_bytes += bytes.len();
        self.recent.push_back((id, bytes.into()));
        while self.recent.len() > RECENT || self.recent_bytes > RECENT_BYTES {
            if let Some((_, oldest)) = self.recent.pop_front() {
                self.recent_bytes -= oldest.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn member(n: u8) -> MemberId {
        MemberId([n; 32])
    }

    fn drain(gossip: &mut Gossip) -> Vec<(MemberId, Frame)> {
        core::iter::from_fn(|| gossip.poll()).collect()
    }

    #[test]
    fn an_envelope_goes_to_everybody_but_its_giver() {
        let mut gossip = Gossip::default();
        for n in 1..=3 {
            gossip.up(member(n));
        }
        gossip.spread(b"one", Origin::Neighbour(member(2)));
        let to: Vec<_> = drain(&mut gossip).into_iter().map(|(to, _)| to).collect();
        assert_eq!(to, [member(1), member(3)]);
    }

    #[test]
    fn the_ninth_neighbour_hears_ids_only() {
        let mut gossip = Gossip::default();
        for n in 1..=9 {
            gossip.up(member(n));
        }
        gossip.spread(b"one", Origin::Here);
        let out = drain(&mut gossip);
        assert_eq!(out.iter().filter(|(_, frame)| matches!(frame, Frame::Push(_))).count(), 8);
        assert_eq!(out[8], (member(9), Frame::Have(vec![envelope::id(b"one")])));
    }

    #[test]
    fn what_is_read_while_catching_up_is_told_to_nobody_and_kept_for_who_asks() {
        let mut gossip = Gossip::default();
        gossip.up(member(1));
        gossip.keep(b"one");
        assert_eq!(drain(&mut gossip), []);
        assert!(gossip.has_seen(&envelope::id(b"one")));
        assert_eq!(gossip.recent(&envelope::id(b"one")), Some(&b"one"[..]));
    }

    #[test]
    fn a_duplicate_push_prunes_its_sender_once() {
        let mut gossip = Gossip::default();
        gossip.up(member(1));
        gossip.spread(b"one", Origin::Neighbour(member(2)));
        drain(&mut gossip);
        let id = envelope::id(b"one");
        assert!(!gossip.on_push(member(1), &id));
        assert!(!gossip.on_push(member(1), &id));
        assert_eq!(drain(&mut gossip), [(member(1), Frame::Prune)]);
    }

    #[test]
    fn a_neighbour_that_is_slower_than_the_relay_stays_eager() {
        let mut gossip = Gossip::default();
        gossip.up(member(1));
        gossip.spread(b"one", Origin::Log);
        assert_eq!(
            drain(&mut gossip),
            [(member(1), Frame::Have(vec![envelope::id(b"one")]))],
            "it has it from the relay too, most likely"
        );
        assert!(!gossip.on_push(member(1), &envelope::id(b"one")));
        assert_eq!(drain(&mut gossip), []);
        gossip.spread(b"two", Origin::Here);
        assert_eq!(drain(&mut gossip), [(member(1), Frame::Push(b"two".to_vec()))]);
    }

    #[test]
    fn what_was_announced_and_did_not_come_is_asked_for() {
        let mut gossip = Gossip::default();
        gossip.up(member(1));
        let id = envelope::id(b"one");
        gossip.on_have(member(1), &[id], Timestamp(0));
        assert_eq!(gossip.deadline(), Some(Timestamp(GRAFT_MS)));
        gossip.on_deadline(Timestamp(GRAFT_MS));
        assert_eq!(drain(&mut gossip), [(member(1), Frame::Graft(vec![id]))]);
        assert_eq!(gossip.deadline(), None);
    }

    #[test]
    fn what_came_in_time_is_not_asked_for() {
        let mut gossip = Gossip::default();
        gossip.up(member(1));
        gossip.on_have(member(1), &[envelope::id(b"one")], Timestamp(0));
        gossip.spread(b"one", Origin::Here);
        assert_eq!(gossip.deadline(), None);
    }

    #[test]
    fn who_grafts_is_pushed_to_again() {
        let mut gossip = Gossip::default();
        gossip.up(member(1));
        gossip.on_prune(member(1));
        gossip.spread(b"one", Origin::Here);
        assert!(matches!(drain(&mut gossip).as_slice(), [(_, Frame::Have(_))]));
        gossip.on_graft(member(1));
        gossip.spread(b"two", Origin::Here);
        assert_eq!(drain(&mut gossip), [(member(1), Frame::Push(b"two".to_vec()))]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut gossip = Gossip::default();
        for n in 0..(SEEN as u32 + 10) {
            gossip.spread(&n.to_be_bytes(), Origin::Here);
        }
        assert_eq!(gossip.seen.order.len(), SEEN);
        assert!(gossip.recent.len() <= RECENT);
        let ids: Vec<_> = (0..2000u32).map(|n| envelope::id(&n.to_le_bytes())).collect();
        ids.chunks(IDS).for_each(|ids| gossip.on_have(member(1), ids, Timestamp(0)));
        assert!(gossip.awaited.len() <= AWAITED);
    }
}
