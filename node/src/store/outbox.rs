//! What a relay has not yet acknowledged, what others may still ask for, and how far logs are read.

use protocol::{
    group::Kept,
    ids::{ChainId, GroupId, LogId, Timestamp},
    relay_log::Cursor,
};
use rusqlite::{OptionalExtension, params};

use super::{
    StoreError, Tx,
    groups::{int, uint},
};

/// An entry that waits for a relay's acknowledgement.
pub struct OutboxRow {
    /// Names it towards the relay's client; never used again.
    pub tag: u64,
    /// The relay's PeerId.
    pub relay: Vec<u8>,
    /// The log.
    pub log: LogId,
    /// The envelope.
    pub entry: Vec<u8>,
}

/// How long an envelope is kept for others, in milliseconds: 35 days.
const ARCHIVE_MS: u64 = 35 * 24 * 60 * 60 * 1000;

/// How many bytes of envelopes are kept for one group: 64 MiB.
const ARCHIVE_BYTES: u64 = 64 * 1024 * 1024;

impl Tx<'_> {
    /// Adds an entry for one log of one relay; gives its tag. One that is told again while it still
    /// waits there is the same.
    pub fn put_outbox(
        &self,
        group: GroupId,
        relay: &[u8],
        log: LogId,
        entry: &[u8],
        message: Option<u64>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        // As the index on it has it.
        let waits =
            "SELECT tag FROM outbox WHERE log = ?1 AND substr(entry, 1, 32) = substr(?2, 1, 32)
             AND entry = ?2 AND relay = ?3 AND grp = ?4 AND (?5 IS NULL OR seq IS ?5)";
        let waits = self
            .sql
            .prepare(waits)?
            .query_row(params![log.0, entry, relay, group.0, message.map(int)], |row| row.get(0));
        if let Some(tag) = waits.optional()? {
            return Ok(uint(tag));
        }
        self.sql.execute(
            "INSERT INTO outbox(grp, relay, log, entry, at, seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![group.0, relay, log.0, entry, int(now.0), message.map(int)],
        )?;
        Ok(uint(self.sql.last_insert_rowid()))
    }

    /// Ends an entry; gives the message that it was about.
    pub fn take_outbox(&self, tag: u64) -> Result<Option<u64>, StoreError> {
        let seq = self.sql.query_row(
            "DELETE FROM outbox WHERE tag = ?1 RETURNING seq",
            [int(tag)],
            |row| row.get::<_, Option<i64>>(0),
        );
        Ok(seq.optional()?.flatten().map(uint))
    }

    /// Has an entry wait for another log of the same relay too.
    pub fn copy_outbox(&self, tag: u64, log: LogId) -> Result<(), StoreError> {
        self.sql.execute(
            "INSERT INTO outbox(grp, relay, log, entry, at, seq)
             SELECT grp, relay, ?2, entry, at, seq FROM outbox WHERE tag = ?1",
            params![int(tag), log.0],
        )?;
        Ok(())
    }

    /// Has what of a group waits for a relay wait for another one too.
    pub fn carry_over(&self, group: GroupId, from: &[u8], to: &[u8]) -> Result<(), StoreError> {
        self.sql.execute(
            "INSERT INTO outbox(grp, relay, log, entry, at, seq)
             SELECT grp, ?3, log, entry, at, seq FROM outbox AS one WHERE grp = ?1 AND relay = ?2
               AND NOT EXISTS (SELECT 1 FROM outbox AS other
                               WHERE other.log = one.log AND other.relay = ?3 AND other.grp = ?1
                                 AND substr(other.entry, 1, 32) = substr(one.entry, 1, 32)
                                 AND other.entry = one.entry)
             ORDER BY tag",
            params![group.0, from, to],
        )?;
        Ok(())
    }

    /// One entry, while it waits.
    pub fn outbox_entry(&self, tag: u64) -> Result<Option<OutboxRow>, StoreError> {
        let query = "SELECT tag, relay, log, entry FROM outbox WHERE tag = ?1";
        Ok(self.sql.query_row(query, [int(tag)], outbox_row).optional()?)
    }

    /// The entries that wait for a relay, oldest first: at most `limit`, after the tag `after`.
    pub fn outbox(
        &self,
        relay: &[u8],
        after: u64,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let mut rows = self.sql.prepare(
            "SELECT tag, relay, log, entry FROM outbox WHERE relay = ?1 AND tag > ?2
             ORDER BY tag LIMIT ?3",
        )?;
        let entries = rows.query_map(params![relay, int(after), limit], outbox_row)?;
        Ok(entries.collect::<Result<_, _>>()?)
    }

    /// How many entries wait for a relay.
    pub fn outbox_len(&self, relay: &[u8]) -> Result<u64, StoreError> {
        let count = "SELECT count(*) FROM outbox WHERE relay = ?1";
        Ok(uint(self.sql.query_row(count, [relay], |row| row.get(0))?))
    }

    /// Whether anything of a group waits for any relay.
    pub fn has_outbox(&self, group: GroupId) -> Result<bool, StoreError> {
        let query = "SELECT EXISTS (SELECT 1 FROM outbox WHERE grp = ?1)";
        Ok(self.sql.query_row(query, [group.0], |row| row.get(0))?)
    }

    /// Drops what waits for relays on behalf of a group that this node is out of.
    pub fn clear_outbox(&self, group: GroupId) -> Result<(), StoreError> {
        self.sql.execute("DELETE FROM outbox WHERE grp = ?1", [group.0])?;
        self.unqueue_all(group)
    }

    /// Keeps an envelope, so that others can be served.
    pub fn put_archive(
        &self,
        group: GroupId,
        chain: ChainId,
        index: u32,
        envelope: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.sql.execute(
            "INSERT OR IGNORE INTO archive(grp, chain, idx, at, envelope)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![group.0, chain.0, index, int(now.0), envelope],
        )?;
        Ok(())
    }

    /// Those of these envelopes that are kept, in the order in which they were.
    pub fn archived(
        &self,
        group: GroupId,
        messages: &[(ChainId, Vec<u32>)],
    ) -> Result<Vec<Kept>, StoreError> {
        let mut read = self.sql.prepare(
            "SELECT rowid, envelope FROM archive WHERE grp = ?1 AND chain = ?2 AND idx = ?3",
        )?;
        let mut found: Vec<(i64, Kept)> = Vec::new();
        for (chain, index) in
            messages.iter().flat_map(|(chain, indexes)| indexes.iter().map(move |i| (chain, i)))
        {
            let row = read.query_row(params![group.0, chain.0, index], |row| {
                Ok((row.get(0)?, Kept { chain: *chain, index: *index, envelope: row.get(1)? }))
            });
            found.extend(row.optional()?);
        }
        found.sort_unstable_by_key(|(row, _)| *row);
        Ok(found.into_iter().map(|(_, kept)| kept).collect())
    }

    /// Gives up what no relay has taken for 35 days: who was away so long asks other members.
    pub fn trim_outbox(&self, now: Timestamp) -> Result<(), StoreError> {
        let oldest = now.0.saturating_sub(ARCHIVE_MS);
        self.sql.execute("DELETE FROM outbox WHERE at < ?1", [int(oldest)])?;
        Ok(())
    }

    /// Drops what is kept longer than 35 days, and the oldest beyond 64 MiB of each group.
    pub fn trim_archive(&self, now: Timestamp) -> Result<(), StoreError> {
        let oldest = now.0.saturating_sub(ARCHIVE_MS);
        self.sql.execute("DELETE FROM archive WHERE at < ?1", [int(oldest)])?;
        self.sql.execute(
            "DELETE FROM archive WHERE rowid IN (
               SELECT rowid FROM (
                 SELECT rowid, sum(length(envelope)) OVER
                   (PARTITION BY grp ORDER BY at DESC, rowid DESC) AS bytes FROM archive)
               WHERE bytes > ?1)",
            [int(ARCHIVE_BYTES)],
        )?;
        Ok(())
    }

    /// Keeps how far a log is read at a relay; `None` forgets it.
    pub fn put_cursor(
        &self,
        relay: &[u8],
        log: LogId,
        cursor: Option<Cursor>,
    ) -> Result<(), StoreError> {
        match cursor {
            Some(cursor) => self.sql.execute(
                "INSERT INTO cursors(relay, log, cursor) VALUES (?1, ?2, ?3)
                 ON CONFLICT(relay, log) DO UPDATE SET cursor = excluded.cursor",
                params![relay, log.0, cursor.to_bytes()],
            ),
            None => self.sql.execute(
                "DELETE FROM cursors WHERE relay = ?1 AND log = ?2",
                params![relay, log.0],
            ),
        }?;
        Ok(())
    }

    /// How far a log is read at a relay.
    pub fn cursor(&self, relay: &[u8], log: LogId) -> Result<Option<Cursor>, StoreError> {
        let bytes: Option<Vec<u8>> = self
            .sql
            .query_row(
                "SELECT cursor FROM cursors WHERE relay = ?1 AND log = ?2",
                params![relay, log.0],
                |row| row.get(0),
            )
            .optional()?;
        Ok(bytes.and_then(|bytes| Cursor::from_bytes(&bytes)))
    }
}

fn outbox_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<OutboxRow> {
    Ok(OutboxRow {
        tag: uint(row.get(0)?),
        relay: row.get(1)?,
        log: LogId(row.get(2)?),
        entry: row.get(3)?,
    })
}
