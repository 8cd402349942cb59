//! Bundles that lack the page with this member's slot.
//!
//! > A page that was asked for in vain keeps no bundle waiting. Whoever has it sends it with the head.
//!
//! Where only those are left who were not in a chain's roster, or have joined anew since, nobody has
//! more of its bundle than the head. docs/spec/sync.md.

use alloc::vec::Vec;

use super::{Group, held::Held, nacks::Waits, receiving::Receiving};
use crate::ids::ChainId;

impl Receiving {
    fn is_given_up(&self, chain: &ChainId) -> bool {
        self.wanted.get(chain).is_some_and(|lacking| !lacking.is_asked())
    }
}

impl Group {
    /// A head came without its page. Once that was given up it is not kept.
    pub(super) fn let_go_of_head(&mut self, chain: &ChainId) {
        let held = self.receiving.held.get(chain);
        if self.receiving.is_given_up(chain) && held.is_some_and(|it| it.pages.is_empty()) {
            self.let_go(chain);
        }
    }

    /// Keeps no bundle that could be judged but for a page that was given up.
    pub(super) fn let_go_of_pageless(&mut self) {
        let pageless = |held: &Held| {
            held.waits == Waits::No && self.ops.resolve_at(&held.head.head().heads).is_ok()
        };
        let held = self.receiving.held.iter();
        let over = held.filter(|(chain, held)| self.receiving.is_given_up(chain) && pageless(held));
        let over: Vec<ChainId> = over.map(|(chain, _)| *chain).collect();
        for chain in over {
            self.let_go(&chain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{group::wire::BundleWire, ids::Timestamp, sim::world::World};

    const MINUTE: u64 = 60_000;

    #[test]
    fn a_head_whose_page_nobody_has_waits_an_hour_and_is_held_again_with_a_page_that_comes_then() {
        let mut world = World::with(3, true);
        world.people[1].online = false;
        let chain = world.say(0, "x").chain;
        let (head, pages, _) = world.member(0).chain(&chain).unwrap();
        let (head, pages) = (Vec::from(head.as_bytes()), pages.to_vec());
        world.people[0].online = false;
        world.forget_logs();
        world.people[1].online = true;
        let take = |world: &mut World, pages: &[Vec<u8>]| {
            let pages = pages.iter().map(|page| page.clone().into()).collect();
            let bundle = BundleWire { head: head.clone(), pages };
            world.act(1, |group, mut cx| group.take_bundle(&mut cx, bundle));
        };
        let holds = |world: &World| world.member(1).open_bundles(|_| true, Timestamp(u64::MAX)).0;
        take(&mut world, &[]);
        world.pass(30 * MINUTE);
        assert_eq!(holds(&world), 1);
        world.pass(40 * MINUTE);
        assert_eq!(holds(&world), 0);
        take(&mut world, &[]);
        assert_eq!(holds(&world), 0);
        // With its page it waits for the ciphertext of a first contact, as any.
        take(&mut world, &pages);
        assert_eq!(holds(&world), 1);
    }
}
