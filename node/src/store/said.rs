//! What messages say beside their text, and what others changed of them.
//!
//! > A change is a row of its own that is not shown. What a message shows is read from its row and from those of its
//! > changes, each time: whichever came first, and whoever was found out later to have been removed.

use std::borrow::Cow;

use protocol::{
    chain::HeadRef,
    file::{FILE, Offer},
    ids::{ChainId, GroupId, MemberId, MessageId},
    limits::REACTIONS_READ,
    said::{Change, DELETE, EDIT, PIN, REACTION, Said, Shown, TEXT, Text},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    StoreError, Tx,
    delivery::{Which, filled},
    groups::{int, uint},
    messages::{class_of, message_by_seq},
    order::Place,
    text::{hex, unhex},
};
use crate::api::types::{
    Answered, ChangeKind, Class, MemberRef, Message, MessageKind, More, Reaction,
};

/// What a message says, as its row has it.
pub struct Body<'a> {
    /// The kind, as it was sent.
    pub kind: u8,
    /// What is shown as its text: of a file's offer the name.
    pub text: Cow<'a, str>,
    /// The payload, where text and offer are not all of it.
    pub said: Option<&'a [u8]>,
    /// The payload, where it offers a file.
    pub offer: Option<&'a [u8]>,
    /// What it changes.
    pub changes: Option<HeadRef>,
}

impl<'a> Body<'a> {
    /// Of a text alone.
    #[must_use]
    pub const fn text(text: &'a str) -> Self {
        let text = Cow::Borrowed(text);
        Self { kind: TEXT, text, said: None, offer: None, changes: None }
    }

    /// Of what came; nothing is refused: what this version does not know, a later one may.
    #[must_use]
    pub fn of(kind: u8, payload: &'a [u8]) -> Self {
        if kind == TEXT {
            return Self { text: String::from_utf8_lossy(payload), ..Self::text("") };
        }
        if let Some(offer) = (kind == FILE).then(|| Offer::from_bytes(payload).ok()).flatten() {
            let name = Cow::Owned(offer.name().as_str().to_owned());
            return Self { kind, text: name, offer: Some(payload), ..Self::text("") };
        }
        let said = Some(payload);
        match Said::read(kind, payload) {
            Some(Said::Text(text)) => {
                Self { kind, text: Cow::Owned(text.text), said, ..Self::text("") }
            }
            Some(change) => {
                Self { kind, said, changes: change.changes().copied(), ..Self::text("") }
            }
            None => Self { kind, said, ..Self::text("") },
        }
    }
}

/// How a row names the message that it changes.
pub(super) fn key(head: &HeadRef) -> Vec<u8> {
    [&head.chain.0[..], &head.index.to_be_bytes(), &head.id.0].concat()
}

/// What is said, and of which kind, of a row.
pub(super) struct RawSaid {
    pub(super) kind: u8,
    pub(super) said: Option<Vec<u8>>,
    /// Where it is in its group, once it is sealed.
    pub(super) head: Option<HeadRef>,
    /// Who deleted it; where it is over, who wrote it.
    pub(super) emptied: Option<MemberId>,
    /// Whether it was to be kept for some time only, and is over.
    pub(super) expired: bool,
}

/// The place of a row: columns from `first` on, of which a message that is not sealed has none.
pub(super) fn head(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<HeadRef>> {
    let (chain, index, id): (Option<[u8; 16]>, Option<u32>, Option<[u8; 16]>) =
        (row.get(first)?, row.get(first + 1)?, row.get(first + 2)?);
    let head = |((chain, index), id)| HeadRef { chain: ChainId(chain), index, id: MessageId(id) };
    Ok(chain.zip(index).zip(id).map(head))
}

/// Completes a message by what it says beside its text and by its changes.
pub(super) fn complete(
    sql: &Connection,
    group: GroupId,
    author: MemberId,
    raw: &RawSaid,
    message: &mut Message,
) -> Result<(), StoreError> {
    if raw.expired {
        message.more.expired = true;
        return Ok(());
    }
    if let Some(by) = raw.emptied {
        message.more.deleted_by = Some(named(sql, by)?);
        return Ok(());
    }
    let text = match (&raw.said, raw.kind) {
        (None, _) => Text { text: message.text.clone(), ..Text::default() },
        (Some(said), kind) => match Said::read(kind, said) {
            Some(Said::Text(text)) => text,
            _ => {
                message.more.kind = MessageKind::Unknown;
                return Ok(());
            }
        },
    };
    let is_file = message.file.is_some();
    message.more.kind = if is_file { MessageKind::File } else { MessageKind::Text };
    message.more.expires_s = text.expires_s;
    message.more.reply = text.reply.as_ref().map(|head| answered(sql, group, head)).transpose()?;
    let mentions = text.mentions.iter().map(|member| named(sql, *member));
    message.more.mentions = mentions.collect::<Result<_, _>>()?;
    let Some(head) = &raw.head else { return Ok(()) };
    let changes = changes_of(sql, group, head, author)?;
    if changes.is_empty() {
        return Ok(());
    }
    let shown = Shown::of(author, &text, &counting(&changes, is_file));
    let who = |member: Option<MemberId>| member.map(|it| named(sql, it)).transpose();
    let more = More {
        edits: u32::try_from(shown.before.len()).unwrap_or(u32::MAX),
        deleted_by: who(shown.deleted_by)?,
        pinned_by: who(shown.pinned_by)?,
        reactions: shown
            .reactions
            .iter()
            .map(|(text, by)| {
                let by = by.iter().map(|member| named(sql, *member));
                let text = (*text).to_owned();
                Ok(Reaction { text, by: by.collect::<Result<_, StoreError>>()? })
            })
            .collect::<Result<_, StoreError>>()?,
        ..std::mem::take(&mut message.more)
    };
    message.more = more;
    message.text = shown.text.unwrap_or_default().to_owned();
    if message.more.deleted_by.is_some() {
        message.file = None;
        (message.more.reply, message.more.mentions) = (None, Vec::new());
    }
    Ok(())
}

/// A change, as its row says.
struct Read {
    place: [u8; Place::BYTES],
    from: MemberId,
    is_admin: bool,
    said: Said,
}

/// An offer of a file is not edited.
fn counting(changes: &[Read], is_file: bool) -> Vec<Change<'_>> {
    let counts = |it: &&Read| !(is_file && matches!(it.said, Said::Edit { .. }));
    changes.iter().filter(counts).map(Read::change).collect()
}

impl Read {
    const fn change(&self) -> Change<'_> {
        let Self { place, from, is_admin, said } = self;
        Change { place: *place, from: *from, is_admin: *is_admin, said }
    }
}

/// So many texts of a message are counted.
const EDITS_READ: usize = 64;
/// So many changes of one kind, of one sender and of one message are kept whole.
const KEPT: i64 = 64;
/// In the order of places.
const FIRST: &str = "ASC";
/// The other way.
const LAST: &str = "DESC";

/// Those changes of a message that may count: however many others there are, so many rows are read.
fn changes_of(
    sql: &Connection,
    group: GroupId,
    head: &HeadRef,
    author: MemberId,
) -> Result<Vec<Read>, StoreError> {
    let mut rows = sql.prepare(
        "SELECT place, sender, by_admin, kind, said FROM (
           SELECT *, row_number() OVER (
             PARTITION BY kind, CASE kind WHEN ?4 THEN sender END
             ORDER BY CASE kind WHEN ?5 THEN NULL ELSE place END DESC, place) AS nth
           FROM messages WHERE grp = ?1 AND changes = ?2 AND class <> 2 AND said IS NOT NULL
             AND (kind = ?4 AND sender NOT IN (SELECT member FROM blocked) OR kind = ?6 AND sender = ?3 OR kind = ?7 AND by_admin <> 0
               OR kind = ?5 AND (sender = ?3 OR by_admin <> 0)))
         WHERE nth <= CASE kind WHEN ?4 THEN ?8 WHEN ?6 THEN ?9 ELSE 1 END",
    )?;
    let rows = rows.query_map(
        params![
            group.0,
            key(head),
            author.0,
            REACTION,
            DELETE,
            EDIT,
            PIN,
            i64::try_from(REACTIONS_READ).unwrap_or(i64::MAX),
            i64::try_from(EDITS_READ).unwrap_or(i64::MAX)
        ],
        |row| {
            let (kind, said): (u8, Vec<u8>) = (row.get(3)?, row.get(4)?);
            let (place, from, is_admin) = (row.get(0)?, MemberId(row.get(1)?), row.get(2)?);
            Ok(Said::read(kind, &said).map(|said| Read { place, from, is_admin, said }))
        },
    )?;
    Ok(rows.filter_map(Result::transpose).collect::<Result<_, _>>()?)
}

/// Characters of a message that another one answers.
const SHOWN: usize = 80;

fn answered(sql: &Connection, group: GroupId, head: &HeadRef) -> Result<Answered, StoreError> {
    let Some(seq) = seq_at(sql, group, head)? else { return Ok(Answered::default()) };
    // What was deleted has no text.
    let row = "SELECT sender, kind, said, text, offer IS NOT NULL, id FROM messages WHERE seq = ?1";
    let (from, kind, said, text, is_file, id) = sql.query_row(row, [int(seq)], |row| {
        let from = MemberId(row.get(0)?);
        let said: Option<Vec<u8>> = row.get(2)?;
        let (text, is_file): (String, bool) = (row.get(3)?, row.get(4)?);
        Ok((from, row.get::<_, u8>(1)?, said, text, is_file, row.get::<_, [u8; 16]>(5)?))
    })?;
    let text = match said {
        None => Text { text, ..Text::default() },
        Some(said) => match Said::read(kind, &said) {
            Some(Said::Text(text)) => text,
            _ => Text::default(),
        },
    };
    let changes = changes_of(sql, group, head, from)?;
    let shown = Shown::of(from, &text, &counting(&changes, is_file)).text.unwrap_or_default();
    let text = shown.chars().take(SHOWN).collect();
    Ok(Answered { id: Some(hex(&id)), from: Some(named(sql, from)?), text })
}

pub(super) fn seq_at(
    sql: &Connection,
    group: GroupId,
    head: &HeadRef,
) -> Result<Option<u64>, StoreError> {
    let at = "SELECT seq FROM messages
              WHERE grp = ?1 AND chain = ?2 AND idx = ?3 AND msg = ?4 AND changes IS NULL";
    let place = params![group.0, head.chain.0, head.index, head.id.0];
    Ok(sql.query_row(at, place, |row| row.get(0)).optional()?.map(uint))
}

fn named(sql: &Connection, member: MemberId) -> Result<MemberRef, StoreError> {
    let name = "SELECT name FROM names WHERE member = ?1";
    let name = sql.query_row(name, [member.0], |row| row.get(0)).optional()?;
    Ok(MemberRef { id: hex(&member.0), name: name.unwrap_or_default() })
}

/// A change that came, for whoever follows along.
pub struct Changed {
    /// What it changes, as it is shown now.
    pub message: Message,
    /// Who changes it.
    pub by: MemberRef,
    /// What.
    pub change: ChangeKind,
}

impl Tx<'_> {
    /// How others name a message, once it is sealed.
    pub fn head(&self, seq: u64) -> Result<Option<HeadRef>, StoreError> {
        let place = "SELECT chain, idx, msg FROM messages WHERE seq = ?1";
        let place = self.sql.query_row(place, [int(seq)], |row| head(row, 0)).optional()?;
        Ok(place.flatten())
    }

    /// The kind and the payload of a message that has more than its text.
    #[cfg(test)]
    pub fn said(&self, seq: u64) -> Result<(u8, Vec<u8>), StoreError> {
        let said = "SELECT kind, said FROM messages WHERE seq = ?1";
        Ok(self.sql.query_row(said, [int(seq)], |row| Ok((row.get(0)?, row.get(1)?)))?)
    }

    /// How many changes are kept whole.
    #[cfg(test)]
    pub fn changes(&self) -> Result<u64, StoreError> {
        let count = "SELECT count(*) FROM messages WHERE changes IS NOT NULL AND said IS NOT NULL";
        Ok(uint(self.sql.query_row(count, [], |row| row.get(0))?))
    }

    /// All that is kept of what messages say.
    #[cfg(test)]
    pub fn words(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let words =
            "SELECT CAST(text AS BLOB) FROM messages UNION ALL SELECT coalesce(said, x'') FROM messages
                     UNION ALL SELECT coalesce(content, x'') FROM messages UNION ALL SELECT CAST(event AS BLOB) FROM events";
        let mut rows = self.sql.prepare(words)?;
        let rows = rows.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Empties a message that its writer, or who may, has deleted, and the texts that it had: also where one of them comes later, but not
    /// what waits to be sealed. Whether it is deleted.
    pub fn erase(&self, seq: u64) -> Result<bool, StoreError> {
        let row =
            "SELECT grp, sender, emptied IS NOT NULL, chain, idx, msg FROM messages WHERE seq = ?1";
        let row = self.sql.query_row(row, [int(seq)], |row| {
            let (group, author) = (GroupId(row.get(0)?), MemberId(row.get(1)?));
            Ok((group, author, row.get::<_, bool>(2)?, head(row, 3)?))
        });
        let Some((group, author, is_emptied, Some(head))) = row.optional()? else {
            return Ok(false);
        };
        if !is_emptied {
            let changes = changes_of(&self.sql, group, &head, author)?;
            let nothing = Text::default();
            let Some(by) = Shown::of(author, &nothing, &counting(&changes, true)).deleted_by else {
                return Ok(false);
            };
            self.empty(seq, by)?;
        }
        self.sql.execute(
            "UPDATE messages SET said = NULL, content = NULL, signature = NULL
             WHERE grp = ?1 AND changes = ?2 AND kind = ?3 AND said IS NOT NULL
               AND seq NOT IN (SELECT seq FROM queue)",
            params![group.0, key(&head), EDIT],
        )?;
        Ok(true)
    }

    /// Edits of a message that wait to be sealed.
    pub fn queued_edits(&self, group: GroupId, of: &HeadRef) -> Result<Vec<u64>, StoreError> {
        let mut edits = self.sql.prepare(
            "SELECT m.seq FROM queue q JOIN messages m ON m.seq = q.seq
             WHERE q.grp = ?1 AND m.changes = ?2 AND m.kind = ?3",
        )?;
        let edits = edits.query_map(params![group.0, key(of), EDIT], |row| row.get(0).map(uint))?;
        Ok(edits.collect::<Result<_, _>>()?)
    }

    /// Empties a message: its row stays, so that it does not come back.
    pub fn empty(&self, seq: u64, by: MemberId) -> Result<(), StoreError> {
        self.sql.execute(
            "UPDATE messages SET text = '', said = NULL, offer = NULL, content = NULL, signature = NULL,
               emptied = ?2
             WHERE seq = ?1",
            params![int(seq), by.0],
        )?;
        self.forget_file(seq)
    }

    /// Empties those changes of a message that count no more, of the kind and the sender of this one: so that a message has so many
    /// of each, however many come. Of deletions the first count, of others the last. What counts and what doesn't is trimmed apart.
    pub fn trim_changes(&self, seq: u64) -> Result<(), StoreError> {
        let trim = |order: &str| {
            let trim = format!(
                "UPDATE messages SET said = NULL, content = NULL, signature = NULL WHERE seq IN (
                   SELECT o.seq FROM messages n JOIN messages o
                     ON o.grp = n.grp AND o.changes = n.changes AND o.kind = n.kind AND o.sender = n.sender
                       AND (o.class = 2) = (n.class = 2) AND o.by_admin = n.by_admin
                   WHERE n.seq = ?1 AND n.changes IS NOT NULL AND (n.kind = ?2) = ?3
                     AND o.changes IS NOT NULL AND o.said IS NOT NULL
                     AND o.seq NOT IN (SELECT seq FROM queue)
                   ORDER BY o.place {order} LIMIT -1 OFFSET ?4)"
            );
            let is_deletion = order == FIRST;
            self.sql.execute(&trim, params![int(seq), DELETE, is_deletion, KEPT])
        };
        trim(FIRST)?;
        trim(LAST)?;
        Ok(())
    }

    /// Which message is changed by the change of this number, where it is here.
    pub fn changed_by(&self, seq: u64) -> Result<Option<u64>, StoreError> {
        let row = "SELECT grp, changes FROM messages WHERE seq = ?1 AND changes IS NOT NULL";
        let row = self.sql.query_row(row, [int(seq)], |row| Ok((row.get(0)?, row.get(1)?)));
        let Some((group, key)) = row.optional()? else { return Ok(None) };
        let (group, key): ([u8; 32], Vec<u8>) = (group, key);
        let target = "SELECT seq FROM messages WHERE changes IS NULL
                        AND grp = ?1 AND chain = substr(?2, 1, 16) AND msg = substr(?2, 21)";
        let target =
            self.sql.query_row(target, params![group, key], |row| row.get(0)).optional()?;
        Ok(target.map(uint))
    }

    /// The messages of a group that may be meant, two at most: whoever wrote them.
    pub fn which_shown(&self, group: GroupId, which: Which<'_>) -> Result<Vec<u64>, StoreError> {
        let (query, first, last) = match which {
            Which::Last => (
                "grp = ?1 AND changes IS NULL AND ?2 IS ?3 ORDER BY place DESC LIMIT 1",
                None,
                None,
            ),
            Which::Prefix(digits) => {
                let [first, last] = ["0", "f"].map(|fill| unhex(&filled(digits, fill)));
                let (Some(first), Some(last)) = (first, last) else { return Ok(Vec::new()) };
                (
                    "+grp = ?1 AND +changes IS NULL AND id BETWEEN ?2 AND ?3 LIMIT 2",
                    Some(first),
                    Some(last),
                )
            }
        };
        let query = format!("SELECT seq FROM messages WHERE {query}");
        let mut rows = self.sql.prepare(&query)?;
        let rows = rows.query_map(params![group.0, first, last], |row| row.get(0).map(uint))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What the change of this number does, where what it changes is here and who says it may. Where that was to be judged
    /// anew, that it was.
    pub fn changed(&self, seq: u64, is_anew: bool) -> Result<Option<Changed>, StoreError> {
        let row = "SELECT grp, sender, by_admin, class, kind, said FROM messages
                   WHERE seq = ?1 AND changes IS NOT NULL";
        let row = self.sql.query_row(row, [int(seq)], |row| {
            let said: Option<Vec<u8>> = row.get(5)?;
            let (group, by) = (GroupId(row.get(0)?), MemberId(row.get(1)?));
            let class = class_of(row.get(3)?);
            let said = said.and_then(|said| Said::read(row.get(4).ok()?, &said));
            Ok((group, by, row.get::<_, bool>(2)?, class, said))
        });
        let Some((group, by, by_admin, class, Some(said))) = row.optional()? else {
            return Ok(None);
        };
        let Some(head) = said.changes() else { return Ok(None) };
        let Some(target) = seq_at(&self.sql, group, head)? else { return Ok(None) };
        let Some(message) = message_by_seq(&self.sql, target)? else { return Ok(None) };
        let is_author = message.from.id == hex(&by.0);
        let (may, change) = match &said {
            Said::Edit { .. } => (is_author && message.file.is_none(), ChangeKind::Edit),
            Said::Delete { .. } => (is_author || by_admin, ChangeKind::Delete),
            Said::Pin { on, .. } => (by_admin, ChangeKind::Pin { on: *on }),
            Said::Reaction { text, on, .. } => {
                (!self.is_blocked(by)?, ChangeKind::Reaction { sign: text.clone(), on: *on })
            }
            Said::Text(_) => return Ok(None),
        };
        let change = if is_anew { ChangeKind::Judged } else { change };
        let counts = may && (is_anew || class != Class::PostCut);
        let by = named(&self.sql, by)?;
        Ok(counts.then_some(Changed { message, by, change }))
    }
}

#[cfg(test)]
mod tests;
