//! Chains that were not for this node's member when their bundles came, and are after all.
//!
//! > Whoever joined anew while its removal stood takes what is sealed to its old membership for
//! > somebody else's. Where that removal turns out void, or the old membership goes on by a grant beside
//! > it, such bundles are judged once more.
//!
//! Their records stay until they are judged: a node that ends meanwhile begins with them anew.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{ChainState, Entry, Group, Timer, held::Held, records::Key, wire::BundleWire};
use crate::{
    ids::{ChainId, MemberId, OpId, Timestamp},
    membership::OpSet,
};

/// Bundles judged once more, the newest.
const JUDGED: usize = 64;

/// A member's grants by which a membership goes on: those that stand, and ended ones beside them.
pub(super) fn going_on(ops: &OpSet, member: &MemberId) -> BTreeSet<OpId> {
    let now = ops.resolve();
    let ended = now.ended.iter().filter(|(_, ended)| ended.member == *member);
    let standing = now.grants.get(member).into_iter().flatten();
    let grants = standing.chain(ended.map(|(grant, _)| grant));
    grants.filter(|grant| ops.goes_on(grant)).copied().collect()
}

impl Group {
    /// Takes bundles back to be judged, where a membership goes on that did not.
    pub(super) fn hold_shut(&mut self) {
        let now = going_on(&self.ops, &self.me);
        let before = core::mem::replace(&mut self.going_on, now);
        if !self.going_on.is_subset(&before) {
            self.take_back();
        }
    }

    /// After a start: what was taken back and not judged is judged.
    pub(super) fn recall_shut(&mut self, now: Timestamp) {
        if self.take_back() {
            self.set_timer(Timer::Shut, now);
        }
    }

    /// Takes the newest bundles that are for this node's member after all back among those that wait;
    /// answers whether there are any.
    fn take_back(&mut self) -> bool {
        let shut = self.receiving.chains.iter().filter(|(chain, entry)| {
            matches!(entry.state, ChainState::NotForMe)
                && entry.head.head().sender != self.me
                && self.may_have(&self.me, chain)
        });
        let mut shut: Vec<_> = shut.map(|(chain, entry)| (entry.at, *chain)).collect();
        shut.sort_unstable();
        let newest = shut.len().saturating_sub(JUDGED);
        for (_, chain) in &shut[newest..] {
            self.hold_again(chain);
        }
        !shut.is_empty()
    }

    /// Takes a bundle that was accepted back among those that wait to be judged.
    fn hold_again(&mut self, chain: &ChainId) {
        let Some(entry) = self.receiving.chains.remove(chain) else { return };
        self.room_to_hold(entry.head.head().sender);
        let Entry { head, pages, at, .. } = entry;
        self.receiving.came += 1;
        let held = Held { pages, again: Some(at), ..Held::new(head, self.receiving.came) };
        self.receiving.held.insert(*chain, held);
        self.dirty.mark(Key::Classes(*chain));
    }

    /// The bundle of a chain that is judged once more, for its record.
    pub(super) fn shut_bundle(&self, chain: &ChainId) -> Option<BundleWire> {
        let held = self.receiving.held.get(chain).filter(|held| held.again.is_some())?;
        let pages = held.pages.iter().map(|page| page.clone().into()).collect();
        Some(BundleWire { head: held.head.as_bytes().into(), pages })
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

    fn newest(world: &World, at: usize) -> Vec<u8> {
        Vec::from(world.member(at).ops.iter().last().unwrap().as_bytes())
    }

    fn is_shut(world: &World, at: usize, chain: &ChainId) -> bool {
        let entry = world.member(at).receiving.chains.get(chain);
        entry.is_some_and(|entry| matches!(entry.state, ChainState::NotForMe))
    }

    /// Five people, four of them admins, and the founder's word to all, which has not reached the last.
    /// The third and the fourth remove the last, beside one another; the second, who has heard of the
    /// third's removal alone, lets it in anew, by a grant that is senior to the fourth. The founder's word
    /// comes then, and after it the founder's demotion of the third, which voids the removal that the
    /// grant follows: by that grant the membership of before goes on.
    fn goes_on_later() -> (World, ChainId) {
        let mut world = World::with(5, true);
        for admin in 1..4 {
            let admin = world.id(admin);
            world.act(0, |group, cx| group.promote(cx, admin)).unwrap();
            world.settle();
        }
        let (third, last) = (world.id(2), world.id(4));
        world.people[4].online = false;
        let chain = world.say(0, "hello").chain;
        world.settle();
        world.people[0].online = false;
        world.people[3].online = false;
        world.act(2, |group, cx| group.remove(cx, last)).unwrap();
        world.act(3, |group, cx| group.remove(cx, last)).unwrap();
        let removals = [newest(&world, 2), newest(&world, 3)];
        world.settle();
        world.people[1].online = false;
        world.people[2].online = false;
        world.join(1, 4);
        world.act(1, |group, cx| group.promote(cx, last)).unwrap();
        let promotion = newest(&world, 1);
        let take = |world: &mut World, op: &[u8]| {
            world.act(4, |group, mut cx| drop(group.take_ops(&mut cx, [op])));
        };
        take(&mut world, &promotion);
        take(&mut world, &removals[1]);
        assert_eq!(world.member(4).state(), GroupState::Active);
        let bundle = world.member(0).bundle_wire(&chain).unwrap();
        world.act(4, |group, mut cx| group.take_bundle(&mut cx, bundle));
        assert!(is_shut(&world, 4, &chain));
        let standing = world.member(4).ops.resolve().grants[&last].clone();
        world.act(0, |group, cx| group.demote(cx, third)).unwrap();
        let demotion = newest(&world, 0);
        take(&mut world, &demotion);
        assert_eq!(world.member(4).ops.resolve().grants[&last], standing);
        (world, chain)
    }

    #[test]
    fn a_membership_that_goes_on_by_a_grant_that_stood_before_reads_what_came_before_too() {
        let (mut world, chain) = goes_on_later();
        assert!(!is_shut(&world, 4, &chain));
        world.people.iter_mut().for_each(|person| person.online = true);
        world.link(0, 4);
        world.settle();
        assert!(world.heard(4).iter().any(|text| text == "hello"));
    }

    #[test]
    fn what_is_judged_once_more_is_judged_also_by_a_node_that_ends_meanwhile() {
        let (mut world, chain) = goes_on_later();
        world.strict = true;
        // It waits for its ciphertext.
        assert!(world.member(4).receiving.held.contains_key(&chain));
        world.restart(4);
        assert!(world.member(4).receiving.held.contains_key(&chain));
        world.people[4].online = true;
        world.settle();
        world.restart(4);
        assert!(world.member(4).receiving.held.contains_key(&chain));
        assert!(world.watch.failure.is_none());
        world.people.iter_mut().for_each(|person| person.online = true);
        world.link(0, 4);
        world.settle();
        assert!(world.heard(4).iter().any(|text| text == "hello"));
    }

    #[test]
    fn a_bundle_that_is_let_go_while_it_is_judged_once_more_leaves_no_record() {
        let (mut world, chain) = goes_on_later();
        world.strict = true;
        world.act(4, |group, _| group.let_go(&chain));
        let stored = world.people[4].records.keys();
        assert!(
            !stored.filter_map(|key| Key::from_bytes(key)).any(|key| key == Key::Bundle(chain))
        );
    }

    #[test]
    fn what_somebody_said_before_it_left_is_judged_once_more_too() {
        let mut world = World::with(5, true);
        for admin in 1..3 {
            let admin = world.id(admin);
            world.act(0, |group, cx| group.promote(cx, admin)).unwrap();
            world.settle();
        }
        let last = world.id(3);
        world.people[3].online = false;
        let chain = world.say(4, "farewell").chain;
        world.settle();
        world.people[1].online = false;
        world.act(2, |group, cx| group.remove(cx, last)).unwrap();
        world.settle();
        world.act(1, |group, cx| group.promote(cx, last)).unwrap();
        let [removal, promotion] = [newest(&world, 2), newest(&world, 1)];
        take(&mut world, &[&removal]);
        world.people[3].online = true;
        world.settle();
        world.join(0, 3);
        world.settle();
        let bundle = world.member(0).bundle_wire(&chain).unwrap();
        world.act(3, |group, mut cx| group.take_bundle(&mut cx, bundle));
        assert!(is_shut(&world, 3, &chain));
        world.act(4, |group, cx| group.leave(cx)).unwrap();
        world.settle();
        take(&mut world, &[&promotion]);
        assert!(!is_shut(&world, 3, &chain));
    }
}
