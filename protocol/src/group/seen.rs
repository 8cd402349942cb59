//! What its person has read: told to a group whose admins have receipts on ([`Conduct::receipts`]), by nodes whose
//! person wants it told.
//!
//! > Nothing is told by itself: a verb tells, once and of what it is given. A group that is told nothing learns nothing,
//! > not even that it isn't.
//!
//! Every member can read it, and so do those whose messages it isn't about: it is said under the topic, like receipts,
//! so that no relay sees whose messages were read. What was read was received: it stands for a lost receipt too.
//! docs/spec/consistency.md, *Seen*.
//!
//! [`Conduct::receipts`]: crate::membership::Conduct::receipts

use alloc::{collections::BTreeMap, collections::BTreeSet, vec::Vec};

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;

use super::{
    ChainState, Cx, Event, Group, GroupState, Output,
    receiving::Entry,
    wire::{Indexes, Statement},
};
use crate::{
    ids::{ChainId, MemberId, Timestamp},
    limits::CHAIN_MESSAGES,
};

/// Spans in one statement.
const SPANS: usize = 64;

/// Messages of a chain that follow one another.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
pub(super) struct Span {
    #[n(0)]
    pub chain: ChainId,
    /// The first of them.
    #[n(1)]
    pub first: u32,
    /// One more than the last.
    #[n(2)]
    pub next: u32,
}

/// Why nobody is told what was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotTold {
    /// The group's admins have no receipts on.
    Off,
    /// It has more than [`RECEIPT_MEMBERS`](crate::limits::RECEIPT_MEMBERS) members.
    Large,
    /// This node can't say anything there now.
    NotNow,
}

impl Group {
    /// Whether what was read may be told here.
    ///
    /// # Errors
    /// Why not.
    pub fn may_tell_seen(&self) -> Result<(), NotTold> {
        if self.state() != GroupState::Active || self.write_topics().is_empty() {
            Err(NotTold::NotNow)
        } else if !self.conduct().receipts {
            Err(NotTold::Off)
        } else if !self.gives_receipts() {
            Err(NotTold::Large)
        } else {
            Ok(())
        }
    }

    /// Tells the group that messages at these places were read. Own ones, and those of no chain that is known here,
    /// are passed over.
    ///
    /// # Errors
    /// Why nobody was told: nothing is told later, unless it is asked again.
    pub fn tell_seen<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        read: impl IntoIterator<Item = (ChainId, u32)>,
    ) -> Result<(), NotTold> {
        self.may_tell_seen()?;
        let topics = self.write_topics();
        let mut places: BTreeMap<ChainId, BTreeSet<u32>> = BTreeMap::new();
        for (chain, index) in read.into_iter().filter(|(chain, _)| self.is_others(chain)) {
            places.entry(chain).or_default().insert(index);
        }
        let spans: Vec<Span> =
            places.into_iter().flat_map(|(chain, indexes)| spans(chain, indexes)).collect();
        for some in spans.chunks(SPANS) {
            self.publish_control(&mut cx, &Statement::Seen(some.into()), &topics);
        }
        Ok(())
    }

    /// A member says that its person has read messages: of this node's own ones that is news.
    pub(super) fn take_seen(&mut self, now: Timestamp, by: MemberId, spans: Vec<Span>) {
        if !self.conduct().receipts || !self.gives_receipts() || by == self.me {
            return;
        }
        for Span { chain, first, next } in spans.into_iter().take(SPANS) {
            let Some(Entry { state: ChainState::Mine { count }, .. }) =
                self.receiving.chains.get(&chain)
            else {
                continue;
            };
            let next = next.min(*count).min(CHAIN_MESSAGES);
            if first >= next || !self.may_have(&by, &chain) {
                continue;
            }
            self.take_receipts(
                now,
                by,
                [Indexes { chain, indexes: (first..next).collect() }].into(),
            );
            self.out.push_back(Output::Event(Event::Seen { by, chain, first, next }));
        }
    }

    fn is_others(&self, chain: &ChainId) -> bool {
        let entry = self.receiving.chains.get(chain);
        entry.is_some_and(|entry| !matches!(entry.state, ChainState::Mine { .. }))
    }
}

/// The fewest spans that hold these indexes and no other.
fn spans(chain: ChainId, indexes: BTreeSet<u32>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for index in indexes {
        match spans.last_mut() {
            Some(span) if span.next == index => span.next = index.saturating_add(1),
            _ => spans.push(Span { chain, first: index, next: index.saturating_add(1) }),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::{membership::Conduct, sim::world::World};

    /// Who has read what, as this person's node was told.
    fn seen(world: &World, at: usize) -> Vec<(MemberId, ChainId, u32, u32)> {
        let events = world.people[at].events.iter();
        let seen = |event: &Event| match event {
            Event::Seen { by, chain, first, next } => Some((*by, *chain, *first, *next)),
            _ => None,
        };
        events.filter_map(seen).collect()
    }

    fn switch(world: &mut World, receipts: bool) {
        let conduct = Conduct { receipts, ..*world.member(0).conduct() };
        world.act(0, |group, cx| group.set_conduct(cx, conduct)).unwrap();
        world.settle();
    }

    #[test]
    fn the_author_learns_who_has_read_where_admins_have_it_on_and_nobody_else_is_told() {
        let mut world = World::with(3, true);
        let said: Vec<_> = ["one", "two", "three"].map(|text| world.say(0, text)).into();
        world.settle();
        let chain = said[0].chain;
        let places = || vec![(chain, 0), (chain, 2)];
        assert_eq!(world.act(1, |group, cx| group.tell_seen(cx, places())), Err(NotTold::Off));
        switch(&mut world, true);
        world.act(1, |group, cx| group.tell_seen(cx, places())).unwrap();
        world.settle();
        let by = world.id(1);
        assert_eq!(seen(&world, 0), [(by, chain, 0, 1), (by, chain, 2, 3)]);
        assert!(seen(&world, 1).is_empty() && seen(&world, 2).is_empty());
        switch(&mut world, false);
        assert_eq!(world.act(1, |group, cx| group.tell_seen(cx, places())), Err(NotTold::Off));
    }

    #[test]
    fn what_is_told_of_more_than_there_is_counts_for_what_there_is_and_own_words_for_nothing() {
        let mut world = World::with(2, true);
        switch(&mut world, true);
        let said = world.say(0, "one");
        world.settle();
        let (now, by, me) = (world.now, world.id(1), world.id(0));
        let chain = said.chain;
        let told = |first, next| vec![Span { chain, first, next }];
        world.act(0, |group, _| {
            group.take_seen(now, by, told(0, u32::MAX));
            group.take_seen(now, by, told(1, 5));
            group.take_seen(now, by, told(1, 0));
            group.take_seen(now, by, vec![Span { chain: ChainId([9; 16]), first: 0, next: 1 }]);
            group.take_seen(now, me, told(0, 1));
            group.take_seen(now, MemberId([9; 32]), told(0, 1));
        });
        assert_eq!(seen(&world, 0), [(by, chain, 0, 1)]);
        world.act(0, |group, cx| group.tell_seen(cx, [(chain, 0)])).unwrap();
        world.settle();
        assert!(seen(&world, 1).is_empty());
    }

    #[test]
    fn what_was_read_was_received() {
        let mut world = World::with(2, true);
        switch(&mut world, true);
        let said = world.say(0, "one");
        let (now, by) = (world.now, world.id(1));
        let span = Span { chain: said.chain, first: said.index, next: said.index + 1 };
        world.act(0, |group, _| group.take_seen(now, by, vec![span]));
        let delivered = |event: &Event| matches!(event, Event::Delivered { to, .. } if *to == by);
        assert!(world.people[0].events.iter().any(delivered));
    }

    #[test]
    fn places_become_the_fewest_spans() {
        let chain = ChainId([7; 16]);
        let made = spans(chain, [5, 1, 2, 0, 9, u32::MAX].into());
        let made: Vec<_> = made.iter().map(|span| (span.first, span.next)).collect();
        assert_eq!(made, [(0, 3), (5, 6), (9, 10), (u32::MAX, u32::MAX)]);
    }
}
