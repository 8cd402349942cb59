//! A member is asked, alone, to come to a conversation of two: the code of one is sealed to it in its inbox.
//!
//! > Nobody else in the group learns that it was asked: what is said is sealed, as all that goes to inboxes is, and who
//! > asks is told nothing but by whoever comes.
//!
//! Members alone are asked, and members alone are heard: each at most [`EACH`] times in [`SPAN_MS`]. What is to be made
//! of it is for who runs the node. docs/spec/sync.md, statement 23; docs/decisions/0039-conversations-of-two.md.

use alloc::{collections::VecDeque, string::String};

use core::fmt;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{Cx, Event, Group, GroupState, Output, control::Said, inbox::POSTED, wire::Statement};
use crate::{
    ids::{GroupId, MemberId, Timestamp},
    limits::TALK_CODE,
};

/// Members who are heard so often in [`SPAN_MS`].
const EACH: usize = 4;
/// See [`EACH`].
const SPAN_MS: u64 = 60_000;
/// Those heard that are remembered: as many are heard in the span together.
const HEARD: usize = 64;

/// Somebody asks to talk alone.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct Talk {
    /// The conversation.
    #[n(0)]
    pub group: GroupId,
    /// Its code, as people would hand it over.
    #[n(1)]
    pub code: String,
}

impl Drop for Talk {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.code);
    }
}

/// The code of a conversation of two. It isn't shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct TalkCode(Zeroizing<String>);

impl TalkCode {
    /// As people would hand it over.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TalkCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TalkCode")
    }
}

/// Who asked of late.
#[derive(Default)]
pub(super) struct Talks(VecDeque<(Timestamp, MemberId)>);

impl Group {
    /// Asks a member to come to a conversation of two, by its code. Whether it could be said: `false` where that is no
    /// other member, this node is in the group no more, or the code is too long.
    pub fn ask_to_talk<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        to: MemberId,
        group: GroupId,
        code: &str,
    ) -> bool {
        let may = self.state == GroupState::Active && to != self.me && self.is_member(&to);
        if !may || code.len() > TALK_CODE || self.write_topics().is_empty() {
            return false;
        }
        self.to_inbox(&mut cx, to, &Statement::Talk(Talk { group, code: code.into() }));
        true
    }

    pub(super) fn take_talk(&mut self, now: Timestamp, said: &Said, talk: &Talk) {
        let is_heard = said.topic == POSTED
            && self.state == GroupState::Active
            && said.from != self.me
            && talk.code.len() <= TALK_CODE;
        if is_heard && self.talks.take(said.from, now) {
            let code = TalkCode(Zeroizing::new(talk.code.clone()));
            let event = Event::Talk { from: said.from, group: talk.group, code };
            self.out.push_back(Output::Event(event));
        }
    }
}

impl Talks {
    /// Whether to hear it; notes that it was.
    fn take(&mut self, from: MemberId, now: Timestamp) -> bool {
        self.0.retain(|(at, _)| now.ms_since(*at) < SPAN_MS);
        let theirs = self.0.iter().filter(|(_, by)| *by == from).count();
        if theirs >= EACH || self.0.len() >= HEARD {
            return false;
        }
        self.0.push_back((now, from));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::sim::world::World;

    const TWO: GroupId = GroupId([2; 32]);

    fn asked(world: &World, at: usize) -> Vec<(MemberId, GroupId, String)> {
        let events = world.people[at].events.iter();
        let talk = |event: &Event| match event {
            Event::Talk { from, group, code } => Some((*from, *group, String::from(code.as_str()))),
            _ => None,
        };
        events.filter_map(talk).collect()
    }

    #[test]
    fn one_member_is_asked_and_no_other_hears_of_it() {
        for relay in [true, false] {
            let mut world = World::with(3, relay);
            if !relay {
                world.link(0, 1);
                world.link(1, 2);
            }
            world.settle();
            let to = world.id(2);
            assert!(world.act(0, |group, cx| group.ask_to_talk(cx, to, TWO, "code")));
            world.settle();
            assert_eq!(asked(&world, 2), [(world.id(0), TWO, "code".into())], "relay: {relay}");
            assert!(asked(&world, 0).is_empty() && asked(&world, 1).is_empty());
        }
    }

    #[test]
    fn nobody_else_is_asked_and_nothing_that_is_too_long_is_said() {
        let mut world = World::with(2, true);
        let (me, to) = (world.id(0), world.id(1));
        let long = "x".repeat(TALK_CODE + 1);
        let mut ask =
            |to, code: &str| world.act(0, |group, cx| group.ask_to_talk(cx, to, TWO, code));
        assert!(!ask(me, "code") && !ask(MemberId([9; 32]), "code") && !ask(to, &long));
        assert!(ask(to, &long[1..]));
        world.act(0, |group, cx| group.remove(cx, to)).unwrap();
        assert!(!world.act(0, |group, cx| group.ask_to_talk(cx, to, TWO, "code")));
    }

    #[test]
    fn who_asks_without_end_is_heard_a_few_times() {
        let (mut talks, now) = (Talks::default(), Timestamp(1_000_000));
        let from = |n: u8| MemberId([n; 32]);
        assert_eq!((0..20).filter(|_| talks.take(from(1), now)).count(), EACH);
        assert!(talks.take(from(2), now));
        assert!(talks.take(from(1), now.plus_ms(SPAN_MS)));
        let many = (3..=255).filter(|n| talks.take(from(*n), now.plus_ms(SPAN_MS))).count();
        assert_eq!(many, HEARD - 1);
    }
}
