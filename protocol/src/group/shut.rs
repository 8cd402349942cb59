//! Chains that were not for this node's member when their bundles came, and are after all.
//!
//! > Whoever joined anew while its removal stood takes what is sealed to its old membership for
//! > somebody else's. Where that removal turns out void, or a grant beside it comes, such bundles are
//! > judged once more.

use alloc::vec::Vec;

use super::{
    ChainState, Entry, Group,
    receiving::{Held, Receiving},
    records::Key,
};
use crate::ids::{ChainId, OpId};

/// Bundles judged once more, the newest.
const JUDGED: usize = 64;

impl Receiving {
    /// Takes a bundle that was accepted back among those that wait to be judged.
    pub fn hold_again(&mut self, chain: &ChainId) {
        if let Some(Entry { head, pages, .. }) = self.chains.remove(chain) {
            self.came += 1;
            self.held.insert(*chain, Held { pages, ..Held::new(head, self.came) });
        }
    }
}

impl Group {
    /// This member's standing grants.
    pub(super) fn own_grants(&self) -> Vec<OpId> {
        self.ops.resolve().grants.get(&self.me).cloned().unwrap_or_default()
    }

    /// Takes bundles back to be judged, where a grant stands that did not.
    pub(super) fn hold_shut(&mut self) {
        let now = self.own_grants();
        let more = now.iter().any(|grant| !self.standing.contains(grant));
        self.standing = now;
        if !more {
            return;
        }
        let shut = self.receiving.chains.iter().filter(|(chain, entry)| {
            let sender = entry.head.head().sender;
            matches!(entry.state, ChainState::NotForMe)
                && sender != self.me
                && self.is_member(&sender)
                && self.may_have(&self.me, chain)
        });
        let mut shut: Vec<_> = shut.map(|(chain, entry)| (entry.at, *chain)).collect();
        shut.sort_unstable();
        let newest: Vec<ChainId> = shut.iter().rev().take(JUDGED).map(|it| it.1).collect();
        for chain in newest.into_iter().rev() {
            self.receiving.hold_again(&chain);
            for key in [Key::Chain(chain), Key::Bundle(chain), Key::Classes(chain)] {
                self.dirty.mark(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{group::GroupState, sim::world::World};

    /// Four people, three of them admins, the founder's word to all of them, which has not reached the
    /// last; the third's removal of the last, and beside it the second's promotion, which is senior.
    fn spared() -> (World, [Vec<u8>; 2]) {
        let mut world = World::with(4, true);
        for admin in 1..3 {
            let admin = world.id(admin);
            world.act(0, |group, cx| group.promote(cx, admin)).unwrap();
            world.settle();
        }
        let last = world.id(3);
        world.people[3].online = false;
        world.say(0, "hello");
        world.settle();
        world.people[1].online = false;
        world.act(2, |group, cx| group.remove(cx, last)).unwrap();
        world.settle();
        world.act(1, |group, cx| group.promote(cx, last)).unwrap();
        let newest = |at: usize| {
            let op = world.member(at).ops.iter().last().unwrap();
            Vec::from(op.as_bytes())
        };
        let ops = [newest(2), newest(1)];
        (world, ops)
    }

    fn take(world: &mut World, ops: &[&Vec<u8>]) {
        let ops = || ops.iter().map(|op| op.as_slice());
        world.act(3, |group, mut cx| drop(group.take_ops(&mut cx, ops())));
    }

    #[test]
    fn who_stays_by_a_grant_beside_its_removal_reads_what_was_sealed_to_it_before() {
        let (mut world, [removal, promotion]) = spared();
        take(&mut world, &[&promotion, &removal]);
        assert_eq!(world.member(3).state(), GroupState::Active);
        world.people[1].online = true;
        world.people[3].online = true;
        world.settle();
        assert_eq!(world.heard(3), ["hello"]);
    }

    #[test]
    fn who_hears_of_its_removal_before_the_grant_beside_it_reads_it_too() {
        let (mut world, [removal, promotion]) = spared();
        take(&mut world, &[&removal]);
        assert_eq!(world.member(3).state(), GroupState::Removed);
        take(&mut world, &[&promotion]);
        assert_eq!(world.member(3).state(), GroupState::Active);
        world.people[1].online = true;
        world.people[3].online = true;
        world.settle();
        assert_eq!(world.heard(3), ["hello"]);
    }

    #[test]
    fn who_joined_anew_before_it_heard_of_the_grant_beside_its_removal_reads_it_too() {
        let (mut world, [removal, _]) = spared();
        take(&mut world, &[&removal]);
        world.people[3].online = true;
        world.settle();
        assert_eq!(world.member(3).state(), GroupState::Removed);
        world.join(0, 3);
        world.settle();
        world.say(0, "back");
        world.settle();
        let shut = |it: &Entry| matches!(it.state, ChainState::NotForMe);
        assert!(world.member(3).receiving.chains.values().any(shut));
        assert_eq!(world.heard(3), ["back"]);
        world.people[1].online = true;
        world.link(1, 3);
        world.settle();
        assert_eq!(world.heard(3), ["back", "hello"]);
    }
}
