//! Whether the members of a group hold the same, as far as this node sees.

use std::collections::BTreeMap;

use protocol::{
    group::Due,
    ids::{MemberId, Timestamp},
};

use super::{Core, VerbError, words};
use crate::{
    api::types::{Behind, VERSION, Verified},
    store::{Lack, StoreError, rfc3339},
};

/// Own messages that are looked at, the last ones.
const LAST: u32 = 256;

impl Core {
    /// Who has adopted the view, who is behind, what is missing, and what does not go together.
    pub fn verify(&mut self, reference: &str) -> Result<Verified, VerbError> {
        let id = self.find_group(reference)?;
        let (shown, lacks) =
            self.store.read::<_, StoreError>(|tx| Ok((tx.group(id)?, tx.lacks(id, LAST)?)))?;
        let group = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        let mut behind: BTreeMap<MemberId, (u64, Timestamp)> = BTreeMap::new();
        let owed = |lack: &&Lack| group.due(&lack.member, &lack.chain) == Due::Owed;
        for lack in lacks.iter().filter(owed) {
            let of = behind.entry(lack.member).or_insert((0, lack.since));
            *of = (of.0 + lack.messages, of.1.min(lack.since));
        }
        let behind = behind.into_iter().map(|(member, (messages, since))| Behind {
            member: words::named(group, &member),
            messages,
            since: rfc3339(since),
        });
        Ok(Verified {
            v: VERSION,
            group: shown,
            fingerprint: group.fingerprint(),
            adopted: words::adopted(group),
            behind: behind.collect(),
            gaps: words::gaps(group),
            notices: words::notices(group, self.me.member()),
            withheld: self.withheld(id),
        })
    }
}
