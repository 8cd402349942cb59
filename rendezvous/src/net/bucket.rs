//! How often something may be asked for from one address, and from the block around it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::Multiaddr;

use super::crowd::address;
use crate::{
    blocks::{Block, blocks},
    limits::BUDGETS,
    pace::{FORGOTTEN, Pace},
};

/// A bucket for each address, and one for the block around it.
pub(super) struct Buckets {
    most: u32,
    within: Duration,
    by_block: HashMap<Block, Pace>,
}

impl Buckets {
    /// So many at once of an address, and as many again within a time.
    pub(super) fn new(most: u32, within: Duration) -> Self {
        Self { most, within, by_block: HashMap::new() }
    }

    /// Takes one from the buckets of an address, or none from any.
    pub(super) fn take(&mut self, from: &Multiaddr, now: Instant) -> bool {
        let blocks = || blocks(address(from));
        let mut held = blocks().filter_map(|(block, _)| Some(self.by_block.get(&block)?.clone()));
        if held.any(|mut pace| !pace.wait_for(1, now).is_zero()) {
            return false;
        }
        if self.by_block.len() + blocks().count() > BUDGETS {
            self.forget(now);
        }
        for (block, times) in blocks() {
            let most = self.most.saturating_mul(times);
            let full = || Pace::within(most, self.within, now);
            self.by_block.entry(block).or_insert_with(full).take(1, now);
        }
        true
    }

    /// Forgets a part of them: those that have most left.
    fn forget(&mut self, now: Instant) {
        let rank = |(block, pace): (&Block, &mut Pace)| (pace.missing(now), *block);
        let mut ranks: Vec<_> = self.by_block.iter_mut().map(rank).collect();
        let count = ranks.len() / FORGOTTEN;
        ranks.select_nth_unstable_by(count, |a, b| a.0.total_cmp(&b.0));
        for (_, block) in &ranks[..count] {
            self.by_block.remove(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn a_host_with_many_addresses_has_no_more_than_one_with_one() {
        let now = Instant::now();
        let mut buckets = Buckets::new(3, Duration::from_secs(60));
        let mut most = |addr: &dyn Fn(usize) -> String| {
            (0..99).filter(|at| buckets.take(&addr(*at).parse().unwrap(), now)).count()
        };
        assert_eq!(most(&|_| "/ip4/192.0.2.1/tcp/9".to_owned()), 3);
        assert_eq!(most(&|_| "/ip4/192.0.2.2/tcp/9".to_owned()), 3);
        assert_eq!(most(&|at| format!("/ip6/2001:db8::{at:x}/tcp/9")), 3);
        // Each in a /64 of its own, all in one /48.
        assert_eq!(most(&|at| format!("/ip6/2001:db8:1:{at:x}::1/tcp/9")), 12);
    }

    #[test]
    fn a_flood_of_addresses_keeps_nobody_out_and_forgives_nobody_who_has_taken_all() {
        let now = Instant::now();
        let mut buckets = Buckets::new(3, Duration::from_secs(60));
        let spender = "/ip4/192.0.2.1/tcp/9".parse().unwrap();
        assert!((0..3).all(|_| buckets.take(&spender, now)));
        for number in 0..u32::try_from(BUDGETS).unwrap() {
            // Each in a /48 of its own.
            let ip = Ipv6Addr::from_bits(u128::from(number) << 80 | 1 << 125);
            assert!(buckets.take(&Multiaddr::from(ip), now), "{number}");
            assert!(buckets.by_block.len() <= BUDGETS);
        }
        assert!(!buckets.take(&spender, now));
    }
}
