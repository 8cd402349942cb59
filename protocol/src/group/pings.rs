//! Whether a member's node answers by way of the relay: a question sealed to it in its inbox, and the answer
//! sealed in the asker's.
//!
//! > Only members are asked, and only members are answered: each once a second, all of them together 16 times
//! > in ten seconds, and in these no question twice. Who asks more is not answered, and not told so.
//!
//! Nothing of it is stored: a question that was read once more after a restart may be answered once more.

use alloc::collections::VecDeque;

use rand_core::CryptoRng;

use super::{
    Cx, Event, Group, GroupState, Output,
    control::Said,
    inbox::POSTED,
    wire::{Ping, Pong, Statement},
};
use crate::ids::{MemberId, Timestamp};

/// Answers in [`SPAN_MS`].
const ANSWERS: usize = 16;
/// See [`ANSWERS`].
const SPAN_MS: u64 = 10_000;
/// One member is answered once in so many milliseconds.
const EACH_MS: u64 = 1_000;

/// The last answers.
#[derive(Default)]
pub(super) struct Pings {
    answered: VecDeque<Answered>,
}

struct Answered {
    at: Timestamp,
    to: MemberId,
    nonce: [u8; 16],
}

impl Group {
    /// Asks a member's node to answer, through its inbox alone; gives what names the question in
    /// [`Event::Pong`]. `None`: its inbox is not known, or this node is in the group no more.
    pub fn ping<R: CryptoRng>(&mut self, mut cx: Cx<'_, R>, to: MemberId) -> Option<[u8; 16]> {
        if self.state != GroupState::Active || !self.is_member(&to) {
            return None;
        }
        let mut nonce = [0; 16];
        cx.rng.fill_bytes(&mut nonce);
        self.post_sealed(&mut cx, to, &Statement::Ping(Ping { nonce })).then_some(nonce)
    }

    pub(super) fn take_ping<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        said: &Said,
        nonce: [u8; 16],
    ) {
        let is_answered = said.topic == POSTED && self.state == GroupState::Active;
        if is_answered && self.pings.take(said.from, nonce, cx.now) {
            let pong = Statement::Pong(Pong { nonce, at: cx.now });
            // Where its inbox is not known here, it learns nothing.
            let _ = self.post_sealed(cx, said.from, &pong);
        }
    }

    pub(super) fn take_pong(&mut self, said: &Said, pong: &Pong) {
        if said.topic == POSTED {
            let (from, nonce, at) = (said.from, pong.nonce, pong.at);
            self.out.push_back(Output::Event(Event::Pong { from, nonce, at }));
        }
    }
}

impl Pings {
    /// Whether to answer; notes that it is done.
    fn take(&mut self, to: MemberId, nonce: [u8; 16], now: Timestamp) -> bool {
        let span = |it: &Answered| now.ms_since(it.at);
        self.answered.retain(|it| span(it) < SPAN_MS);
        let is_soon = |it: &Answered| it.to == to && (span(it) < EACH_MS || it.nonce == nonce);
        if self.answered.len() >= ANSWERS || self.answered.iter().any(is_soon) {
            return false;
        }
        self.answered.push_back(Answered { at: now, to, nonce });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::{super::LogRole, *};
    use crate::sim::world::World;

    fn pongs(world: &World, at: usize) -> Vec<(MemberId, [u8; 16], Timestamp)> {
        let events = world.people[at].events.iter();
        let pong = |event: &Event| match event {
            Event::Pong { from, nonce, at } => Some((*from, *nonce, *at)),
            _ => None,
        };
        events.filter_map(pong).collect()
    }

    /// Entries of a member's inbox.
    fn posted(world: &World, at: usize) -> usize {
        let inboxes = world.member(at).logs().into_iter();
        let inboxes = inboxes.filter(|log| log.role == LogRole::Inbox);
        inboxes.filter_map(|log| world.logs.get(&log.keys.id())).map(Vec::len).sum()
    }

    #[test]
    fn a_member_answers_through_the_inboxes_and_nobody_else_hears_of_it() {
        let mut world = World::with(3, true);
        world.strict = true;
        let to = world.id(1);
        world.people[1].skew = 5_000;
        let (before, asked) = ([0, 1, 2].map(|at| posted(&world, at)), world.now);
        let nonce = world.act(0, |group, cx| group.ping(cx, to)).unwrap();
        world.settle();
        let [(from, answered, at)] = pongs(&world, 0)[..] else { panic!("one answer") };
        assert_eq!((from, answered), (to, nonce));
        assert!(at >= asked.plus_ms(5_000), "by the clock of who answers");
        assert!(pongs(&world, 1).is_empty() && pongs(&world, 2).is_empty());
        let after = [0, 1, 2].map(|at| posted(&world, at));
        assert_eq!(after, [before[0] + 1, before[1] + 1, before[2]], "a question and an answer");
    }

    #[test]
    fn who_asks_without_end_is_answered_at_a_pace() {
        let mut world = World::with(2, true);
        let to = world.id(1);
        for _ in 0..20 {
            world.act(0, |group, cx| group.ping(cx, to)).unwrap();
        }
        world.settle();
        assert_eq!(pongs(&world, 0).len(), 1);
        world.now = world.now.plus_ms(EACH_MS);
        world.act(0, |group, cx| group.ping(cx, to)).unwrap();
        world.settle();
        assert_eq!(pongs(&world, 0).len(), 2);
    }

    #[test]
    fn many_who_ask_are_answered_no_oftener_together_and_no_question_twice() {
        let (mut pings, now) = (Pings::default(), Timestamp(1_000_000));
        let asker = |n: u8| (MemberId([n; 32]), [n; 16]);
        let taken = (0..100).filter(|n| {
            let (to, nonce) = asker(*n);
            pings.take(to, nonce, now)
        });
        assert_eq!(taken.count(), ANSWERS);
        let (to, nonce) = asker(200);
        assert!(!pings.take(to, nonce, now.plus_ms(SPAN_MS - 1)));
        assert!(pings.take(to, nonce, now.plus_ms(SPAN_MS)));
        assert!(!pings.take(to, nonce, now.plus_ms(SPAN_MS + 5_000)), "the same question");
        assert!(pings.take(to, [9; 16], now.plus_ms(SPAN_MS + 5_000)));
    }

    #[test]
    fn who_is_no_member_is_neither_asked_nor_answered() {
        let mut world = World::with(2, true);
        let stranger = crate::endpoint::Endpoint::generate("eve", Vec::new(), &mut world.rng);
        let stranger = stranger.unwrap().member();
        assert!(world.act(0, |group, cx| group.ping(cx, stranger)).is_none());
        let gone = world.id(1);
        world.act(0, |group, cx| group.remove(cx, gone)).unwrap();
        assert!(world.act(0, |group, cx| group.ping(cx, gone)).is_none());
        // Before it hears of that, who was removed asks.
        let to = world.id(0);
        assert!(world.act(1, |group, cx| group.ping(cx, to)).is_some());
        world.settle();
        assert!(pongs(&world, 1).is_empty());
    }
}
