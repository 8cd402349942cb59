//! Entries by the time of their appends, so that what has passed its time is given back without being merged.
//!
//! An entry's key begins with its *period*: some of the time that entries are kept, by a number that only rises. What is
//! over then lies together at one end of the keyspace, whichever logs it is of, in tables that have nothing else, and these
//! are taken away whole. Nothing is written for it: an entry that is over is known by its log's record, which says
//! where the log begins, or is gone.
//!
//! > Of each period the store knows when it began and the newest time of its entries, whatever the clock did: it goes
//! > when that time is past, in the order of numbers. A log's entries are in the order of their numbers also by period,
//! > so that a log is read period by period.
//!
//! An early store has no periods: what it had when it was first opened by this version is read where it is, as the
//! first of them, until it is over.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use fjall::{AbstractTree as _, Keyspace};
use protocol::ids::{LogId, Timestamp};

use super::{StoreError, number, records::place};

/// A period, by its number: the time at which it began, in milliseconds, or more where earlier ones have that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Period(u64);

impl Period {
    /// Of the entries of an early store, whose keys have none.
    pub(super) const EARLY: Self = Self(0);
    /// Of all entries of a store that was repaired.
    pub(super) const REPAIRED: Self = Self(1);

    /// Where an entry of this period is.
    pub(super) fn key(self, log: LogId, seq: u64) -> Vec<u8> {
        let number = self.0.to_be_bytes();
        let number = if self == Self::EARLY { &[][..] } else { &number };
        [number, &place(log, seq)].concat()
    }

    /// Before all keys of its entries, and of later ones in the same keyspace.
    pub(super) fn start(self) -> Vec<u8> {
        if self == Self::EARLY { Vec::new() } else { self.0.to_be_bytes().to_vec() }
    }
}

/// The periods of which there are entries, after this one, as far as the disk says. (What an older record lacks is behind
/// what it names: to look there, too, would be to walk over what was trimmed.)
pub(super) fn found(entries: &Keyspace, after: Option<Period>) -> Vec<Period> {
    let (mut found, mut from) = (Vec::new(), after.map_or(Some(0), |it| it.0.checked_add(1)));
    while let Some(number) = from {
        let first = entries.range(number.to_be_bytes()..).next();
        let Some(Ok(key)) = first.map(fjall::Guard::key) else { break };
        let Some((period, _)) = placed(&key) else { break };
        found.push(period);
        from = period.0.checked_add(1);
    }
    found
}

/// The log and number in the key of an entry, if it is one.
pub(super) fn placed(key: &[u8]) -> Option<(Period, &[u8; 28])> {
    match key.len() {
        28 => Some((Period::EARLY, key.first_chunk()?)),
        36 => {
            let (number, place) = key.split_first_chunk()?;
            Some((Period(u64::from_be_bytes(*number)), place.first_chunk()?))
        }
        _ => None,
    }
}

/// A period of which a store has entries. Times are in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) period: Period,
    begun: u64,
    /// The newest time of its entries; of the last one this is not kept, but found at each start.
    until: u64,
}

impl Span {
    /// One with which a store begins.
    pub(super) const fn first(period: Period) -> Self {
        Self { period, begun: 0, until: 0 }
    }

    /// Behind all times of its entries, where nobody has noted yet how long entries are kept, and it is known when it began.
    pub(super) fn end(self) -> Option<Timestamp> {
        (self.begun > 0).then(|| Timestamp(self.begun.saturating_add(LENGTH)))
    }
}

/// The periods of which a store has entries, in order.
pub(super) struct Periods {
    /// Written with the store's totals held.
    all: RwLock<Spans>,
    /// How long one is at least, in milliseconds.
    length: AtomicU64,
    /// The highest time that was seen.
    newest: AtomicU64,
    /// Nothing is wanted that was appended before it.
    oldest: AtomicU64,
    /// Whether the store's record names all of them. Written with the store's totals held.
    is_noted: AtomicBool,
}

struct Spans {
    all: Vec<Span>,
    /// The least number of the next one.
    next: u64,
    /// Whether nothing was appended since the start: the clock may have gone back then.
    is_fresh: bool,
}

impl Spans {
    fn periods(&self) -> Vec<Period> {
        self.all.iter().map(|span| span.period).collect()
    }
}

/// The key of the record that names the periods.
pub(super) const PERIODS: &str = "spans";
/// Periods of the time that entries are kept.
const PARTS: u64 = 16;
const LENGTH_MIN: u64 = 1000;
/// Until it is known how long entries are kept.
const LENGTH: u64 = 24 * 60 * 60 * 1000;

impl Periods {
    /// Those of a store in which nothing is wanted that was appended after `until`. Numbers up to `last` have been used.
    pub(super) fn new(mut all: Vec<Span>, until: Timestamp, last: Option<Period>) -> Self {
        let last = last.max(all.last().map(|last| last.period)).unwrap_or(Period::EARLY);
        let next = last.max(Period::REPAIRED).0.saturating_add(1);
        if let Some(last) = all.last_mut() {
            last.until = until.0;
        }
        Self {
            all: RwLock::new(Spans { all, next, is_fresh: true }),
            length: AtomicU64::new(LENGTH),
            newest: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
            is_noted: AtomicBool::new(true),
        }
    }

    /// Names these too, which are there, and of which all is over that was appended before `until`: the record of a
    /// store that has gone back may not name them.
    pub(super) fn name(&self, found: &[Period], until: Timestamp) {
        let mut spans = self.write();
        for period in found {
            if !spans.all.iter().any(|span| span.period == *period) {
                spans.all.push(Span { period: *period, begun: period.0, until: until.0 });
                self.is_noted.store(false, Ordering::Relaxed);
            }
        }
        spans.all.sort_unstable_by_key(|span| span.period);
    }

    /// Reads the record of a store.
    pub(super) fn read(record: &[u8]) -> Result<Vec<Span>, StoreError> {
        let span = |bytes: &[u8]| {
            let (period, times) = bytes.split_at_checked(8).ok_or(StoreError::Damaged)?;
            let (begun, until) = times.split_at_checked(8).ok_or(StoreError::Damaged)?;
            Ok(Span {
                period: Period(number(period)?),
                begun: number(begun)?,
                until: number(until)?,
            })
        };
        record.chunks(24).map(span).collect()
    }

    /// The record.
    pub(super) fn record(all: &[Span]) -> Vec<u8> {
        let numbers = all.iter().flat_map(|it| [it.period.0, it.begun, it.until]);
        numbers.flat_map(u64::to_be_bytes).collect()
    }

    /// Makes a period as long as goes well with what is kept from `before` on.
    pub(super) fn keep_from(&self, before: Timestamp, now: Timestamp) {
        let length = (now.0.saturating_sub(before.0) / PARTS).max(LENGTH_MIN);
        self.length.store(length, Ordering::Relaxed);
    }

    /// Notes that it is this time, where that is known by more than what is appended.
    pub(super) fn see(&self, time: Timestamp) {
        self.newest.fetch_max(time.0, Ordering::Relaxed);
    }

    /// The highest time that is known.
    pub(super) fn newest(&self) -> Timestamp {
        Timestamp(self.newest.load(Ordering::Relaxed))
    }

    /// Nothing is wanted that was appended before this. To be called by who holds the store's totals.
    pub(super) fn oldest(&self) -> Timestamp {
        Timestamp(self.oldest.load(Ordering::Relaxed))
    }

    /// Notes before which nothing is wanted. To be called by who holds the store's totals.
    pub(super) fn note_oldest(&self, time: Timestamp) {
        self.oldest.store(time.0, Ordering::Relaxed);
    }

    /// The period of what is appended now, which may begin with this. To be called by who holds the store's totals.
    pub(super) fn at(&self, now: Timestamp) -> Period {
        self.see(now);
        self.oldest.fetch_min(now.0, Ordering::Relaxed);
        let length = self.length.load(Ordering::Relaxed);
        let mut spans = self.write();
        let is_fresh = std::mem::replace(&mut spans.is_fresh, false);
        if let Some(last) = spans.all.last_mut().filter(|it| it.period != Period::EARLY)
            && now.0 < last.begun.saturating_add(length)
            && !(is_fresh && now.0 < last.begun)
        {
            last.until = last.until.max(now.0);
            return last.period;
        }
        let period = Period(now.0.max(spans.next));
        spans.next = period.0.saturating_add(1);
        spans.all.push(Span { period, begun: now.0, until: now.0 });
        self.is_noted.store(false, Ordering::Relaxed);
        period
    }

    /// The record, where the next batch has to have it: what was begun for a batch that was not committed is begun all the same.
    pub(super) fn unnoted(&self) -> Option<Vec<u8>> {
        (!self.is_noted.load(Ordering::Relaxed)).then(|| Self::record(&self.spans().all))
    }

    /// Notes that a batch with the record was committed.
    pub(super) fn noted(&self) {
        self.is_noted.store(true, Ordering::Relaxed);
    }

    /// What is done while no period is forgotten: a view of the store and the periods go together.
    pub(super) fn with<T>(&self, view: impl FnOnce() -> T) -> (T, Vec<Period>) {
        let spans = self.spans();
        (view(), spans.periods())
    }

    pub(super) fn all(&self) -> Vec<Period> {
        self.with(|| ()).1
    }

    /// Whether what was appended at this time can be an early store's.
    pub(super) fn is_early(&self, time: Timestamp) -> bool {
        let spans = self.spans();
        let first = spans.all.first().filter(|first| first.period == Period::EARLY);
        first.is_some_and(|early| time.0 <= early.until)
    }

    /// Forgets the periods that are over, where nothing is wanted any more that was appended before this; answers
    /// what goes, if anything does. To be called by who holds the store's totals.
    pub(super) fn forget(&self, before: Timestamp) -> Option<Over> {
        let mut spans = self.write();
        let over = spans.all.iter().take_while(|it| it.until < before.0).count();
        spans.all.drain(..over);
        (over > 0).then(|| Over::of(&spans))
    }

    /// What is over at a start.
    pub(super) fn over(&self) -> Option<Over> {
        let over = Over::of(&self.spans());
        (over.first != Period::EARLY).then_some(over)
    }

    fn spans(&self) -> RwLockReadGuard<'_, Spans> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Spans> {
        self.all.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All before this period is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Over {
    pub(super) first: Period,
    /// Whether nothing is left: then nobody writes out soon what is in memory.
    pub(super) is_all: bool,
}

impl Over {
    fn of(spans: &Spans) -> Self {
        let first = spans.all.first().map(|first| first.period);
        Self { first: first.unwrap_or(Period(spans.next)), is_all: first.is_none() }
    }
}

/// A thread that takes away the tables of periods that are over: it may have to wait for a merge, for which nobody
/// else should.
pub(super) struct Sweeper {
    wakes: Option<mpsc::SyncSender<()>>,
    /// What is to go, until it is gone.
    wanted: Arc<Mutex<Option<Over>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sweeper {
    /// Begins, with the keyspaces of entries, those of an early store, and what is due.
    pub(super) fn spawn(
        entries: &Keyspace,
        early: Option<&Keyspace>,
        expiry: &Keyspace,
    ) -> std::io::Result<Self> {
        let (wakes, woken) = mpsc::sync_channel::<()>(1);
        let wanted = Arc::new(Mutex::new(None));
        let (entries, early, expiry) = (entries.clone(), early.cloned(), expiry.clone());
        let asked = Arc::clone(&wanted);
        let thread = thread::Builder::new().name("sweeper".into()).spawn(move || {
            for () in woken {
                let Some(over) = *lock(&asked) else { continue };
                let swept = early.iter().try_for_each(retire);
                match swept.and_then(|()| sweep(&entries, &expiry, over)) {
                    Ok(true) => {
                        lock(&asked).take_if(|wanted| *wanted == over);
                    }
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(%error, "could not give back the room of what is over");
                    }
                }
            }
        })?;
        Ok(Self { wakes: Some(wakes), wanted, thread: Some(thread) })
    }

    /// Has all that is over taken away, with what was to go before and is not gone.
    pub(super) fn sweep(&self, over: Option<Over>) {
        let mut wanted = lock(&self.wanted);
        *wanted = over.or(*wanted);
        // A thread that is busy looks once more.
        if let (Some(wakes), Some(_)) = (&self.wakes, *wanted) {
            let _ = wakes.try_send(());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.wakes = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Takes away the tables that have nothing from this period on. What is still in memory, or in a table with what
/// stays, goes another time; where nothing stays, it is written out for it. Answers whether it was.
pub(super) fn sweep(entries: &Keyspace, expiry: &Keyspace, over: Over) -> fjall::Result<bool> {
    let is_out = !over.is_all || write_out(entries)?;
    entries.tree.drop_range(..over.first.0.to_be_bytes())?;
    // fjall deletes the files when it writes a memtable out next, of whatever keyspace. Of this one something was removed.
    expiry.rotate_memtable()?;
    Ok(is_out)
}

/// Behind every key of an early store's entries.
const LAST: [u8; 29] = [0xff; 29];
/// More than a table takes that has nothing else.
const LAST_BYTES: u64 = 4096;

/// Takes away all entries of an early store. One record stays in a table: by it fjall knows that nothing of the keyspace
/// is in its journals alone. It is written when all else is gone, so that no merge brings it into a table with entries.
pub(super) fn retire(early: &Keyspace) -> fjall::Result<()> {
    if early.table_count() == 1 && early.disk_space() < LAST_BYTES && early.contains_key(LAST)? {
        return Ok(());
    }
    if !write_out(early)? {
        return Ok(());
    }
    early.tree.drop_range::<&[u8], _>(..)?;
    early.insert(LAST, [])?;
    write_out(early).map(drop)
}

/// Writes what is in memory to a table. Answers whether it is there: fjall's threads end where a write fails, so that
/// it is not waited for without an end.
pub(super) fn write_out(keyspace: &Keyspace) -> fjall::Result<bool> {
    keyspace.rotate_memtable()?;
    for _ in 0..LOOKS {
        if keyspace.sealed_memtable_count() == 0 {
            return Ok(true);
        }
        thread::sleep(PAUSE);
    }
    Ok(false)
}

const LOOKS: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(numbers: &[u64]) -> Vec<Span> {
        let span = |(at, number): (usize, &u64)| Span {
            period: Period(*number),
            begun: *number,
            until: numbers.get(at + 1).map_or(0, |next| next - 1),
        };
        numbers.iter().enumerate().map(span).collect()
    }

    fn over(first: u64, is_all: bool) -> Option<Over> {
        Some(Over { first: Period(first), is_all })
    }

    #[test]
    fn periods_never_go_back_whatever_the_clock_does_and_each_knows_its_newest() {
        let periods = Periods::new(spans(&[0]), Timestamp(90_000), None);
        periods.keep_from(Timestamp(0), Timestamp(160_000));
        let mut taken: Vec<(Period, u64)> = Vec::new();
        for time in [80_000, 95_000, 100_002, 20, 99_000, 140_000, 110_000, 140_001, 150_000, 1] {
            let period = periods.at(Timestamp(time));
            assert!(taken.iter().all(|(before, _)| *before <= period), "it never goes back");
            taken.push((period, time));
        }
        let all = Periods::read(&periods.unnoted().unwrap()).unwrap();
        assert!(all.len() > 4, "{all:?}");
        assert_eq!((all[0].period, all[0].until), (Period::EARLY, 90_000));
        for span in &all[1..] {
            let times = taken.iter().filter(|(period, _)| *period == span.period);
            assert_eq!(times.map(|(_, time)| *time).max(), Some(span.until));
        }
    }

    #[test]
    fn a_period_is_over_when_its_newest_entry_is() {
        let all = spans(&[0, 100, 200, 300]);
        let periods = Periods::new(all.clone(), Timestamp(310), None);
        assert_eq!(periods.forget(Timestamp(99)), None);
        assert!(periods.is_early(Timestamp(99)) && !periods.is_early(Timestamp(100)));
        assert_eq!(periods.forget(Timestamp(250)), over(200, false));
        assert!(!periods.is_early(Timestamp(0)));
        assert_eq!(periods.forget(Timestamp(310)), over(300, false));
        assert_eq!(periods.forget(Timestamp(310)), None);
        assert_eq!(periods.forget(Timestamp(311)), over(301, true));
        assert_eq!((periods.all(), periods.forget(Timestamp(9000))), (vec![], None));
        assert_eq!(periods.at(Timestamp(7)), Period(301), "behind all that went");
        assert_eq!(Periods::read(&Periods::record(&all)).unwrap(), all);
        assert!(Periods::read(&[0; 25]).is_err());
    }

    #[test]
    fn after_a_start_with_a_clock_that_was_ahead_periods_begin_and_end_by_the_clock_that_is() {
        let periods = Periods::new(spans(&[900_000]), Timestamp(0), None);
        periods.keep_from(Timestamp(0), Timestamp(16_000));
        assert_eq!(periods.at(Timestamp(5000)), Period(900_001));
        assert_eq!(periods.at(Timestamp(6000)), Period(900_002));
        assert_eq!(periods.forget(Timestamp(5001)), over(900_002, false));
        // Started again by the same clock it goes on with what it began.
        let again = Periods::read(&periods.unnoted().unwrap()).unwrap();
        let again = Periods::new(again, Timestamp(6000), Some(Period(900_005)));
        assert_eq!(again.at(Timestamp(6001)), Period(900_002));
        again.keep_from(Timestamp(0), Timestamp(16_000));
        assert_eq!(again.at(Timestamp(7000)), Period(900_006));
    }

    #[test]
    fn where_an_entry_is_can_be_read_from_its_key() {
        let log = LogId([7; 20]);
        for period in [Period::EARLY, Period(5)] {
            let key = period.key(log, 9);
            assert_eq!(placed(&key), Some((period, &place(log, 9))));
        }
        assert_eq!(placed(&LAST), None);
    }
}
