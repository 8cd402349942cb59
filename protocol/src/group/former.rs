//! Relays that a group has used before.

use alloc::{collections::BTreeSet, string::String};

use super::Group;
use crate::membership::Kind;

impl Group {
    /// Relays that a policy which counts named at some time and the present one does not: of several that were set at
    /// once all but those of the one that holds. Members who have not heard of it still write there. When that was is
    /// not said: by its maker's clock it could be any time.
    #[must_use]
    pub fn former_relays(&self) -> BTreeSet<&str> {
        let resolution = self.ops.resolve();
        let policies = self.ops.iter().filter(|op| !resolution.void.contains(&op.id()));
        let policies = policies.filter_map(|op| match &op.body().kind {
            Kind::Genesis { policy, .. } | Kind::SetPolicy { policy } => Some(policy),
            _ => None,
        });
        let mut named: BTreeSet<&str> =
            policies.flat_map(|policy| &policy.relays).map(String::as_str).collect();
        named.retain(|named| resolution.policy.relays.iter().all(|relay| relay != named));
        named
    }
}
