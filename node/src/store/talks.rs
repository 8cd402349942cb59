//! Conversations of two that one side has asked for and that have not begun.

use protocol::ids::{GroupId, MemberId, Timestamp};
use rusqlite::{OptionalExtension, Row, params};
use zeroize::Zeroizing;

use super::{
    StoreError, Tx,
    groups::{int, uint},
};

/// So many others' wishes are kept at most.
const TALKS: u64 = 256;

/// For how long they are kept, in milliseconds: as long as their codes are good.
pub const TALK_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// A conversation that is asked for.
pub struct TalkRow {
    /// The other one.
    pub member: MemberId,
    /// Whether this node's person asked for it.
    pub mine: bool,
    /// Its group: an own one, or the other one's.
    pub group: GroupId,
    /// The code by which this node comes; none where the other one is to come.
    pub code: Option<Zeroizing<String>>,
    /// Since when.
    pub at: Timestamp,
}

impl Tx<'_> {
    /// Keeps that one is asked for, in the place of what this side asked of that member before. Whether it is kept:
    /// of others there is room for so many.
    pub fn put_talk(&self, row: &TalkRow) -> Result<bool, StoreError> {
        let over = row.at.0.saturating_sub(TALK_MS);
        self.sql.execute("DELETE FROM talks WHERE mine = 0 AND at < ?1", [int(over)])?;
        let put = "INSERT OR REPLACE INTO talks(member, mine, grp, code, at)
                   SELECT ?1, ?2, ?3, ?4, ?5
                   WHERE ?2 OR (SELECT count(*) FROM talks WHERE mine = 0 AND member <> ?1) < ?6";
        let code = row.code.as_ref().map(|code| code.as_str());
        let row = params![row.member.0, row.mine, row.group.0, code, int(row.at.0), int(TALKS)];
        Ok(self.sql.execute(put, row)? == 1)
    }

    /// What one side asked of the other.
    pub fn talk(&self, member: MemberId, mine: bool) -> Result<Option<TalkRow>, StoreError> {
        let query = "SELECT member, mine, grp, code, at FROM talks WHERE member = ?1 AND mine = ?2";
        Ok(self.sql.query_row(query, params![member.0, mine], talk).optional()?)
    }

    /// All that is asked for, what was asked for first first.
    pub fn talks(&self) -> Result<Vec<TalkRow>, StoreError> {
        let query = "SELECT member, mine, grp, code, at FROM talks ORDER BY at, member, mine";
        let mut rows = self.sql.prepare(query)?;
        Ok(rows.query_map([], talk)?.collect::<Result<_, _>>()?)
    }

    /// Who was asked to come to an own group.
    pub fn asked_to(&self, group: GroupId) -> Result<Option<MemberId>, StoreError> {
        let query = "SELECT member FROM talks WHERE grp = ?1 AND mine = 1";
        let member = self.sql.query_row(query, [group.0], |row| row.get(0)).optional()?;
        Ok(member.map(MemberId))
    }

    /// Forgets what one side asked of the other; whether there was anything.
    pub fn drop_talk(&self, member: MemberId, mine: bool) -> Result<bool, StoreError> {
        let drop = "DELETE FROM talks WHERE member = ?1 AND mine = ?2";
        Ok(self.sql.execute(drop, params![member.0, mine])? == 1)
    }

    /// What waits to be sealed in one group waits in another one instead, in the same order.
    pub fn move_queue(&self, from: GroupId, to: GroupId) -> Result<(), StoreError> {
        let messages = "UPDATE messages SET grp = ?2
                        WHERE seq IN (SELECT seq FROM queue WHERE grp = ?1)";
        self.sql.execute(messages, params![from.0, to.0])?;
        self.sql.execute("UPDATE queue SET grp = ?2 WHERE grp = ?1", params![from.0, to.0])?;
        Ok(())
    }
}

fn talk(row: &Row<'_>) -> rusqlite::Result<TalkRow> {
    Ok(TalkRow {
        member: MemberId(row.get(0)?),
        mine: row.get(1)?,
        group: GroupId(row.get(2)?),
        code: row.get::<_, Option<String>>(3)?.map(Zeroizing::new),
        at: Timestamp(uint(row.get(4)?)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;
    use crate::store::Unlock;

    fn row(member: u16, mine: bool, at: u64) -> TalkRow {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&member.to_be_bytes());
        let code = (!mine).then(|| Zeroizing::new(format!("code {at}")));
        TalkRow {
            member: MemberId(id),
            mine,
            group: GroupId([at as u8; 32]),
            code,
            at: Timestamp(at),
        }
    }

    #[test]
    fn so_many_wishes_of_others_are_kept_one_of_each_and_for_so_long() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), &Unlock::KeyFile).unwrap();
        store
            .transaction(|tx| {
                for member in 0..300 {
                    assert_eq!(tx.put_talk(&row(member, false, 1))?, u64::from(member) < TALKS);
                }
                // A newer word of the same member takes the place of the earlier one; own ones always have room.
                assert!(tx.put_talk(&row(7, false, 2))? && tx.put_talk(&row(299, true, 3))?);
                assert_eq!(tx.talk(row(7, false, 2).member, false)?.unwrap().at, Timestamp(2));
                assert_eq!(tx.asked_to(GroupId([3; 32]))?, Some(row(299, true, 3).member));
                assert_eq!(tx.asked_to(GroupId([2; 32]))?, None);
                assert!(tx.put_talk(&row(300, false, TALK_MS + 2))?);
                assert_eq!(tx.talks()?.len(), 3);
                assert!(tx.drop_talk(row(7, false, 2).member, false)?);
                assert!(!tx.drop_talk(row(7, false, 2).member, false)?);
                Ok::<_, StoreError>(())
            })
            .unwrap();
    }
}
