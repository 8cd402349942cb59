//! How often something may be done: so many times at once after a rest, and then at a rate.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::Multiaddr;

use super::crowd::{Block, address, blocks};

/// Blocks of addresses of which it is remembered what they took.
const REMEMBERED: usize = 65_536;

/// A rate. Of a bucket it keeps nothing but when that is full again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rate {
    every: Duration,
    most: Duration,
}

impl Rate {
    /// So many at once, and then as many again within a time.
    pub(super) fn new(at_once: u32, within: Duration) -> Self {
        Self { every: within / at_once.max(1), most: within }
    }

    /// Takes one from a bucket; answers when it is full again, or nothing if it has run empty.
    pub(super) fn take(self, full: Option<Instant>, now: Instant) -> Option<Instant> {
        let full = full.map_or(now, |full| full.max(now)) + self.every;
        (full.saturating_duration_since(now) <= self.most).then_some(full)
    }

    fn times(self, times: u32) -> Self {
        Self { every: self.every / times, ..self }
    }
}

/// A bucket for each address, and one for the block around it.
pub(super) struct Buckets {
    rate: Rate,
    full: HashMap<Block, Instant>,
}

impl Buckets {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, full: HashMap::new() }
    }

    /// Takes one from the buckets of an address, or none from any.
    pub(super) fn take(&mut self, from: &Multiaddr, now: Instant) -> bool {
        let mut taken = Vec::new();
        for (block, times) in blocks(address(from)) {
            let rate = self.rate.times(times);
            let Some(full) = rate.take(self.full.get(&block).copied(), now) else { return false };
            taken.push((block, full));
        }
        if self.full.len() >= REMEMBERED {
            self.full.retain(|_, full| *full > now);
        }
        if self.full.len() >= REMEMBERED {
            return false;
        }
        self.full.extend(taken);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_at_the_rate() {
        let now = Instant::now();
        let rate = Rate::new(4, Duration::from_secs(8));
        let mut full = None;
        for _ in 0..4 {
            full = Some(rate.take(full, now).unwrap());
        }
        assert_eq!(rate.take(full, now), None);
        assert_eq!(rate.take(full, now + Duration::from_millis(1999)), None);
        let later = now + Duration::from_secs(2);
        full = rate.take(full, later);
        assert!(full.is_some() && rate.take(full, later).is_none());
        let rested = now + Duration::from_hours(1);
        let taken = (0..9).map_while(|_| {
            full = rate.take(full, rested);
            full
        });
        assert_eq!(taken.count(), 4);
    }

    #[test]
    fn a_host_with_many_addresses_has_no_more_than_one_with_one() {
        let now = Instant::now();
        let mut buckets = Buckets::new(Rate::new(3, Duration::from_secs(60)));
        let mut most = |addr: &dyn Fn(usize) -> String| {
            (0..99).filter(|at| buckets.take(&addr(*at).parse().unwrap(), now)).count()
        };
        assert_eq!(most(&|_| "/ip4/192.0.2.1/tcp/9".to_owned()), 3);
        assert_eq!(most(&|_| "/ip4/192.0.2.2/tcp/9".to_owned()), 3);
        assert_eq!(most(&|at| format!("/ip6/2001:db8::{at:x}/tcp/9")), 3);
        // Each in a /64 of its own, all in one /48.
        assert_eq!(most(&|at| format!("/ip6/2001:db8:1:{at:x}::1/tcp/9")), 12);
    }
}
