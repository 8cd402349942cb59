//! Files: what was offered, and what of it is on this machine.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use protocol::{
    file::Offer,
    ids::{FileId, GroupId, MemberId},
};
use rusqlite::{OptionalExtension, Row, params};

use super::{
    StoreError, Tx,
    delivery::filled,
    groups::{int, uint},
    text::unhex,
};
use crate::api::types::FileRef;

/// How a file stands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// 0: it is being fetched.
    Wanted,
    /// 1: it is here, and may be given.
    Here,
}

/// A file that was offered.
pub struct OfferRow {
    /// The number of the message that offers it.
    pub seq: u64,
    /// That message's local id.
    pub id: [u8; 16],
    /// Where.
    pub group: GroupId,
    /// By whom.
    pub from: MemberId,
    /// Whether by this node.
    pub mine: bool,
    /// What was said of it.
    pub offer: Offer,
    /// How it stands, and where it is once it is; nothing where nobody wants it here.
    pub here: Option<(FileState, PathBuf)>,
}

/// A file that may be given.
pub struct GivenRow {
    /// What was said of it.
    pub offer: Offer,
    /// Where it is.
    pub path: PathBuf,
    /// The leaves of its tree.
    pub leaves: Vec<u8>,
}

const ROW: &str = "
SELECT m.seq, m.id, m.grp, m.sender, m.mine, m.offer, f.state, f.path
FROM messages m LEFT JOIN files f ON f.seq = m.seq WHERE m.offer IS NOT NULL ";

/// From the few that are wanted to their messages, never the other way.
const WANTED: &str = "
SELECT m.seq, m.id, m.grp, m.sender, m.mine, m.offer, f.state, f.path
FROM files f INDEXED BY files_wanted CROSS JOIN messages m ON m.seq = f.seq
WHERE f.state = 0 AND m.offer IS NOT NULL ORDER BY f.seq";

/// The last of a group, and all that stand on this machine, however old.
const LISTED: &str = "m.seq IN (
SELECT seq FROM (
    SELECT seq FROM messages INDEXED BY messages_offer
    WHERE grp = ?1 AND offer IS NOT NULL ORDER BY seq DESC LIMIT ?2)
UNION SELECT f.seq FROM files f CROSS JOIN messages w ON w.seq = f.seq WHERE w.grp = ?1)
ORDER BY m.seq";

/// Two of this name.
const NAMED: &str = "m.grp = ?1 AND m.text = ?2 ORDER BY m.seq DESC LIMIT 2";

/// Two whose ids begin so; the group's messages are many.
const BEGUN: &str = "+m.grp = ?1 AND m.id BETWEEN ?2 AND ?3 LIMIT 2";

impl Tx<'_> {
    /// Notes how a file stands here; `leaves` are of its tree, once it is here.
    pub fn put_file(
        &self,
        seq: u64,
        file: FileId,
        path: &Path,
        state: FileState,
        leaves: &[u8],
    ) -> Result<(), StoreError> {
        let path = path.as_os_str().as_bytes();
        self.sql.execute(
            "INSERT OR REPLACE INTO files(seq, file, path, state, leaves) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![int(seq), file.0, path, state as u8, leaves],
        )?;
        Ok(())
    }

    /// Forgets a file; what was offered stays so.
    pub fn drop_file(&self, seq: u64) -> Result<(), StoreError> {
        self.sql.execute("DELETE FROM files WHERE seq = ?1", [int(seq)])?;
        Ok(())
    }

    /// Forgets a file whose offer was deleted. Of one that was fetched whole, which stays on the disk, it is kept where that is: so
    /// it goes with its group.
    pub(super) fn forget_file(&self, seq: u64) -> Result<(), StoreError> {
        let is_fetched = "state = 1 AND (SELECT mine FROM messages m WHERE m.seq = files.seq) = 0";
        let forget = format!("DELETE FROM files WHERE seq = ?1 AND NOT ({is_fetched})");
        self.sql.execute(&forget, [int(seq)])?;
        self.sql.execute("UPDATE files SET leaves = x'' WHERE seq = ?1", [int(seq)])?;
        Ok(())
    }

    /// What was offered last in a group, and what of it is here or is being fetched, in the order in which it came.
    pub fn offers(&self, group: GroupId, limit: u32) -> Result<Vec<OfferRow>, StoreError> {
        let mut rows = self.sql.prepare(&format!("{ROW} AND {LISTED}"))?;
        let rows = rows.query_map(params![group.0, limit], raw)?;
        Ok(rows.filter_map(Result::transpose).collect::<Result<_, _>>()?)
    }

    /// The offers of a group that may be meant by a name or, where there are any, the first digits of an id: two of each at most.
    pub fn which_offers(
        &self,
        group: GroupId,
        name: &str,
        digits: Option<&str>,
    ) -> Result<Vec<OfferRow>, StoreError> {
        let mut named = self.sql.prepare(&format!("{ROW} AND {NAMED}"))?;
        let named = named.query_map(params![group.0, name], raw)?;
        let mut found: Vec<OfferRow> =
            named.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let ends = digits.map(|digits| ["0", "f"].map(|fill| unhex(&filled(digits, fill))));
        if let Some([Some(first), Some(last)]) = ends {
            let mut begin = self.sql.prepare(&format!("{ROW} AND {BEGUN}"))?;
            for row in begin.query_map(params![group.0, first, last], raw)? {
                let Some(row) = row? else { continue };
                if found.iter().all(|other| other.seq != row.seq) {
                    found.push(row);
                }
            }
        }
        Ok(found)
    }

    /// One of them, by its message's number.
    pub fn offer(&self, seq: u64) -> Result<Option<OfferRow>, StoreError> {
        let query = format!("{ROW} AND m.seq = ?1");
        Ok(self.sql.query_row(&query, [int(seq)], raw).optional()?.flatten())
    }

    /// What is being fetched, the oldest first.
    pub fn wanted_files(&self) -> Result<Vec<OfferRow>, StoreError> {
        let mut rows = self.sql.prepare(WANTED)?;
        let rows = rows.query_map([], raw)?;
        Ok(rows.filter_map(Result::transpose).collect::<Result<_, _>>()?)
    }

    /// The files here with this id, by number and group: the same offer may stand in several.
    pub fn given_in(&self, file: FileId) -> Result<Vec<(u64, GroupId)>, StoreError> {
        let mut rows = self.sql.prepare(
            "SELECT f.seq, m.grp FROM files f CROSS JOIN messages m ON m.seq = f.seq
             WHERE f.file = ?1 AND f.state = 1 AND m.offer IS NOT NULL",
        )?;
        let rows = rows.query_map([file.0], |row| Ok((uint(row.get(0)?), GroupId(row.get(1)?))))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One of them, with its leaves, which may be megabytes.
    pub fn given_file(&self, seq: u64) -> Result<Option<GivenRow>, StoreError> {
        let row = self.sql.query_row(
            "SELECT m.offer, f.path, f.leaves FROM files f CROSS JOIN messages m ON m.seq = f.seq
             WHERE f.seq = ?1 AND f.state = 1 AND m.offer IS NOT NULL",
            [int(seq)],
            |row| {
                let offer = Offer::from_bytes(&row.get::<_, Vec<u8>>(0)?).ok();
                let (path, leaves) = (path(row, 1)?, row.get(2)?);
                Ok(offer.map(|offer| GivenRow { offer, path, leaves }))
            },
        );
        Ok(row.optional()?.flatten())
    }
}

/// What a stored offer says, for people.
pub(super) fn offered(payload: &[u8]) -> Option<FileRef> {
    let offer = Offer::from_bytes(payload).ok()?;
    Some(FileRef { name: offer.name().as_str().into(), size: offer.layout().size() })
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Option<OfferRow>> {
    // What a newer version has stored this one does not know.
    let Ok(offer) = Offer::from_bytes(&row.get::<_, Vec<u8>>(5)?) else { return Ok(None) };
    let state: Option<u8> = row.get(6)?;
    let here = match state {
        Some(0) => Some((FileState::Wanted, path(row, 7)?)),
        Some(_) => Some((FileState::Here, path(row, 7)?)),
        None => None,
    };
    Ok(Some(OfferRow {
        seq: uint(row.get(0)?),
        id: row.get(1)?,
        group: GroupId(row.get(2)?),
        from: MemberId(row.get(3)?),
        mine: row.get(4)?,
        offer,
        here,
    }))
}

fn path(row: &Row<'_>, at: usize) -> rusqlite::Result<PathBuf> {
    Ok(PathBuf::from(OsStr::from_bytes(&row.get::<_, Vec<u8>>(at)?)))
}

#[cfg(test)]
mod tests {
    use protocol::{
        file::{FILE, FileName, Layout, Reading},
        ids::Timestamp,
    };
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;
    use crate::store::{Body, Store, Unlock};

    const GROUP: GroupId = GroupId([1; 32]);
    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn offer(name: &str) -> Offer {
        let (name, layout) = (FileName::new(name).unwrap(), Layout::new(1).unwrap());
        let mut reading = Reading::new(name, layout, &mut ChaCha20Rng::seed_from_u64(1));
        reading.take(b"a").unwrap();
        reading.finish().unwrap().offer().clone()
    }

    /// A message that offers a file: its number.
    fn offered(tx: &Tx<'_>, first: u8, name: &str) -> Result<u64, StoreError> {
        let mut id = [0xee; 16];
        id[0] = first;
        let payload = offer(name).to_bytes();
        tx.queue_message(GROUP, id, MemberId([2; 32]), &Body::of(FILE, &payload), NOW)
    }

    #[test]
    fn a_file_is_found_however_many_were_offered_since_and_listed_if_it_is_here() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), &Unlock::KeyFile).unwrap();
        let found = store.transaction(|tx| {
            tx.put_group(GROUP, "reading", NOW)?;
            let old = offered(tx, 0xab, "old.pdf")?;
            let here = offered(tx, 0xcd, "here.pdf")?;
            tx.put_file(here, offer("here.pdf").id(), Path::new("a"), FileState::Here, b"leaves")?;
            let last = [offered(tx, 1, "new.pdf")?, offered(tx, 2, "new.pdf")?];
            let numbers = |rows: Vec<OfferRow>| rows.iter().map(|row| row.seq).collect::<Vec<_>>();
            assert_eq!(numbers(tx.offers(GROUP, 2)?), [here, last[0], last[1]]);
            let which =
                |name, digits| Ok::<_, StoreError>(numbers(tx.which_offers(GROUP, name, digits)?));
            assert_eq!(which("old.pdf", None)?, [old]);
            assert_eq!(which("abee", Some("abee"))?, [old]);
            assert_eq!(which("abef", Some("abef"))?, [0; 0]);
            assert_eq!(which("new.pdf", None)?.len(), 2, "it could be any");
            assert_eq!(which("old.pdf", Some("cdee"))?, [old, here], "a name and an id");
            assert!(tx.which_offers(GroupId([9; 32]), "old.pdf", Some("abee"))?.is_empty());
            Ok::<_, StoreError>(tx.given_in(offer("here.pdf").id())?.len())
        });
        assert_eq!(found.unwrap(), 1);
    }

    fn plan(store: &mut Store, query: &str) -> String {
        let query = query.replace("?1", "x'00'").replace("?2", "9").replace("?3", "9");
        let explained = format!("EXPLAIN QUERY PLAN {query}");
        let steps = store.read(|tx| {
            let mut rows = tx.sql.prepare(&explained)?;
            let steps = rows.query_map([], |row| row.get::<_, String>(3))?;
            Ok::<_, StoreError>(steps.collect::<Result<Vec<_>, _>>()?)
        });
        steps.unwrap().join("\n")
    }

    #[test]
    fn what_is_looked_for_each_second_and_by_name_goes_by_an_index() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), &Unlock::KeyFile).unwrap();
        let wanted = plan(&mut store, WANTED);
        assert!(wanted.contains("files_wanted") && !wanted.contains("SCAN m"), "{wanted}");
        let named = plan(&mut store, &format!("{ROW} AND {NAMED}"));
        assert!(named.contains("messages_offer_name (grp=? AND text=?)"), "{named}");
        let begun = plan(&mut store, &format!("{ROW} AND {BEGUN}"));
        assert!(begun.contains("(id>? AND id<?)"), "{begun}");
        let last = plan(&mut store, &format!("{ROW} AND {LISTED}"));
        assert!(last.contains("messages_offer") && !last.contains("SCAN m"), "{last}");
    }
}
