//! Where the group meets: which topic secrets are current, and to which of them to write.
//!
//! A topic epoch begins with an op that carries a commitment: the Genesis, a Remove, a Refresh. The
//! *frontier* is the valid ones that no other valid one follows. A topic secret is *clean* if
//! everybody who may know it is still a member: the roster at its op, the op's author, and whoever
//! was granted membership since, because a Welcome or another member hands it over.
//!
//! Only metadata depends on this, content never does. docs/spec/relay-log.md.

use alloc::{collections::BTreeSet, vec::Vec};
use core::cmp::Reverse;

use super::{
    node::{Node, union_of_pasts},
    op::Op,
    resolve::Verdict,
};
use crate::{
    ids::{MemberId, OpId},
    limits,
};

/// The topic frontier of a set of ops.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topics {
    /// The current epochs: greatest height first, then smallest commitment; at most
    /// [`limits::TOPICS`]. All of them are read.
    pub frontier: Vec<Topic>,
    /// The commitments of the epochs to write to: with a clean epoch the first such, otherwise the
    /// whole frontier, sorted.
    pub write: Vec<[u8; 32]>,
    /// Whether an epoch of the frontier is clean.
    pub clean: bool,
}

/// One topic epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Topic {
    /// The op that began it.
    pub op: OpId,
    /// The commitment to its secret.
    pub commit: [u8; 32],
    /// Whether everybody who may know the secret is a member now.
    pub clean: bool,
}

impl Topics {
    /// Whether a Refresh with a new topic secret is due.
    #[must_use]
    pub fn needs_refresh(&self) -> bool {
        !self.clean
    }

    /// `roster_at` gives the members in the past of an op, the op included.
    pub(super) fn new(
        ops: &[Op],
        nodes: &[Node],
        verdict: &Verdict,
        mut roster_at: impl FnMut(usize) -> Vec<MemberId>,
    ) -> Self {
        let members: BTreeSet<MemberId> = verdict
            .valid()
            .filter(|at| verdict.stands(nodes, *at))
            .filter_map(|at| nodes[at].grants())
            .collect();
        let frontier: Vec<Topic> = frontier(ops, nodes, verdict)
            .into_iter()
            .map(|(at, commit)| {
                let later = verdict.all().filter(|grant| !nodes[at].past.contains(*grant));
                let clean = later
                    .filter_map(|grant| nodes[grant].grants())
                    .chain([nodes[at].author])
                    .chain(roster_at(at))
                    .all(|knows| members.contains(&knows));
                Topic { op: nodes[at].id, commit, clean }
            })
            .collect();
        let clean = frontier.iter().find(|topic| topic.clean);
        let write: BTreeSet<_> = match clean {
            Some(topic) => BTreeSet::from([topic.commit]),
            None => frontier.iter().map(|topic| topic.commit).collect(),
        };
        let write = write.into_iter().collect();
        Self { write, clean: clean.is_some(), frontier }
    }
}

fn frontier(ops: &[Op], nodes: &[Node], verdict: &Verdict) -> Vec<(usize, [u8; 32])> {
    let begun: Vec<_> =
        verdict.valid().filter_map(|at| Some((at, ops[at].body().kind.topic_commit()?))).collect();
    let followed = union_of_pasts(nodes, begun.iter().map(|(at, _)| *at));
    let mut frontier: Vec<_> =
        begun.into_iter().filter(|(at, _)| !followed.contains(*at)).collect();
    frontier
        .sort_unstable_by_key(|(at, commit)| (Reverse(nodes[*at].height), *commit, nodes[*at].id));
    frontier.truncate(limits::TOPICS);
    frontier
}
