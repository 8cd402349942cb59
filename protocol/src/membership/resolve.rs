//! The rule: which ops of a set count. docs/spec/membership.md.
//!
//! ```text
//! formed(o)    o.cap ∈ past(o), grants o.author, is of the class that the kind needs
//! revokes(r,g) r = Remove of g's member, rank(r.cap) < rank(g)
//!              r = Demote of g's member, g a Promote, same test
//!              r = Retire by g's member, rank(r.cap) ≤ rank(g)
//! left(o)      a Leave by o's author is in past(o) and not in past(o.cap)
//! valid(o)   ⇔ formed(o) ∧ valid(o.cap) ∧ ¬left(o)
//!              ∧ ¬∃ r: revokes(r,o.cap) ∧ valid(r) ∧ r∉past(o.cap) ∧ o∉past(r)
//!              (Genesis, Leave: formed is enough; o = Retire: r = Remove or Demote alone, and left
//!              does not matter; o = Refresh: r = such a Remove, or any formed Retire by o's author,
//!              valid or not and whatever its rank)
//! member(x)  ⇔ ∃ grant g of x: valid(g) ∧ ¬∃ r∉past(g):
//!              r = Leave or Retire by x, formed | r = Remove, valid, revokes(r,g)
//! admin(x)   ⇔ the same for g ∈ {Genesis, Promote}, with Demote counted too
//! ```
//!
//! > An op depends only on ops whose grants are strictly senior to its own grant, and on its own
//! > author's Retires, which depend on such alone. So there is one solution, it is a function of the
//! > set of ops alone, and a junior changes nothing for a senior.
//!
//! That order is also how it is computed: grants from the most senior down, once each; under each
//! grant first the Retires. Admits need
//! no place in it, because no admin acts under one. Three rules about invites come after it: an
//! Admit by an invite also lives by the invite.
//!
//! * an Admit by a void invite is void: what an admin did beside its removal brings nobody in;
//! * a valid InviteRevoke, by a grant not junior to the invite's, voids the Admits that it does not
//!   follow;
//! * of the Admits by one invite that are left, the first `max_uses` count, by seniority of the
//!   admitter's grant, then height, then id.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use super::{
    bits::Bits,
    node::{Act, Node},
};
use crate::ids::{InviteId, MemberId, OpId};

/// Seniority within one resolution: smaller is senior, and any admin grant is senior to any other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rank {
    class: Class,
    place: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Class {
    Admin,
    Member,
}

/// What the rule says of every op, by number.
#[derive(Debug)]
pub(super) struct Verdict {
    within: Bits,
    /// Whether the op counts. An op of an unknown kind never does; one that sets the
    /// conduct does by an admin grant alone.
    pub(super) valid: Vec<bool>,
    /// The rank of every formed grant.
    pub(super) rank: Vec<Option<Rank>>,
    /// What ends somebody's grants, by whom it concerns: valid removals and demotions; leaves and
    /// retirements, which end their author's membership valid or not.
    endings: BTreeMap<MemberId, Vec<usize>>,
    /// How many Admits count for each InviteCreate.
    pub(super) uses: BTreeMap<usize, u32>,
}

/// The sorts of ops under a grant, each of which something else voids, in the order in which they
/// are judged.
const SORTS: [Sort; 3] = [Sort::Retire, Sort::Refresh, Sort::Other];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Retire,
    Refresh,
    Other,
}

impl Sort {
    fn of(act: &Act) -> Self {
        match act {
            Act::Retire => Self::Retire,
            Act::Refresh => Self::Refresh,
            _ => Self::Other,
        }
    }
}

/// What may be done under one grant.
struct Authority {
    /// What lies before everything that revokes the grant, and so outlives it; `None`: nothing does.
    spared: Option<Bits>,
    /// The Leaves of its member that are not before it: what follows one of them is done by somebody
    /// who has left.
    left: Bits,
}

impl Authority {
    fn has(&self, nodes: &[Node], at: usize) -> bool {
        self.spared.as_ref().is_none_or(|spared| spared.contains(at))
            && !nodes[at].past.meets(&self.left)
    }
}

/// Applies the rule to the ops numbered in `within`, which must hold the past of each, and 0.
pub(super) fn resolve(nodes: &[Node], within: Bits) -> Verdict {
    let rank = ranks(nodes, &within);
    let mut verdict = Verdict {
        within,
        valid: vec![false; nodes.len()],
        rank,
        endings: BTreeMap::new(),
        uses: BTreeMap::new(),
    };
    verdict.valid[0] = true;
    verdict.judge_admins(nodes);
    verdict.judge_invites(nodes);
    verdict.judge_members(nodes);
    verdict
}

/// Ranks all formed grants: the tree of grants in preorder, siblings by height and id, is the
/// lexicographic order of [`super::node::path`].
fn ranks(nodes: &[Node], within: &Bits) -> Vec<Option<Rank>> {
    let mut below: BTreeMap<usize, Vec<(u32, OpId, usize)>> = BTreeMap::new();
    for at in within.iter() {
        let node = &nodes[at];
        if let (Some(_), Some(cap)) = (node.grants(), node.cap)
            && node.is_formed(nodes)
        {
            below.entry(cap).or_default().push((node.height, node.id, at));
        }
    }
    let mut ranks = vec![None; nodes.len()];
    let mut next = vec![0];
    let mut place = 0;
    while let Some(grant) = next.pop() {
        let admin = nodes[grant].act.is_admin_grant();
        ranks[grant] =
            Some(Rank { class: if admin { Class::Admin } else { Class::Member }, place });
        place += 1;
        if let Some(mut juniors) = below.remove(&grant) {
            juniors.sort_unstable();
            next.extend(juniors.iter().rev().map(|(_, _, at)| *at));
        }
    }
    ranks
}

impl Verdict {
    /// Judges what is done under admin grants, and records removals, from the founder down.
    fn judge_admins(&mut self, nodes: &[Node]) {
        let mut by_cap: Vec<(Rank, usize)> = Vec::new();
        for at in self.within.iter() {
            if nodes[at].act == Act::Retire && nodes[at].is_formed(nodes) {
                self.endings.entry(nodes[at].author).or_default().push(at);
            }
            match (&nodes[at].act, nodes[at].cap) {
                (Act::Leave, _) => {
                    self.valid[at] = true;
                    self.endings.entry(nodes[at].author).or_default().push(at);
                }
                (Act::Other, _) => {}
                (_, Some(cap)) if nodes[cap].act.is_admin_grant() && nodes[at].is_formed(nodes) => {
                    by_cap.extend(self.rank[cap].map(|rank| (rank, at)));
                }
                _ => {}
            }
        }
        by_cap.sort_unstable();
        for acts in by_cap.chunk_by(|a, b| a.0 == b.0) {
            self.judge_under(nodes, acts);
            // Only now: a removal revokes nothing of the rank that it is made under.
            for (_, at) in acts {
                if let (true, Act::Remove { member } | Act::Demote { member }) =
                    (self.valid[*at], &nodes[*at].act)
                {
                    self.endings.entry(*member).or_default().push(*at);
                }
            }
        }
    }

    /// Judges acts under one grant, once everything senior to it is judged: the Retires, and then
    /// what they void.
    fn judge_under(&mut self, nodes: &[Node], acts: &[(Rank, usize)]) {
        let Some(cap) = acts.first().and_then(|(_, at)| nodes[*at].cap) else { return };
        if !self.valid[cap] {
            return;
        }
        for sort in SORTS {
            let authority = self.authority(nodes, cap, sort);
            for (_, at) in acts {
                if Sort::of(&nodes[*at].act) == sort {
                    self.valid[*at] = authority.has(nodes, *at);
                }
            }
        }
    }

    /// What of one sort may still be done under a valid grant. Its author's own Leave spares nobody
    /// from a Retire: what a lost machine signs first does not save what it signs beside.
    fn authority(&self, nodes: &[Node], grant: usize, sort: Sort) -> Authority {
        let mut authority = Authority { spared: None, left: Bits::default() };
        for end in self.endings(nodes, grant).filter(|end| self.voids(nodes, grant, sort, *end)) {
            let past = &nodes[end].past;
            match &mut authority.spared {
                None => authority.spared = Some(past.clone()),
                Some(spared) => spared.intersect(past),
            }
        }
        if sort != Sort::Retire {
            let leaves = self.endings(nodes, grant).filter(|at| nodes[*at].act == Act::Leave);
            leaves.for_each(|at| authority.left.insert(at));
        }
        authority
    }

    /// Whether an ending of a grant voids what is beside it of one sort. No Retire voids another. A
    /// member refreshes, an admin or not, so what ends the membership voids it and nothing else: of the
    /// author's Retires each, for whoever has the lost machine begins no topic by another grant.
    fn voids(&self, nodes: &[Node], grant: usize, sort: Sort, end: usize) -> bool {
        let act = &nodes[end].act;
        match sort {
            Sort::Retire => *act != Act::Retire && self.revokes(nodes, grant, end),
            Sort::Refresh => matches!(act, Act::Remove { .. } | Act::Retire),
            Sort::Other => self.revokes(nodes, grant, end),
        }
    }

    /// The valid removals, demotions and retirements that revoke a grant and are not before it.
    pub(super) fn revokers<'a>(
        &'a self,
        nodes: &'a [Node],
        grant: usize,
    ) -> impl Iterator<Item = usize> + 'a {
        self.endings(nodes, grant).filter(move |end| self.revokes(nodes, grant, *end))
    }

    /// Whether an ending of a grant takes its member's authority under it.
    fn revokes(&self, nodes: &[Node], grant: usize, end: usize) -> bool {
        match nodes[end].act {
            Act::Remove { .. } => true,
            Act::Demote { .. } => matches!(nodes[grant].act, Act::Promote { .. }),
            Act::Retire => self.valid[end] && self.rank_of_cap(nodes, end) <= self.rank[grant],
            _ => false,
        }
    }

    /// The ops not before a grant that end its member's membership: valid removals by a senior, or
    /// the member's own Leave or Retire.
    pub(super) fn leavings<'a>(
        &'a self,
        nodes: &'a [Node],
        grant: usize,
    ) -> impl Iterator<Item = usize> + 'a {
        self.endings(nodes, grant)
            .filter(|at| matches!(nodes[*at].act, Act::Remove { .. } | Act::Leave | Act::Retire))
    }

    fn endings<'a>(&'a self, nodes: &'a [Node], grant: usize) -> impl Iterator<Item = usize> + 'a {
        let known = nodes[grant].grants().and_then(|member| self.endings.get(&member));
        known.into_iter().flatten().copied().filter(move |at| {
            let senior = match nodes[*at].act {
                Act::Leave | Act::Retire => true,
                _ => self.rank_of_cap(nodes, *at) < self.rank[grant],
            };
            senior && !nodes[grant].past.contains(*at)
        })
    }

    /// Voids Admits by invites that are void, taken back or used up.
    fn judge_invites(&mut self, nodes: &[Node]) {
        let mut revokes: BTreeMap<InviteId, Vec<usize>> = BTreeMap::new();
        let mut admits: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for at in self.within.iter().filter(|at| self.valid[*at]) {
            match nodes[at].act {
                Act::InviteRevoke { id } => revokes.entry(id).or_default().push(at),
                Act::Admit { invite: Some(invite), .. } => {
                    admits.entry(invite).or_default().push(at);
                }
                _ => {}
            }
        }
        for (invite, mut admits) in admits {
            let Act::InviteCreate { id, max_uses } = nodes[invite].act else { continue };
            if !self.valid[invite] {
                admits.iter().for_each(|at| self.valid[*at] = false);
                continue;
            }
            for revoke in revokes.get(&id).into_iter().flatten() {
                if self.rank_of_cap(nodes, *revoke) <= self.rank_of_cap(nodes, invite) {
                    for admit in admits.extract_if(.., |at| !nodes[*revoke].past.contains(*at)) {
                        self.valid[admit] = false;
                    }
                }
            }
            admits.sort_unstable_by_key(|at| {
                (self.rank_of_cap(nodes, *at), nodes[*at].height, nodes[*at].id)
            });
            let used = admits.len().min(max_uses as usize);
            admits[used..].iter().for_each(|at| self.valid[*at] = false);
            self.uses.insert(invite, u32::try_from(used).unwrap_or(u32::MAX));
        }
    }

    /// Judges what is done under Admits: Retires, and the Refreshes that they void.
    fn judge_members(&mut self, nodes: &[Node]) {
        for sort in [Sort::Retire, Sort::Refresh] {
            let mut under: BTreeMap<usize, Authority> = BTreeMap::new();
            for at in self.within.iter().filter(|at| Sort::of(&nodes[*at].act) == sort) {
                let Some(cap) = nodes[at].cap.filter(|cap| !nodes[*cap].act.is_admin_grant())
                else {
                    continue;
                };
                if nodes[at].is_formed(nodes) && self.valid[cap] {
                    let authority =
                        under.entry(cap).or_insert_with(|| self.authority(nodes, cap, sort));
                    self.valid[at] = authority.has(nodes, at);
                }
            }
        }
    }

    /// The rank under which an op acts.
    pub(super) fn rank_of_cap(&self, nodes: &[Node], at: usize) -> Option<Rank> {
        nodes[at].cap.and_then(|cap| self.rank[cap])
    }

    /// Whether a grant makes its member a member now.
    pub(super) fn stands(&self, nodes: &[Node], grant: usize) -> bool {
        self.valid[grant] && self.leavings(nodes, grant).next().is_none()
    }

    /// The valid ops, by number.
    pub(super) fn valid(&self) -> impl Iterator<Item = usize> + '_ {
        self.within.iter().filter(|at| self.valid[*at])
    }

    /// The ops that don't count, by number.
    pub(super) fn void(&self) -> impl Iterator<Item = usize> + '_ {
        self.within.iter().filter(|at| !self.valid[*at])
    }

    /// All ops judged, by number.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> + '_ {
        self.within.iter()
    }
}
