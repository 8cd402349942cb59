//! A group of which nobody is a member any more.
//!
//! A founder's Retire voids every admission that the founder made beside it, and whoever holds the
//! recovery code can date it back to the beginning: then nobody is left.
//!
//! > Nobody seals anything to anybody there any more, so nothing is to be forgotten: chains, keys and
//! > cards stay, and the people can find one another by them.

use super::{Alarm, Event, Group, GroupState, Output, records::Key};
use crate::{
    ids::MemberId,
    membership::{Kind, Op},
};

impl Group {
    /// By whose Retire nobody is a member any more, this node's member neither: it voids what made that
    /// one a member. A group that ends in another way has nobody to blame.
    pub(super) fn emptied_by(&self) -> Option<MemberId> {
        let now = self.ops.resolve();
        let grants = |op: &&Op| {
            let grants = matches!(op.body().kind, Kind::Admit { .. } | Kind::Promote { .. });
            grants && op.subject() == Some(self.me)
        };
        let last = self.ops.iter().filter(grants).last()?;
        let void = now.ended(&last.id()).is_some_and(|ended| ended.void);
        if !now.members.is_empty() || !void {
            return None;
        }
        let voided = self.ops.voided_by(&last.id()).into_iter();
        let mut retires = voided.filter_map(|id| self.ops.op(&id));
        retires.find(|op| matches!(op.body().kind, Kind::Retire { .. })).map(Op::author)
    }

    /// Sends and reads nothing more, and keeps all that there is.
    pub(super) fn stop(&mut self, by: MemberId) {
        self.state = GroupState::Removed;
        self.dirty.mark(Key::Meta);
        self.drain_gossip();
        self.gossip = crate::gossip::Gossip::default();
        self.peers.clear();
        self.timers.clear();
        self.answers.clear();
        for event in [Event::Alarm(Alarm::Emptied(by)), Event::Logs, Event::Members] {
            self.out.push_back(Output::Event(event));
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::{
        endpoint::Endpoint,
        ids::OpId,
        membership::Body,
        sim::world::{Person, World},
    };

    #[test]
    fn a_founder_who_retires_from_the_beginning_takes_nobodys_keys_along() {
        let mut world = World::with(4, true);
        let (founder, second) = (world.id(0), world.id(1));
        world.act(0, |group, cx| group.promote(cx, second)).unwrap();
        (0..4).for_each(|at| drop(world.say(at, "while it lasted")));
        world.settle();
        let key = world.people[0].me.recovery().unwrap().clone();
        let genesis = OpId(world.member(0).id().0);
        let body = Body {
            group: Some(world.member(0).id()),
            author: founder,
            seq: 0,
            deps: Vec::from([genesis]),
            cap: Some(genesis),
            at: world.now,
            kind: Kind::Retire { recovery: key.public(), cut: Vec::new() },
            incarnation: None,
        };
        let op = Op::retire(body, &key);
        for at in 1..4 {
            let before = world.member(at).receiving.chains.len();
            assert!(before >= 4);
            world.act(at, |group, mut cx| drop(group.take_ops(&mut cx, [op.as_bytes()])));
            assert!(world.member(at).ops.resolve().members.is_empty());
            let told = Event::Alarm(Alarm::Emptied(founder));
            assert_eq!(world.people[at].events.iter().filter(|event| **event == told).count(), 1);
            world.settle();
            world.restart(at);
            let group = world.member(at);
            assert_eq!(group.state(), GroupState::Removed);
            assert_eq!((group.receiving.chains.len(), group.people.cards.len()), (before, 4));
            assert!(!group.receiving.pairs.is_empty() && !group.topics.is_empty());
            assert!(world.act(at, |group, cx| group.rotate(cx)).is_err());
        }
        // Whoever is removed by somebody who stays forgets all of it, as ever.
        let mut world = World::with(3, true);
        let third = world.id(2);
        world.say(0, "before");
        world.settle();
        world.act(0, |group, cx| group.remove(cx, third)).unwrap();
        world.settle();
        assert!(world.member(2).receiving.pairs.is_empty());
    }
    #[test]
    fn a_group_whose_last_people_left_and_were_removed_beside_one_another_blames_nobody() {
        let mut world = World::with(2, true);
        let second = world.id(1);
        world.act(0, |group, cx| group.promote(cx, second)).unwrap();
        world.settle();
        world.people[0].online = false;
        world.act(0, |group, cx| group.remove(cx, second)).unwrap();
        world.act(0, |group, cx| group.leave(cx)).unwrap();
        world
            .people
            .push(Person::new(Endpoint::generate("third", Vec::new(), &mut world.rng).unwrap()));
        world.join(1, 2);
        let ops: Vec<Vec<u8>> =
            world.member(0).ops.iter().map(|op| Vec::from(op.as_bytes())).collect();
        world.act(2, |group, mut cx| {
            drop(group.take_ops(&mut cx, ops.iter().map(Vec::as_slice)));
        });
        let last = world.member(2);
        assert!(last.ops.resolve().members.is_empty());
        assert_eq!(last.state(), GroupState::Removed);
        let told = &world.people[2].events;
        assert!(told.iter().any(|event| matches!(event, Event::Unadmitted { .. })));
        assert!(!told.iter().any(|event| matches!(event, Event::Alarm(Alarm::Emptied(_)))));
    }
}
