//! Chaos with real processes, by a seed: see `harness::Chaos`.
//!
//! `WATTLE_CHAOS_SEED` says what happens, `WATTLE_CHAOS_SECONDS` for how long, `WATTLE_CHAOS_SETTLE` how many seconds it
//! may take until all holds, `WATTLE_CHAOS_KEEP` where all is copied to if something does not.

use std::time::Duration;

use harness::{Chaos, asked};

#[test]
fn whatever_happens_nothing_is_lost_nothing_is_read_by_who_is_gone_and_nobody_is_accused() {
    let seconds = |name, otherwise| Duration::from_secs(asked(name, otherwise));
    let chaos = Chaos {
        seed: asked("WATTLE_CHAOS_SEED", 1),
        length: seconds("WATTLE_CHAOS_SECONDS", 60),
        settles: seconds("WATTLE_CHAOS_SETTLE", 600),
        in_order: true,
    };
    chaos.play();
}
