//! Trimming: what this node has read of its own inboxes, relays need not keep.
//!
//! > Nothing is trimmed that is not on this disk; and nothing that is younger than a week, so that a
//! > copy of this disk that is as old finds there what came since. An inbox that is being filled is
//! > trimmed at once: what is to come matters more.
//!
//! Asked for every hour, and never twice at once: a trim that is lost is made up for by the next,
//! which covers it. docs/spec/relay-log.md.

use protocol::{
    ids::{LogId, Timestamp},
    relay_log::Cursor,
};

use super::{Core, Effect, HOUR_MS, relays::Owner};
use crate::{
    net::relay::RelayKey,
    store::{MARK_MS, Standing, StoreError},
};

/// How long what was read is left at relays, in milliseconds: a week.
const LEFT_MS: u64 = 7 * 24 * HOUR_MS;
/// What is left there at most, whatever its age: a quarter of what a relay takes for one log.
const LEFT: Standing = Standing { entries: 16_384, bytes: 16 << 20 };
/// How long it is remembered what was read, in milliseconds: longer than relays keep it.
const MARKS_MS: u64 = 60 * 24 * HOUR_MS;

/// Whether too much is left at a relay.
fn is_much(left: Standing) -> bool {
    left.entries >= LEFT.entries || left.bytes >= LEFT.bytes
}

/// Whether it has become too much, or too much once more, by what was read last.
pub(super) fn became_much(left: Standing, last: Standing) -> bool {
    let before = Standing {
        entries: left.entries.saturating_sub(last.entries),
        bytes: left.bytes.saturating_sub(last.bytes),
    };
    left.entries / LEFT.entries > before.entries / LEFT.entries
        || left.bytes / LEFT.bytes > before.bytes / LEFT.bytes
}

impl Core {
    /// Asks relays to delete what this node read long enough ago in its inboxes, the replaced ones
    /// that it still follows included.
    pub(super) fn trim_inboxes(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let long_ago = Timestamp(now.0.saturating_sub(LEFT_MS));
        for (key, logs) in self.planned() {
            let bytes = key.to_bytes();
            for log in logs {
                let Some(Owner::Group(id)) = self.logs.get(&log) else { continue };
                if !self.groups.get(id).is_some_and(|group| group.is_own_inbox(&log)) {
                    continue;
                }
                let cursor = self.store.read(|tx| {
                    let at = if is_much(tx.standing(&bytes, log)?) {
                        now.plus_ms(MARK_MS)
                    } else {
                        long_ago
                    };
                    tx.read_by(&bytes, log, at)
                })?;
                self.effects.extend(cursor.map(|cursor| Effect::Trim { relay: key, log, cursor }));
            }
        }
        let forgotten = Timestamp(now.0.saturating_sub(MARKS_MS));
        self.store.transaction(|tx| tx.trim_marks(forgotten))
    }

    /// A relay has trimmed a log, which begins after this place now. A log's last entry stays.
    pub(super) fn trimmed(
        &mut self,
        key: &RelayKey,
        log: LogId,
        begins: Cursor,
    ) -> Result<(), StoreError> {
        let to = Cursor { seq: begins.seq.saturating_add(1), ..begins };
        self.store.transaction(|tx| tx.unmark(&key.to_bytes(), log, to))
    }
}
