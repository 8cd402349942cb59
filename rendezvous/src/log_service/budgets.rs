//! What each address may append and ask for: anybody may make a log, so that nobody may fill the store
//! alone, nor have the relay check proofs all day. A stream has a pace of its own; this one is for all
//! streams of an address together, and connecting again begins no new one.
//!
//! Kept in memory only. All connections from one address share its budget.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::pace::Pace;
use crate::limits::{ADDRESS_PACE, ADDRESS_WAIT, BUDGETS, Limits};

/// The budgets of all addresses that have spent something lately.
pub(super) struct Budgets {
    rates: Mutex<Rates>,
    by_address: Mutex<HashMap<IpAddr, Budget>>,
}

/// What one address may do in a second, and at once.
#[derive(Clone, Copy)]
struct Rates {
    bytes: (u32, u32),
    requests: (u32, u32),
}

/// What one address may still append, and ask for.
#[derive(Clone)]
pub(super) struct Budget(Arc<Mutex<Paces>>);

struct Paces {
    bytes: Pace,
    requests: Pace,
}

impl Budgets {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { rates: Mutex::new(Rates::of(limits)), by_address: Mutex::default() }
    }

    /// Goes by other limits, also for those who have spent something.
    pub(super) fn set(&self, limits: &Limits, now: Instant) {
        let rates = Rates::of(limits);
        *lock(&self.rates) = rates;
        lock(&self.by_address).values().for_each(|it| lock(&it.0).set(rates, now));
    }

    /// The budget of an address, or of the block of addresses that counts as one.
    pub(super) fn of(&self, address: IpAddr, now: Instant) -> Budget {
        let mut budgets = lock(&self.by_address);
        if budgets.len() >= BUDGETS {
            budgets.retain(|_, it| Arc::strong_count(&it.0) > 1 || !lock(&it.0).are_full(now));
        }
        if budgets.len() >= BUDGETS {
            // Whoever has so many addresses is not held by a budget for each.
            budgets.clear();
        }
        let rates = *lock(&self.rates);
        let new = || Budget(Arc::new(Mutex::new(Paces::new(rates, now))));
        budgets.entry(address).or_insert_with(new).clone()
    }
}

impl Rates {
    fn of(limits: &Limits) -> Self {
        let seconds = limits.address_time.as_secs().max(1);
        let per_s = u32::try_from(u64::from(limits.address_bytes) / seconds).unwrap_or(u32::MAX);
        let all = |each: u32| each.saturating_mul(ADDRESS_PACE);
        Self {
            bytes: (per_s, limits.address_bytes),
            requests: (all(limits.requests_per_s), all(limits.requests_burst)),
        }
    }
}

impl Paces {
    fn new(Rates { bytes, requests }: Rates, now: Instant) -> Self {
        Self {
            bytes: Pace::new(bytes.0, bytes.1, now),
            requests: Pace::new(requests.0, requests.1, now),
        }
    }

    fn set(&mut self, Rates { bytes, requests }: Rates, now: Instant) {
        self.bytes.set(bytes.0, bytes.1, now);
        self.requests.set(requests.0, requests.1, now);
    }

    fn are_full(&mut self, now: Instant) -> bool {
        self.bytes.is_full(now) && self.requests.is_full(now)
    }
}

impl Budget {
    /// Spends so many bytes, or says after which time they could be spent.
    pub(super) fn spend(&self, bytes: u32, now: Instant) -> Result<(), Duration> {
        lock(&self.0).bytes.try_take(bytes, now)
    }

    /// Counts a request of this cost; answers how long its stream is to wait before the next. However
    /// much an address asks for, each of its streams goes on slowly: not all behind it are one person.
    pub(super) fn ask(&self, cost: u32, now: Instant) -> Duration {
        lock(&self.0).requests.take_at_most(cost, now).min(ADDRESS_WAIT)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_budget_that_comes_back_in_its_time() {
        let day = Duration::from_hours(24);
        let limits = Limits { address_bytes: 86_400_000, address_time: day, ..Limits::default() };
        let budgets = Budgets::new(&limits);
        let start = Instant::now();
        let [here, there]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        assert_eq!(budgets.of(here, start).spend(86_400_000, start), Ok(()));
        let wait = budgets.of(here, start).spend(500, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(500));
        assert_eq!(budgets.of(there, start).spend(1, start), Ok(()));
        assert_eq!(budgets.of(here, start).spend(500, start + wait), Ok(()));
        assert_eq!(budgets.of(here, start).spend(86_400_000, start + wait + day), Ok(()));
    }

    #[test]
    fn what_one_address_asks_for_is_paced_over_all_its_streams_and_a_new_one_begins_no_new_pace() {
        let limits = Limits { requests_per_s: 10, requests_burst: 100, ..Limits::default() };
        let budgets = Budgets::new(&limits);
        let now = Instant::now();
        let here: IpAddr = [192, 0, 2, 1].into();
        let burst = 100 * ADDRESS_PACE;
        for _ in 0..burst / 10 {
            assert_eq!(budgets.of(here, now).ask(10, now), Duration::ZERO);
        }
        let per_s = 10 * ADDRESS_PACE;
        assert_eq!(budgets.of(here, now).ask(per_s, now), Duration::from_secs(1));
        assert_eq!(budgets.of([192, 0, 2, 2].into(), now).ask(1, now), Duration::ZERO);
        // What neighbours ask for slows each stream down, and stops none; and it is soon forgotten.
        for _ in 0..10_000 {
            assert!(budgets.of(here, now).ask(15, now) <= ADDRESS_WAIT);
        }
        let later = now + Duration::from_secs(u64::from(2 * burst / per_s));
        assert_eq!(budgets.of(here, later).ask(1, later), Duration::ZERO);
    }

    #[test]
    fn another_budget_holds_for_those_who_have_spent_something_too() {
        let limits = |bytes| Limits { address_bytes: bytes, ..Limits::default() };
        let budgets = Budgets::new(&limits(1024));
        let now = Instant::now();
        let [here, there]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        let budget = budgets.of(here, now);
        assert_eq!(budget.spend(1024, now), Ok(()));
        assert!(budget.spend(512, now).is_err());
        budgets.set(&limits(2048), now);
        assert_eq!(budget.spend(1024, now), Ok(()));
        assert!(budget.spend(1, now).is_err());
        budgets.set(&limits(512), now);
        assert!(budgets.of(there, now).spend(1024, now).is_err());
    }

    #[test]
    fn budgets_are_bounded() {
        let budgets = Budgets::new(&Limits::default());
        let now = Instant::now();
        for address in 0..u32::try_from(BUDGETS + 10).unwrap() {
            let budget = budgets.of(std::net::Ipv4Addr::from(address).into(), now);
            budget.spend(1, now).unwrap();
        }
        assert!(lock(&budgets.by_address).len() <= BUDGETS);
    }
}
