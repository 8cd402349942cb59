//! Relays that a group has used before.

use alloc::{collections::BTreeSet, string::String, vec::Vec};

use super::Group;
use crate::{
    ids::OpId,
    membership::{Kind, Op},
};

impl Group {
    /// Relays that a policy which counts named at some time and the present one does not: of several that were set at
    /// once all but those of the one that holds. Members who have not heard of it still write there. When that was is
    /// not said: by its maker's clock it could be any time.
    #[must_use]
    pub fn former_relays(&self) -> BTreeSet<&str> {
        let mut named = self.relays_of(self.ops.iter(), |_| true);
        let present = &self.policy().relays;
        named.retain(|named| present.iter().all(|relay| relay != named));
        named
    }

    /// Those of them that were in use when this member came, or were named later: what is at the others is not for it. To
    /// who is no member here, none.
    #[must_use]
    pub fn left_since_joined(&self) -> BTreeSet<&str> {
        let mut left = self.former_relays();
        let Some(grants) = self.ops.resolve().grants.get(&self.me) else { return BTreeSet::new() };
        let pasts: Vec<BTreeSet<OpId>> =
            grants.iter().filter_map(|grant| self.ops.past(&[*grant]).ok()).collect();
        let later = self.relays_of(self.ops.iter(), |op| !pasts.iter().all(|it| it.contains(op)));
        let views = grants.iter().filter_map(|grant| self.ops.resolve_at(&[*grant]).ok());
        let then: BTreeSet<String> = views.flat_map(|view| view.policy.relays.clone()).collect();
        left.retain(|relay| later.contains(relay) || then.contains(*relay));
        left
    }

    /// The relays that new ops name, where they count.
    pub(super) fn relays_named(&self, ops: &[Op]) -> BTreeSet<String> {
        self.relays_of(ops.iter(), |_| true).into_iter().map(String::from).collect()
    }

    fn relays_of<'a>(
        &self,
        ops: impl Iterator<Item = &'a Op>,
        is_meant: impl Fn(&OpId) -> bool,
    ) -> BTreeSet<&'a str> {
        let void = &self.ops.resolve().void;
        let counting = ops.filter(|op| !void.contains(&op.id()) && is_meant(&op.id()));
        let policies = counting.filter_map(|op| match &op.body().kind {
            Kind::Genesis { policy, .. } | Kind::SetPolicy { policy } => Some(policy),
            _ => None,
        });
        policies.flat_map(|policy| &policy.relays).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::{membership::Policy, sim::world::World};

    #[test]
    fn who_is_out_is_for_none_of_the_relays_that_were_left() {
        let mut world = World::with(3, true);
        for relay in ["one", "two"] {
            let relays = alloc::vec![relay.into()];
            let policy = Policy { relays, ..world.member(0).policy().clone() };
            world.act(0, |group, cx| group.set_policy(cx, policy)).unwrap();
            world.settle();
        }
        assert!(world.member(2).left_since_joined().contains("one"));
        let last = world.id(2);
        world.act(0, |group, cx| group.remove(cx, last)).unwrap();
        world.settle();
        assert!(world.member(2).former_relays().contains("one"));
        assert!(world.member(2).left_since_joined().is_empty(), "nor if it comes back later");
    }
}
