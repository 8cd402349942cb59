//! Indexes of two processes that have not applied the same of each shard.

use super::*;
use crate::store::{FLOOR_STEP, LogStore as _, Page, contract::AMPLE};

const ORIGIN: Origin = Origin { generation: 7, shards: 2 };
/// Of the first shard, and of the second.
const HERE: LogId = LogId([2; 20]);
const THERE: LogId = LogId([1; 20]);

impl EmbeddedStore {
    /// Has an entry rot.
    pub(in crate::store) fn rot(&self, log: LogId, seq: u64) {
        let found = self.find(&self.periods.all(), log, seq).unwrap().unwrap();
        self.entries.insert(found.period.key(log, seq), [7; 64]).unwrap();
        self.db.persist(fjall::PersistMode::SyncAll).unwrap();
    }
}

struct Index {
    store: EmbeddedStore,
    /// The place of each shard's last record.
    at: [u64; 2],
    _dir: tempfile::TempDir,
}

impl Index {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
        store.follow(ORIGIN).unwrap().unwrap();
        Self { store, at: [0; 2], _dir: dir }
    }

    fn apply(&mut self, shard: u8, time: u64, floor: u64, change: &Change) {
        let at = &mut self.at[usize::from(shard)];
        let (after, change) = (*at, change.clone());
        *at += 1;
        let record = Record { generation: 7, after, time: Timestamp(time), floor, change };
        let step = Step { shard, at: *at, mark: Sum::default(), record: Some(record) };
        self.store.apply(&[step]).unwrap();
    }

    fn read(&self, log: LogId, after: u64) -> Page {
        self.store.read(log, after, 9999).unwrap()
    }
}

fn new(log: LogId, byte: u8) -> NewEntry {
    NewEntry { log, bytes: vec![byte; 512] }
}

#[test]
fn a_cursor_hides_nothing_that_a_process_appends_that_has_seen_less_of_another_shard() {
    let (mut first, mut second) = (Index::new(), Index::new());
    let batch: Vec<_> = (0..9).map(|n| new(HERE, n)).collect();
    let (_, puts) = first.store.plan_append(&batch.iter().collect::<Vec<_>>(), 0);
    for index in [&mut first, &mut second] {
        index.apply(0, 10, 0, &Change::Put(puts.clone()));
    }
    // What is dropped of the first shard, only one of them has seen.
    let plan = |shard| first.store.plan_expiry(shard, 2, Timestamp(0), Timestamp(11), 99);
    let Expiry { due, floor, .. } = plan(0);
    assert_eq!((due.len(), floor), (1, FLOOR_STEP));
    assert_eq!(plan(1).floor, 0, "the other shard's stays");
    first.apply(0, 20, floor, &Change::Drop(vec![due[0].gone]));
    assert_eq!(first.read(HERE, 0).head, FLOOR_STEP, "an empty log's head does not go back");
    let cursor = first.read(THERE, 0).read_to;

    let one = new(THERE, 1);
    let (outcomes, puts) = second.store.plan_append(&[&one], 0);
    let floor = second.store.floor(1);
    for index in [&mut first, &mut second] {
        index.apply(1, 30, floor, &Change::Put(puts.clone()));
    }
    let page = first.read(THERE, cursor);
    assert_eq!(page.entries.len(), 1, "{outcomes:?} is behind the cursor {cursor}");
    assert_eq!(second.read(THERE, cursor), page);
}

#[test]
fn each_shards_floor_is_there_again_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
        let places = store.follow(ORIGIN).unwrap().unwrap();
        if places[1].at == 0 {
            let (time, change) = (Timestamp(10), Change::Drop(Vec::new()));
            let record = Record { generation: 7, after: 0, time, floor: 5, change };
            let mark = Sum::default();
            store.apply(&[Step { shard: 1, at: 1, mark, record: Some(record) }]).unwrap();
        }
        let read = |log| store.read(log, 0, 9).unwrap().read_to;
        assert_eq!((read(HERE), read(THERE)), (0, 5));
        assert_eq!(store.trim(THERE, 1, 9).unwrap().begins, 5);
    }
}

#[test]
fn what_is_due_in_one_shard_does_not_wait_for_another_and_is_not_looked_for_twice() {
    let mut index = Index::new();
    let put = |log, seq| Change::Put(vec![Put { log, seq, bytes: vec![seq as u8; 512] }]);
    for seq in 1..=4 {
        index.apply(0, seq, 0, &put(HERE, seq));
        index.apply(1, 4 + seq, 0, &put(THERE, seq));
    }
    let end = Timestamp(20);
    let plan = |index: &Index, shard, from, max| -> (u64, Timestamp) {
        let plan = index.store.plan_expiry(shard, 2, from, end, max);
        (plan.due.iter().map(|due| due.gone.to).max().unwrap_or(0), plan.oldest)
    };
    let start = Timestamp(0);
    assert_eq!(plan(&index, 1, start, 3), (3, Timestamp(5)), "the other shard's four are before");
    let gone = Gone { log: THERE, to: 3 };
    index.apply(1, 20, 0, &Change::Drop(vec![gone]));
    assert_eq!(plan(&index, 1, Timestamp(5), 3), (4, Timestamp(8)));
    assert_eq!(plan(&index, 1, Timestamp(9), 3), (0, end), "what is before is not looked at");
    assert_eq!(plan(&index, 0, start, 9), (4, Timestamp(1)));
}

#[test]
fn what_one_process_can_not_read_it_does_not_give_to_all_once_more() {
    let mut index = Index::new();
    let one = new(HERE, 1);
    let put = |seq| Change::Put(vec![Put { log: HERE, seq, bytes: one.bytes.clone() }]);
    index.apply(0, 10, 0, &put(1));
    index.store.rot(HERE, 1);
    let (outcomes, puts) = index.store.plan_append(&[&one], 0);
    assert!(outcomes == [Outcome::Damaged] && puts.is_empty(), "{outcomes:?}");

    // As where a process of another version did.
    let mut sound = Index::new();
    sound.apply(0, 10, 0, &put(1));
    sound.apply(0, 20, 0, &put(2));
    sound.apply(0, 30, 0, &Change::Drop(vec![Gone { log: HERE, to: 1 }]));
    let (outcomes, puts) = sound.store.plan_append(&[&one], 0);
    assert!(outcomes == [Outcome::Kept(2)] && puts.is_empty(), "{outcomes:?}");
}

#[test]
fn a_period_of_which_the_newest_can_not_be_read_is_over_in_time_all_the_same() {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let mut index = Index::new();
    let put = |seq| Change::Put(vec![Put { log: HERE, seq, bytes: vec![1; 512] }]);
    index.apply(0, 1000, 0, &put(1));
    index.store.expiry.insert([0xff; 3], []).unwrap();
    let Index { store, at, _dir: dir } = index;
    drop(store);
    let mut store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    store.follow(ORIGIN).unwrap().unwrap();
    let mut index = Index { store, at, _dir: dir };
    index.apply(0, 1000 + 2 * DAY, 0, &put(2));
    assert_eq!(index.store.periods.all().len(), 2);
    index.apply(0, 1001 + 2 * DAY, 0, &Change::Drop(vec![Gone { log: HERE, to: 1 }]));
    index.store.plan_expiry(0, 2, Timestamp(0), Timestamp(1000 + DAY), 9);
    assert_eq!(index.store.periods.all().len(), 1);
    assert_eq!(index.read(HERE, 1).entries.len(), 1);
}
