//! A keyspace as one list: its tables and what the journals have of it, in the order of keys.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BinaryHeap, btree_map},
};

use super::table::{Row, Table};

/// What the journals have of one keyspace: the newest version of each record.
pub(super) type Journaled = BTreeMap<Vec<u8>, (u64, Option<Vec<u8>>)>;

/// The records of a keyspace, each key once, the newest version of each first.
pub(super) struct Merged {
    tables: Vec<Table>,
    journaled: btree_map::IntoIter<Vec<u8>, (u64, Option<Vec<u8>>)>,
    heads: BinaryHeap<Head>,
    next: Option<Record>,
}

/// One key with all versions of its record, the newest first.
pub(super) struct Record {
    pub(super) key: Vec<u8>,
    pub(super) versions: Vec<Option<Vec<u8>>>,
}

impl Record {
    /// The record, unless it was deleted.
    pub(super) fn live(&self) -> Option<&[u8]> {
        self.versions.first()?.as_deref()
    }
}

/// The next row of one source.
struct Head {
    row: Row,
    /// `None`: the journals.
    table: Option<usize>,
}

impl Head {
    /// The smallest key first, of one key the newest version.
    fn rank(&self) -> (Reverse<&[u8]>, u64) {
        (Reverse(&self.row.key), self.row.place)
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Head {}

impl Merged {
    pub(super) fn new(tables: Vec<Table>, journaled: Journaled) -> Self {
        let count = tables.len();
        let journaled = journaled.into_iter();
        let mut merged = Self { tables, journaled, heads: BinaryHeap::new(), next: None };
        merged.pull(None);
        for table in 0..count {
            merged.pull(Some(table));
        }
        merged.next = merged.record();
        merged
    }

    pub(super) fn peek(&self) -> Option<&Record> {
        self.next.as_ref()
    }

    /// Blocks that were read so far, and of these the damaged.
    pub(super) fn blocks(&self) -> (u64, u64) {
        let both = self.tables.iter().map(Table::counts);
        both.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
    }

    /// Reads on to the end for the sake of the checksums.
    pub(super) fn exhaust(&mut self) {
        self.for_each(drop);
    }

    fn pull(&mut self, table: Option<usize>) {
        let row = match table {
            Some(index) => self.tables[index].next(),
            None => self.journaled.next().map(|(key, (place, value))| Row { key, place, value }),
        };
        self.heads.extend(row.map(|row| Head { row, table }));
    }

    fn record(&mut self) -> Option<Record> {
        let first = self.heads.pop()?;
        self.pull(first.table);
        let mut record = Record { key: first.row.key, versions: vec![first.row.value] };
        while self.heads.peek().is_some_and(|head| head.row.key == record.key) {
            let Some(head) = self.heads.pop() else { break };
            self.pull(head.table);
            record.versions.push(head.row.value);
        }
        Some(record)
    }
}

impl Iterator for Merged {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let next = self.record();
        std::mem::replace(&mut self.next, next)
    }
}
