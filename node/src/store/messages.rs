//! Messages: history, and what waits to be sealed.

use std::ops::Range;

use protocol::{
    group::SignedContent,
    ids::{ChainId, GroupId, MemberId, MessageId, Timestamp},
    limits::LAMPORT_LEAP,
    said::is_for_admins,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    StoreError, Tx, delivery, files,
    groups::{int, uint},
    order::Place,
    said::{self, Body, RawSaid},
    text::{hex, rfc3339},
};
use crate::api::types::{Class, GroupRef, MemberRef, Message, More, VERSION};

/// A message that was received, as it enters the history.
pub struct NewMessage<'a> {
    /// Where.
    pub group: GroupId,
    /// Its local id.
    pub id: [u8; 16],
    /// Who wrote it.
    pub from: MemberId,
    /// What it says.
    pub body: Body<'a>,
    /// Of what only admins may say: whether its writer was one.
    pub by_admin: bool,
    /// When, by its writer's clock.
    pub at: Timestamp,
    /// How trustworthy its place is.
    pub class: Class,
    /// Its chain.
    pub chain: ChainId,
    /// Its index there.
    pub index: u32,
    /// Its id in the group.
    pub message: MessageId,
    /// Its writer's logical clock.
    pub lamport: u64,
    /// This node's, that message followed.
    pub clock: u64,
    /// What its author signed.
    pub signed: &'a SignedContent,
    /// Who handed it on, where it did not come from its author.
    pub shared_by: Option<MemberId>,
}

/// What sealing made of a queued message.
pub struct Sealing<'a> {
    /// Its number in the order of coming.
    pub seq: u64,
    /// Its chain.
    pub chain: ChainId,
    /// Its index there.
    pub index: u32,
    /// Its id in the group.
    pub message: MessageId,
    /// When it was sealed.
    pub at: Timestamp,
    /// The logical clock then.
    pub lamport: u64,
    /// Of what only admins may say: whether this node's member was one.
    pub by_admin: bool,
    /// To whom, without this node's own member.
    pub recipients: &'a [MemberId],
    /// What was signed.
    pub signed: &'a SignedContent,
}

/// A message that waits to be sealed.
pub struct Queued {
    /// Its number in the order of coming.
    pub seq: u64,
    /// Its kind.
    pub kind: u8,
    /// What it says.
    pub payload: Vec<u8>,
}

/// What has another class than before.
pub struct Reclassed {
    /// Messages that are shown, by their local ids.
    pub messages: Vec<String>,
    /// Changes of messages that count now and did not, or the other way, by their numbers in the order of coming.
    pub changes: Vec<u64>,
}

/// What a message's row and its names say, before its delivery is looked up.
// A group without a name is one that is being erased.
const COLUMNS: &str = "
SELECT m.seq, m.id, m.grp, g.name, m.sender, coalesce(n.name, ''), m.mine, m.text, m.at, m.class,
       m.chain IS NOT NULL, m.stored, m.shared_by, coalesce(s.name, ''), m.place, m.ahead IS NOT NULL, m.offer,
       m.kind, m.said, m.chain, m.idx, m.msg, m.emptied,
       EXISTS (SELECT 1 FROM verified v WHERE v.member = m.sender),
       EXISTS (SELECT 1 FROM other_keys o WHERE o.member = m.sender AND o.seen = 0), m.expired,
       EXISTS (SELECT 1 FROM blocked b WHERE b.member = m.sender)
FROM messages m JOIN groups g ON g.id = m.grp AND g.name <> '' LEFT JOIN names n ON n.member = m.sender
LEFT JOIN names s ON s.member = m.shared_by ";

impl Tx<'_> {
    /// Queues an own message; gives its number in the order of coming.
    pub fn queue_message(
        &self,
        group: GroupId,
        id: [u8; 16],
        me: MemberId,
        body: &Body<'_>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.sql.execute(
            "INSERT INTO messages
               (id, grp, sender, mine, text, at, class, kind, said, changes, offer, by_admin)
             VALUES (?1, ?2, ?3, 1, ?4, ?5, 0, ?6, ?7, ?8, ?9, ?10)",
            params![
                id,
                group.0,
                me.0,
                body.text,
                int(now.0),
                body.kind,
                body.said,
                body.changes.as_ref().map(said::key),
                body.offer,
                // Who may not is refused before; when it is sealed, that is looked at again.
                is_for_admins(body.kind)
            ],
        )?;
        let seq = self.sql.last_insert_rowid();
        self.put_place(seq, &Place::queued(uint(seq)))?;
        self.sql.execute("INSERT INTO queue(seq, grp) VALUES (?1, ?2)", params![seq, group.0])?;
        Ok(uint(seq))
    }

    /// The oldest message of a group that waits to be sealed.
    pub fn next_queued(&self, group: GroupId) -> Result<Option<Queued>, StoreError> {
        let queued = self.sql.query_row(
            "SELECT q.seq, m.kind, coalesce(m.said, m.offer, CAST(m.text AS BLOB))
             FROM queue q JOIN messages m ON m.seq = q.seq WHERE q.grp = ?1 ORDER BY q.seq LIMIT 1",
            [group.0],
            |row| Ok(Queued { seq: uint(row.get(0)?), kind: row.get(1)?, payload: row.get(2)? }),
        );
        Ok(queued.optional()?)
    }

    /// Takes a message out of the queue; it stays in the history, unsealed.
    pub fn unqueue(&self, seq: u64) -> Result<(), StoreError> {
        let group = "DELETE FROM queue WHERE seq = ?1 RETURNING grp";
        let group = self.sql.query_row(group, [int(seq)], |row| row.get(0)).optional()?;
        group.map_or(Ok(()), |group| self.leave_unsealed(GroupId(group), int(seq)))
    }

    /// Takes all that waits to be sealed in a group out of the queue; it stays in the history.
    pub fn unqueue_all(&self, group: GroupId) -> Result<(), StoreError> {
        let mut seqs = self.sql.prepare("DELETE FROM queue WHERE grp = ?1 RETURNING seq")?;
        let seqs = seqs.query_map([group.0], |row| row.get(0))?;
        let mut seqs: Vec<i64> = seqs.collect::<Result<_, _>>()?;
        seqs.sort_unstable();
        seqs.into_iter().try_for_each(|seq| self.leave_unsealed(group, seq))
    }

    /// Gives what stands at no place of its own one among what was, at a node whose logical clock is this one: what leapt,
    /// and what neither waits nor was sealed. The latter stands after all else, so the leaps are settled first.
    pub fn settle_places(&self, group: GroupId, clock: u64) -> Result<(), StoreError> {
        self.settle_leaps(group, clock)?;
        let mut left = self.sql.prepare(
            "SELECT seq FROM messages WHERE grp = ?1 AND place >= ?2
               AND seq NOT IN (SELECT seq FROM queue) ORDER BY seq",
        )?;
        let left = left.query_map(params![group.0, Place::queued(0).0], |row| row.get(0))?;
        let left: Vec<i64> = left.collect::<Result<_, _>>()?;
        left.into_iter().try_for_each(|seq| self.leave_unsealed(group, seq))
    }

    /// What is never sealed stays where it was when that was known: after all that there is. A change that nobody is told of
    /// changes nothing.
    fn leave_unsealed(&self, group: GroupId, seq: i64) -> Result<(), StoreError> {
        let forget = "UPDATE messages SET said = NULL WHERE seq = ?1 AND changes IS NOT NULL";
        self.sql.execute(forget, [seq])?;
        self.put_place(seq, &self.end(group)?)
    }

    /// Has what stands further beyond a logical clock than that follows at once stand where it came: it came before such places were not given
    /// any more, or after such a one, and would hide all that is said. What was signed of its place is kept.
    fn settle_leaps(&self, group: GroupId, clock: u64) -> Result<(), StoreError> {
        let (far, ends) = (Place::beyond(clock.saturating_add(LAMPORT_LEAP)), Place::queued(0));
        let mut leaps = self.sql.prepare(
            "SELECT seq FROM messages WHERE grp = ?1 AND place >= ?2 AND place < ?3 ORDER BY seq",
        )?;
        let leaps = leaps.query_map(params![group.0, far.0, ends.0], |row| row.get(0))?;
        let leaps: Vec<i64> = leaps.collect::<Result<_, _>>()?;
        let before = "SELECT place FROM messages WHERE grp = ?1 AND place < ?2 AND seq < ?3
                      ORDER BY place DESC LIMIT 1";
        let update = "UPDATE messages SET place = ?2,
                        ahead = coalesce(ahead, CASE WHEN chain IS NULL THEN NULL ELSE place END)
                      WHERE seq = ?1";
        for seq in leaps {
            let last = self.sql.query_row(before, params![group.0, far.0, seq], |row| row.get(0));
            let last: Option<[u8; Place::BYTES]> = last.optional()?;
            self.sql.execute(update, params![seq, Place::after(last.map(Place)).0])?;
        }
        Ok(())
    }

    /// The place after all that does not wait to be sealed.
    fn end(&self, group: GroupId) -> Result<Place, StoreError> {
        let last = "SELECT max(place) FROM messages WHERE grp = ?1 AND place < ?2";
        let ends = Place::queued(0).0;
        let last: Option<[u8; Place::BYTES]> =
            self.sql.query_row(last, params![group.0, ends], |row| row.get(0))?;
        Ok(Place::after(last.map(Place)))
    }

    fn put_place(&self, seq: i64, place: &Place) -> Result<(), StoreError> {
        let update = "UPDATE messages SET place = ?2 WHERE seq = ?1";
        self.sql.execute(update, params![seq, place.0])?;
        Ok(())
    }

    /// How many messages of a group wait to be sealed.
    pub fn queued(&self, group: GroupId) -> Result<u64, StoreError> {
        let count = "SELECT count(*) FROM queue WHERE grp = ?1";
        Ok(uint(self.sql.query_row(count, [group.0], |row| row.get(0))?))
    }

    /// Moves a message from the queue to its place in a chain.
    pub fn seal_message(&self, sealing: &Sealing<'_>) -> Result<(), StoreError> {
        let seq = int(sealing.seq);
        self.sql.execute(
            "UPDATE messages SET chain = ?2, idx = ?3, msg = ?4, at = ?5, content = ?6, signature = ?7,
               place = ?8, by_admin = ?9
             WHERE seq = ?1",
            params![
                seq,
                sealing.chain.0,
                sealing.index,
                sealing.message.0,
                int(sealing.at.0),
                sealing.signed.content,
                sealing.signed.signature.0,
                Place::new(sealing.lamport, sealing.at, sealing.message).0,
                sealing.by_admin
            ],
        )?;
        self.sql.execute("DELETE FROM queue WHERE seq = ?1", [seq])?;
        for member in sealing.recipients {
            self.sql.execute(
                "INSERT OR IGNORE INTO recipients(seq, member) VALUES (?1, ?2)",
                params![seq, member.0],
            )?;
        }
        Ok(())
    }

    /// Enters a received message; `None` where its place in the chain is taken already.
    pub fn put_message(&self, new: &NewMessage<'_>) -> Result<Option<u64>, StoreError> {
        let signed = Place::new(new.lamport, new.at, new.message);
        // Or it would hide all that is said until the others' clocks are there. And there it stays: what moved would be met twice, or come
        // up again as if it were said now.
        let (place, ahead) = match new.lamport > new.clock {
            true => (self.end(new.group)?, Some(signed.0)),
            false => (signed, None),
        };
        let rows = self.sql.execute(
            "INSERT OR IGNORE INTO messages
               (id, grp, sender, mine, text, at, class, chain, idx, msg, content, signature, shared_by,
                place, ahead, kind, said, changes, offer, by_admin)
             VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
            params![
                new.id,
                new.group.0,
                new.from.0,
                new.body.text,
                int(new.at.0),
                class_number(new.class),
                new.chain.0,
                new.index,
                new.message.0,
                new.signed.content,
                new.signed.signature.0,
                new.shared_by.map(|member| member.0),
                place.0,
                ahead,
                new.body.kind,
                new.body.said,
                new.body.changes.as_ref().map(said::key),
                new.body.offer,
                new.by_admin
            ],
        )?;
        Ok((rows == 1).then(|| uint(self.sql.last_insert_rowid())))
    }

    /// Where a message stands, by its number in the order of coming.
    pub fn place(&self, seq: u64) -> Result<Option<Place>, StoreError> {
        let place = "SELECT place FROM messages WHERE seq = ?1";
        let place = self.sql.query_row(place, [int(seq)], |row| row.get(0)).optional()?;
        Ok(place.map(Place))
    }

    /// In which chain a message is, and at which place there, once it is sealed.
    pub fn chain_place(&self, seq: u64) -> Result<Option<(ChainId, u32)>, StoreError> {
        let place = "SELECT chain, idx FROM messages WHERE seq = ?1 AND chain IS NOT NULL";
        let place =
            self.sql.query_row(place, [int(seq)], |row| Ok((ChainId(row.get(0)?), row.get(1)?)));
        Ok(place.optional()?)
    }

    /// Judges messages of a chain anew; gives those whose class is another now.
    pub fn reclass(
        &self,
        group: GroupId,
        chain: ChainId,
        indexes: Range<u32>,
        class: Class,
    ) -> Result<Reclassed, StoreError> {
        // What is in the history already came before it was stale, or else it stays late.
        let (class, but) = match class {
            Class::StaleView => (READ_BEFORE, class_number(class)),
            class => (class_number(class), class_number(class)),
        };
        // A change counts or does not, and nothing between.
        let counts =
            "SELECT seq FROM messages WHERE grp = ?1 AND chain = ?2 AND idx >= ?3 AND idx < ?4
                        AND changes IS NOT NULL AND (class = ?6) <> (?5 = ?6)";
        let mut flips = self.sql.prepare(counts)?;
        let post_cut = class_number(Class::PostCut);
        let place = params![group.0, chain.0, indexes.start, indexes.end, class, post_cut];
        let flips = flips.query_map(place, |row| row.get(0).map(uint))?;
        let changes: Vec<u64> = flips.collect::<Result<_, _>>()?;
        let mut rows = self.sql.prepare(
            "UPDATE messages SET class = ?5
             WHERE grp = ?1 AND chain = ?2 AND idx >= ?3 AND idx < ?4 AND class NOT IN (?5, ?6)
             RETURNING id, changes IS NOT NULL",
        )?;
        let place = params![group.0, chain.0, indexes.start, indexes.end, class, but];
        let ids = rows.query_map(place, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let ids: Vec<([u8; 16], bool)> = ids.collect::<Result<_, _>>()?;
        let shown = ids.iter().filter(|(_, is_change)| !is_change);
        let messages = shown.map(|(id, _)| hex(id)).collect();
        Ok(Reclassed { messages, changes })
    }

    /// Judges a message anew; `None` where there is none.
    pub fn classify(
        &self,
        group: GroupId,
        message: MessageId,
        class: Class,
    ) -> Result<Option<u64>, StoreError> {
        let seq = self.sql.query_row(
            "UPDATE messages SET class = ?3 WHERE grp = ?1 AND msg = ?2 RETURNING seq",
            params![group.0, message.0, class_number(class)],
            |row| row.get(0),
        );
        Ok(seq.optional()?.map(uint))
    }

    /// A message, as the API shows it.
    pub fn message(&self, seq: u64) -> Result<Option<Message>, StoreError> {
        message_by_seq(&self.sql, seq)
    }
}

pub(super) fn message_by_seq(sql: &Connection, seq: u64) -> Result<Option<Message>, StoreError> {
    let query = format!("{COLUMNS} WHERE m.seq = ?1");
    let raw = sql.query_row(&query, [int(seq)], raw).optional()?;
    raw.map(|raw| raw.complete(sql)).transpose()
}

pub(super) fn message_by_id(sql: &Connection, id: &[u8]) -> Result<Option<Message>, StoreError> {
    let query = format!("{COLUMNS} WHERE m.id = ?1");
    let raw = sql.query_row(&query, [id], raw).optional()?;
    raw.map(|raw| raw.complete(sql)).transpose()
}

/// Messages in the order in which they came here, of one group or of all: the first `limit` after
/// `after`.
pub(super) fn came_after(
    sql: &Connection,
    group: Option<GroupId>,
    after: u64,
    limit: u32,
) -> Result<Vec<Message>, StoreError> {
    let within = if group.is_some() { "m.grp = ?1" } else { "?1 IS NULL" };
    let query = format!(
        "{COLUMNS} WHERE {within} AND m.changes IS NULL AND m.seq > ?2 ORDER BY m.seq LIMIT ?3"
    );
    let mut rows = sql.prepare(&query)?;
    let raws = rows.query_map(params![group.map(|group| group.0), int(after), limit], raw)?;
    raws.map(|raw| raw?.complete(sql)).collect()
}

/// Messages of a group in the order of their places, which is shown: the last `limit`, before the one whose number in
/// the order of coming is `before`.
pub(super) fn page(
    sql: &Connection,
    group: GroupId,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<Message>, StoreError> {
    let before_it = match before {
        Some(_) => "m.place < (SELECT place FROM messages WHERE seq = ?2 AND grp = ?1)",
        None => "?2 IS NULL",
    };
    let query = format!(
        "{COLUMNS} WHERE m.grp = ?1 AND m.changes IS NULL AND {before_it} ORDER BY m.place DESC LIMIT ?3"
    );
    let mut rows = sql.prepare(&query)?;
    let raws = rows.query_map(params![group.0, before.map(int), limit], raw)?;
    let mut page = raws.map(|raw| raw?.complete(sql)).collect::<Result<Vec<_>, StoreError>>()?;
    page.reverse();
    Ok(page)
}

/// Messages of a group in the order of their places: the first `limit` beyond a place, and who stands there by its number.
pub(super) fn beyond(
    sql: &Connection,
    group: GroupId,
    beyond: Option<(Place, u64)>,
    limit: u32,
) -> Result<Vec<Message>, StoreError> {
    let query = format!(
        "{COLUMNS} WHERE m.grp = ?1 AND m.changes IS NULL AND m.place >= ?2
           AND (m.place > ?2 OR m.seq > ?3) ORDER BY m.place, m.seq LIMIT ?4"
    );
    let (place, seq) = beyond.map_or(([0; Place::BYTES], -1), |(place, seq)| (place.0, int(seq)));
    let mut rows = sql.prepare(&query)?;
    let raws = rows.query_map(params![group.0, place, seq, limit], raw)?;
    raws.map(|raw| raw?.complete(sql)).collect()
}

struct Raw {
    message: Message,
    group: GroupId,
    author: MemberId,
    said: RawSaid,
    sealed: bool,
    stored: bool,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let (id, group, sender): ([u8; 16], [u8; 32], [u8; 32]) =
        (row.get(1)?, row.get(2)?, row.get(4)?);
    let at: i64 = row.get(8)?;
    let offer: Option<Vec<u8>> = row.get(16)?;
    let (shared_by, by_name): (Option<[u8; 32]>, String) = (row.get(12)?, row.get(13)?);
    Ok(Raw {
        message: Message {
            v: VERSION,
            id: hex(&id),
            seq: uint(row.get(0)?),
            place: hex(&row.get::<_, [u8; Place::BYTES]>(14)?),
            group: GroupRef { id: hex(&group), name: row.get(3)? },
            from: MemberRef { id: hex(&sender), name: row.get(5)? },
            mine: row.get(6)?,
            text: row.get(7)?,
            at: rfc3339(Timestamp(uint(at))),
            class: class_of(row.get(9)?),
            late: row.get::<_, u8>(9)? == class_number(Class::StaleView),
            ahead: row.get(15)?,
            shared_by: shared_by.map(|id| MemberRef { id: hex(&id), name: by_name }),
            file: offer.as_deref().and_then(files::offered),
            more: More {
                verified: row.get(23)?,
                other_key: row.get(24)?,
                blocked: row.get(26)?,
                ..More::default()
            },
            delivery: None,
        },
        group: GroupId(group),
        author: MemberId(sender),
        said: RawSaid {
            kind: row.get(17)?,
            said: row.get(18)?,
            head: said::head(row, 19)?,
            emptied: row.get::<_, Option<[u8; 32]>>(22)?.map(MemberId),
            expired: row.get(25)?,
        },
        sealed: row.get(10)?,
        stored: row.get(11)?,
    })
}

impl Raw {
    fn complete(self, sql: &Connection) -> Result<Message, StoreError> {
        let mut message = self.message;
        said::complete(sql, self.group, self.author, &self.said, &mut message)?;
        if message.mine {
            let delivery = delivery::delivery(sql, message.seq, self.sealed, self.stored)?;
            message.delivery = Some(delivery);
        }
        Ok(message)
    }
}

/// Shown as [`Class::StaleView`]: it came before it was known that somebody is gone who could read
/// it, as all that a removed member read has.
const READ_BEFORE: u8 = 3;

fn class_number(class: Class) -> u8 {
    match class {
        Class::Ok => 0,
        Class::StaleView => 1,
        Class::PostCut => 2,
    }
}

pub(super) fn class_of(number: u8) -> Class {
    match number {
        0 => Class::Ok,
        1 | READ_BEFORE => Class::StaleView,
        _ => Class::PostCut,
    }
}
