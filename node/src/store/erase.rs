//! A group's rows are erased: at once what is used of it, the rest in parts.
//!
//! > A group without records is one that is being erased. Nothing but its rows is left of it, and a start goes on with them.

use std::{collections::BTreeSet, ffi::OsStr, os::unix::ffi::OsStrExt, path::PathBuf};

use protocol::ids::{GroupId, LogId, MemberId};
use rusqlite::params;

use super::{StoreError, Tx, groups::int};

/// Tables whose rows are of a message; in this order before it.
const OF_MESSAGE: [&str; 6] = ["due", "queue", "untold", "files", "recipients", "outbox"];

/// Tables whose rows are of a group, and of which it has few, or which are used; in this order before all else.
const OF_GROUP: [&str; 9] =
    ["records", "outbox", "queue", "former", "joins", "invites", "cursors_named", "shelf", "talks"];

/// Its events, and of those that name no group the ones of its joins and of people whom no other group has.
const EVENTS: &str = "
DELETE FROM events WHERE json_extract(event, '$.group.id') = ?1
OR json_extract(event, '$.group') IS NULL AND (
    json_extract(event, '$.join.id') IN (SELECT lower(hex(id)) FROM joins WHERE grp = ?2)
    OR coalesce(json_extract(event, '$.path.member.id'), json_extract(event, '$.member.id'))
        IN (SELECT value FROM json_each(?3)))";

/// Where its fetched files are, but of those of which another group has one, too.
const FETCHED: &str = "
SELECT f.path FROM files f CROSS JOIN messages m ON m.seq = f.seq
WHERE m.grp = ?1 AND m.mine = 0 AND f.state = 1
EXCEPT SELECT f.path FROM files f CROSS JOIN messages m ON m.seq = f.seq WHERE m.grp <> ?1";

impl Tx<'_> {
    /// The paths of files that were fetched in a group and stand in no other one.
    pub fn fetched_files(&self, group: GroupId) -> Result<Vec<PathBuf>, StoreError> {
        let mut rows = self.sql.prepare(FETCHED)?;
        let paths = rows.query_map([group.0], |row| row.get::<_, Vec<u8>>(0))?;
        let path = |bytes: Vec<u8>| PathBuf::from(OsStr::from_bytes(&bytes));
        Ok(paths.map(|bytes| bytes.map(path)).collect::<Result<_, _>>()?)
    }

    /// Begins to erase a group: it has no name, no records and no events any more, and nothing of it waits. How far `logs` were
    /// read is forgotten, and the names of `members`, whom no other group has, with what events say of them.
    pub fn begin_erasing(
        &self,
        group: GroupId,
        logs: &[LogId],
        members: &BTreeSet<MemberId>,
    ) -> Result<(), StoreError> {
        // While it is known which joins are its own.
        let ids: Vec<String> = members.iter().map(|member| format!("\"{member}\"")).collect();
        let ids = format!("[{}]", ids.join(","));
        self.sql.execute(EVENTS, params![group.to_string(), group.0, ids])?;
        let trimmed =
            "DELETE FROM trimmed WHERE message IN (SELECT seq FROM messages WHERE grp = ?1)";
        self.sql.execute(trimmed, [group.0])?;
        for table in ["untold", "files"] {
            let of_it = format!(
                "DELETE FROM {table} WHERE (SELECT grp FROM messages m WHERE m.seq = {table}.seq) = ?1"
            );
            self.sql.execute(&of_it, [group.0])?;
        }
        let requests =
            "DELETE FROM requests WHERE invite IN (SELECT id FROM invites WHERE grp = ?1)";
        self.sql.execute(requests, [group.0])?;
        for table in OF_GROUP {
            self.sql.execute(&format!("DELETE FROM {table} WHERE grp = ?1"), [group.0])?;
        }
        for log in logs {
            self.unread(*log)?;
        }
        for member in members {
            self.sql.execute("DELETE FROM names WHERE member = ?1", [member.0])?;
        }
        self.forget_access(group)?;
        self.sql.execute("UPDATE groups SET name = '' WHERE id = ?1", [group.0])?;
        Ok(())
    }

    /// Erases a part of what is left of a group, of so many messages at most; says whether there is more.
    pub fn erase_group(&self, group: GroupId, most: u32) -> Result<bool, StoreError> {
        let mut rows = self.sql.prepare("SELECT seq FROM messages WHERE grp = ?1 LIMIT ?2")?;
        let rows = rows.query_map(params![group.0, most], |row| row.get(0))?;
        let seqs: Vec<i64> = rows.collect::<Result<_, _>>()?;
        for table in OF_MESSAGE.into_iter().chain(["messages"]) {
            let mut delete = self.sql.prepare(&format!("DELETE FROM {table} WHERE seq = ?1"))?;
            seqs.iter().try_for_each(|seq| delete.execute([seq]).map(drop))?;
        }
        if !seqs.is_empty() {
            return Ok(true);
        }
        let most = int(most.into());
        for (table, key) in [("archive", "rowid"), ("audit", "seq")] {
            let delete = format!(
                "DELETE FROM {table} WHERE grp = ?1 AND {key} IN (SELECT {key} FROM {table} WHERE grp = ?1 LIMIT ?2)"
            );
            if self.sql.execute(&delete, params![group.0, most])? > 0 {
                return Ok(true);
            }
        }
        self.sql.execute("DELETE FROM groups WHERE id = ?1", [group.0])?;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use protocol::ids::Timestamp;

    use super::*;
    use crate::store::{Body, Store, Unlock};

    const TEA: GroupId = GroupId([0xa1; 32]);
    const OPS: GroupId = GroupId([0xb2; 32]);

    fn open() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &Unlock::KeyFile).unwrap();
        (dir, store)
    }

    fn column(tx: &Tx<'_>, query: &str) -> Vec<String> {
        let mut rows = tx.sql.prepare(query).unwrap();
        let rows = rows.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn no_table_with_a_groups_rows_is_forgotten() {
        let (_dir, mut store) = open();
        let found = store.read(|tx| {
            let of = |what: &str| {
                let tables = "SELECT t.name FROM sqlite_schema t WHERE t.type = 'table'";
                column(tx, &format!("{tables} AND EXISTS ({what}) ORDER BY name"))
            };
            let of_group =
                of("SELECT 1 FROM pragma_table_info(t.name) WHERE name = 'grp'");
            let of_message = of(
                "SELECT 1 FROM pragma_foreign_key_list(t.name) WHERE \"table\" = 'messages' AND \"from\" = 'seq'",
            );
            let of_others = of(
                "SELECT 1 FROM pragma_foreign_key_list(t.name) WHERE \"table\" NOT IN ('messages', 'groups')",
            );
            Ok::<_, StoreError>((of_group, of_message, of_others))
        });
        let (of_group, of_message, of_others) = found.unwrap();
        let sorted = |known: &[&str]| {
            let mut known: Vec<String> = known.iter().map(ToString::to_string).collect();
            known.sort();
            known
        };
        assert_eq!(of_group, sorted(&[&OF_GROUP[..], &["archive", "audit", "messages"]].concat()));
        assert_eq!(of_message, sorted(&OF_MESSAGE));
        assert_eq!(
            of_others,
            ["requests", "verified_names"],
            "of invites, and of nobody in particular"
        );
    }

    #[test]
    fn what_is_told_of_its_joins_and_of_its_people_alone_goes_and_others_lose_no_event() {
        let (_dir, mut store) = open();
        let (ana, ben) = (MemberId([2; 32]), MemberId([3; 32]));
        let join = |id: &str| format!(r#"{{"event":"join","join":{{"id":"{id}"}}}}"#);
        let path =
            |of: MemberId| format!(r#"{{"event":"path","path":{{"member":{{"id":"{of}"}}}}}}"#);
        let verified =
            |of: MemberId| format!(r#"{{"event":"member-verified","member":{{"id":"{of}"}}}}"#);
        let added =
            |group: GroupId| format!(r#"{{"event":"group-added","group":{{"id":"{group}"}}}}"#);
        let left = store.transaction(|tx| {
            for (group, name) in [(TEA, "tea"), (OPS, "ops")] {
                tx.put_group(group, name, Timestamp(0))?;
                let id = group.0[..16].try_into().unwrap();
                let body = Body::of(0, b"words");
                let seq = tx.queue_message(group, id, ana, &body, Timestamp(0))?;
                let trimmed = "INSERT INTO trimmed(event, message) VALUES (?1, ?1)";
                tx.sql.execute(trimmed, [int(seq)])?;
            }
            let joined = "INSERT INTO joins(id, state, detail, grp, started)
                          VALUES (x'0a', 6, '', ?1, 0)";
            tx.sql.execute(joined, [TEA.0])?;
            let of = [ana, ben].map(|of| [path(of), verified(of)]).concat();
            for event in [vec![added(TEA), join("0a"), join("0b"), added(OPS)], of].concat() {
                tx.sql.execute("INSERT INTO events(event) VALUES (?1)", [event])?;
            }
            let begin = tx.events_begin()?;
            tx.begin_erasing(TEA, &[], &BTreeSet::from([ana]))?;
            assert_eq!(tx.events_begin()?, begin, "nothing is lost to who reads the other group");
            assert_eq!(column(tx, "SELECT CAST(count(*) AS TEXT) FROM trimmed"), ["1"]);
            Ok::<_, StoreError>(column(tx, "SELECT event FROM events ORDER BY seq"))
        });
        assert_eq!(left.unwrap(), [join("0b"), added(OPS), path(ben), verified(ben)]);
    }

    #[test]
    fn a_group_goes_in_parts_and_nothing_of_another_one_goes() {
        let (_dir, mut store) = open();
        let (me, now) = (MemberId([1; 32]), Timestamp(1_800_000_000_000));
        let count = |store: &mut Store, table: &str| {
            let count = format!("SELECT CAST(count(*) AS TEXT) FROM {table}");
            store.read(|tx| Ok::<_, StoreError>(column(tx, &count).concat())).unwrap()
        };
        let begun = store.transaction(|tx| {
            for (group, name) in [(TEA, "tea"), (OPS, "ops")] {
                tx.put_group(group, name, now)?;
                tx.put_record(group, b"key", Some(b"value"))?;
                for n in 0..5u8 {
                    let mut id = group.0[..16].to_vec();
                    id[0] = n;
                    let id = id.try_into().unwrap();
                    let seq = tx.queue_message(group, id, me, &Body::of(0, b"words"), now)?;
                    tx.put_due(seq, now, 60)?;
                    tx.sql.execute(
                        "INSERT INTO recipients(seq, member) VALUES (?1, ?2)",
                        params![int(seq), me.0],
                    )?;
                }
                tx.sql.execute("INSERT INTO audit VALUES (?1, 1, x'00')", [group.0])?;
                tx.sql.execute("INSERT INTO archive VALUES (?1, x'00', 1, 1, x'00')", [group.0])?;
                tx.sql.execute(
                    "INSERT INTO events(event) VALUES (?1)",
                    [format!("{{\"group\":{{\"id\":\"{group}\"}}}}")],
                )?;
            }
            for member in [2, 3] {
                tx.put_name(MemberId([member; 32]), "somebody")?;
            }
            tx.begin_erasing(TEA, &[LogId([7; 20])], &BTreeSet::from([MemberId([2; 32])]))?;
            assert!(tx.records(TEA)?.is_empty() && tx.group(TEA)?.name.is_empty());
            tx.erase_group(TEA, 2)
        });
        assert!(begun.unwrap());
        assert_eq!(
            (count(&mut store, "messages"), count(&mut store, "events")),
            ("8".into(), "1".into())
        );
        assert_eq!(count(&mut store, "names"), "1");
        let mut parts = 0;
        while store.transaction(|tx| tx.erase_group(TEA, 2)).unwrap() {
            parts += 1;
        }
        assert_eq!(parts, 4, "two of messages, then the archive, then the audit log");
        for (table, left) in [
            ("messages", "5"),
            ("due", "5"),
            ("recipients", "5"),
            ("queue", "5"),
            ("archive", "1"),
            ("audit", "1"),
            ("groups", "1"),
            ("records", "1"),
        ] {
            assert_eq!(count(&mut store, table), left, "{table}");
        }
        assert_eq!(store.read(|tx| tx.groups()).unwrap(), [OPS]);
    }
}
