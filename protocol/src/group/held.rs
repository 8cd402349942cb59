//! Bundles that wait to be judged, until the ops, pages, ciphertext or older bundle that they need are here.
//!
//! > They have bounds. Where there is no room, the oldest of whoever has most goes; signers of whom no op
//! > tells have a part of their own, so that nobody whom an op names loses a place to made-up names.
//!
//! They are not stored, but for those that were accepted once and are judged once more (shut.rs).

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Group, Timer, nacks::Waits, records::Key};
use crate::{
    bundle::SignedHead,
    ids::{ChainId, MemberId, Timestamp},
};

/// Bundles held while ops or pages are missing.
pub(super) const HELD: usize = 256;
/// Of them, of signers of whom no op is known here.
const HELD_OF_STRANGERS: usize = 32;

/// A bundle that can't be judged yet.
pub(super) struct Held {
    pub head: SignedHead,
    pub pages: Vec<Vec<u8>>,
    /// Its place in the order of coming.
    pub place: u64,
    /// For this member's ML-KEM ciphertext, where it is all that lacks.
    pub waits: Waits,
    /// When it was first accepted, where it is judged once more: until then its records stay.
    pub again: Option<Timestamp>,
}

impl Held {
    pub fn new(head: SignedHead, place: u64) -> Self {
        Self { head, pages: Vec::new(), place, waits: Waits::No, again: None }
    }
}

impl Group {
    /// Has what waits judged once more.
    pub(super) fn judge_soon(&mut self, now: Timestamp) {
        if !self.receiving.held.is_empty() {
            self.set_timer(Timer::Shut, now);
        }
    }

    /// Lets go of a bundle that waits.
    pub(super) fn let_go(&mut self, chain: &ChainId) {
        let gone = self.receiving.held.remove(chain);
        if gone.is_some_and(|gone| gone.again.is_some()) {
            self.forget_ciphertexts(chain);
            self.dirty.mark(Key::Bundle(*chain));
            self.dirty.mark(Key::Chain(*chain));
        }
    }

    /// Makes room for one more bundle that waits, of the signer who has most of them: the oldest
    /// goes. Those of strangers have a part of their own.
    pub(super) fn room_to_hold(&mut self, sender: MemberId) {
        let known = &self.people.cards;
        let held = &self.receiving.held;
        let strange = |held: &Held| !known.contains_key(&held.head.head().sender);
        let strangers = held.values().filter(|held| strange(held)).count();
        let gone = if !known.contains_key(&sender) && strangers >= HELD_OF_STRANGERS {
            oldest_of_most(held.iter().filter(|(_, held)| strange(held)))
        } else if held.len() >= HELD {
            oldest_of_most(held.iter())
        } else {
            None
        };
        gone.into_iter().for_each(|chain| self.let_go(&chain));
    }
}

/// The oldest of the signer who has most of these.
fn oldest_of_most<'a>(held: impl Iterator<Item = (&'a ChainId, &'a Held)>) -> Option<ChainId> {
    let mut of: BTreeMap<MemberId, (usize, u64, ChainId)> = BTreeMap::new();
    for (chain, held) in held {
        let most = of.entry(held.head.head().sender).or_insert((0, held.place, *chain));
        let oldest = (most.1, most.2).min((held.place, *chain));
        *most = (most.0 + 1, oldest.0, oldest.1);
    }
    of.into_values().max_by_key(|(count, _, _)| *count).map(|(_, _, chain)| chain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{group::Source, ids::LogId, membership::Policy, sim::world::World};

    fn hand(world: &mut World, to: usize, envelopes: &[Vec<u8>]) {
        for envelope in envelopes {
            let log = Source::Log(LogId([0; 20]));
            world.act(to, |group, cx| group.on_envelope(cx, log, envelope)).unwrap();
        }
    }

    #[test]
    fn what_waits_for_an_op_is_read_though_the_node_starts_again_meanwhile() {
        for after_the_start in [0, 1] {
            let mut world = World::with(3, true);
            let log = world.member(0).log_ids().next().unwrap();
            world.people[1].online = false;
            let policy = Policy { name: "coffee".into(), ..world.member(0).policy().clone() };
            world.act(0, |group, cx| group.set_policy(cx, policy)).unwrap();
            let begin = world.logs[&log].len();
            let chain = world.say(0, "x").chain;
            let said = world.logs[&log][begin..].to_vec();
            world.settle();
            // The op is on no relay any more, and the cursor is past what needs it.
            world.forget_logs();
            world.people[1].online = true;
            let (before, later) = said.split_at(said.len() - after_the_start);
            hand(&mut world, 1, before);
            assert!(world.member(1).receiving.held.contains_key(&chain));
            world.restart(1);
            assert!(world.member(1).receiving.held.is_empty());
            hand(&mut world, 1, later);
            assert!(world.heard(1).is_empty());
            world.pass(5 * 60_000);
            assert_eq!(world.heard(1), ["x"]);
        }
    }
}
