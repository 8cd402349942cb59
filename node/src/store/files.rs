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
    groups::{int, uint},
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
    /// How it stands, and where it is or will be; nothing where nobody wants it here.
    pub here: Option<(FileState, PathBuf)>,
}

/// A file that may be given.
pub struct GivenRow {
    /// Where it was offered.
    pub group: GroupId,
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

impl Tx<'_> {
    /// Notes what a message offers.
    pub fn put_offer(&self, seq: u64, payload: &[u8]) -> Result<(), StoreError> {
        let update = "UPDATE messages SET offer = ?2 WHERE seq = ?1";
        self.sql.execute(update, params![int(seq), payload])?;
        Ok(())
    }

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

    /// What was offered last in a group, in the order in which it came.
    pub fn offers(&self, group: GroupId, limit: u32) -> Result<Vec<OfferRow>, StoreError> {
        let query = format!("{ROW} AND m.grp = ?1 ORDER BY m.seq DESC LIMIT ?2");
        let mut rows = self.sql.prepare(&query)?;
        let rows = rows.query_map(params![group.0, limit], raw)?;
        let mut offers: Vec<OfferRow> =
            rows.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        offers.reverse();
        Ok(offers)
    }

    /// One of them, by its message's number.
    pub fn offer(&self, seq: u64) -> Result<Option<OfferRow>, StoreError> {
        let query = format!("{ROW} AND m.seq = ?1");
        Ok(self.sql.query_row(&query, [int(seq)], raw).optional()?.flatten())
    }

    /// What is being fetched, the oldest first.
    pub fn wanted_files(&self) -> Result<Vec<OfferRow>, StoreError> {
        let query = format!("{ROW} AND f.state = 0 ORDER BY m.seq");
        let mut rows = self.sql.prepare(&query)?;
        let rows = rows.query_map([], raw)?;
        Ok(rows.filter_map(Result::transpose).collect::<Result<_, _>>()?)
    }

    /// The files here with this id: the same offer may stand in several groups.
    pub fn given_files(&self, file: FileId) -> Result<Vec<GivenRow>, StoreError> {
        let mut rows = self.sql.prepare(
            "SELECT m.grp, m.offer, f.path, f.leaves FROM files f JOIN messages m ON m.seq = f.seq
             WHERE f.file = ?1 AND f.state = 1 AND m.offer IS NOT NULL",
        )?;
        let rows = rows.query_map([file.0], |row| {
            let offer = Offer::from_bytes(&row.get::<_, Vec<u8>>(1)?).ok();
            let (group, path, leaves) = (GroupId(row.get(0)?), path(row, 2)?, row.get(3)?);
            Ok(offer.map(|offer| GivenRow { group, offer, path, leaves }))
        })?;
        Ok(rows.filter_map(Result::transpose).collect::<Result<_, _>>()?)
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
