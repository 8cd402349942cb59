//! A node that did not run when it should have: its machine slept, or its clock leapt.
//!
//! > What is given up after a while is given up after a while of being awake. Nobody was there to
//! > hear it come in the meantime, and it may lie at the relay.

use alloc::collections::BTreeSet;

use super::{Group, records::Key};
use crate::ids::{ChainId, Timestamp};

/// Whoever is this late with what was due slept, in milliseconds.
const ASLEEP_MS: u64 = 60_000;

impl Group {
    /// Puts off by how long this node slept what it would give up now.
    pub(super) fn excuse_sleep(&mut self, now: Timestamp) {
        let Some(due) = self.timers.values().min() else { return };
        let late = now.ms_since(*due);
        if late < ASLEEP_MS {
            return;
        }
        let chains: BTreeSet<ChainId> = self.gaps.keys().map(|(chain, _)| *chain).collect();
        self.gaps.values_mut().for_each(|missing| missing.lacking.put_off(late, now));
        self.receiving.wanted.values_mut().for_each(|lacking| lacking.put_off(late, now));
        self.receiving
            .held
            .values_mut()
            .for_each(|held| held.waits = held.waits.put_off(late, now));
        chains.into_iter().for_each(|chain| self.dirty.mark(Key::Gaps(chain)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Event, world::World};

    #[test]
    fn what_came_while_a_machine_slept_is_read_when_it_wakes() {
        let mut world = World::founded(3, true, 4);
        (1..3).for_each(|at| world.join(0, at));
        world.settle();
        world.say(1, "good night");
        // It reads of the bundle, and sleeps before it reads the ciphertext behind.
        let log = world.followed(2)[0];
        assert!(world.read(2, log, None));
        for _ in 0..3 {
            world.now = world.now.plus_ms(25 * 60 * 60 * 1000);
            world.tick();
        }
        world.settle();
        assert_eq!(world.heard(2), ["good night"]);
        let lost = |event: &Event| matches!(event, Event::Undeliverable { .. } | Event::Alarm(_));
        assert!(!world.people[2].events.iter().any(lost));
    }
}
