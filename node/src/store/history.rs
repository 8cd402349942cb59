//! What messages' authors signed, for whoever is to be told of them later.

use protocol::{
    group::{SignedContent, SignedRecord},
    ids::{ChainId, GroupId},
    said::{EDIT, is_shared},
    sign::Signature,
};
use rusqlite::params;

use super::{StoreError, Tx};

impl Tx<'_> {
    /// The last `limit` messages of a group that this node wrote or read itself, oldest first, as
    /// they were signed. Those from before signatures were kept are not among them, nor offers of files: only who was a
    /// member then is given those.
    pub fn signed_records(
        &self,
        group: GroupId,
        limit: u32,
    ) -> Result<Vec<SignedRecord>, StoreError> {
        let mut rows = self.sql.prepare(
            "SELECT m.chain, m.idx, m.content, m.signature, m.kind = ?3, t.kind, t.said
             FROM messages m LEFT JOIN messages t
               ON t.grp = m.grp AND t.chain = substr(m.changes, 1, 16) AND t.msg = substr(m.changes, 21)
             WHERE m.grp = ?1 AND m.content IS NOT NULL AND m.chain IS NOT NULL AND m.shared_by IS NULL
               AND m.offer IS NULL
             ORDER BY m.place DESC LIMIT ?2",
        )?;
        let records = rows.query_map(params![group.0, limit, EDIT], |row| {
            let record = SignedRecord {
                chain: ChainId(row.get(0)?),
                index: row.get(1)?,
                signed: SignedContent { content: row.get(2)?, signature: Signature(row.get(3)?) },
            };
            // What was to be kept for some time only is in its edits, too; of what is not here nothing is known.
            let is_edit: bool = row.get(4)?;
            let (kind, said): (Option<u8>, Option<Vec<u8>>) = (row.get(5)?, row.get(6)?);
            let is_shared = kind.is_some_and(|kind| said.is_none_or(|said| is_shared(kind, &said)));
            Ok((!is_edit || is_shared).then_some(record))
        })?;
        let mut records = records.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
        records.reverse();
        Ok(records)
    }
}
