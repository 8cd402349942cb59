//! Entries by the time of their appends, so that what has passed its time is given back without being merged.
//!
//! An entry's key begins with its *period*: some of the time that entries are kept, named by its start. What is over
//! then lies together at one end of the keyspace, whichever logs it is of, in tables that have nothing else, and these
//! are taken away whole. Nothing is written for it: an entry that is over is known by its log's record, which says
//! where the log begins, or is gone.
//!
//! > Each entry of a period was appended before the next one's start, whatever the clock did; and a log's entries are
//! > in the order of their numbers also by period. So where a period's start is past, all before it is over, and a log
//! > is read period by period.
//!
//! An early store has no periods: what it had when it was first opened by this version is read where it is, as the
//! first of them, until it is over.

use std::{
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use fjall::{AbstractTree as _, Keyspace};
use protocol::ids::{LogId, Timestamp};

use super::{StoreError, number, records::place};

/// A period, by its start in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Period(u64);

impl Period {
    /// Of the entries of an early store, whose keys have none.
    pub(super) const EARLY: Self = Self(0);
    /// Of all entries of a store that was repaired.
    pub(super) const REPAIRED: Self = Self(1);

    /// Where an entry of this period is.
    pub(super) fn key(self, log: LogId, seq: u64) -> Vec<u8> {
        let start = self.0.to_be_bytes();
        let start = if self == Self::EARLY { &[][..] } else { &start };
        [start, &place(log, seq)].concat()
    }
}

/// The log and number in the key of an entry, if it is one.
pub(super) fn placed(key: &[u8]) -> Option<(Period, &[u8; 28])> {
    match key.len() {
        28 => Some((Period::EARLY, key.first_chunk()?)),
        36 => {
            let (start, place) = key.split_first_chunk()?;
            Some((Period(u64::from_be_bytes(*start)), place.first_chunk()?))
        }
        _ => None,
    }
}

/// The periods of which a store has entries, in order.
pub(super) struct Periods {
    /// Written with the store's totals held.
    all: RwLock<Vec<Period>>,
    /// How long one is at least, in milliseconds.
    length: AtomicU64,
    /// The highest time of anything that was appended.
    newest: AtomicU64,
    /// Whether that is known; else what was appended last is not known to be over.
    is_sure: bool,
    /// Whether the store's record names all of them. Written with the store's totals held.
    is_noted: AtomicBool,
}

/// The key of the record that names the periods.
pub(super) const PERIODS: &str = "periods";
/// Periods of the time that entries are kept.
const PARTS: u64 = 16;
const LENGTH_MIN: u64 = 1000;
/// Until it is known how long entries are kept.
const LENGTH: u64 = 24 * 60 * 60 * 1000;

impl Periods {
    /// Those of a store in which nothing is kept that was appended after `newest`.
    pub(super) fn new(all: Vec<Period>, newest: Timestamp) -> Self {
        let (length, newest) = (AtomicU64::new(LENGTH), AtomicU64::new(newest.0));
        let is_noted = AtomicBool::new(true);
        Self { all: RwLock::new(all), length, newest, is_sure: true, is_noted }
    }

    /// Those of a store that can't say what was appended last.
    pub(super) fn unsure(self) -> Self {
        Self { is_sure: false, ..self }
    }

    /// Reads the record of a store.
    pub(super) fn read(record: &[u8]) -> Result<Vec<Period>, StoreError> {
        record.chunks(8).map(|start| number(start).map(Period)).collect()
    }

    /// The record.
    pub(super) fn record(all: &[Period]) -> Vec<u8> {
        all.iter().flat_map(|period| period.0.to_be_bytes()).collect()
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

    /// The period of what is appended now, which may begin with this. To be called by who holds the store's totals.
    pub(super) fn at(&self, now: Timestamp) -> Period {
        let newest = self.newest.fetch_max(now.0, Ordering::Relaxed);
        let length = self.length.load(Ordering::Relaxed);
        if let Some(last) = self.all().last().filter(|it| **it != Period::EARLY)
            && now.0 < last.0.saturating_add(length)
        {
            return *last;
        }
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let after = newest.saturating_add(1).max(Period::REPAIRED.0 + 1);
        let last = all.last().map_or(0, |last| last.0.saturating_add(1));
        let begun = Period(now.0.max(after).max(last));
        all.push(begun);
        self.is_noted.store(false, Ordering::Relaxed);
        begun
    }

    /// The record, where the next batch has to have it: what was begun for a batch that was not committed is begun all the same.
    pub(super) fn unnoted(&self) -> Option<Vec<u8>> {
        (!self.is_noted.load(Ordering::Relaxed)).then(|| Self::record(&self.all()))
    }

    /// Notes that a batch with the record was committed.
    pub(super) fn noted(&self) {
        self.is_noted.store(true, Ordering::Relaxed);
    }

    /// What is done while no period is forgotten: a view of the store and the periods go together.
    pub(super) fn with<T>(&self, view: impl FnOnce() -> T) -> (T, Vec<Period>) {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        (view(), all.clone())
    }

    pub(super) fn all(&self) -> Vec<Period> {
        self.with(|| ()).1
    }

    /// Whether what was appended at this time can be an early store's.
    pub(super) fn is_early(&self, time: Timestamp) -> bool {
        match self.all()[..] {
            [Period::EARLY] => true,
            [Period::EARLY, next, ..] => time.0 < next.0,
            _ => false,
        }
    }

    /// Forgets the periods that are over, where nothing is wanted any more that was appended before this; answers
    /// before which all goes, if anything does. To be called by who holds the store's totals.
    pub(super) fn forget(&self, before: Timestamp) -> Option<Period> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let last = all.last()?.0;
        if self.is_sure && self.newest().0 < before.0 {
            // What is appended next begins behind all that goes.
            self.see(Timestamp(last));
            all.clear();
            return Some(Period(self.newest().0.saturating_add(1)));
        }
        let over = all.partition_point(|period| period.0 <= before.0).saturating_sub(1);
        if over == 0 {
            return None;
        }
        all.drain(..over);
        all.first().copied()
    }
}

/// A thread that takes away the tables of periods that are over: it may have to wait for a merge, for which nobody
/// else should.
pub(super) struct Sweeper {
    firsts: Option<mpsc::SyncSender<Period>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sweeper {
    /// Begins, with the keyspaces of entries, those of an early store, and what is due.
    pub(super) fn spawn(
        entries: &Keyspace,
        early: Option<&Keyspace>,
        expiry: &Keyspace,
    ) -> std::io::Result<Self> {
        let (firsts, wanted) = mpsc::sync_channel::<Period>(1);
        let (entries, early, expiry) = (entries.clone(), early.cloned(), expiry.clone());
        let thread = thread::Builder::new().name("sweeper".into()).spawn(move || {
            for first in wanted {
                let swept = early.iter().try_for_each(retire);
                let swept = swept.and_then(|()| sweep(&entries, &expiry, first));
                if let Err(error) = swept {
                    tracing::warn!(%error, "could not give back the room of what is over");
                }
            }
        })?;
        Ok(Self { firsts: Some(firsts), thread: Some(thread) })
    }

    /// Has all before a period taken away. Where the thread is busy it is done with the next one.
    pub(super) fn sweep(&self, first: Period) {
        if let Some(firsts) = &self.firsts {
            let _ = firsts.try_send(first);
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.firsts = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Takes away the tables that have nothing from this period on. What is still in memory, or in a table with what
/// stays, goes another time.
pub(super) fn sweep(entries: &Keyspace, expiry: &Keyspace, first: Period) -> fjall::Result<()> {
    entries.tree.drop_range(..first.0.to_be_bytes())?;
    // fjall deletes the files when it writes a memtable out next, of whatever keyspace. Of this one something was removed.
    expiry.rotate_memtable().map(drop)
}

/// Behind every key of an early store's entries.
const LAST: [u8; 29] = [0xff; 29];

/// Takes away all entries of an early store. One record stays in a table: by it fjall knows that nothing of the keyspace
/// is in its journals alone.
fn retire(early: &Keyspace) -> fjall::Result<()> {
    if early.table_count() == 1 && early.contains_key(LAST)? {
        return Ok(());
    }
    if !write_out(early)? {
        return Ok(());
    }
    early.insert(LAST, [])?;
    if write_out(early)? {
        early.tree.drop_range(..LAST)?;
    }
    Ok(())
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

    #[test]
    fn each_entry_of_a_period_comes_before_the_next_ones_start() {
        let periods = Periods::new(vec![Period::EARLY], Timestamp(90_000));
        periods.keep_from(Timestamp(0), Timestamp(160_000));
        let mut first: Vec<(Period, u64)> = Vec::new();
        for time in [80_000, 95_000, 100_002, 20, 99_000, 140_000, 110_000, 140_001, 150_000, 1] {
            let period = periods.at(Timestamp(time));
            assert!(first.iter().all(|(before, _)| *before <= period), "it never goes back");
            for (_, earlier) in first.iter().filter(|(before, _)| *before < period) {
                assert!(*earlier < period.0);
            }
            first.push((period, time));
        }
        assert_eq!(periods.all()[..2], [Period::EARLY, Period(90_001)]);
        assert!(periods.all().len() > 4, "{:?}", periods.all());
    }

    #[test]
    fn a_period_is_over_when_the_next_ones_start_is_past_and_the_last_with_all_of_it() {
        let all: Vec<_> = [0, 100, 200, 300].map(Period).into();
        let periods = Periods::new(all.clone(), Timestamp(299));
        assert_eq!(periods.forget(Timestamp(99)), None);
        assert!(periods.is_early(Timestamp(99)) && !periods.is_early(Timestamp(100)));
        assert_eq!(periods.forget(Timestamp(250)), Some(Period(200)));
        assert!(!periods.is_early(Timestamp(0)));
        periods.see(Timestamp(310));
        assert_eq!(periods.forget(Timestamp(310)), Some(Period(300)));
        assert_eq!(periods.forget(Timestamp(310)), None);
        assert_eq!(periods.forget(Timestamp(311)), Some(Period(311)));
        assert_eq!((periods.all(), periods.forget(Timestamp(9000))), (vec![], None));
        assert_eq!(periods.at(Timestamp(7)), Period(311), "behind all that went");
        assert_eq!(Periods::read(&Periods::record(&all)).unwrap(), all);
        assert!(Periods::read(&[0; 9]).is_err());
    }

    #[test]
    fn what_begins_next_is_behind_a_last_period_that_began_after_its_entries() {
        let periods = Periods::new(vec![Period(301)], Timestamp(300));
        assert_eq!(periods.forget(Timestamp(301)), Some(Period(302)));
        assert_eq!(periods.at(Timestamp(301)), Period(302));
    }

    #[test]
    fn where_nobody_knows_what_came_last_the_last_period_stays() {
        let periods = Periods::new([100, 200].map(Period).into(), Timestamp(0)).unsure();
        assert_eq!(periods.forget(Timestamp(9000)), Some(Period(200)));
        assert_eq!((periods.forget(Timestamp(9000)), periods.all()), (None, vec![Period(200)]));
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
