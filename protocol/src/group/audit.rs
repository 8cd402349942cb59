//! The audit log of a group: what goes into it, and what others hold of it.
//!
//! > There is one log for each group, not one for the node: a step of a group writes its entry, its
//! > records and its bundles in one transaction, needs nothing of another group for it, and shows the
//! > members of one group nothing of what their node does in others.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use rand_core::CryptoRng;

use super::{ChainState, Cx, Entry, Group, Output, records::Key};
use crate::{
    audit::{AuditLog, Fact, VoidReason},
    ids::{ChainId, MemberId, OpId, Timestamp},
    membership::{Kind, Op, Resolution},
};

/// Members in one entry.
const SEALED: usize = 100;
/// A channel to one member is noted this often, in milliseconds.
const HANDSHAKE_MS: u64 = 60_000;
/// Replaced keys of one member's channels are noted this often at most, in milliseconds: once an hour.
const REKEY_MS: u64 = 60 * 60 * 1000;

pub(super) struct Audit {
    pub log: AuditLog,
    /// Whether this run of the process has written to it.
    began: bool,
    /// The ops that are noted not to count.
    void: BTreeSet<OpId>,
    /// When a channel to each member was noted last.
    handshakes: BTreeMap<MemberId, Timestamp>,
    /// The key of each member's channel that was noted last.
    certificates: BTreeMap<MemberId, [u8; 32]>,
    /// When it was noted last that the keys of each member's channels were replaced, and how often
    /// they were since.
    rekeys: BTreeMap<MemberId, (Timestamp, u32)>,
}

/// The head of a member's audit log, as one of its bundles says, signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Whose log.
    pub member: MemberId,
    /// The chain that the bundle made.
    pub chain: ChainId,
    /// When the bundle came, or was made, by this node's clock.
    pub at: Timestamp,
    /// The first bytes of the log's head.
    pub head: [u8; 16],
}

impl Audit {
    pub fn new(log: AuditLog, resolution: &Resolution) -> Self {
        Self {
            log,
            began: false,
            void: resolution.void.clone(),
            handshakes: BTreeMap::new(),
            certificates: BTreeMap::new(),
            rekeys: BTreeMap::new(),
        }
    }
}

impl Group {
    /// Writes down what happened.
    pub(super) fn note<R: CryptoRng>(&mut self, cx: &Cx<'_, R>, fact: Fact) {
        let began = core::mem::replace(&mut self.audit.began, true);
        let first = (!began).then(|| Fact::Began(cx.me.incarnation()));
        for fact in first.into_iter().chain([fact]) {
            for (seq, entry) in self.audit.log.write(fact, cx.now, &self.id, cx.me.identity()) {
                self.out.push_back(Output::Audit { seq, entry });
            }
        }
        self.dirty.mark(Key::Meta);
    }

    /// Goes on with the log that an earlier membership of this group left, of which this is the
    /// last entry. To be called before the first step.
    pub fn resume_audit(&mut self, last: &[u8]) {
        if let Some(log) = AuditLog::after(last) {
            self.audit.log = log;
            self.dirty.mark(Key::Meta);
        }
    }

    /// Where the own audit log ends: the number of the next entry.
    #[must_use]
    pub fn audit_next(&self) -> u64 {
        self.audit.log.next()
    }

    /// The heads of a member's audit log in those of its bundles that are known here, oldest
    /// first. One's own are among what [`crate::audit::Verifier`] is given for one's own log.
    #[must_use]
    pub fn anchors(&self, member: &MemberId) -> Vec<Anchor> {
        let mut anchors: Vec<Anchor> = self
            .receiving
            .chains
            .iter()
            .map(|(chain, entry)| (chain, entry.at, entry.head.head()))
            .filter(|(_, _, said)| said.sender == *member && said.audit_head != [0; 16])
            .map(|(chain, at, said)| Anchor {
                member: *member,
                chain: *chain,
                at,
                head: said.audit_head,
            })
            .collect();
        anchors.sort_unstable_by_key(|anchor| anchor.at);
        anchors
    }

    /// A member's certificate was checked for a channel to it. To be called in the step of
    /// [`Self::on_channel_up`]; noted where that was, once for each key.
    pub fn on_certificate<R: CryptoRng>(
        &mut self,
        cx: Cx<'_, R>,
        member: MemberId,
        key: [u8; 32],
        until: Timestamp,
    ) {
        let noted = self.audit.handshakes.get(&member) == Some(&cx.now);
        let known = self.audit.certificates.get(&member) == Some(&key);
        if self.is_member(&member) && noted && !known {
            self.audit.certificates.insert(member, key);
            self.note(&cx, Fact::Certificate { member, key, until });
        }
    }

    /// The keys of a member's channel were replaced so often since this was told last. The member
    /// decides how often: it is noted once an hour, with their sum.
    pub fn on_rekey<R: CryptoRng>(&mut self, cx: Cx<'_, R>, member: MemberId, times: u32) {
        if !self.is_member(&member) || times == 0 {
            return;
        }
        let last = self.audit.rekeys.get(&member).copied();
        let times = last.map_or(0, |(_, times)| times).saturating_add(times);
        match last {
            Some((at, _)) if at <= cx.now && cx.now.ms_since(at) < REKEY_MS => {
                self.audit.rekeys.insert(member, (at, times));
            }
            _ => {
                self.audit.rekeys.insert(member, (cx.now, 0));
                self.note(&cx, Fact::Rekey { member, times });
            }
        }
    }

    /// A person compared a member's key with what the member says, or takes that back.
    pub fn on_verified<R: CryptoRng>(&mut self, cx: Cx<'_, R>, member: MemberId, verified: bool) {
        self.note(&cx, Fact::Verified { member, verified });
    }

    pub(super) fn note_handshake<R: CryptoRng>(&mut self, cx: &Cx<'_, R>, member: MemberId) {
        let last = self.audit.handshakes.get(&member);
        if last.is_none_or(|last| cx.now.ms_since(*last) >= HANDSHAKE_MS || cx.now < *last) {
            self.audit.handshakes.insert(member, cx.now);
            self.note(cx, Fact::Handshake(member));
        }
    }

    /// The own chain that was made last, of those that are known here.
    pub(super) fn chain_before(&self) -> Option<ChainId> {
        let own = |(_, entry): &(&ChainId, &Entry)| matches!(entry.state, ChainState::Mine { .. });
        let newest = self.receiving.chains.iter().filter(own).max_by_key(|(_, entry)| entry.at);
        newest.map(|(chain, _)| *chain)
    }

    /// Notes to whom an own chain is sealed, where these are others than of the one before.
    pub(super) fn note_sealed<R: CryptoRng>(
        &mut self,
        cx: &Cx<'_, R>,
        chain: ChainId,
        to: &[MemberId],
        before: Option<ChainId>,
    ) {
        let had = before.and_then(|before| {
            let heads = &self.receiving.chains.get(&before)?.head.head().heads;
            let mut had: BTreeSet<MemberId> =
                self.ops.resolve_at(heads).ok()?.members.keys().copied().collect();
            had.remove(&self.me);
            Some(had)
        });
        let since = had.as_ref().and(before);
        let (had, to) = (had.unwrap_or_default(), to.iter().copied().collect::<BTreeSet<_>>());
        let mut changes = to.symmetric_difference(&had).copied().peekable();
        let mut since = since;
        while changes.peek().is_some() {
            let some: Vec<MemberId> = changes.by_ref().take(SEALED).collect();
            let (with, without) = some.into_iter().partition(|member| to.contains(member));
            self.note(cx, Fact::Sealed { chain, since, with, without });
            since = Some(chain);
        }
    }

    /// Notes what these new ops are and what has changed of the others by them.
    pub(super) fn note_ops<R: CryptoRng>(&mut self, cx: &Cx<'_, R>, new: &[OpId]) {
        let void = self.ops.resolve().void.clone();
        let before = core::mem::replace(&mut self.audit.void, void);
        let changed: Vec<OpId> = before
            .symmetric_difference(&self.audit.void)
            .filter(|id| !new.contains(id))
            .copied()
            .collect();
        let ops: Vec<Op> =
            new.iter().chain(&changed).filter_map(|id| self.ops.op(id).cloned()).collect();
        for op in &ops {
            let (id, kind, author) = (op.id(), op.body().kind.number(), op.author());
            if self.audit.void.contains(&id) {
                let why = self.why_void(op);
                self.note(cx, Fact::OpVoid { op: id, kind, author, why });
                continue;
            }
            self.note(cx, Fact::OpAccepted { op: id, kind, author });
            let more = match &op.body().kind {
                Kind::Remove { member, cut, .. } => {
                    Some(Fact::RemovalCut { member: *member, cut: cut.clone() })
                }
                Kind::InviteCreate { record, max_uses, expires, .. } => {
                    let (invite, max_uses, expires) = (record.id, *max_uses, *expires);
                    Some(Fact::InviteCreated { invite, max_uses, expires })
                }
                Kind::Admit { invite: Some(invite), .. } => {
                    op.subject().map(|member| Fact::InviteUsed { invite: *invite, member })
                }
                Kind::InviteRevoke { invite } => Some(Fact::InviteRevoked(*invite)),
                _ => None,
            };
            if let Some(fact) = more {
                self.note(cx, fact);
            }
        }
    }

    fn why_void(&self, op: &Op) -> VoidReason {
        let body = op.body();
        match body.cap.and_then(|cap| self.ops.resolve().ended(&cap)) {
            Some(ended) if ended.void => VoidReason::Grant,
            Some(ended) if !ended.removals.is_empty() => VoidReason::Revoked,
            _ if matches!(body.kind, Kind::Admit { invite: Some(_), .. }) => VoidReason::Invite,
            _ => VoidReason::Other,
        }
    }

    /// Notes how the own chain ends that another is about to follow.
    pub(super) fn note_end<R: CryptoRng>(&mut self, cx: &Cx<'_, R>) {
        if let Some(closing) = self.sending.closing_now() {
            self.note(cx, Fact::ChainClosed { chain: closing.chain, count: closing.count });
        }
    }

    /// Notes that somebody's chain was opened, or that its slot was not.
    pub(super) fn note_slot<R: CryptoRng>(&mut self, cx: &Cx<'_, R>, chain: ChainId) {
        let Some(entry) = self.receiving.chains.get(&chain) else { return };
        let (member, audit_head) = (entry.head.head().sender, entry.head.head().audit_head);
        let fact = match entry.state {
            ChainState::Open(_) => Fact::ChainOpened { member, chain, audit_head },
            ChainState::Failed => Fact::SlotFailed { member, chain },
            _ => return,
        };
        self.note(cx, fact);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::Entry,
        group::Event,
        sim::world::{Person, World},
    };

    /// To whom each own chain is sealed, by the log alone.
    fn by_the_log(person: &Person) -> Vec<(ChainId, BTreeSet<MemberId>)> {
        let mut made: Vec<(ChainId, BTreeSet<MemberId>)> = Vec::new();
        for entry in person.audit.iter().filter_map(|entry| Entry::from_bytes(entry)) {
            match entry.fact {
                Fact::ChainMade { chain, .. } => {
                    let same = made.last().map(|(_, to)| to.clone()).unwrap_or_default();
                    made.push((chain, same));
                }
                Fact::Sealed { chain, since, with, without } => {
                    assert!(with.len() + without.len() <= SEALED);
                    let since = since.map_or_else(BTreeSet::new, |since| {
                        made.iter().rev().find(|(id, _)| *id == since).unwrap().1.clone()
                    });
                    let (last, to) = made.last_mut().unwrap();
                    assert_eq!(*last, chain);
                    *to = since.into_iter().chain(with).collect();
                    without.iter().for_each(|member| assert!(to.remove(member)));
                }
                _ => {}
            }
        }
        made
    }

    #[test]
    fn the_log_says_to_whom_each_chain_is_sealed() {
        let mut world = World::with(4, true);
        (0..3).for_each(|at| drop(world.say(at, "one")));
        world.settle();
        let gone = world.id(3);
        world.act(0, |group, cx| group.remove(cx, gone)).unwrap();
        world.settle();
        world.restart(0);
        world.settle();
        (0..3).for_each(|at| drop(world.say(at, "two")));
        world.settle();
        for person in &world.people[..3] {
            let me = person.me.member();
            let rotated = |event: &Event| match event {
                Event::Rotated { sender, chain, recipients } if *sender == me => {
                    Some((*chain, recipients.iter().copied().collect()))
                }
                _ => None,
            };
            let made: Vec<_> = person.events.iter().filter_map(rotated).collect();
            assert!(made.len() > 1);
            assert_eq!(by_the_log(person), made);
        }
    }
}
