//! The ops of one group: a DAG that grows, and what it comes to.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::cell::{OnceCell, RefCell};

use super::{
    bits::Bits,
    conduct::Conduct,
    node::{Act, Needs, Node, path},
    op::{Body, Kind, Op, OpError},
    proof::join_holds,
    resolution::Resolution,
    resolve::resolve,
    room::Insiders,
    topics::Topics,
};
use crate::{
    codec,
    ids::{GroupId, Incarnation, MemberId, OpId},
    limits,
};

/// The ops of one group.
///
/// > Every op of the set is formed and has its whole past in the set. What the set comes to depends
/// > on the ops alone, not on the order in which they came.
///
/// An op that is not formed is refused, by everybody alike: whether it is depends on nothing but
/// its past. So only those who were once granted membership can make the set grow.
#[derive(Clone)]
pub struct OpSet {
    pub(super) ops: Vec<Op>,
    pub(super) nodes: Vec<Node>,
    numbers: BTreeMap<OpId, usize>,
    pub(super) by_author: BTreeMap<(MemberId, u32), Vec<usize>>,
    pub(super) heads: BTreeSet<OpId>,
    pub(super) granted: BTreeSet<MemberId>,
    pub(super) bytes: usize,
    pub(super) pending: Pending,
    pub(super) insiders: RefCell<Insiders>,
    now: OnceCell<Resolution>,
    then: RefCell<BTreeMap<Vec<OpId>, Arc<Resolution>>>,
    rosters: RefCell<BTreeMap<usize, Vec<MemberId>>>,
    grants: RefCell<BTreeMap<Vec<OpId>, Arc<[usize]>>>,
}

/// Ops whose past is not complete, each waiting for one op that is missing.
#[derive(Clone, Default)]
pub(super) struct Pending {
    pub(super) ops: BTreeMap<OpId, Op>,
    waiting: BTreeMap<OpId, Vec<OpId>>,
    strange: usize,
}

/// What became of an op.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is in the set now, with the pending ops that it completed; parents first.
    New(Vec<OpId>),
    /// It was in the set already.
    Known,
    /// It waits for ops that it depends on.
    Pending,
}

/// Why an op was refused. The set is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// It belongs to another group.
    #[error("an op of another group")]
    OtherGroup,
    /// Its grant is missing, not in its past, somebody else's or of the wrong class, or its join
    /// proof does not hold. Everybody refuses it.
    #[error("an op without a grant that allows it")]
    NotFormed,
    /// The set is full: [`limits::OPS`] or [`limits::OPS_TOTAL_BYTES`].
    #[error("the group has {ops} ops, and no room for more")]
    Full {
        /// Ops in the set.
        ops: usize,
    },
    /// It was brought unasked, and there are as many of its author as may be, or what is left is kept
    /// for others. It is taken once a member's op depends on it.
    #[error("no room for more that nobody asked for")]
    NoRoom,
    /// Too many ops wait already. It may be offered again once `missing` is filled.
    #[error("{ops} ops wait for others already")]
    PendingFull {
        /// Ops that wait.
        ops: usize,
    },
}

/// Heads that are not in the set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} ops are missing", .0.len())]
pub struct Missing(pub Vec<OpId>);

/// Resolutions of past heads that are kept.
const MEMO: usize = 64;
/// Heads of which the members' grants are kept: as many as chains are remembered.
const GRANTS: usize = 4096;

impl OpSet {
    /// The set of a Genesis alone.
    pub fn new(genesis: Op) -> Result<Self, OpError> {
        let founder = match (&genesis.body().kind, genesis.subject()) {
            (Kind::Genesis { .. }, Some(founder)) => founder,
            _ => return Err(OpError::NotGenesis),
        };
        let root = Node {
            id: genesis.id(),
            author: founder,
            height: 0,
            past: Bits::default(),
            cap: None,
            act: Act::Genesis,
        };
        Ok(Self {
            numbers: BTreeMap::from([(root.id, 0)]),
            by_author: BTreeMap::from([((genesis.author(), genesis.body().seq), Vec::from([0]))]),
            heads: BTreeSet::from([root.id]),
            granted: BTreeSet::from([founder]),
            bytes: genesis.as_bytes().len(),
            nodes: Vec::from([root]),
            ops: Vec::from([genesis]),
            pending: Pending::default(),
            insiders: RefCell::default(),
            now: OnceCell::new(),
            then: RefCell::default(),
            rosters: RefCell::default(),
            grants: RefCell::default(),
        })
    }

    /// Takes an op in, and whatever waited for it.
    pub fn insert(&mut self, op: Op) -> Result<Inserted, InsertError> {
        self.put(op, |_, _| true)
    }

    /// The same with what has room in the set.
    pub(super) fn put(
        &mut self,
        op: Op,
        has_room: impl Fn(&Self, &Op) -> bool,
    ) -> Result<Inserted, InsertError> {
        if op.group() != self.group() {
            return Err(InsertError::OtherGroup);
        }
        if self.contains(&op.id()) {
            return Ok(Inserted::Known);
        }
        if self.pending.ops.contains_key(&op.id()) {
            return Ok(Inserted::Pending);
        }
        if !has_room(self, &op) {
            return Err(InsertError::NoRoom);
        }
        if let Some(missing) = self.first_missing(&op) {
            self.check_pending(&op)?;
            self.pending.put(op, missing, &self.granted);
            return Ok(Inserted::Pending);
        }
        let mut new = Vec::from([op.id()]);
        self.add(op)?;
        let mut done = 0;
        while let Some(id) = new.get(done).copied() {
            done += 1;
            for op in self.pending.take_waiting(&id, &self.granted) {
                match self.first_missing(&op) {
                    Some(missing) => self.pending.put(op, missing, &self.granted),
                    // One that turns out not to be formed, or to have no room, is dropped as if it had
                    // come now.
                    None => {
                        let id = op.id();
                        new.extend((has_room(self, &op) && self.add(op).is_ok()).then_some(id));
                    }
                }
            }
        }
        Ok(Inserted::New(new))
    }

    /// The group: the Genesis's id.
    #[must_use]
    pub fn group(&self) -> GroupId {
        GroupId(self.nodes[0].id.0)
    }

    /// Whether an op is in the set. Pending ones are not.
    #[must_use]
    pub fn contains(&self, id: &OpId) -> bool {
        self.numbers.contains_key(id)
    }

    /// Whether an op is in the set, or waits for what it depends on.
    #[must_use]
    pub fn knows(&self, id: &OpId) -> bool {
        self.contains(id) || self.pending.ops.contains_key(id)
    }

    /// An op of the set.
    #[must_use]
    pub fn op(&self, id: &OpId) -> Option<&Op> {
        self.numbers.get(id).map(|at| &self.ops[*at])
    }

    /// All ops, parents first.
    pub fn iter(&self) -> impl Iterator<Item = &Op> {
        self.ops.iter()
    }

    pub(super) fn number(&self, id: &OpId) -> Option<usize> {
        self.numbers.get(id).copied()
    }

    /// The ops that no other op follows, sorted.
    #[must_use]
    pub fn heads(&self) -> Vec<OpId> {
        self.heads.iter().copied().collect()
    }

    /// The ops that wait for others.
    pub fn waiting(&self) -> impl Iterator<Item = &Op> {
        self.pending.ops.values()
    }

    /// What pending ops depend on and nobody brought yet, sorted.
    #[must_use]
    pub fn missing(&self) -> Vec<OpId> {
        let wanted: BTreeSet<OpId> = self
            .pending
            .ops
            .values()
            .flat_map(|op| op.body().deps.iter().copied())
            .filter(|dep| !self.contains(dep) && !self.pending.ops.contains_key(dep))
            .collect();
        wanted.into_iter().collect()
    }

    /// The heads and everything before them.
    pub fn past(&self, heads: &[OpId]) -> Result<BTreeSet<OpId>, Missing> {
        Ok(self.within(heads)?.iter().map(|at| self.nodes[at].id).collect())
    }

    /// What somebody with these heads lacks, parents first. Heads not known here are ignored.
    #[must_use]
    pub fn not_in_past(&self, heads: &[OpId]) -> Vec<OpId> {
        let known: Vec<OpId> = heads.iter().filter(|head| self.contains(head)).copied().collect();
        let had = self.within(&known).unwrap_or_default();
        self.nodes
            .iter()
            .enumerate()
            .filter(|(at, _)| !had.contains(*at))
            .map(|(_, node)| node.id)
            .collect()
    }

    /// What the whole set comes to. Computed at most once between insertions.
    pub fn resolve(&self) -> &Resolution {
        self.now.get_or_init(|| self.resolution(Bits::below(self.nodes.len())))
    }

    /// What the past of these heads, themselves included, comes to. The last few answers are kept.
    pub fn resolve_at(&self, heads: &[OpId]) -> Result<Arc<Resolution>, Missing> {
        let mut key = Vec::from(heads);
        key.sort_unstable();
        key.dedup();
        if let Some(known) = self.then.borrow().get(&key) {
            return Ok(known.clone());
        }
        let resolution = Arc::new(self.resolution(self.within(&key)?));
        remember(&mut self.then.borrow_mut(), key, resolution.clone());
        Ok(resolution)
    }

    /// The grant by which somebody is a member in the past of these heads. Many more answers are kept
    /// than of [`Self::resolve_at`], for they are small.
    pub fn grant_at(&self, heads: &[OpId], member: &MemberId) -> Result<Option<OpId>, Missing> {
        let known = self.grants.borrow().get(heads).cloned();
        let grants = match known {
            Some(grants) => grants,
            None => {
                let view = self.resolve_at(heads)?;
                let standing = view.members.values().map(|standing| &standing.grant);
                let grants: Arc<[usize]> =
                    standing.filter_map(|grant| self.numbers.get(grant)).copied().collect();
                let mut kept = self.grants.borrow_mut();
                if kept.len() >= GRANTS {
                    kept.pop_first();
                }
                kept.insert(heads.into(), grants.clone());
                grants
            }
        };
        let mut own = grants.iter().filter(|at| self.nodes[**at].grants() == Some(*member));
        Ok(own.next().map(|at| self.nodes[*at].id))
    }

    /// The ops of one author with one number: more than one where it lies or was copied.
    pub fn numbered(&self, author: MemberId, seq: u32) -> impl Iterator<Item = &Op> {
        let numbered = self.by_author.get(&(author, seq));
        numbered.into_iter().flatten().map(|at| &self.ops[*at])
    }

    /// Pairs of different ops of one author and run with one number: proof that the author lies. All
    /// of them stay in the set and count as they would otherwise. A Retire, which is not made by its
    /// author's machine, has no part in it.
    #[must_use]
    pub fn equivocations(&self) -> Vec<(OpId, OpId)> {
        let mut first: BTreeMap<(MemberId, Option<Incarnation>, u32), OpId> = BTreeMap::new();
        let mut pairs = Vec::new();
        let numbered = |op: &&Op| !matches!(op.body().kind, Kind::Retire { .. });
        for op in self.ops.iter().filter(numbered) {
            let (run, seq) = (op.body().incarnation, op.body().seq);
            let known = *first.entry((op.author(), run, seq)).or_insert(op.id());
            if known != op.id() {
                pairs.push((known.min(op.id()), known.max(op.id())));
            }
        }
        pairs.sort_unstable();
        pairs
    }

    /// The node of an op whose dependencies are all here, if it is formed.
    pub(super) fn form(&self, id: OpId, body: &Body, subject: Option<MemberId>) -> Option<Node> {
        let mut past = Bits::default();
        let mut height = 0;
        for dep in &body.deps {
            let at = *self.numbers.get(dep)?;
            past.union(&self.nodes[at].past);
            past.insert(at);
            height = height.max(self.nodes[at].height.saturating_add(1));
        }
        let cap = match &body.cap {
            Some(cap) => Some(*self.numbers.get(cap)?),
            None => None,
        };
        let act = self.act(body, subject, &past)?;
        let node = Node { id, author: body.author, height, past, cap, act };
        let known = matches!(node.act.needs(), Needs::Member | Needs::Admin)
            || node.past.iter().any(|at| self.nodes[at].grants() == Some(node.author));
        (known && node.is_formed(&self.nodes)).then_some(node)
    }

    fn act(&self, body: &Body, subject: Option<MemberId>, past: &Bits) -> Option<Act> {
        Some(match &body.kind {
            Kind::Genesis { .. } => return None,
            Kind::InviteCreate { record, max_uses, .. } => {
                Act::InviteCreate { id: record.id, max_uses: *max_uses }
            }
            Kind::InviteRevoke { invite } => Act::InviteRevoke { id: *invite },
            Kind::Admit { invite: None, .. } => Act::Admit { member: subject?, invite: None },
            Kind::Admit { .. } => {
                let member = subject?;
                Act::Admit { member, invite: Some(self.redeemed(body, member, past)?) }
            }
            Kind::Remove { member, .. } => Act::Remove { member: *member },
            Kind::Leave => Act::Leave,
            Kind::Promote { member } => Act::Promote { member: *member },
            Kind::Demote { member } => Act::Demote { member: *member },
            Kind::Refresh { .. } => Act::Refresh,
            Kind::SetPolicy { .. } => Act::SetPolicy,
            Kind::Migrate { .. } => Act::Migrate,
            Kind::Retire { recovery, .. } => {
                self.recovers(body, recovery).then_some(Act::Retire)?
            }
            kind @ Kind::Other { args, .. } => {
                let act = Conduct::of(kind).map_or(Act::Other, |_| Act::Conduct);
                codec::is_canonical(args).then_some(act)?
            }
        })
    }

    /// Whether a recovery key is that of the author by the grant that it acts under: in the card of
    /// the grant, or where that is a Promote in a card by which the author was a member before it.
    /// Whoever stole the identity key afterwards can't put another key there.
    fn recovers(&self, body: &Body, recovery: &[u8; 32]) -> bool {
        let Some(cap) = body.cap.and_then(|cap| self.numbers.get(&cap)).copied() else {
            return false;
        };
        let names = |at: usize| self.ops[at].recovery() == Some(recovery);
        match self.nodes[cap].act {
            Act::Promote { member } => self.nodes[cap]
                .past
                .iter()
                .any(|at| self.nodes[at].grants() == Some(member) && names(at)),
            _ => names(cap),
        }
    }

    /// The InviteCreate in an Admit's past under whose key the join proof holds: of several that
    /// share an id, the most senior; then the smallest height and id.
    fn redeemed(&self, body: &Body, member: MemberId, past: &Bits) -> Option<usize> {
        let Kind::Admit { card, invite: Some(invite), proof, handshake, .. } = &body.kind else {
            return None;
        };
        let mut created: Vec<usize> = past
            .iter()
            .filter(
                |at| matches!(&self.nodes[*at].act, Act::InviteCreate { id, .. } if id == invite),
            )
            .collect();
        created.sort_by_cached_key(|at| {
            let node = &self.nodes[*at];
            (node.cap.map(|cap| path(&self.nodes, cap)), node.height, node.id)
        });
        let mut failed: BTreeSet<[u8; 32]> = BTreeSet::new();
        created.into_iter().find(|at| match &self.ops[*at].body().kind {
            Kind::InviteCreate { record, .. } => {
                !failed.contains(&record.ipk)
                    && (join_holds(
                        &record.ipk,
                        self.group(),
                        *invite,
                        member,
                        card,
                        handshake,
                        proof,
                    ) || !failed.insert(record.ipk))
            }
            _ => false,
        })
    }

    fn add(&mut self, op: Op) -> Result<(), InsertError> {
        let bytes = self.bytes.saturating_add(op.as_bytes().len());
        if self.ops.len() >= limits::OPS || bytes > limits::OPS_TOTAL_BYTES {
            return Err(InsertError::Full { ops: self.ops.len() });
        }
        let node = self.form(op.id(), op.body(), op.subject()).ok_or(InsertError::NotFormed)?;
        self.bytes = bytes;
        self.numbers.insert(node.id, self.nodes.len());
        let number = (op.author(), op.body().seq);
        self.by_author.entry(number).or_default().push(self.nodes.len());
        op.body().deps.iter().for_each(|dep| {
            self.heads.remove(dep);
        });
        self.heads.insert(node.id);
        self.granted.extend(node.grants());
        if matches!(node.act, Act::Remove { .. } | Act::Leave | Act::Retire) {
            self.insiders.take();
        }
        self.nodes.push(node);
        self.ops.push(op);
        self.now = OnceCell::new();
        Ok(())
    }

    fn first_missing(&self, op: &Op) -> Option<OpId> {
        op.body().deps.iter().find(|dep| !self.contains(dep)).copied()
    }

    fn check_pending(&self, op: &Op) -> Result<(), InsertError> {
        let ops = self.pending.ops.len();
        let strange = !self.granted.contains(&op.author());
        if ops >= limits::OPS_PENDING
            || strange && self.pending.strange >= limits::OPS_PENDING_STRANGE
        {
            return Err(InsertError::PendingFull { ops });
        }
        Ok(())
    }

    fn within(&self, heads: &[OpId]) -> Result<Bits, Missing> {
        let missing: Vec<OpId> =
            heads.iter().filter(|head| !self.contains(head)).copied().collect();
        if !missing.is_empty() {
            return Err(Missing(missing));
        }
        // The Genesis is in the past of everything, so no heads mean the Genesis alone.
        let mut within = Bits::below(1);
        for at in heads.iter().filter_map(|head| self.numbers.get(head)) {
            within.union(&self.nodes[*at].past);
            within.insert(*at);
        }
        Ok(within)
    }

    fn resolution(&self, within: Bits) -> Resolution {
        let verdict = resolve(&self.nodes, within);
        let topics = Topics::new(&self.ops, &self.nodes, &verdict, |at| self.roster_at(at));
        Resolution::new(&self.ops, &self.nodes, &verdict, topics)
    }

    /// The members in the past of one op, itself included. It never changes.
    fn roster_at(&self, at: usize) -> Vec<MemberId> {
        if let Some(known) = self.rosters.borrow().get(&at) {
            return known.clone();
        }
        let mut within = self.nodes[at].past.clone();
        within.insert(at);
        let verdict = resolve(&self.nodes, within);
        let members: Vec<MemberId> = verdict
            .valid()
            .filter(|grant| verdict.stands(&self.nodes, *grant))
            .filter_map(|grant| self.nodes[grant].grants())
            .collect();
        remember(&mut self.rosters.borrow_mut(), at, members.clone());
        members
    }
}

impl Pending {
    fn put(&mut self, op: Op, missing: OpId, granted: &BTreeSet<MemberId>) {
        self.waiting.entry(missing).or_default().push(op.id());
        self.ops.insert(op.id(), op);
        self.count(granted);
    }

    fn take_waiting(&mut self, arrived: &OpId, granted: &BTreeSet<MemberId>) -> Vec<Op> {
        let ids = self.waiting.remove(arrived).unwrap_or_default();
        let ops = ids.iter().filter_map(|id| self.ops.remove(id)).collect();
        self.count(granted);
        ops
    }

    fn count(&mut self, granted: &BTreeSet<MemberId>) {
        self.strange = self.ops.values().filter(|op| !granted.contains(&op.author())).count();
    }
}

fn remember<K: Ord, V>(memo: &mut BTreeMap<K, V>, key: K, value: V) {
    if memo.len() >= MEMO {
        memo.clear();
    }
    memo.insert(key, value);
}
