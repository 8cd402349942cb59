//! Relays that a group has left: read on for as long as somebody may not have heard of it.
//!
//! > Nothing is written there any more but the word that the group has left, and what waited for them already. Who was
//! > away finds that there, and what those write who have not heard of it is read. After 35 days nobody keeps anything
//! > of then.
//!
//! Of a relay that is named again, by whatever op, they begin again. Those days are counted from when this node heard of it: what its maker's clock said is not judged.

use std::collections::BTreeSet;

use protocol::{group::Group, ids::Timestamp, limits::POLICY_RELAYS};

use super::{HOUR_MS, relays::group_relays, step::Step};
use crate::{
    net::{address, relay::RelayPeer},
    store::{Store, StoreError},
};

/// How long a relay that was left is read, in milliseconds: as long as members keep envelopes for one another.
const READ_MS: u64 = 35 * 24 * HOUR_MS;

/// The relays that a group left not long ago.
pub(super) fn former_relays(
    store: &mut Store,
    group: &Group,
    now: Timestamp,
) -> Result<Vec<RelayPeer>, StoreError> {
    let left = store.read(|tx| tx.former(group.id()))?;
    let young = left.iter().filter(|(_, since)| now.ms_since(*since) < READ_MS);
    let mut left = address::relays(young.map(|(relay, _)| relay.as_str()));
    let present = group_relays(group);
    left.retain(|it| present.iter().all(|relay| relay.peer_id != it.peer_id));
    left.truncate(POLICY_RELAYS);
    Ok(left)
}

impl Step<'_> {
    /// Notes which relays a group has left by now, and which it uses (again): those that were used before this
    /// step, and all that others may have used.
    pub(super) fn note_former(&self, group: &Group, since: Timestamp) -> Result<(), StoreError> {
        let present = || group.policy().relays.iter().map(String::as_str);
        let mut left = group.former_relays();
        left.extend(
            self.relays.iter().map(String::as_str).filter(|it| present().all(|is| is != *it)),
        );
        self.tx.put_former(group.id(), left, since)?;
        self.tx.drop_former(group.id(), present())
    }

    /// What waits for a relay when another one is named goes to that, too: in this step it takes its place, or in a
    /// later one, or it is named because the first takes nothing. What came from then on waits for both.
    pub(super) fn carry_over(&mut self, group: &Group) -> Result<(), StoreError> {
        let (before, now) =
            (address::relays(self.relays.iter().map(String::as_str)), group_relays(group));
        let lacks = |relays: &[RelayPeer], it: &RelayPeer| {
            relays.iter().all(|relay| relay.peer_id != it.peer_id)
        };
        for new in now.iter().filter(|it| lacks(&before, it)) {
            for old in &before {
                let [old, new] = [old, new].map(|relay| relay.peer_id.to_bytes());
                self.tx.carry_over(group.id(), &old, &new)?;
            }
        }
        self.after.outbox = true;
        Ok(())
    }

    /// Notes that who has heard of some ops alone uses these relays from now on, also where the group left them before.
    pub(super) fn note_named(
        &self,
        group: &Group,
        relays: &BTreeSet<String>,
    ) -> Result<(), StoreError> {
        let named = relays.iter().map(String::as_str);
        self.tx.drop_former(group.id(), named.clone())?;
        let present = &group.policy().relays;
        let named = named.filter(|it| present.iter().all(|is| is != it));
        self.tx.put_former(group.id(), named, self.now)
    }
}
