//! The store against a real directory: keys, versions, locks, crashes, bounds.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use protocol::{
    ids::{ChainId, GroupId, LogId, MemberId, MessageId, Timestamp},
    relay_log::Cursor,
};
use rusqlite::{Connection, params};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::{Body, NewMessage, Sealing, Standing, Store, StoreError, Unlock, Which, schema};
use crate::api::types::{Class, Event, What};

pub(super) const GROUP: GroupId = GroupId([1; 32]);
const ME: MemberId = MemberId([2; 32]);
const BOB: MemberId = MemberId([3; 32]);
const NOW: Timestamp = Timestamp(1_800_000_000_000);

pub(super) fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, &Unlock::KeyFile)
}

fn passphrase(text: &str) -> Unlock {
    Unlock::Passphrase(Zeroizing::new(text.into()))
}

/// A store with one group.
pub(super) fn with_group(dir: &Path) -> Store {
    let mut store = open(dir).unwrap();
    store.transaction(|tx| tx.put_group(GROUP, "reading", NOW)).unwrap();
    store
}

fn error(result: Result<Store, StoreError>) -> StoreError {
    match result {
        Ok(_) => panic!("the store opened"),
        Err(error) => error,
    }
}

static SIGNED: protocol::group::SignedContent = protocol::group::SignedContent {
    content: Vec::new(),
    signature: protocol::sign::Signature([0; 64]),
};

pub(super) fn received(index: u32, text: &str) -> NewMessage<'_> {
    NewMessage {
        group: GROUP,
        id: [u8::try_from(index).unwrap() + 100; 16],
        from: BOB,
        body: Body::text(text),
        by_admin: false,
        at: NOW,
        class: Class::Ok,
        chain: ChainId([7; 16]),
        index,
        message: MessageId([u8::try_from(index).unwrap(); 16]),
        lamport: u64::from(index) + 1,
        clock: u64::MAX,
        signed: &SIGNED,
        shared_by: None,
    }
}

#[test]
fn everything_in_the_directory_is_for_its_owner_alone() {
    let dir = dir();
    let path = dir.path().join("data");
    let _store = with_group(&path);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let files: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_directory_that_holds_something_else_keeps_its_rights() {
    let dir = dir();
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("letter"), "dear").unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    drop(open(&home).unwrap());
    assert_eq!(fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn a_second_process_is_told_that_the_directory_is_in_use() {
    let dir = dir();
    let store = open(dir.path()).unwrap();
    let refused = error(open(dir.path()));
    assert!(matches!(refused, StoreError::Locked) && refused.to_string().contains("wattle down"));
    drop(store);
    assert!(open(dir.path()).is_ok());
}

#[test]
fn another_key_opens_nothing() {
    let dir = dir();
    drop(with_group(dir.path()));
    let key = dir.path().join("key");
    let right = fs::read(&key).unwrap();
    fs::write(&key, [9; 32]).unwrap();
    assert!(matches!(error(open(dir.path())), StoreError::WrongKey));
    fs::remove_file(&key).unwrap();
    assert!(matches!(error(open(dir.path())), StoreError::KeyMissing));
    assert!(!key.exists(), "no new key is made beside an old database");
    fs::write(&key, right).unwrap();
    let groups = open(dir.path()).unwrap().transaction(|tx| tx.groups()).unwrap();
    assert_eq!(groups, [GROUP]);
}

#[test]
fn a_passphrase_opens_what_it_locked_and_nothing_else_does() {
    let dir = dir();
    drop(Store::open(dir.path(), &passphrase("correct horse")).unwrap());
    assert!(Store::open(dir.path(), &passphrase("correct horse")).is_ok());
    let wrong = Store::open(dir.path(), &passphrase("wrong horse"));
    assert!(matches!(error(wrong), StoreError::WrongKey));
    assert!(matches!(error(open(dir.path())), StoreError::PassphraseNeeded));

    let plain = self::dir();
    drop(open(plain.path()).unwrap());
    let refused = Store::open(plain.path(), &passphrase("any"));
    assert!(matches!(error(refused), StoreError::PassphraseUnknown));
}

#[test]
fn nothing_readable_is_on_the_disk() {
    let dir = dir();
    let mut store = with_group(dir.path());
    store.transaction(|tx| tx.put_message(&received(0, "a readable secret"))).unwrap();
    let mut files = 0;
    for entry in fs::read_dir(dir.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(8).any(|window| window == b"readable"));
        files += 1;
    }
    assert!(files >= 3, "database, its log and the key were looked at");
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_as_it_is() {
    let dir = dir();
    let store = with_group(dir.path());
    store.sql.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let file = dir.path().join("wattle.db");
    let before = fs::read(&file).unwrap();
    let refused = error(open(dir.path()));
    assert!(matches!(refused, StoreError::NewerVersion { found: 99, known: 17 }), "{refused}");
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_directory_that_says_to_be_newer_is_refused_without_its_key() {
    let dir = dir();
    drop(with_group(dir.path()));
    let version = dir.path().join("version");
    assert_eq!(fs::read_to_string(&version).unwrap(), "17\n");
    let key = fs::read(dir.path().join("key")).unwrap();
    fs::write(&version, "18\n").unwrap();
    fs::write(dir.path().join("key"), "of another kind").unwrap();
    let refused = error(open(dir.path()));
    assert!(matches!(refused, StoreError::NewerVersion { found: 18, known: 17 }), "{refused}");
    fs::write(&version, "17\n").unwrap();
    fs::write(dir.path().join("key"), key).unwrap();
    assert!(open(dir.path()).is_ok());
}

#[test]
fn an_older_database_is_brought_forward_or_left_whole() {
    let steps = ["CREATE TABLE a(x); INSERT INTO a VALUES (1)", "ALTER TABLE a ADD COLUMN y"];
    let mut sql = Connection::open_in_memory().unwrap();
    schema::migrate(&mut sql, &steps[..1]).unwrap();
    let broken = [steps[0], "ALTER TABLE a ADD COLUMN z; nonsense"];
    assert!(schema::migrate(&mut sql, &broken).is_err());
    assert_eq!(schema::check_version(&sql, &steps).unwrap(), 1);
    schema::migrate(&mut sql, &steps).unwrap();
    assert_eq!(schema::check_version(&sql, &steps).unwrap(), 2);
    let row = sql.query_row("SELECT x FROM a WHERE y IS NULL", [], |row| row.get::<_, i64>(0));
    assert_eq!(row.unwrap(), 1);
    assert!(sql.prepare("SELECT z FROM a").is_err(), "the broken step left nothing");
}

#[test]
fn a_history_of_before_keeps_its_order_and_what_waits_stays_last() {
    let mut sql = Connection::open_in_memory().unwrap();
    schema::migrate(&mut sql, &schema::MIGRATIONS[..7]).unwrap();
    sql.execute_batch(
        "INSERT INTO groups VALUES (x'01', 'reading', 0);
         INSERT INTO messages(id, grp, sender, mine, text, at, class) VALUES
           (x'01', x'01', x'02', 0, 'first', 900, 0), (x'02', x'01', x'02', 1, 'waits', 100, 0),
           (x'03', x'01', x'02', 0, 'second', 500, 0);
         INSERT INTO queue(seq, grp) VALUES (2, x'01');",
    )
    .unwrap();
    schema::migrate(&mut sql, schema::MIGRATIONS).unwrap();
    let mut rows = sql.prepare("SELECT text, length(place) FROM messages ORDER BY place").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let rows: Vec<(String, u32)> = rows.collect::<Result<_, _>>().unwrap();
    let texts: Vec<&str> = rows.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, ["first", "second", "waits"]);
    assert!(rows.iter().all(|(_, bytes)| *bytes == 32));
}

#[test]
fn a_history_of_before_what_is_ahead_was_marked_is_brought_forward_as_it_is() {
    let mut sql = Connection::open_in_memory().unwrap();
    schema::migrate(&mut sql, &schema::MIGRATIONS[..8]).unwrap();
    sql.execute_batch(
        "INSERT INTO groups VALUES (x'01', 'reading', 0);
         INSERT INTO messages(id, grp, sender, mine, text, at, class, place) VALUES
           (x'01', x'01', x'02', 0, 'first', 1, 0, unhex(printf('%064x', 1))),
           (x'02', x'01', x'02', 0, 'leaps', 2, 0, unhex('fffffffffffffffe' || printf('%048x', 2))),
           (x'03', x'01', x'02', 0, 'second', 3, 0, unhex(printf('%064x', 3)));",
    )
    .unwrap();
    schema::migrate(&mut sql, schema::MIGRATIONS).unwrap();
    let mut rows = sql.prepare("SELECT text, ahead IS NULL FROM messages ORDER BY place").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let rows: Vec<(String, bool)> = rows.collect::<Result<_, _>>().unwrap();
    // What leaps has its place once its group is taken up.
    assert_eq!(
        rows,
        [("first", true), ("second", true), ("leaps", true)].map(|(t, a)| (t.into(), a))
    );
}

#[test]
fn letters_that_nobody_signed_wait_for_nobodys_word_any_more() {
    let mut sql = Connection::open_in_memory().unwrap();
    schema::migrate(&mut sql, &schema::MIGRATIONS[..4]).unwrap();
    sql.pragma_update(None, "foreign_keys", false).unwrap();
    let asked: [(u8, u8); 6] = [(0, 0), (0, 1), (0, 9), (1, 0), (1, 1), (1, 9)];
    for (letter, state) in asked {
        let row = "INSERT INTO requests VALUES (?3, x'', x'', x'', x'', ?1, ?2, 0)";
        sql.execute(row, params![letter, state, vec![letter, state]]).unwrap();
    }
    schema::migrate(&mut sql, schema::MIGRATIONS).unwrap();
    let mut left = sql.prepare("SELECT letter, state FROM requests ORDER BY 1, 2").unwrap();
    let left = left.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let left: Vec<(u8, u8)> = left.map(Result::unwrap).collect();
    assert_eq!(left, [(0, 0), (0, 1), (0, 9), (1, 1)], "what was live, and what was denied");
}

#[test]
fn after_a_crash_what_was_committed_is_there_and_nothing_else() {
    let dir = dir();
    let crashed = self::dir();
    let mut store = with_group(dir.path());
    store.transaction(|tx| tx.put_message(&received(0, "kept"))).unwrap();
    let failed = store.transaction(|tx| {
        tx.put_message(&received(1, "lost"))?;
        for entry in fs::read_dir(dir.path())? {
            let entry = entry?;
            fs::copy(entry.path(), crashed.path().join(entry.file_name()))?;
        }
        Err::<(), _>(StoreError::Damaged)
    });
    assert!(failed.is_err());
    for dir in [&dir, &crashed] {
        if dir.path() == store.path.parent().unwrap() {
            let texts = texts(&store);
            assert_eq!(texts, ["kept"]);
        } else {
            assert_eq!(texts(&open(dir.path()).unwrap()), ["kept"]);
        }
    }
}

fn texts(store: &Store) -> Vec<String> {
    let messages = store.reader().unwrap().messages(GROUP, None, 10).unwrap();
    messages.into_iter().map(|message| message.text).collect()
}

#[test]
fn a_queued_message_keeps_its_id_and_place_while_it_gets_further() {
    let dir = dir();
    let mut store = with_group(dir.path());
    let reader = store.reader().unwrap();
    let seq = store
        .transaction(|tx| tx.queue_message(GROUP, [5; 16], ME, &Body::text("hello"), NOW))
        .unwrap();
    let delivery = |reader: &super::Reader| {
        let message = reader.message(&[5; 16]).unwrap().unwrap();
        assert_eq!((message.seq, message.text.as_str(), message.mine), (seq, "hello", true));
        message.delivery.unwrap()
    };
    assert!(!delivery(&reader).sealed);

    let (chain, message) = (ChainId([8; 16]), MessageId([9; 16]));
    store
        .transaction(|tx| {
            assert_eq!(tx.next_queued(GROUP)?.unwrap().seq, seq);
            tx.seal_message(&Sealing {
                seq,
                chain,
                index: 4,
                message,
                at: NOW,
                lamport: 1,
                by_admin: false,
                recipients: &[BOB],
                signed: &SIGNED,
            })
        })
        .unwrap();
    let sealed = delivery(&reader);
    assert!(sealed.sealed && !sealed.stored && sealed.missing[0].id == BOB.to_string());

    store
        .transaction(|tx| {
            assert!(tx.next_queued(GROUP)?.is_none());
            assert!(tx.mark_stored(seq, NOW, NOW.plus_ms(9))?);
            assert!(!tx.mark_stored(seq, NOW.plus_ms(1), NOW.plus_ms(5))?, "told once");
            assert_eq!(tx.reached(seq)?, (0, 1));
            assert_eq!(tx.mark_unopened(GROUP, chain, BOB, NOW)?, [seq]);
            assert!(tx.mark_unopened(GROUP, chain, BOB, NOW)?.is_empty(), "told once");
            assert_eq!(tx.mark_received(GROUP, chain, &[3, 4, 5], BOB, NOW)?, [seq]);
            assert!(tx.mark_received(GROUP, chain, &[4], BOB, NOW)?.is_empty(), "told once");
            assert!(tx.mark_unopened(GROUP, chain, BOB, NOW)?.is_empty(), "it has it");
            assert_eq!(tx.reached(seq)?, (1, 0));
            Ok::<_, StoreError>(())
        })
        .unwrap();
    let delivered = delivery(&reader);
    assert!(delivered.stored && delivered.missing.is_empty() && delivered.received.len() == 1);
    assert_eq!((delivered.members, delivered.reached), (1, 1));
    store
        .transaction(|tx| {
            let sent = tx.sent(seq)?.unwrap();
            assert!(!sent.queued && sent.chain == Some(chain) && sent.stored_at == Some(NOW));
            assert_eq!(sent.kept_until, Some(NOW.plus_ms(9)), "by the relay that keeps it longest");
            assert!(!sent.archived);
            assert_eq!(sent.recipients[0].received_at, Some(NOW));
            for which in [Which::Last, Which::Prefix("0505"), Which::Prefix("05050")] {
                assert_eq!(tx.which_sent(GROUP, which)?, [seq], "{which:?}");
            }
            assert!(tx.which_sent(GROUP, Which::Prefix("0506"))?.is_empty());
            Ok::<_, StoreError>(())
        })
        .unwrap();
}

#[test]
fn what_is_to_be_told_is_told_once_and_a_clock_that_was_ahead_keeps_nothing_back() {
    let dir = dir();
    let mut store = with_group(dir.path());
    store
        .transaction(|tx| {
            let seqs: Vec<u64> = (0..3)
                .map(|n| tx.queue_message(GROUP, [n; 16], ME, &Body::text("hello"), NOW))
                .collect::<Result<_, _>>()?;
            let later = |ms| NOW.plus_ms(ms);
            for (seq, due) in seqs.iter().zip([later(500), later(900), later(90_000_000)]) {
                tx.put_untold(*seq, due)?;
                tx.put_untold(*seq, later(0))?;
            }
            assert!(tx.untold(later(100), later(90_000_000), 9)?.is_empty());
            assert_eq!(tx.untold_due()?, Some(later(500)));
            assert_eq!(tx.untold(later(600), later(30_600), 9)?, [seqs[0], seqs[2]]);
            tx.drop_untold(seqs[0])?;
            assert_eq!(tx.untold(later(1_000), later(31_000), 1)?, [seqs[1]]);
            Ok::<_, StoreError>(())
        })
        .unwrap();
}

#[test]
fn a_place_in_a_chain_holds_one_message() {
    let dir = dir();
    let mut store = with_group(dir.path());
    let first = store.transaction(|tx| tx.put_message(&received(0, "once"))).unwrap();
    let again = store
        .transaction(|tx| tx.put_message(&NewMessage { id: [77; 16], ..received(0, "twice") }))
        .unwrap();
    assert!(first.is_some() && again.is_none());
    assert_eq!(texts(&store), ["once"]);
}

#[test]
fn history_is_read_in_pages_both_ways() {
    let dir = dir();
    let mut store = with_group(dir.path());
    let names = ["a", "b", "c", "d", "e"];
    for (index, name) in names.iter().enumerate() {
        let new = received(u32::try_from(index).unwrap(), name);
        store.transaction(|tx| tx.put_message(&new)).unwrap();
    }
    let reader = store.reader().unwrap();
    let page = |after, before| -> Vec<(u64, String)> {
        let page = match after {
            Some(after) => reader.came_after(None, after, 2).unwrap(),
            None => reader.messages(GROUP, before, 2).unwrap(),
        };
        page.into_iter().map(|message| (message.seq, message.text)).collect()
    };
    let last = page(None, None);
    assert_eq!((last[0].1.as_str(), last[1].1.as_str()), ("d", "e"));
    let before = page(None, Some(last[0].0));
    assert_eq!((before[0].1.as_str(), before[1].1.as_str()), ("b", "c"));
    let after = page(Some(before[0].0), None);
    assert_eq!((after[0].1.as_str(), after[1].1.as_str()), ("c", "d"));
    let elsewhere = GroupId([4; 32]);
    assert!(reader.messages(elsewhere, None, 2).unwrap().is_empty());
    assert!(reader.messages(elsewhere, Some(last[0].0), 2).unwrap().is_empty());
    assert!(reader.came_after(Some(elsewhere), 0, 2).unwrap().is_empty());
}

#[test]
fn the_last_hundred_thousand_events_are_kept_and_their_numbers_never_return() {
    let dir = dir();
    let mut store = with_group(dir.path());
    let event = Event { v: 1, seq: 0, at: String::new(), group: None, what: What::GroupAdded };
    store.sql.execute("INSERT INTO sqlite_sequence VALUES ('events', 200000)", []).unwrap();
    store.sql.execute("INSERT INTO events(seq, event) VALUES (5, '')", []).unwrap();
    let mut last = 0;
    for _ in 0..1024 {
        last = store.transaction(|tx| tx.put_event(&event)).unwrap();
    }
    let reader = store.reader().unwrap();
    let kept = reader.events(0, 2000).unwrap();
    assert_eq!((kept.len(), kept[1023].seq), (1024, last));
    store.sql.execute("DELETE FROM events", []).unwrap();
    assert_eq!(store.transaction(|tx| tx.put_event(&event)).unwrap(), last + 1);
    assert_eq!(store.transaction(|tx| tx.last_event()).unwrap(), last + 1);
}

#[test]
fn the_archive_forgets_the_oldest_by_age_and_by_size() {
    let dir = dir();
    let mut store = with_group(dir.path());
    let chain = ChainId([7; 16]);
    let late = NOW.plus_ms(40 * 24 * 60 * 60 * 1000);
    let big = vec![0; 30 * 1024 * 1024];
    let kept = store
        .transaction(|tx| {
            tx.put_archive(GROUP, chain, 0, b"old", NOW)?;
            for index in 1..4 {
                tx.put_archive(GROUP, chain, index, &big, late.plus_ms(u64::from(index)))?;
            }
            tx.trim_archive(late)?;
            (0..4)
                .map(|index| Ok(!tx.archived(GROUP, &[(chain, vec![index])])?.is_empty()))
                .collect::<Result<Vec<_>, StoreError>>()
        })
        .unwrap();
    assert_eq!(kept, [false, false, true, true]);
}

#[test]
fn an_entry_that_still_waits_for_a_relay_does_not_wait_twice() {
    let dir = dir();
    let mut store = with_group(dir.path());
    let put = |store: &mut Store, relay: &[u8], log: u8, entry: &[u8]| {
        let log = LogId([log; 20]);
        store.transaction(|tx| tx.put_outbox(GROUP, relay, log, entry, None, NOW)).unwrap()
    };
    let (one, two) = (vec![7; 512], [vec![7; 511], vec![8]].concat());
    let first = put(&mut store, b"relay", 1, &one);
    assert_eq!(put(&mut store, b"relay", 1, &one), first);
    let others = [
        put(&mut store, b"relay", 1, &two),
        put(&mut store, b"relay", 2, &one),
        put(&mut store, b"another", 1, &one),
    ];
    assert!(others.iter().all(|tag| *tag > first));
    assert_eq!(store.transaction(|tx| tx.outbox_len(b"relay")).unwrap(), 3);
    store.transaction(|tx| tx.take_outbox(first)).unwrap();
    assert!(put(&mut store, b"relay", 1, &one) > first, "told again once it is there");
}

#[test]
fn outbox_rows_end_once_and_their_tags_never_return() {
    let dir = dir();
    let mut store = with_group(dir.path());
    let log = LogId([6; 20]);
    let put = |store: &mut Store, entry: &[u8]| {
        store.transaction(|tx| tx.put_outbox(GROUP, b"relay", log, entry, None, NOW)).unwrap()
    };
    let (first, second) = (put(&mut store, b"one"), put(&mut store, b"two"));
    let waiting = store.transaction(|tx| tx.outbox(b"relay", 0, 10)).unwrap();
    assert_eq!(waiting.iter().map(|row| row.tag).collect::<Vec<_>>(), [first, second]);
    store
        .transaction(|tx| {
            tx.take_outbox(first)?;
            tx.take_outbox(second)?;
            assert_eq!(tx.outbox_len(b"relay")?, 0);
            Ok::<_, StoreError>(())
        })
        .unwrap();
    assert!(put(&mut store, b"three") > second);
    let late = NOW.plus_ms(40 * 24 * 60 * 60 * 1000);
    store.transaction(|tx| tx.trim_outbox(late)).unwrap();
    assert!(!store.read(|tx| tx.has_outbox(GROUP)).unwrap(), "nobody waits for ever");
}

#[test]
fn a_reader_that_was_closed_refuses_with_all_its_clones() {
    let dir = dir();
    let reader = open(dir.path()).unwrap().reader().unwrap();
    let clone = reader.clone();
    assert_eq!(clone.last_event().unwrap(), 0);
    reader.close();
    assert!(matches!(clone.last_event(), Err(StoreError::Closed)));
    assert!(matches!(reader.events(0, 1), Err(StoreError::Closed)));
}

#[test]
fn marks_say_what_was_read_by_when_and_what_still_stands() {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    let log = LogId([1; 20]);
    let place = |seq| Cursor { generation: 7, seq };
    let on = |day: u64| NOW.plus_ms(day * DAY);
    let one = Standing { entries: 1, bytes: 512 };
    store
        .transaction(|tx| {
            tx.mark_read(b"relay", log, place(1), one, on(0))?;
            tx.mark_read(b"relay", log, place(2), one, on(0).plus_ms(DAY - 1))?;
            tx.mark_read(b"relay", LogId([2; 20]), place(9), one, on(0))?;
            tx.mark_read(b"other", log, place(9), one, on(0))?;
            let left = tx.mark_read(b"relay", log, place(3), one, on(1))?;
            assert_eq!(left, Standing { entries: 3, bytes: 1536 });
            assert_eq!(tx.read_by(b"relay", log, on(1).plus_ms(DAY - 1))?, Some(place(2)));
            assert_eq!(tx.read_by(b"relay", log, on(1))?, Some(place(2)));
            assert_eq!(tx.read_by(b"relay", log, Timestamp(on(1).0 - 1))?, None, "not all of it");
            assert_eq!(tx.read_by(b"relay", log, on(2))?, Some(place(3)));
            tx.unmark(b"relay", log, Cursor { generation: 6, seq: 9 })?;
            tx.unmark(b"relay", log, place(2))?;
            assert_eq!(tx.standing(b"relay", log)?, one);
            assert_eq!(tx.read_by(b"relay", log, on(1))?, None);
            tx.unmark_all(b"relay", log)?;
            assert_eq!(tx.standing(b"relay", log)?, Standing::default());
            assert_eq!(tx.standing(b"other", log)?, one);
            tx.trim_marks(on(1))?;
            assert_eq!(tx.standing(b"other", log)?, Standing::default());
            Ok::<_, StoreError>(())
        })
        .unwrap();
}

#[test]
fn events_of_before_name_their_messages_and_keep_no_words_of_their_own() {
    let dir = dir();
    let path = dir.path().join("old");
    Store::fill::<StoreError>(&path, &Unlock::KeyFile, 10, |tx| {
        tx.put_group(GROUP, "reading", NOW)?;
        let insert = "INSERT INTO messages(id, grp, sender, mine, text, at, class, place) VALUES
                      (?1, ?2, ?3, 0, 'hello', 1, 0, zeroblob(32))";
        tx.sql.execute(insert, params![[5u8; 16], GROUP.0, BOB.0])?;
        let event = r#"{"v":1,"seq":0,"at":"1970-01-01T00:00:00Z","event":"message","message":{"seq":1,"text":"hello"}}"#;
        let other = r#"{"v":1,"seq":0,"at":"1970-01-01T00:00:00Z","event":"group-added"}"#;
        for event in [event, other] {
            tx.sql.execute("INSERT INTO events(event) VALUES (?1)", [event])?;
        }
        Ok(())
    })
    .unwrap();
    let store = open(&path).unwrap();
    let [first, second] = &store.reader().unwrap().events(0, 9).unwrap()[..] else { panic!() };
    assert!(matches!(&first.what, What::Message { message } if message.text == "hello"));
    assert_eq!(second.what, What::GroupAdded);
    let texts: Vec<String> = {
        let mut rows = store.sql.prepare("SELECT event FROM events").unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    assert!(texts.iter().all(|text| !text.contains("hello")), "{texts:?}");
}
