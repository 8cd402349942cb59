//! The index of words takes in what came before it, in parts, beside all else.

use protocol::ids::Timestamp;

use super::Core;
use crate::store::StoreError;

/// So many messages are taken in at once: some milliseconds.
const AT_ONCE: u32 = 200;
/// After which the node does what else there is, in milliseconds.
const PAUSE_MS: u64 = 20;

impl Core {
    /// Takes in the next part, if it is due.
    pub(super) fn index(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.index_at.is_some_and(|at| at <= now) {
            let more = self.store.transaction(|tx| tx.index_more(AT_ONCE))?;
            self.index_at = more.then(|| now.plus_ms(PAUSE_MS));
        }
        Ok(())
    }
}
