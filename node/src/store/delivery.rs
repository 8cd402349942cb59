//! How far own messages are: who has each of them, since when, and what of that is still to be told.

use std::collections::BTreeSet;

use protocol::ids::{ChainId, GroupId, MemberId, MessageId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    StoreError, Tx,
    groups::{int, uint},
    text::{hex, unhex},
};
use crate::api::types::{Delivery, MemberRef, NAMED_MAX};

/// An own message, and all that is stored of how far it is.
pub struct Sent {
    /// Its local id.
    pub id: String,
    /// When it was sealed, or else written.
    pub at: Timestamp,
    /// Its chain, once it is sealed.
    pub chain: Option<ChainId>,
    /// Whether it waits to be sealed.
    pub queued: bool,
    /// Whether a relay keeps it, and since when where that is known.
    pub stored: bool,
    /// When a relay first said so.
    pub stored_at: Option<Timestamp>,
    /// Until when relays keep it, where that is known.
    pub kept_until: Option<Timestamp>,
    /// Whether this node keeps its envelope for whoever asks for it.
    pub archived: bool,
    /// Whether it waits here for a relay.
    pub waits: bool,
    /// To whom it was sealed.
    pub recipients: Vec<Recipient>,
}

/// A member to whom an own message was sealed.
pub struct Recipient {
    /// Who.
    pub member: MemberId,
    /// The name last known.
    pub name: String,
    /// Whether its node has it.
    pub received: bool,
    /// When it said so, where that is known.
    pub received_at: Option<Timestamp>,
    /// When it said that its person has read it.
    pub read_at: Option<Timestamp>,
    /// When it said that the keys don't open there.
    pub unopened_at: Option<Timestamp>,
}

/// What somebody lacks of an own chain, as far as is known.
pub struct Lack {
    /// Who.
    pub member: MemberId,
    /// Of which chain.
    pub chain: ChainId,
    /// How many messages.
    pub messages: u64,
    /// When the first of them was sealed.
    pub since: Timestamp,
}

/// Which own message is meant.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// The last one written.
    Last,
    /// The one whose local id begins with these hexadecimal digits, at most 32.
    Prefix(&'a str),
}

impl Tx<'_> {
    /// The number of an own message, by its id in the group.
    pub fn own_message(&self, group: GroupId, id: MessageId) -> Result<Option<u64>, StoreError> {
        let seq = self.sql.query_row(
            "SELECT seq FROM messages WHERE grp = ?1 AND msg = ?2 AND mine = 1",
            params![group.0, id.0],
            |row| row.get(0),
        );
        Ok(seq.optional()?.map(uint))
    }

    /// The own messages of a group that may be meant, two at most: their numbers.
    pub fn which_sent(&self, group: GroupId, which: Which<'_>) -> Result<Vec<u64>, StoreError> {
        let mut found = match which {
            Which::Last => {
                let mut last = self.sql.prepare(
                    "SELECT seq FROM messages WHERE grp = ?1 AND mine = 1 AND changes IS NULL
                     ORDER BY seq DESC LIMIT 1",
                )?;
                let found = last.query_map([group.0], |row| row.get(0))?;
                found.collect::<Result<Vec<i64>, _>>()?
            }
            Which::Prefix(digits) => {
                let [first, last] = ["0", "f"].map(|fill| unhex(&filled(digits, fill)));
                let (Some(first), Some(last)) = (first, last) else { return Ok(Vec::new()) };
                let mut fitting = self.sql.prepare(
                    "SELECT seq FROM messages WHERE id BETWEEN ?1 AND ?2 AND grp = ?3 AND mine = 1
                     LIMIT 2",
                )?;
                let found = fitting.query_map(params![first, last, group.0], |row| row.get(0))?;
                found.collect::<Result<Vec<i64>, _>>()?
            }
        };
        Ok(found.drain(..).map(uint).collect())
    }

    /// An own message, with all to whom it was sealed.
    pub fn sent(&self, seq: u64) -> Result<Option<Sent>, StoreError> {
        let sent = self.sql.query_row(
            "SELECT m.id, m.at, m.chain, q.seq IS NOT NULL, m.stored, m.stored_at, m.kept_until,
               EXISTS (SELECT 1 FROM archive a
                       WHERE a.grp = m.grp AND a.chain = m.chain AND a.idx = m.idx),
               EXISTS (SELECT 1 FROM outbox o WHERE o.seq = m.seq)
             FROM messages m LEFT JOIN queue q ON q.seq = m.seq WHERE m.seq = ?1 AND m.mine = 1",
            [int(seq)],
            |row| {
                Ok(Sent {
                    id: hex(&row.get::<_, [u8; 16]>(0)?),
                    at: Timestamp(uint(row.get(1)?)),
                    chain: row.get::<_, Option<[u8; 16]>>(2)?.map(ChainId),
                    queued: row.get(3)?,
                    stored: row.get(4)?,
                    stored_at: time(row, 5)?,
                    kept_until: time(row, 6)?,
                    archived: row.get(7)?,
                    waits: row.get(8)?,
                    recipients: Vec::new(),
                })
            },
        );
        let Some(mut sent) = sent.optional()? else { return Ok(None) };
        let mut rows = self.sql.prepare(
            "SELECT r.member, coalesce(n.name, ''), r.received, r.received_at, r.unopened_at,
               r.read_at
             FROM recipients r LEFT JOIN names n ON n.member = r.member
             WHERE r.seq = ?1 ORDER BY r.member",
        )?;
        let recipients = rows.query_map([int(seq)], |row| {
            Ok(Recipient {
                member: MemberId(row.get(0)?),
                name: row.get(1)?,
                received: row.get(2)?,
                received_at: time(row, 3)?,
                unopened_at: time(row, 4)?,
                read_at: time(row, 5)?,
            })
        })?;
        sent.recipients = recipients.collect::<Result<_, _>>()?;
        Ok(Some(sent))
    }

    /// What members have not said to have of the last own messages of a group, `last` of them at most.
    pub fn lacks(&self, group: GroupId, last: u32) -> Result<Vec<Lack>, StoreError> {
        let mut rows = self.sql.prepare(
            "SELECT r.member, m.chain, count(*), min(m.at) FROM
               (SELECT seq, chain, at FROM messages
                WHERE grp = ?1 AND mine = 1 AND chain IS NOT NULL ORDER BY seq DESC LIMIT ?2) m
             JOIN recipients r ON r.seq = m.seq AND r.received = 0
             GROUP BY r.member, m.chain ORDER BY r.member, m.chain",
        )?;
        let lacks = rows.query_map(params![group.0, last], |row| {
            Ok(Lack {
                member: MemberId(row.get(0)?),
                chain: ChainId(row.get(1)?),
                messages: uint(row.get(2)?),
                since: Timestamp(uint(row.get(3)?)),
            })
        })?;
        Ok(lacks.collect::<Result<_, _>>()?)
    }

    /// Notes that a relay keeps the message until then, if not another one longer; false where it was
    /// known that one keeps it.
    pub fn mark_stored(
        &self,
        seq: u64,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let keep =
            "UPDATE messages SET kept_until = max(coalesce(kept_until, 0), ?2) WHERE seq = ?1";
        self.sql.execute(keep, params![int(seq), int(until.0)])?;
        let update = "UPDATE messages SET stored = 1, stored_at = ?2 WHERE seq = ?1 AND stored = 0";
        Ok(self.sql.execute(update, params![int(seq), int(now.0)])? == 1)
    }

    /// Notes that a member's node has these own messages; the numbers of those of which
    /// that is news.
    pub fn mark_received(
        &self,
        group: GroupId,
        chain: ChainId,
        indexes: &[u32],
        member: MemberId,
        now: Timestamp,
    ) -> Result<Vec<u64>, StoreError> {
        let told: BTreeSet<u32> = indexes.iter().copied().collect();
        let (Some(first), Some(last)) = (told.first(), told.last()) else { return Ok(Vec::new()) };
        // Most of what is told is no news: that costs one statement for the chain.
        let mut open = self.sql.prepare(
            "SELECT m.seq, m.idx FROM messages m
             JOIN recipients r ON r.seq = m.seq AND r.member = ?3 AND r.received = 0
             WHERE m.grp = ?1 AND m.chain = ?2 AND m.idx BETWEEN ?4 AND ?5 AND m.mine = 1
             ORDER BY m.idx",
        )?;
        let place = params![group.0, chain.0, member.0, first, last];
        let open = open.query_map(place, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let open: Vec<(i64, u32)> = open.collect::<Result<_, _>>()?;
        let news: Vec<i64> = open
            .into_iter()
            .filter(|(_, index)| told.contains(index))
            .map(|(seq, _)| seq)
            .collect();
        let mut update = self.sql.prepare(
            "UPDATE recipients SET received = 1, received_at = ?3 WHERE seq = ?1 AND member = ?2",
        )?;
        for seq in &news {
            update.execute(params![seq, member.0, int(now.0)])?;
        }
        Ok(news.into_iter().map(uint).collect())
    }

    /// Notes that an own chain's keys don't open at a member's node; the numbers of the
    /// messages of which that is news.
    pub fn mark_unopened(
        &self,
        group: GroupId,
        chain: ChainId,
        member: MemberId,
        now: Timestamp,
    ) -> Result<Vec<u64>, StoreError> {
        let mut update = self.sql.prepare(
            "UPDATE recipients SET unopened_at = ?4
             WHERE member = ?3 AND received = 0 AND unopened_at IS NULL AND seq IN
               (SELECT seq FROM messages WHERE grp = ?1 AND chain = ?2 AND mine = 1)
             RETURNING seq",
        )?;
        let place = params![group.0, chain.0, member.0, int(now.0)];
        let news = update.query_map(place, |row| row.get(0).map(uint))?;
        Ok(news.collect::<Result<_, _>>()?)
    }

    /// Notes that a member's person has read these own messages, those from `first` to before `next`; the numbers
    /// of those of which that is news.
    pub fn mark_seen(
        &self,
        group: GroupId,
        (chain, first, next): (ChainId, u32, u32),
        member: MemberId,
        now: Timestamp,
    ) -> Result<Vec<u64>, StoreError> {
        let mut update = self.sql.prepare(
            "UPDATE recipients SET read_at = ?4
             WHERE member = ?3 AND read_at IS NULL AND seq IN
               (SELECT seq FROM messages WHERE grp = ?1 AND chain = ?2 AND mine = 1
                  AND changes IS NULL AND idx >= ?5 AND idx < ?6)
             RETURNING seq",
        )?;
        let place = params![group.0, chain.0, member.0, int(now.0), first, next];
        let news = update.query_map(place, |row| row.get(0).map(uint))?;
        Ok(news.collect::<Result<_, _>>()?)
    }

    /// How many of those to whom it was sealed have an own message, and how many have not.
    pub fn reached(&self, seq: u64) -> Result<(u64, u64), StoreError> {
        let query = "SELECT coalesce(sum(received), 0), coalesce(sum(received = 0), 0)
                     FROM recipients WHERE seq = ?1";
        let counts = |row: &Row<'_>| Ok((uint(row.get(0)?), uint(row.get(1)?)));
        Ok(self.sql.query_row(query, [int(seq)], counts)?)
    }

    /// Notes that an own message got further and that this is to be told then, or at the time that
    /// was noted before.
    pub fn put_untold(&self, seq: u64, due: Timestamp) -> Result<(), StoreError> {
        let insert = "INSERT OR IGNORE INTO untold(seq, due) VALUES (?1, ?2)";
        self.sql.execute(insert, params![int(seq), int(due.0)])?;
        Ok(())
    }

    /// All of an own message is told now.
    pub fn drop_untold(&self, seq: u64) -> Result<(), StoreError> {
        self.sql.execute("DELETE FROM untold WHERE seq = ?1", [int(seq)])?;
        Ok(())
    }

    /// Own messages of which something is to be told now: the oldest, at most `limit`. One that is due
    /// after `latest` was noted by a clock that was ahead.
    pub fn untold(
        &self,
        now: Timestamp,
        latest: Timestamp,
        limit: u32,
    ) -> Result<Vec<u64>, StoreError> {
        let mut rows = self.sql.prepare(
            "SELECT seq FROM untold WHERE due <= ?1 OR due > ?2 ORDER BY due, seq LIMIT ?3",
        )?;
        let due = rows.query_map(params![int(now.0), int(latest.0), limit], |row| row.get(0))?;
        Ok(due.map(|seq| seq.map(uint)).collect::<Result<_, _>>()?)
    }

    /// When the next of them is due.
    pub fn untold_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let due: Option<i64> =
            self.sql.query_row("SELECT min(due) FROM untold", [], |row| row.get(0))?;
        Ok(due.map(|due| Timestamp(uint(due))))
    }
}

/// How far an own message is, in short.
pub(super) fn delivery(
    sql: &Connection,
    seq: u64,
    sealed: bool,
    stored: bool,
) -> Result<Delivery, StoreError> {
    let seq = int(seq);
    let count = "SELECT count(*), coalesce(sum(received), 0),
                   coalesce(sum(received = 0 AND unopened_at IS NOT NULL), 0), count(read_at)
                 FROM recipients WHERE seq = ?1";
    let [members, reached, unopened, read] = sql.query_row(count, [seq], |row| {
        Ok([uint(row.get(0)?), uint(row.get(1)?), uint(row.get(2)?), uint(row.get(3)?)])
    })?;
    let mut names = sql.prepare(
        "SELECT r.member, coalesce(n.name, '') FROM recipients r
         LEFT JOIN names n ON n.member = r.member
         WHERE r.seq = ?1 AND r.received = ?2 ORDER BY r.member LIMIT ?3",
    )?;
    let mut named = |received: bool| {
        let rows = names.query_map(params![seq, received, NAMED_MAX], |row| {
            Ok(MemberRef { id: hex(&row.get::<_, [u8; 32]>(0)?), name: row.get(1)? })
        })?;
        rows.collect::<Result<Vec<_>, _>>()
    };
    let (received, missing) = (named(true)?, named(false)?);
    Ok(Delivery { sealed, stored, received, missing, members, reached, unopened, read })
}

/// The digits of an id of 16 bytes, those that are not given filled up.
pub(super) fn filled(digits: &str, fill: &str) -> String {
    let left = 32_usize.saturating_sub(digits.len());
    format!("{digits}{}", fill.repeat(left))
}

fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(at)?.map(|time| Timestamp(uint(time))))
}
