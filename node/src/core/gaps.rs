//! What is known to be missing, so that people hear of it once, and when it has come.

use std::collections::{BTreeMap, BTreeSet};

use protocol::ids::{ChainId, GroupId, MemberId};

/// Missing messages, by group and writer. At most [`PER_WRITER`] of each are counted.
#[derive(Default)]
pub(super) struct Gaps {
    missing: BTreeMap<(GroupId, MemberId), BTreeSet<(ChainId, u32)>>,
    given_up: BTreeSet<(GroupId, MemberId)>,
}

const PER_WRITER: usize = 4096;

impl Gaps {
    /// Notes a missing message; how many of that writer are missing now, where that is news.
    pub(super) fn open(
        &mut self,
        group: GroupId,
        from: MemberId,
        place: (ChainId, u32),
    ) -> Option<u64> {
        let missing = self.missing.entry((group, from)).or_default();
        let news = missing.len() < PER_WRITER && missing.insert(place);
        news.then(|| u64::try_from(missing.len()).unwrap_or(u64::MAX))
    }

    /// Notes that a missing message can't be had; whether that is news of its writer.
    pub(super) fn give_up(&mut self, group: GroupId, from: MemberId) -> bool {
        self.given_up.insert((group, from))
    }

    /// Notes that a message has come; whether it was the last one of that writer.
    pub(super) fn close(&mut self, group: GroupId, from: MemberId, place: (ChainId, u32)) -> bool {
        let Some(missing) = self.missing.get_mut(&(group, from)) else { return true };
        missing.remove(&place);
        let last = missing.is_empty();
        if last {
            self.missing.remove(&(group, from));
            self.given_up.remove(&(group, from));
        }
        last
    }
}
