//! What each address may append, ask for and be told: anybody may make a log, so that nobody may fill the
//! store alone, have the relay check proofs all day, or read one log again and again until nobody else is
//! served. A stream has a pace of its own; this one is for all streams of an address together, and
//! connecting again begins no new one.
//!
//! > What comes from an IPv6 /64 counts for the /48 around it, too. Where there are more than can be
//! > remembered, those are forgotten first who have most left.
//!
//! Kept in memory only. All connections from one address share its budget.

mod shares;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use protocol::limits::LOG_BATCH_BYTES;

use crate::{
    blocks::{Block, blocks},
    limits::{ADDRESS_PACE, ADDRESS_WAIT, BUDGETS, DELIVERED_LEAST, Limits},
    pace::{FORGOTTEN, Pace},
};

use shares::Shares;

pub(super) use shares::Queued;

/// The budgets of all addresses that have spent something lately.
pub(super) struct Budgets {
    rates: Mutex<Rates>,
    /// Reads of the store at once, of all.
    reads: usize,
    /// Lanes in which appends wait.
    lanes: usize,
    by_block: Mutex<HashMap<Block, Arc<Account>>>,
}

/// What one block may still append, ask for and be told, and what it takes of what all share.
struct Account {
    paces: Mutex<Paces>,
    shares: Shares,
}

/// What one address may do in a second, and at once.
#[derive(Clone, Copy)]
struct Rates {
    bytes: (f64, f64),
    requests: (f64, f64),
    delivered: (f64, f64),
}

/// The accounts for which a stream counts: of its address, and of the network around it. By itself none:
/// nothing holds back who has no address.
#[derive(Clone, Default)]
pub(super) struct Budget(Arc<[Arc<Account>]>);

struct Paces {
    /// How many times what an address may this block may.
    times: f64,
    bytes: Pace,
    requests: Pace,
    delivered: Pace,
}

impl Budgets {
    pub(super) fn new(limits: &Limits, lanes: usize) -> Self {
        let rates = Mutex::new(Rates::of(limits));
        Self { rates, reads: limits.reads, lanes, by_block: Mutex::default() }
    }

    /// Goes by other limits, also for those who have spent something.
    pub(super) fn set(&self, limits: &Limits, now: Instant) {
        let rates = Rates::of(limits);
        *lock(&self.rates) = rates;
        lock(&self.by_block).values().for_each(|it| it.paces().set(rates, now));
    }

    /// The budget of an address, or of the block of addresses that counts as one.
    pub(super) fn of(&self, address: IpAddr, now: Instant) -> Budget {
        let mut held = lock(&self.by_block);
        let blocks: Vec<_> = blocks(Some(address)).collect();
        if held.len() + blocks.len() > BUDGETS {
            forget(&mut held, now);
        }
        let rates = *lock(&self.rates);
        let account = |(block, times)| {
            let new = || {
                let paces = Mutex::new(Paces::new(times, rates, now));
                let shares = Shares::new(times, self.reads, self.lanes);
                Arc::new(Account { paces, shares })
            };
            Arc::clone(held.entry(block).or_insert_with(new))
        };
        Budget(blocks.into_iter().map(account).collect())
    }
}

/// Forgets a part of the accounts: those that nobody uses now before the others, and of these those that
/// have most left.
fn forget(held: &mut HashMap<Block, Arc<Account>>, now: Instant) {
    let rank = |(block, account): (&Block, &Arc<Account>)| {
        (Arc::strong_count(account) > 1, account.paces().missing(now), *block)
    };
    let mut ranks: Vec<_> = held.iter().map(rank).collect();
    let count = ranks.len() / FORGOTTEN;
    ranks.select_nth_unstable_by(count, |a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    for (_, _, block) in &ranks[..count] {
        held.remove(block);
    }
}

impl Rates {
    fn of(limits: &Limits) -> Self {
        let bytes = f64::from(limits.address_bytes);
        let all = |each: u32| f64::from(each) * f64::from(ADDRESS_PACE);
        Self {
            bytes: (bytes / limits.address_time.as_secs_f64().max(1.0), bytes),
            requests: (all(limits.requests_per_s), all(limits.requests_burst)),
            delivered: (
                limits.address_delivered_per_s.into(),
                limits.address_delivered_burst.into(),
            ),
        }
    }
}

impl Paces {
    fn new(times: u32, rates: Rates, now: Instant) -> Self {
        let times = f64::from(times);
        let pace = |(per_s, burst): (f64, f64)| Pace::new(per_s * times, burst * times, now);
        let Rates { bytes, requests, delivered } = rates;
        Self { times, bytes: pace(bytes), requests: pace(requests), delivered: pace(delivered) }
    }

    fn set(&mut self, Rates { bytes, requests, delivered }: Rates, now: Instant) {
        let times = self.times;
        let set = |pace: &mut Pace, (per_s, burst): (f64, f64)| {
            pace.set(per_s * times, burst * times, now);
        };
        set(&mut self.bytes, bytes);
        set(&mut self.requests, requests);
        set(&mut self.delivered, delivered);
    }

    /// Which part is missing of what is missing most.
    fn missing(&mut self, now: Instant) -> f64 {
        let asked = self.requests.missing(now).max(self.delivered.missing(now));
        self.bytes.missing(now).max(asked)
    }
}

impl Account {
    fn paces(&self) -> MutexGuard<'_, Paces> {
        lock(&self.paces)
    }
}

impl Budget {
    /// Spends so many bytes, or says after which time they could be spent.
    pub(super) fn spend(&self, bytes: u32, now: Instant) -> Result<(), Duration> {
        // Always in one order; what one account refuses costs the other nothing.
        let mut accounts: Vec<_> = self.0.iter().map(|account| account.paces()).collect();
        let waits = accounts.iter_mut().map(|paces| paces.bytes.wait_for(bytes, now));
        let wait = waits.max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(wait);
        }
        for paces in &mut accounts {
            paces.bytes.take(bytes, now);
        }
        Ok(())
    }

    /// Counts a request of this cost; answers how long its stream is to wait before the next. However
    /// much an address asks for, each of its streams goes on slowly: not all behind it are one person.
    pub(super) fn ask(&self, cost: u32, now: Instant) -> Duration {
        let waits = self.0.iter().map(|account| account.paces().requests.take_at_most(cost, now));
        waits.max().unwrap_or_default().min(ADDRESS_WAIT)
    }

    /// Counts bytes that a stream is told; answers how long it is to wait before it reads on. However much
    /// an address is told, none of its streams stands still.
    pub(super) fn deliver(&self, bytes: u32, now: Instant) -> Duration {
        let waits = self.0.iter().map(|account| account.paces().delivered.take_at_most(bytes, now));
        waits.max().unwrap_or_default().min(slowest(bytes))
    }

    /// How long a stream that begins is to wait before it reads: as if it had been told a page.
    pub(super) fn wait_to_read(&self, now: Instant) -> Duration {
        let waits = self.0.iter().map(|account| account.paces().delivered.wait_for(0, now));
        waits.max().unwrap_or_default().min(slowest(LOG_BATCH_BYTES as u32))
    }
}

/// How long it takes to tell a stream so much that is told as little as may be.
fn slowest(bytes: u32) -> Duration {
    Duration::from_secs_f64(f64::from(bytes) / f64::from(DELIVERED_LEAST))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn an_address_has_one_budget_that_comes_back_in_its_time() {
        let day = Duration::from_hours(24);
        let limits = Limits { address_bytes: 86_400_000, address_time: day, ..Limits::default() };
        let budgets = Budgets::new(&limits, 1);
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
        let budgets = Budgets::new(&limits, 1);
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
    fn what_an_address_is_told_is_paced_over_all_its_streams_and_none_of_them_stands_still() {
        let (per_s, burst) = (1 << 20, 4 << 20);
        let delivered = Limits {
            address_delivered_per_s: per_s,
            address_delivered_burst: burst,
            ..Limits::default()
        };
        let budgets = Budgets::new(&delivered, 1);
        let (now, page) = (Instant::now(), 64 << 10);
        let here = || budgets.of([192, 0, 2, 1].into(), now);
        for _ in 0..burst / page {
            assert_eq!(here().deliver(page, now), Duration::ZERO);
        }
        assert_eq!(here().wait_to_read(now), Duration::ZERO);
        assert_eq!(here().deliver(page, now), Duration::from_millis(1000) / 16);
        assert_eq!(here().wait_to_read(now), Duration::from_millis(1000) / 16);
        for _ in 0..10_000 {
            assert!(here().deliver(page, now) <= slowest(page));
        }
        assert_eq!(here().deliver(512, now), Duration::from_secs(1) / 32, "little waits little");
        assert_eq!(here().wait_to_read(now), Duration::from_secs(4));
        let later = now + Duration::from_secs(u64::from(2 * burst / per_s));
        assert_eq!(here().deliver(page, later), Duration::ZERO, "and it is soon forgotten");
    }

    #[test]
    fn another_budget_holds_for_those_who_have_spent_something_too() {
        let limits = |bytes| Limits { address_bytes: bytes, ..Limits::default() };
        let budgets = Budgets::new(&limits(1024), 1);
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
    fn many_networks_of_one_household_have_not_as_many_budgets() {
        let limits = Limits { address_bytes: 1024, requests_burst: 10, ..Limits::default() };
        let budgets = Budgets::new(&limits, 1);
        let now = Instant::now();
        let of = |home: u16, subnet: u16| -> Budget {
            let address = Ipv6Addr::new(0x2001, 0xdb8, home, subnet, 0, 0, 0, 0);
            budgets.of(address.into(), now)
        };
        let appends =
            |subnet| (0..99).take_while(|_| of(1, subnet).spend(512, now).is_ok()).count();
        let taken: Vec<_> = (0..16).map(appends).collect();
        assert_eq!(taken, [[2; 4], [0; 4], [0; 4], [0; 4]].concat());
        assert_eq!(of(2, 1).spend(1024, now), Ok(()), "another household has its own");
        budgets.set(&Limits { address_bytes: 2048, ..limits.clone() }, now);
        assert_eq!(
            of(1, 15).spend(2048, now),
            Ok(()),
            "what the household was refused cost nothing"
        );
        assert_eq!(of(1, 14).spend(2048, now), Ok(()));
        assert!(of(1, 13).spend(512, now).is_err());

        let at_once = (0..99).take_while(|subnet| of(3, *subnet).ask(40, now).is_zero());
        assert_eq!(at_once.count(), 4);
    }

    #[test]
    fn a_flood_of_addresses_is_bounded_and_forgives_nobody_who_has_spent_much() {
        let limits = Limits { address_bytes: 1000, ..Limits::default() };
        let budgets = Budgets::new(&limits, 1);
        let now = Instant::now();
        let [spender, user]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        budgets.of(spender, now).spend(900, now).unwrap();
        let in_use = budgets.of(user, now);
        let mut walks = 0;
        for number in 0..u32::try_from(BUDGETS).unwrap() {
            let address = Ipv6Addr::from_bits(u128::from(number) << 80 | 1 << 125);
            let before = lock(&budgets.by_block).len();
            budgets.of(address.into(), now).spend(1, now).unwrap();
            let after = lock(&budgets.by_block).len();
            assert!(after <= BUDGETS);
            walks += usize::from(after < before);
        }
        assert!(walks <= 5, "{walks} walks over all");
        assert!(budgets.of(spender, now).spend(200, now).is_err());
        in_use.spend(600, now).unwrap();
        assert!(budgets.of(user, now).spend(600, now).is_err(), "it has two budgets");
    }
}
