//! A node's card in the group, and the machines that are one person's.
//!
//! > Machines are shown as one person only where each of them names each other one on the card that
//! > it signed. What one side alone claims shows nothing.
//!
//! docs/spec/identity.md.

use alloc::{collections::BTreeMap, vec::Vec};

use rand_core::CryptoRng;

use super::{Cx, Group, GroupState, NotReady, records::Key, wire::Statement};
use crate::ids::{MemberId, Timestamp};

/// One person in a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// The identities of the machines that are members, the most senior first; at least one.
    pub machines: Vec<MemberId>,
}

impl Group {
    /// The people who are members, by the seniority of their most senior machine.
    #[must_use]
    pub fn people(&self) -> Vec<Person> {
        let members = self.members();
        let cards: BTreeMap<MemberId, _> =
            members.iter().map(|member| (member.id, member.card.card())).collect();
        let linked = |a: &MemberId, b: &MemberId| cards[a].names(b) && cards[b].names(a);
        let mut people: Vec<Person> = Vec::new();
        for member in &members {
            let one = people
                .iter_mut()
                .find(|person| person.machines.iter().all(|machine| linked(machine, &member.id)));
            match one {
                Some(person) => person.machines.push(member.id),
                None => people.push(Person { machines: Vec::from([member.id]) }),
            }
        }
        people
    }

    /// Tells the members this node's card, where it is newer than the one that they were told. Where
    /// no topic is known, nothing is done yet.
    pub fn tell_card<R: CryptoRng>(&mut self, mut cx: Cx<'_, R>) {
        self.tell_own_card(&mut cx);
    }

    pub(super) fn tell_own_card<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let under = self.write_topics();
        if self.state == GroupState::Active
            && !under.is_empty()
            && self.people.take_card(cx.me.card().clone())
        {
            self.dirty.mark(Key::Card(self.me));
            let card = Vec::from(cx.me.card().as_bytes()).into();
            self.publish_control(cx, &Statement::Card(card), &under);
        }
    }

    /// Whether what was sent before this run of the process has been read here, as far as can be
    /// told: older keys are not needed for it any more.
    #[must_use]
    pub fn has_caught_up(&self, now: Timestamp) -> bool {
        match self.ready(now) {
            // Whoever has moved reads on for as long as that takes, and is ready never again; where nobody else is,
            // there is nothing to read.
            Ok(()) | Err(NotReady::NotAMember | NotReady::Moved | NotReady::Alone) => true,
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::super::{onward, world::World};
    use super::*;

    fn name(world: &mut World, at: usize, others: &[usize]) {
        let others = others.iter().map(|other| world.id(*other)).collect();
        assert_eq!(world.people[at].me.set_machines(others), Ok(true));
        world.act(at, |group, cx| group.tell_card(cx));
        world.settle();
    }

    /// Who is one person as each member sees it: all alike.
    fn people(world: &World) -> Vec<Vec<usize>> {
        let seen = |at: usize| -> Vec<Vec<usize>> {
            let people = world.people[at].group.as_ref().unwrap().people();
            let machines = |person: &Person| -> Vec<usize> {
                person.machines.iter().map(|id| world.at(id)).collect()
            };
            people.iter().map(machines).collect()
        };
        let all = seen(0);
        (1..world.people.len()).for_each(|at| assert_eq!(seen(at), all, "as {at} sees it"));
        all
    }

    #[test]
    fn machines_are_one_person_once_each_names_each_other() {
        let mut world = World::with(4, true);
        name(&mut world, 1, &[2]);
        assert_eq!(people(&world), [vec![0], vec![1], vec![2], vec![3]], "one side alone");
        name(&mut world, 2, &[1]);
        assert_eq!(people(&world), [vec![0], vec![1, 2], vec![3]]);
        name(&mut world, 3, &[1, 2]);
        name(&mut world, 1, &[2, 3]);
        assert_eq!(people(&world), [vec![0], vec![1, 2], vec![3]], "2 does not name 3 yet");
        name(&mut world, 2, &[1, 3]);
        assert_eq!(people(&world), [vec![0], vec![1, 2, 3]]);
        name(&mut world, 2, &[]);
        assert_eq!(people(&world), [vec![0], vec![1, 3], vec![2]]);
    }

    #[test]
    fn a_group_that_was_moved_on_from_has_caught_up_once_it_was_read() {
        let mut world = World::with(2, true);
        onward::migrate(&mut world, 0, &[]);
        world.settle();
        for at in 0..2 {
            world.restart(at);
            assert_eq!(world.member(at).state(), GroupState::Migrated);
            assert!(!world.member(at).has_caught_up(world.now), "{at} has read nothing yet");
            world.settle();
            assert!(world.member(at).has_caught_up(world.now), "{at}");
        }
    }

    #[test]
    fn a_machine_that_is_no_member_is_nobodys() {
        let mut world = World::with(3, true);
        name(&mut world, 1, &[2]);
        name(&mut world, 2, &[1]);
        let gone = world.id(2);
        world.act(0, |group, cx| group.remove(cx, gone)).unwrap();
        world.settle();
        assert_eq!(world.people[0].group.as_ref().unwrap().people().len(), 2);
    }
}
