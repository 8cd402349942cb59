//! What a set of ops comes to: members, admins, invites, policy, topics. docs/spec/membership.md.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::cmp::Reverse;

use super::{
    conduct::Conduct,
    gone,
    node::{Act, Node},
    op::{AdmitMode, Cut, InviteFields, Kind, Op, Policy},
    resolve::{Rank, Verdict},
    roster::Roster,
    topics::Topics,
};
use crate::ids::{GroupId, InviteId, MemberId, OpId, Timestamp};

/// What a set of ops, or the past of some heads, comes to. A function of the ops alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resolution {
    /// Who is a member, and by what.
    pub members: BTreeMap<MemberId, Standing>,
    /// Of the valid policies that no other valid one follows, that of the most senior author; then
    /// the greatest height, then the smallest id.
    pub policy: Policy,
    /// Found as the policy is, of those alone that can be read. What an older node does not have.
    pub conduct: Conduct,
    /// Whose that is; `None`: nobody set one.
    pub conduct_by: Option<MemberId>,
    /// The valid invites. Where admins published one id twice, the most senior one's counts.
    pub invites: BTreeMap<InviteId, InviteState>,
    /// The grants that came to an end or never counted.
    pub ended: BTreeMap<OpId, Ended>,
    /// Ops of known kinds that don't count: a removal among them is worth an alert.
    pub void: BTreeSet<OpId>,
    /// Where the group meets.
    pub topics: Topics,
    /// The standing grants of each member, most senior first.
    pub grants: BTreeMap<MemberId, Vec<OpId>>,
    /// The valid Migrates: by the most senior first, then the latest.
    pub moves: Vec<Move>,
}

/// An admin's word that the group goes on as another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// The Migrate.
    pub op: OpId,
    /// By whom.
    pub by: MemberId,
    /// The new group.
    pub to: GroupId,
}

/// By what somebody is a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Seniority: that of `grant`. Comparable only within one resolution.
    pub rank: Rank,
    /// The most senior grant that makes them a member.
    pub grant: OpId,
    /// The most senior grant that makes them an admin, if they are one.
    pub admin: Option<OpId>,
    /// Whether that is the Genesis itself: nobody can remove them.
    pub founder: bool,
    pub(super) admin_rank: Option<Rank>,
    /// The most senior grant that nothing revokes, if there is one. Whoever is a member by promotions
    /// alone, and demoted, refreshes under `grant`.
    pub(super) acts: Option<OpId>,
}

/// A published invite.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InviteState {
    /// The InviteCreate.
    pub op: OpId,
    /// Who made it. Once its creator is no admin any more, nobody should serve it.
    pub creator: MemberId,
    /// The images of its secret.
    pub fields: InviteFields,
    /// How many Admits count.
    pub max_uses: u32,
    /// How many do.
    pub used: u32,
    /// Judged by whoever admits.
    pub expires: Timestamp,
    /// Whether a person is asked.
    pub mode: AdmitMode,
    /// Whether only its creator serves it.
    pub strict: bool,
    /// Whether it was taken back.
    pub revoked: bool,
    pub(super) rank: Option<Rank>,
}

/// How a grant came to an end. A later grant of the same member starts afresh.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Whose grant it was.
    pub member: MemberId,
    /// The valid removals, and the member's own Retires, that end it, sorted.
    pub removals: Vec<OpId>,
    /// The member's own Leaves that end it, sorted.
    pub leaves: Vec<OpId>,
    /// Whether the grant never counted: its author was removed, or its invite was used up.
    pub void: bool,
    /// Whether the membership that it gave goes on all the same: no removal and no Leave ended it, or the
    /// member has a grant that stands and follows none of them.
    pub goes_on: bool,
    /// What is still accepted of the member's chains: of each chain, the greatest index that one of
    /// the removals names. A Retire's own cut counts where nobody removed the member.
    pub cut: Vec<Cut>,
}

impl Ended {
    /// Whether no removal and no Leave ended it: it never counted, and that is all.
    #[must_use]
    pub fn is_void_alone(&self) -> bool {
        self.removals.is_empty() && self.leaves.is_empty()
    }
}

impl Resolution {
    /// Whether somebody is a member.
    #[must_use]
    pub fn is_member(&self, who: &MemberId) -> bool {
        self.members.contains_key(who)
    }

    /// Whether somebody is an admin.
    #[must_use]
    pub fn is_admin(&self, who: &MemberId) -> bool {
        self.members.get(who).is_some_and(|standing| standing.admin.is_some())
    }

    /// Whether a Remove of `whom` by `by` ends the membership: `by` is an admin senior to every
    /// grant of `whom`.
    #[must_use]
    pub fn may_remove(&self, by: &MemberId, whom: &MemberId) -> bool {
        match (self.admin_rank(by), self.members.get(whom)) {
            (Some(rank), Some(target)) => rank < target.rank,
            _ => false,
        }
    }

    /// Whether a Demote of `whom` by `by` ends its being an admin.
    #[must_use]
    pub fn may_demote(&self, by: &MemberId, whom: &MemberId) -> bool {
        match (self.admin_rank(by), self.admin_rank(whom)) {
            (Some(rank), Some(target)) => rank < target,
            _ => false,
        }
    }

    /// The members as a roster.
    #[must_use]
    pub fn roster(&self, group: GroupId) -> Roster {
        Roster::new(group, self.members.keys().copied())
    }

    /// The admins, most senior first.
    #[must_use]
    pub fn admins(&self) -> Vec<MemberId> {
        let mut admins: Vec<_> = self
            .members
            .iter()
            .filter_map(|(member, standing)| standing.admin_rank.map(|rank| (rank, *member)))
            .collect();
        admins.sort_unstable();
        admins.into_iter().map(|(_, member)| member).collect()
    }

    /// How a grant came to an end; `None` while it stands.
    #[must_use]
    pub fn ended(&self, grant: &OpId) -> Option<&Ended> {
        self.ended.get(grant)
    }

    /// Where the group meets.
    #[must_use]
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    pub(super) fn admin_rank(&self, who: &MemberId) -> Option<Rank> {
        self.members.get(who).and_then(|standing| standing.admin_rank)
    }

    pub(super) fn new(ops: &[Op], nodes: &[Node], verdict: &Verdict, topics: Topics) -> Self {
        let (conduct, conduct_by) = conduct(ops, nodes, verdict).unzip();
        Self {
            members: members(nodes, verdict),
            policy: policy(ops, nodes, verdict),
            conduct: conduct.unwrap_or_default(),
            conduct_by,
            invites: invites(ops, nodes, verdict),
            ended: ended(ops, nodes, verdict),
            void: verdict
                .void()
                .filter(|at| !matches!(nodes[*at].act, Act::Conduct | Act::Other))
                .map(|at| nodes[at].id)
                .collect(),
            topics,
            grants: grants(nodes, verdict),
            moves: moves(ops, nodes, verdict),
        }
    }
}

fn grants(nodes: &[Node], verdict: &Verdict) -> BTreeMap<MemberId, Vec<OpId>> {
    let mut standing: Vec<_> = verdict
        .valid()
        .filter(|at| verdict.stands(nodes, *at))
        .filter_map(|at| Some((verdict.rank[at]?, nodes[at].grants()?, nodes[at].id)))
        .collect();
    standing.sort_unstable();
    let mut grants: BTreeMap<MemberId, Vec<OpId>> = BTreeMap::new();
    for (_, member, id) in standing {
        grants.entry(member).or_default().push(id);
    }
    grants
}

fn moves(ops: &[Op], nodes: &[Node], verdict: &Verdict) -> Vec<Move> {
    let mut moves: Vec<_> = verdict
        .valid()
        .filter_map(|at| match ops[at].body().kind {
            Kind::Migrate { to } => {
                let node = &nodes[at];
                let order = (verdict.rank_of_cap(nodes, at), Reverse(node.height), node.id);
                Some((order, Move { op: node.id, by: node.author, to }))
            }
            _ => None,
        })
        .collect();
    moves.sort_unstable_by_key(|(order, _)| *order);
    moves.into_iter().map(|(_, to)| to).collect()
}

fn members(nodes: &[Node], verdict: &Verdict) -> BTreeMap<MemberId, Standing> {
    let mut grants: Vec<_> = verdict
        .valid()
        .filter_map(|at| Some((verdict.rank[at]?, nodes[at].grants()?, at)))
        .filter(|(_, _, at)| verdict.stands(nodes, *at))
        .collect();
    grants.sort_unstable();
    let mut members: BTreeMap<MemberId, Standing> = BTreeMap::new();
    for (rank, member, at) in grants {
        let grant = nodes[at].id;
        let standing = members.entry(member).or_insert(Standing {
            rank,
            grant,
            admin: None,
            founder: at == 0,
            admin_rank: None,
            acts: None,
        });
        if verdict.revokers(nodes, at).next().is_none() {
            standing.acts.get_or_insert(grant);
            if nodes[at].act.is_admin_grant() {
                standing.admin.get_or_insert(grant);
                standing.admin_rank.get_or_insert(rank);
            }
        }
    }
    members
}

fn policy(ops: &[Op], nodes: &[Node], verdict: &Verdict) -> Policy {
    in_force(nodes, verdict, |act| matches!(act, Act::Genesis | Act::SetPolicy))
        .and_then(|at| match &ops[at].body().kind {
            Kind::Genesis { policy, .. } | Kind::SetPolicy { policy } => Some(policy.clone()),
            _ => None,
        })
        .unwrap_or_default()
}

fn conduct(ops: &[Op], nodes: &[Node], verdict: &Verdict) -> Option<(Conduct, MemberId)> {
    let at = in_force(nodes, verdict, |act| *act == Act::Conduct)?;
    Some((Conduct::of(&ops[at].body().kind)?, ops[at].author()))
}

/// Of the valid ops of one sort that no other such one follows, the most senior author's; then the greatest height,
/// then the smallest id.
pub(super) fn in_force(
    nodes: &[Node],
    verdict: &Verdict,
    is: impl Fn(&Act) -> bool,
) -> Option<usize> {
    let set: Vec<usize> = verdict.valid().filter(|at| is(&nodes[*at].act)).collect();
    let followed = super::node::union_of_pasts(nodes, set.iter().copied());
    set.into_iter().filter(|at| !followed.contains(*at)).min_by_key(|at| {
        (verdict.rank_of_cap(nodes, *at), Reverse(nodes[*at].height), nodes[*at].id)
    })
}

fn invites(ops: &[Op], nodes: &[Node], verdict: &Verdict) -> BTreeMap<InviteId, InviteState> {
    let mut created: Vec<_> = verdict
        .valid()
        .filter(|at| matches!(nodes[*at].act, Act::InviteCreate { .. }))
        .map(|at| (verdict.rank_of_cap(nodes, at), nodes[at].height, nodes[at].id, at))
        .collect();
    created.sort_unstable();
    let mut invites = BTreeMap::new();
    for (rank, _, op, at) in created {
        if let Kind::InviteCreate { record, max_uses, expires, mode, strict } = &ops[at].body().kind
        {
            invites.entry(record.id).or_insert_with(|| InviteState {
                op,
                creator: nodes[at].author,
                fields: record.clone(),
                max_uses: *max_uses,
                used: verdict.uses.get(&at).copied().unwrap_or(0),
                expires: *expires,
                mode: *mode,
                strict: *strict,
                revoked: false,
                rank,
            });
        }
    }
    for at in verdict.valid() {
        if let Act::InviteRevoke { id } = &nodes[at].act
            && let Some(invite) = invites.get_mut(id)
        {
            invite.revoked |= verdict.rank_of_cap(nodes, at) <= invite.rank;
        }
    }
    invites
}

fn ended(ops: &[Op], nodes: &[Node], verdict: &Verdict) -> BTreeMap<OpId, Ended> {
    let mut ended = BTreeMap::new();
    let mut standing = gone::FirstGrants::of(nodes, verdict);
    for at in verdict.all() {
        let Some(member) = nodes[at].grants() else { continue };
        if verdict.stands(nodes, at) {
            continue;
        }
        let ends: Vec<usize> = verdict.leavings(nodes, at).collect();
        let goes_on = ends.is_empty() || standing.is_beside(member, &ends);
        let (mut removals, mut leaves): (Vec<_>, Vec<_>) =
            ends.into_iter().partition(|end| nodes[*end].act != Act::Leave);
        let mut cut: BTreeMap<_, u32> = BTreeMap::new();
        // Nobody can widen the cut of a removal by a Retire.
        let removed = removals.iter().any(|end| nodes[*end].act != Act::Retire);
        for removal in &removals {
            let named = match &ops[*removal].body().kind {
                Kind::Remove { cut, .. } => cut,
                Kind::Retire { cut, .. } if !removed => cut,
                _ => continue,
            };
            for Cut { incarnation, chain, index } in named {
                let kept = cut.entry((*incarnation, *chain)).or_insert(*index);
                *kept = (*kept).max(*index);
            }
        }
        let by_id = |at: &usize| nodes[*at].id;
        removals.sort_unstable_by_key(by_id);
        leaves.sort_unstable_by_key(by_id);
        ended.insert(
            nodes[at].id,
            Ended {
                member,
                removals: removals.iter().map(by_id).collect(),
                leaves: leaves.iter().map(by_id).collect(),
                void: !verdict.valid[at],
                goes_on,
                cut: cut
                    .into_iter()
                    .map(|((incarnation, chain), index)| Cut { incarnation, chain, index })
                    .collect(),
            },
        );
    }
    ended
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn what_never_counted_is_void_alone_unless_somebody_or_its_member_ended_it_too() {
        let alone = Ended {
            member: MemberId([1; 32]),
            removals: vec![],
            leaves: vec![],
            void: true,
            goes_on: true,
            cut: vec![],
        };
        let op = vec![OpId([2; 32])];
        let removed = Ended { removals: op.clone(), ..alone.clone() };
        let left = Ended { leaves: op.clone(), ..alone.clone() };
        let both = Ended { leaves: op, ..removed.clone() };
        assert!(alone.is_void_alone());
        assert!([removed, left, both].iter().all(|ended| !ended.is_void_alone()));
    }
}
