//! The tables, and how an older database becomes a newer one.

use std::{fs, path::Path};

use rusqlite::{Connection, TransactionBehavior};

use super::{StoreError, key};

/// `MIGRATIONS[n]` brings a database of format n (0: empty) to format n + 1. Never changed once
/// released; only added to.
pub(super) const MIGRATIONS: &[&str] =
    &[V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12, V13, V14, V15, V16, V17];

const V1: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE groups(
    id BLOB PRIMARY KEY, name TEXT NOT NULL, added INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE records(
    grp BLOB NOT NULL REFERENCES groups(id), key BLOB NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (grp, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE names(member BLOB PRIMARY KEY, name TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE messages(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE,
    grp BLOB NOT NULL REFERENCES groups(id), sender BLOB NOT NULL, mine INTEGER NOT NULL,
    text TEXT NOT NULL, at INTEGER NOT NULL, class INTEGER NOT NULL,
    chain BLOB, idx INTEGER, msg BLOB, stored INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX messages_place ON messages(grp, chain, idx);
CREATE INDEX messages_group ON messages(grp, seq);
CREATE INDEX messages_msg ON messages(grp, msg);

CREATE TABLE queue(
    seq INTEGER PRIMARY KEY REFERENCES messages(seq), grp BLOB NOT NULL REFERENCES groups(id)
) STRICT;
CREATE INDEX queue_group ON queue(grp, seq);

CREATE TABLE recipients(
    seq INTEGER NOT NULL REFERENCES messages(seq), member BLOB NOT NULL,
    received INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (seq, member)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox(
    tag INTEGER PRIMARY KEY AUTOINCREMENT, grp BLOB NOT NULL REFERENCES groups(id),
    relay BLOB NOT NULL, log BLOB NOT NULL, entry BLOB NOT NULL, at INTEGER NOT NULL,
    seq INTEGER REFERENCES messages(seq)
) STRICT;
CREATE INDEX outbox_relay ON outbox(relay, tag);
CREATE INDEX outbox_message ON outbox(seq);

CREATE TABLE archive(
    grp BLOB NOT NULL REFERENCES groups(id), chain BLOB NOT NULL, idx INTEGER NOT NULL,
    at INTEGER NOT NULL, envelope BLOB NOT NULL, PRIMARY KEY (grp, chain, idx)
) STRICT;
CREATE INDEX archive_age ON archive(grp, at);

CREATE TABLE cursors(
    relay BLOB NOT NULL, log BLOB NOT NULL, cursor BLOB NOT NULL, PRIMARY KEY (relay, log)
) STRICT, WITHOUT ROWID;

CREATE TABLE invites(
    id BLOB PRIMARY KEY, grp BLOB NOT NULL REFERENCES groups(id), record BLOB NOT NULL,
    uses INTEGER NOT NULL, used INTEGER NOT NULL, made INTEGER NOT NULL, expires INTEGER NOT NULL,
    revoked INTEGER NOT NULL, ended INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE joins(
    id BLOB PRIMARY KEY, code TEXT, state INTEGER NOT NULL, detail TEXT NOT NULL, exit INTEGER,
    grp BLOB, started INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE events(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL
) STRICT;
";

/// The audit log of each group; and of messages what their authors signed, so that they can be
/// shared.
const V2: &str = "
CREATE TABLE audit(
    grp BLOB NOT NULL REFERENCES groups(id), seq INTEGER NOT NULL, entry BLOB NOT NULL,
    PRIMARY KEY (grp, seq)
) STRICT, WITHOUT ROWID;

ALTER TABLE messages ADD COLUMN content BLOB;
ALTER TABLE messages ADD COLUMN signature BLOB;
ALTER TABLE messages ADD COLUMN shared_by BLOB;
";

const V3: &str = "
ALTER TABLE joins ADD COLUMN request BLOB;

CREATE TABLE requests(
    invite BLOB NOT NULL REFERENCES invites(id), member BLOB NOT NULL, card BLOB NOT NULL,
    proof BLOB NOT NULL, handshake BLOB NOT NULL, letter INTEGER NOT NULL, state INTEGER NOT NULL,
    at INTEGER NOT NULL, PRIMARY KEY (invite, member)
) STRICT, WITHOUT ROWID;
";

/// An entry that still waits is found by how it begins.
const V4: &str = "
CREATE INDEX outbox_entry ON outbox(log, substr(entry, 1, 32));
";

/// What was asked by letter before such letters were signed by who asks, and is not decided: it may
/// be in somebody else's name. Its maker asks again.
const V5: &str = "
DELETE FROM requests WHERE letter <> 0 AND state <> 1;
";

/// What was read of own inboxes, day by day: what relays need not keep.
const V6: &str = "
CREATE TABLE marks(
    relay BLOB NOT NULL, log BLOB NOT NULL, at INTEGER NOT NULL, cursor BLOB NOT NULL,
    entries INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (relay, log, at)
) STRICT, WITHOUT ROWID;
";

/// Since when an own message is where it is, and what of that is not told yet.
const V7: &str = "
ALTER TABLE messages ADD COLUMN stored_at INTEGER;
ALTER TABLE recipients ADD COLUMN received_at INTEGER;
ALTER TABLE recipients ADD COLUMN unopened_at INTEGER;

CREATE TABLE untold(
    seq INTEGER PRIMARY KEY REFERENCES messages(seq), due INTEGER NOT NULL
) STRICT;
CREATE INDEX untold_due ON untold(due);
";

/// Until when relays keep an own message, the relays that a group has left, and each message's place in the
/// order in which a group's are shown, which for those of before is the order in which they came here. (The index
/// `messages_place` is of places in chains.)
const V8: &str = "
ALTER TABLE messages ADD COLUMN kept_until INTEGER;
ALTER TABLE messages ADD COLUMN place BLOB;
UPDATE messages SET place = unhex(printf('%016x%016x%032x', 0, seq, 0));
UPDATE messages SET place = unhex(printf('ffffffffffffffff%016x%032x', seq, 0))
    WHERE seq IN (SELECT seq FROM queue);
CREATE INDEX messages_order ON messages(grp, place);

CREATE TABLE former(
    grp BLOB NOT NULL REFERENCES groups(id), relay TEXT NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (grp, relay)
) STRICT, WITHOUT ROWID;
";

/// The place that its writer signed, of a message that was ahead of this node's logical clock: it stands where it came.
const V9: &str = "
ALTER TABLE messages ADD COLUMN ahead BLOB;
";

/// What a message says that offers a file; and the files that are on this machine, or are being fetched, by the number of
/// their message. A path is empty while a file is being fetched; what is in the data directory is relative to it.
const V10: &str = "
ALTER TABLE messages ADD COLUMN offer BLOB;

CREATE TABLE files(
    seq INTEGER PRIMARY KEY REFERENCES messages(seq), file BLOB NOT NULL, path BLOB NOT NULL,
    state INTEGER NOT NULL, leaves BLOB NOT NULL
) STRICT;
CREATE INDEX files_file ON files(file);
CREATE INDEX files_wanted ON files(seq) WHERE state = 0;
CREATE INDEX messages_offer ON messages(grp, seq) WHERE offer IS NOT NULL;
CREATE INDEX messages_offer_name ON messages(grp, text) WHERE offer IS NOT NULL;
";

/// Of each message its kind, and what it says where that is more than its text: of kinds that this version does not know,
/// too. What changes another message names it, and is not shown by itself. What was deleted stays as an emptied row, with who deleted it: what is
/// in the history once does not come back. Events name the message that they show: its words are in one place.
const V11: &str = "
ALTER TABLE messages ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN said BLOB;
ALTER TABLE messages ADD COLUMN changes BLOB;
ALTER TABLE messages ADD COLUMN by_admin INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN emptied BLOB;
UPDATE messages SET kind = 5 WHERE offer IS NOT NULL;
CREATE INDEX messages_shown ON messages(grp, place) WHERE changes IS NULL;
CREATE INDEX messages_changes ON messages(grp, changes, kind, sender, place)
    WHERE changes IS NOT NULL AND said IS NOT NULL;
ALTER TABLE events ADD COLUMN message INTEGER;
UPDATE events SET message = json_extract(event, '$.message.seq'), event = json_remove(event, '$.message')
    WHERE json_extract(event, '$.event') = 'message';
";

/// The identities that a person has compared, the names under which that was, and whoever else has come under one of these.
///
/// How far scripts have read events, by names that they chose. Of events of messages that are not kept any more, at which number
/// each message was told: of those of before that is not known, so they get the last numbers that were free; none is told too early. Whose numbers those
/// of events are: what is read from a backup has numbers of another database.
const V12: &str = "
CREATE TABLE verified(member BLOB PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE verified_names(
    member BLOB NOT NULL REFERENCES verified(member), name TEXT NOT NULL, PRIMARY KEY (member, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE other_keys(
    member BLOB NOT NULL, name TEXT NOT NULL, at INTEGER NOT NULL, seen INTEGER NOT NULL,
    PRIMARY KEY (member, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE cursors_named(
    name TEXT PRIMARY KEY, grp BLOB NOT NULL REFERENCES groups(id) ON DELETE CASCADE,
    event INTEGER NOT NULL, moved INTEGER NOT NULL, events BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE trimmed(
    event INTEGER PRIMARY KEY, message INTEGER NOT NULL REFERENCES messages(seq) ON DELETE CASCADE,
    at TEXT
) STRICT;
CREATE INDEX trimmed_message ON trimmed(message);
INSERT INTO trimmed(event, message)
    SELECT (SELECT min(seq) FROM events) - row_number() OVER (ORDER BY seq DESC), seq FROM messages
    WHERE changes IS NULL AND (SELECT min(seq) FROM events) > 1 AND seq NOT IN (SELECT seq FROM queue)
      AND seq NOT IN (SELECT message FROM events
                      WHERE message IS NOT NULL AND json_extract(event, '$.event') = 'message');
DELETE FROM trimmed WHERE event < 1;

INSERT INTO meta(key, value) VALUES ('events', randomblob(16));
";

/// The first format with an index of words.
pub(super) const WITH_SEARCH: usize = 13;

/// What messages show, in the form in which it is looked for, by their numbers; the index of its words; and the number below which what there is
/// has yet to be taken in.
const V13: &str = "
CREATE TABLE sought(seq INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
CREATE VIRTUAL TABLE found USING fts5(
    text, content='sought', content_rowid='seq', columnsize=0,
    tokenize=\"unicode61 remove_diacritics 2 categories 'L* N* Co So'\"
);
INSERT INTO found(found, rank) VALUES ('secure-delete', 1);
CREATE TRIGGER sought_came AFTER INSERT ON sought
    BEGIN INSERT INTO found(rowid, text) VALUES (new.seq, new.text); END;
CREATE TRIGGER sought_gone AFTER DELETE ON sought
    BEGIN INSERT INTO found(found, rowid, text) VALUES ('delete', old.seq, old.text); END;
CREATE TRIGGER sought_changed AFTER UPDATE ON sought BEGIN
    INSERT INTO found(found, rowid, text) VALUES ('delete', old.seq, old.text);
    INSERT INTO found(rowid, text) VALUES (new.seq, new.text);
END;

CREATE TABLE unsought(below INTEGER NOT NULL) STRICT;
INSERT INTO unsought SELECT coalesce(max(seq), 0) + 1 FROM messages;
";

/// Programs with tokens; a backup has none of them. Messages that are to be kept for some time only: until when by this node's clock, for how many
/// milliseconds in all, and whether they came in the run that goes on. Which were emptied because that was over.
const V14: &str = "
CREATE TABLE access(
    label TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, may INTEGER NOT NULL, groups BLOB,
    rate INTEGER NOT NULL, made INTEGER NOT NULL, until INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE due(
    seq INTEGER PRIMARY KEY REFERENCES messages(seq), at INTEGER NOT NULL, ms INTEGER NOT NULL, fresh INTEGER NOT NULL
) STRICT;
CREATE INDEX due_at ON due(fresh, at);
CREATE INDEX due_ms ON due(fresh, ms);
ALTER TABLE messages ADD COLUMN expired INTEGER NOT NULL DEFAULT 0;
";

/// What this node's people keep of groups and members for themselves, and tell nobody: how long a group is muted, after
/// which number in the order of coming it was put away (none: it wasn't), up to which it was read, and who is blocked. What came before is read.
const V15: &str = "
CREATE TABLE shelf(
    grp BLOB PRIMARY KEY REFERENCES groups(id) ON DELETE CASCADE, muted_until INTEGER NOT NULL DEFAULT 0,
    away_seq INTEGER, read_seq INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO shelf(grp, read_seq) SELECT grp, max(seq) FROM messages GROUP BY grp;

CREATE TABLE blocked(member BLOB PRIMARY KEY, since INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE INDEX messages_unread ON messages(grp, seq, sender)
    WHERE mine = 0 AND changes IS NULL AND emptied IS NULL;
";

/// When members said that own messages were read; of which groups this node tells what is read here.
const V16: &str = "
ALTER TABLE recipients ADD COLUMN read_at INTEGER;
ALTER TABLE shelf ADD COLUMN tells INTEGER NOT NULL DEFAULT 0;
";

/// Conversations of two that are asked for: with whom, whether by this node's person, in which group, and the code by which it is come to.
const V17: &str = "
CREATE TABLE talks(
    member BLOB NOT NULL, mine INTEGER NOT NULL, grp BLOB NOT NULL, code TEXT, at INTEGER NOT NULL,
    PRIMARY KEY(member, mine)
) STRICT, WITHOUT ROWID;
";

/// The file that says the format, so that it can be known without the key.
const FILE: &str = "version";

/// Refuses a data directory that says of itself to be of a newer format. One that says nothing is
/// judged by its database.
pub(super) fn check_file(dir: &Path) -> Result<(), StoreError> {
    let known = newest(MIGRATIONS);
    let says = fs::read_to_string(dir.join(FILE)).ok();
    match says.and_then(|text| text.trim().parse::<i64>().ok()) {
        Some(found) if found > known => Err(StoreError::NewerVersion { found, known }),
        _ => Ok(()),
    }
}

/// Says the format that the database has now.
pub(super) fn write_file(dir: &Path) -> Result<(), StoreError> {
    let text = format!("{}\n", newest(MIGRATIONS));
    if fs::read(dir.join(FILE)).is_ok_and(|says| says == text.as_bytes()) {
        return Ok(());
    }
    key::write(dir, FILE, text.as_bytes())
}

fn newest(migrations: &[&str]) -> i64 {
    i64::try_from(migrations.len()).unwrap_or(i64::MAX)
}

/// Refuses a database of a newer format; changes nothing.
pub(super) fn check_version(sql: &Connection, migrations: &[&str]) -> Result<usize, StoreError> {
    let found: i64 = sql.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = newest(migrations);
    match usize::try_from(found) {
        Ok(version) if found <= known => Ok(version),
        Ok(_) => Err(StoreError::NewerVersion { found, known }),
        Err(_) => Err(StoreError::Damaged),
    }
}

/// Brings the database to the newest format, in one transaction.
pub(super) fn migrate(sql: &mut Connection, migrations: &[&str]) -> Result<(), StoreError> {
    let tx = sql.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = check_version(&tx, migrations)?;
    for (step, number) in migrations.iter().zip(1i64..).skip(version) {
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", number)?;
    }
    tx.commit()?;
    Ok(())
}
