//! Who came back because a removal turned out to be void. docs/spec/membership.md.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{node::Act, set::OpSet};
use crate::ids::{MemberId, OpId};

impl OpSet {
    /// The removal or demotion that does not count and of which a member's return may come, if no
    /// grant by which it is a member now follows it: about the member, or about one of those by
    /// whose grants it is one. Of several, the last by height, then the smallest id. Once a grant
    /// follows it, an admin has answered.
    #[must_use]
    pub fn voided_removal(&self, member: &MemberId) -> Option<OpId> {
        let now = self.resolve();
        let grants: Vec<usize> =
            now.grants.get(member)?.iter().filter_map(|grant| self.number(grant)).collect();
        let mut about = BTreeSet::from([*member]);
        for grant in &grants {
            let mut at = *grant;
            while let Some(cap) = self.nodes[at].cap {
                about.insert(self.nodes[at].author);
                at = cap;
            }
        }
        let void = now.void.iter().filter_map(|id| self.number(id));
        let removals = void.filter(|at| match self.nodes[*at].act {
            Act::Remove { member } | Act::Demote { member } => about.contains(&member),
            _ => false,
        });
        let open =
            removals.filter(|at| grants.iter().all(|grant| !self.nodes[*grant].past.contains(*at)));
        let of =
            |at: usize| matches!(self.nodes[at].act, Act::Remove { member: of } if of == *member);
        open.max_by_key(|at| {
            let node = &self.nodes[*at];
            (of(*at), node.height, core::cmp::Reverse(node.id))
        })
        .map(|at| self.nodes[at].id)
    }
}
