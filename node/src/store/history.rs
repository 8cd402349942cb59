//! What messages' authors signed, for whoever is to be told of them later.

use protocol::{
    group::{SignedContent, SignedRecord},
    ids::{ChainId, GroupId},
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
            "SELECT chain, idx, content, signature FROM messages
             WHERE grp = ?1 AND content IS NOT NULL AND chain IS NOT NULL AND shared_by IS NULL AND offer IS NULL
             ORDER BY place DESC LIMIT ?2",
        )?;
        let records = rows.query_map(params![group.0, limit], |row| {
            Ok(SignedRecord {
                chain: ChainId(row.get(0)?),
                index: row.get(1)?,
                signed: SignedContent { content: row.get(2)?, signature: Signature(row.get(3)?) },
            })
        })?;
        let mut records = records.collect::<Result<Vec<_>, _>>()?;
        records.reverse();
        Ok(records)
    }
}
