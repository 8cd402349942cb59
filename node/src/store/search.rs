//! Full-text search: an index of what messages show, in the same encrypted database.
//!
//! > What a message shows, and what the index has of it, change in one transaction: what is deleted is found no more, and its words
//! > are in the index no more.
//!
//! What a step has touched is known to the database (temporary triggers), not to whoever wrote the step. What came before there was an index, or
//! from a backup, is taken in later and in parts, the newest first: docs/decisions/0034-search.md.

mod form;

use std::time::{Duration, Instant};

use protocol::{
    chain::HeadRef,
    ids::{ChainId, GroupId, MemberId, MessageId, Timestamp},
};
use rusqlite::{Connection, OptionalExtension, params};

use self::form::{BEGINS, ENDS};
pub use self::form::{Words, WordsError};
use super::{
    StoreError, Tx,
    groups::{int, uint},
    messages::message_by_seq,
    said,
    text::hex,
};
use crate::api::types::{Hit, Mark, MemberRef};

/// Notes which messages a transaction changes: in memory, of the one connection that writes.
pub(super) const NOTES: &str = "
CREATE TEMP TABLE touched(seq INTEGER PRIMARY KEY) STRICT;
CREATE TEMP TRIGGER came AFTER INSERT ON main.messages
    BEGIN INSERT OR IGNORE INTO touched VALUES (new.seq); END;
CREATE TEMP TRIGGER gone AFTER DELETE ON main.messages
    BEGIN INSERT OR IGNORE INTO touched VALUES (old.seq); END;
CREATE TEMP TRIGGER changed AFTER UPDATE OF text, said, offer, emptied, class, by_admin ON main.messages
    WHEN new.changes IS NOT NULL OR new.text IS NOT old.text OR new.said IS NOT old.said
      OR new.offer IS NOT old.offer OR new.emptied IS NOT old.emptied
    BEGIN INSERT OR IGNORE INTO touched VALUES (new.seq); END;";

/// How long a search may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// After so many steps of the database's machine it is looked at how long it has taken.
const STEPS: i32 = 10_000;

/// What is looked for, and where.
pub struct Search {
    /// What.
    pub words: Words,
    /// In one group.
    pub group: Option<GroupId>,
    /// Written by this member.
    pub from: Option<MemberId>,
    /// Written at this time, or later.
    pub since: Option<Timestamp>,
    /// Written before.
    pub until: Option<Timestamp>,
    /// That came before the message with this number in the order of coming.
    pub before: Option<u64>,
    /// So many at most.
    pub limit: u32,
}

impl Tx<'_> {
    /// Brings the index to what this transaction has made of messages.
    pub(super) fn index_touched(&self) -> Result<(), StoreError> {
        let mut touched = self.sql.prepare("DELETE FROM temp.touched RETURNING seq")?;
        let touched = touched.query_map([], |row| row.get(0))?;
        let touched: Vec<i64> = touched.collect::<Result<_, _>>()?;
        for seq in touched {
            let row = "SELECT grp, changes FROM messages WHERE seq = ?1";
            let row = self.sql.prepare(row)?.query_row([seq], |row| {
                Ok((GroupId(row.get(0)?), row.get::<_, Option<Vec<u8>>>(1)?))
            });
            match row.optional()? {
                Some((group, Some(changes))) => {
                    if let Some(target) = self.target_of(group, &changes)? {
                        self.index(target)?;
                    }
                }
                Some((_, None)) => self.index(seq)?,
                None => self.leave_out(seq)?,
            }
        }
        Ok(())
    }

    /// Takes in so many of the messages that the index lacks, the newest; says whether there are more.
    pub fn index_more(&self, most: u32) -> Result<bool, StoreError> {
        let Some(below) = self.unindexed_below()? else { return Ok(false) };
        let mut seqs = self.sql.prepare(
            "SELECT seq FROM messages WHERE seq < ?1 AND changes IS NULL ORDER BY seq DESC LIMIT ?2",
        )?;
        let seqs = seqs.query_map(params![below, most], |row| row.get(0))?;
        let seqs: Vec<i64> = seqs.collect::<Result<_, _>>()?;
        seqs.iter().try_for_each(|seq| self.index(*seq))?;
        let below = seqs.last().copied().filter(|_| seqs.len() == most as usize).unwrap_or(0);
        self.sql.execute("UPDATE unsought SET below = ?1", [below])?;
        Ok(below > 0)
    }

    /// Has all that there is be taken in anew: it came by no step.
    pub(super) fn index_all(&self) -> Result<(), StoreError> {
        let all = "UPDATE unsought SET below = (SELECT coalesce(max(seq), 0) + 1 FROM messages)";
        self.sql.execute(all, [])?;
        Ok(())
    }

    /// Whether there is something that the index lacks.
    pub fn lacks_index(&self) -> Result<bool, StoreError> {
        Ok(self.unindexed_below()?.is_some())
    }

    fn unindexed_below(&self) -> Result<Option<i64>, StoreError> {
        let below: i64 = self.sql.query_row("SELECT below FROM unsought", [], |row| row.get(0))?;
        Ok((below > 0).then_some(below))
    }

    /// What a row of these bytes changes.
    fn target_of(&self, group: GroupId, changes: &[u8]) -> Result<Option<i64>, StoreError> {
        let (chain, index, id) = (changes.get(..16), changes.get(16..20), changes.get(20..36));
        let (Some(chain), Some(index), Some(id)) = (
            chain.and_then(|it| it.try_into().ok()),
            index.and_then(|it| it.try_into().ok()),
            id.and_then(|it| it.try_into().ok()),
        ) else {
            return Ok(None);
        };
        let index = u32::from_be_bytes(index);
        let head = HeadRef { chain: ChainId(chain), index, id: MessageId(id) };
        Ok(said::seq_at(&self.sql, group, &head)?.map(int))
    }

    /// Puts what a message shows now into the index.
    fn index(&self, seq: i64) -> Result<(), StoreError> {
        let shown = message_by_seq(&self.sql, uint(seq))?.map(|message| message.text);
        let Some(text) = shown.filter(|text| !text.is_empty()) else { return self.leave_out(seq) };
        let put = "INSERT INTO sought(seq, text) VALUES (?1, ?2)
                   ON CONFLICT(seq) DO UPDATE SET text = excluded.text WHERE text <> excluded.text";
        self.sql.prepare(put)?.execute(params![seq, form::form(&text)])?;
        Ok(())
    }

    /// All words that the index itself has, however they are shown.
    #[cfg(test)]
    pub(crate) fn terms(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let words = "SELECT block FROM found_data UNION ALL SELECT CAST(text AS BLOB) FROM sought";
        let mut rows = self.sql.prepare(words)?;
        let rows = rows.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn leave_out(&self, seq: i64) -> Result<(), StoreError> {
        self.sql.prepare("DELETE FROM sought WHERE seq = ?1")?.execute([seq])?;
        Ok(())
    }
}

/// How many messages the index lacks yet.
pub(super) fn unindexed(sql: &Connection) -> Result<u64, StoreError> {
    let count = "SELECT count(*) FROM messages
                 WHERE seq < (SELECT below FROM unsought) AND changes IS NULL";
    Ok(uint(sql.query_row(count, [], |row| row.get(0))?))
}

/// Whoever has this name, or an id that begins so.
pub(super) fn known(sql: &Connection, asked: &str) -> Result<Vec<MemberRef>, StoreError> {
    let is_id = asked.len() >= 4 && asked.bytes().all(|it| it.is_ascii_hexdigit());
    let mut known = sql.prepare(
        "SELECT member, name FROM names WHERE name = ?1 OR ?2 AND hex(member) LIKE ?1 || '%'
         ORDER BY member LIMIT 9",
    )?;
    let known = known.query_map(params![asked, is_id], |row| {
        Ok(MemberRef { id: hex(&row.get::<_, [u8; 32]>(0)?), name: row.get(1)? })
    })?;
    Ok(known.collect::<Result<_, _>>()?)
}

/// Messages that have all the words, but those of blocked members; those that came last first.
pub(super) fn search(sql: &mut Connection, search: &Search) -> Result<Vec<Hit>, StoreError> {
    let began = Instant::now();
    sql.progress_handler(STEPS, Some(move || began.elapsed() > PATIENCE))?;
    let hits = find(sql, search);
    sql.progress_handler(0, None::<fn() -> bool>)?;
    hits
}

fn find(sql: &Connection, search: &Search) -> Result<Vec<Hit>, StoreError> {
    // One instant: what is marked is what is shown. A group without a name is one that is being erased.
    let at_once = sql.unchecked_transaction()?;
    let mut found = at_once.prepare(
        "SELECT found.rowid, highlight(found, 0, ?8, ?9) FROM found CROSS JOIN messages m ON m.seq = found.rowid
         WHERE found MATCH ?1 AND found.rowid < ?2
           AND (?3 IS NULL OR m.grp = ?3) AND (?4 IS NULL OR m.sender = ?4)
           AND m.at >= ?5 AND m.at < ?6
           AND m.sender NOT IN (SELECT member FROM blocked)
           AND EXISTS (SELECT 1 FROM groups g WHERE g.id = m.grp AND g.name <> '')
         ORDER BY found.rowid DESC LIMIT ?7",
    )?;
    let rows = found.query_map(
        params![
            search.words.0,
            search.before.map_or(i64::MAX, int),
            search.group.map(|group| group.0),
            search.from.map(|member| member.0),
            search.since.map_or(0, |at| int(at.0)),
            search.until.map_or(i64::MAX, |at| int(at.0)),
            search.limit,
            BEGINS.to_string(),
            ENDS.to_string()
        ],
        |row| Ok((uint(row.get(0)?), row.get::<_, String>(1)?)),
    )?;
    let rows: Vec<(u64, String)> = rows.collect::<Result<_, _>>()?;
    let mut hits = Vec::with_capacity(rows.len());
    for (seq, marked) in rows {
        if let Some(message) = message_by_seq(&at_once, seq)? {
            let marks = form::marks(&message.text, &marked).into_iter();
            let marks = marks.map(|(from, to)| Mark { from, to }).collect();
            hits.push(Hit { marks, message });
        }
    }
    Ok(hits)
}

#[cfg(test)]
mod tests;
