//! Whether a log is whole: checked entry by entry, in constant memory but for the anchors.

use alloc::collections::BTreeMap;

use super::{AuditLog, Entry, Fact, KEPT, SEGMENT, holds, is_checkpoint, short};
use crate::{
    hash::{Label, hash32},
    ids::{GroupId, MemberId, Timestamp},
};

/// Reads a log from its first kept entry to its last.
pub struct Verifier {
    group: GroupId,
    member: MemberId,
    log: AuditLog,
    first: Option<(u64, Timestamp)>,
    checkpoints: u64,
    anchors: BTreeMap<[u8; 16], Timestamp>,
    found: u64,
}

/// A log that is not what its node wrote, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// Not an entry.
    #[error("after entry {after}: not an entry")]
    Malformed {
        /// How many entries were read before.
        after: u64,
    },
    /// An entry is missing, or out of its order.
    #[error("entry {expected} is missing: entry {found} stands in its place")]
    Order {
        /// Which should come.
        expected: u64,
        /// Which came.
        found: u64,
    },
    /// An entry does not follow the one before it: one of the two was changed.
    #[error("entry {seq} does not follow the entry before it")]
    Broken {
        /// Which.
        seq: u64,
    },
    /// The log begins where no log may.
    #[error("the log begins with entry {first}, and should not")]
    Beginning {
        /// Its first entry.
        first: u64,
    },
    /// A checkpoint is missing, stands where none belongs, or its signature does not hold.
    #[error("the checkpoint at entry {seq} does not hold")]
    Checkpoint {
        /// Which.
        seq: u64,
    },
    /// Entries that others have seen the head of are not in the log: it was cut off, rewritten or
    /// restored from an older copy.
    #[error("{missing} of the heads that bundles tell of are not in the log of {entries} entries")]
    Anchors {
        /// How many are lacking.
        missing: u64,
        /// How many entries there are.
        entries: u64,
    },
}

/// What was found of a log that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The number of its first kept entry.
    pub first: u64,
    /// The number after its last.
    pub next: u64,
    /// How many checkpoints were checked.
    pub checkpoints: u64,
    /// How many heads that bundles tell of were found in it.
    pub anchors: u64,
    /// How many of them went with the entries before the first.
    pub older: u64,
}

impl Verifier {
    /// Begins with a log of this member, of this group. `anchors` are the heads in bundles of this
    /// member, each with the time at which it came; those of zeros say nothing and are left out.
    #[must_use]
    pub fn new(
        group: GroupId,
        member: MemberId,
        anchors: impl IntoIterator<Item = ([u8; 16], Timestamp)>,
    ) -> Self {
        let mut verifier = Self {
            group,
            member,
            log: AuditLog::new(&group, &member),
            first: None,
            checkpoints: 0,
            anchors: anchors.into_iter().filter(|(head, _)| *head != [0; 16]).collect(),
            found: 0,
        };
        verifier.meet();
        verifier
    }

    /// Takes the next entry; after an error nothing more is to be taken.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Entry, AuditError> {
        let after = self.log.seq - self.first.map_or(0, |(first, _)| first);
        let entry = Entry::from_bytes(bytes).ok_or(AuditError::Malformed { after })?;
        if entry.group != self.group.0[..4] {
            return Err(AuditError::Malformed { after });
        }
        match self.first {
            None if entry.seq > 0 && is_checkpoint(entry.seq) => {
                self.log = AuditLog { seq: entry.seq, head: entry.prev };
            }
            None if entry.seq > 0 => return Err(AuditError::Beginning { first: entry.seq }),
            _ => {}
        }
        if entry.seq != self.log.seq {
            return Err(AuditError::Order { expected: self.log.seq, found: entry.seq });
        }
        if entry.prev != self.log.head {
            return Err(AuditError::Broken { seq: entry.seq });
        }
        match &entry.fact {
            Fact::Checkpoint(signature) => {
                if !is_checkpoint(entry.seq) || !holds(&self.group, &self.member, &entry, signature)
                {
                    return Err(AuditError::Checkpoint { seq: entry.seq });
                }
                self.checkpoints += 1;
            }
            _ if is_checkpoint(entry.seq) => {
                return Err(AuditError::Checkpoint { seq: entry.seq });
            }
            _ => {}
        }
        self.first.get_or_insert((entry.seq, entry.at));
        let seq = entry.seq.checked_add(1).ok_or(AuditError::Malformed { after })?;
        self.log = AuditLog { seq, head: hash32(Label::Audit, &[bytes]) };
        self.meet();
        Ok(entry)
    }

    /// Ends: nothing more was kept.
    pub fn finish(self) -> Result<Report, AuditError> {
        let (first, since) = self.first.unwrap_or_default();
        let (next, entries) = (self.log.seq, self.log.seq - first);
        // Entries go at the old end only while enough of them stay.
        if first > 0 && entries < KEPT - SEGMENT {
            return Err(AuditError::Beginning { first });
        }
        // What came before the first kept entry was written may have gone with those before it.
        let older = self.anchors.values().filter(|at| first > 0 && **at <= since).count() as u64;
        let missing = self.anchors.len() as u64 - older;
        if missing > 0 {
            return Err(AuditError::Anchors { missing, entries });
        }
        Ok(Report { first, next, checkpoints: self.checkpoints, anchors: self.found, older })
    }

    fn meet(&mut self) {
        if self.anchors.remove(&short(&self.log.head)).is_some() {
            self.found += 1;
        }
    }
}
