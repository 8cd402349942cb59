//! Somebody who is no member any more and does not know it asks everybody for ops.
//!
//! > It is told the ops by which it is out and what was before them, sealed to it, and nothing that came
//! > after.
//!
//! A relay that loses what came before a removal leaves whom it removes with an op that waits for others:
//! it takes itself for a member, writes to nobody and asks on. docs/spec/sync.md.

use alloc::{collections::BTreeSet, vec::Vec};

use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;

use super::{
    Cx, Group,
    answering::{Answer, Asked, OPS_ENVELOPES},
    control::{Said, parts},
    wire::{Statement, Want},
};
use crate::{
    ids::{MemberId, OpId},
    limits::OP_DEPS,
};

/// Heads that are looked at.
const HEADS: usize = 4 * OP_DEPS;

impl Group {
    /// Somebody who is no member asks under a topic.
    pub(super) fn take_want_of_gone<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        said: Said,
        want: &Want,
    ) {
        let heads = want.ops_after.iter().flatten().take(HEADS).copied().collect::<Vec<_>>();
        if want.ops_after.is_none() || !self.word.may_tell(&said.from, cx.now) {
            return;
        }
        let ops = self.ops_for_gone(&said.from, &heads);
        if !ops.is_empty() {
            let due = self.turn_to_answer(cx);
            let answer =
                Answer { by: said.from, due, topic: said.topic, ops, messages: BTreeSet::new() };
            self.answer(Asked::Gone(said.from), answer);
        }
    }

    /// The ops by which somebody is no member, and those before them, that are not in the past of
    /// these heads.
    pub(super) fn ops_for_gone(&self, member: &MemberId, heads: &[OpId]) -> Vec<OpId> {
        let ends = self.ops.ended_by(member);
        if ends.is_empty() {
            return ends;
        }
        let past = self.ops.past(&ends).unwrap_or_default();
        let lacking = self.ops.not_in_past(heads).into_iter();
        lacking.filter(|id| past.contains(id)).collect()
    }

    /// Tells them, if nobody has.
    pub(super) fn tell_gone<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        to: MemberId,
        answer: &Answer,
    ) {
        if answer.ops.is_empty() || self.is_member(&to) || !self.word.tells(to, cx.now) {
            return;
        }
        let ops = answer.ops.iter().filter_map(|id| self.ops.op(id));
        let ops: Vec<ByteVec> = ops.map(|op| Vec::from(op.as_bytes()).into()).collect();
        for ops in parts(ops).into_iter().take(OPS_ENVELOPES) {
            self.say_sealed(cx, to, &Statement::Ops(ops), &[answer.topic]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        group::{Event, GroupState},
        sim::world::World,
    };

    /// A third member is removed after an op that the relay lost: it hears of the removal alone.
    fn removed_unheard(world: &mut World) {
        let (second, third) = (world.id(1), world.id(2));
        world.people[2].online = false;
        world.act(0, |group, cx| group.promote(cx, second)).unwrap();
        world.settle();
        world.forget_logs();
        world.act(0, |group, cx| group.remove(cx, third)).unwrap();
        world.people[2].online = true;
    }

    #[test]
    fn who_was_removed_after_what_the_relay_lost_is_told_so() {
        let mut world = World::with(4, true);
        removed_unheard(&mut world);
        world.settle();
        let third = world.id(2);
        assert_eq!(world.member(2).state(), GroupState::Removed);
        let told =
            |event: &Event| matches!(event, Event::Removed { member, .. } if *member == third);
        assert!(world.people[2].events.iter().any(told));
    }

    #[test]
    fn who_is_out_is_told_nothing_that_came_after_and_once_an_hour_by_each() {
        let mut world = World::with(4, true);
        removed_unheard(&mut world);
        let third = world.id(2);
        let (topic, heads) = {
            let group = world.member(2);
            (group.write_topics()[0], group.ops.heads())
        };
        world.people[2].online = false;
        world.settle();
        world.act(0, |group, cx| group.rotate(cx)).unwrap();
        world.settle();
        let group = world.member(1);
        let told = group.ops_for_gone(&third, &heads);
        let last = group.ops.ended_by(&third);
        assert_eq!((told.len(), last.len()), (2, 1));
        assert_eq!(told.last(), last.last());
        assert_eq!(group.ops.not_in_past(&told).len(), 1, "the topic of after");
        assert!(group.ops_for_gone(&world.id(3), &heads).is_empty(), "a member");
        let asks = |world: &mut World, ms| {
            world.now = world.now.plus_ms(ms);
            let want = Want { ops_after: Some(heads.clone()), ..Want::default() };
            world.act(1, |group, mut cx| {
                group.take_want_of_gone(&mut cx, Said { from: third, topic }, &want);
                group.answers.keys().filter(|it| **it == Asked::Gone(third)).count()
            })
        };
        assert_eq!(asks(&mut world, 0), 1);
        world.settle();
        assert_eq!(asks(&mut world, 60_000), 0);
        assert_eq!(asks(&mut world, 60 * 60_000), 1);
    }

    #[test]
    fn who_is_back_and_out_again_before_it_knows_the_topic_is_told_so() {
        let mut world = World::with(3, true);
        let third = world.id(2);
        let key = world.people[2].me.recovery().unwrap().clone();
        [(0, 1), (0, 2), (1, 2)].into_iter().for_each(|(a, b)| world.link(a, b));
        world.settle();
        world.act(0, |group, cx| group.remove(cx, third)).unwrap();
        world.act(0, |group, cx| group.readmit(cx, third)).unwrap();
        world.deliver();
        assert!(world.member(2).state() == GroupState::Active && world.member(2).lacks_topics());
        world.act(0, |group, cx| group.retire(cx, &key)).unwrap();
        world.pass(60_000);
        assert_eq!(world.member(2).state(), GroupState::Removed);
    }
}
