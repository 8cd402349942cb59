//! What people ask of a group: to found it, to admit and remove, to leave, to change it.

use alloc::{collections::BTreeSet, vec::Vec};

use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{
    Admission, AdmitError, BadPolicy, ChainState, Cx, Group, GroupState, InviteTerms, VerbError,
    WelcomeError,
    records::Key,
    welcome::{self, Checked},
    wire::{Statement, Welcome, Whereabouts},
};
use crate::{
    audit::RotationReason,
    codec,
    identity::SignedCard,
    ids::{GroupId, InviteId, MemberId, OpId, Timestamp},
    invite::InviteRecord,
    limits::{CARD_BYTES, OP_BYTES, OP_DEPS, WELCOME_BYTES},
    membership::{Body, Conduct, Cut, Kind, NotAllowed, Op, OpSet, Policy, RemoveReason},
    topic::TopicSecret,
};

impl Group {
    /// Founds a group with this node's member as its only one.
    pub fn create<R: CryptoRng>(mut cx: Cx<'_, R>, policy: Policy) -> Result<Self, BadPolicy> {
        if !policy.check() {
            return Err(BadPolicy);
        }
        let topic = TopicSecret::generate(cx.rng);
        let mut nonce = [0; 16];
        cx.rng.fill_bytes(&mut nonce);
        let card = cx.me.card().as_bytes().into();
        let body = Body {
            group: None,
            author: cx.me.member(),
            seq: 0,
            deps: Vec::new(),
            cap: None,
            at: cx.now,
            kind: Kind::Genesis { nonce, card, policy, topic_commit: topic.commit() },
            incarnation: Some(cx.me.incarnation()),
        };
        let genesis = Op::sign(body, cx.me.identity());
        let ops = OpSet::new(genesis).map_err(|_| BadPolicy)?;
        let mut group = Self::of(ops, cx.me.member());
        group.topics.learn(&group.id, topic, cx.now);
        group.watch_absence(cx.now);
        // From the first on, so that every copy of this state has it.
        group.make_inbox(&mut cx);
        group.mark_all();
        Ok(group)
    }

    /// Takes up the membership that an admin's Welcome gives. `host` is the admin whom the join's
    /// handshake authenticated; `before` finds what this node knows of the group from an earlier
    /// membership. Its ops stay known: a Welcome from before this member's removal makes it no member,
    /// and numbers of ops that it signed then are not used again. So does how far it had read.
    pub fn join<'a, R: CryptoRng>(
        mut cx: Cx<'_, R>,
        welcome: &[u8],
        host: MemberId,
        before: impl FnOnce(&GroupId) -> Option<&'a Group>,
    ) -> Result<Self, WelcomeError> {
        let checked = Checked::read(welcome, &cx.me.member(), &host, before)?;
        let lamport = checked.lamport();
        let Checked { mut welcome, ops, topics, before } = checked;
        let mut group = Self::of(ops, cx.me.member());
        for card in &welcome.cards {
            if let Ok(card) = SignedCard::from_bytes(card)
                && group.people.cards.contains_key(&card.card().member)
            {
                group.people.take_card(card);
            }
        }
        for topic in topics {
            if group.names(&topic.commit()) {
                group.topics.learn(&group.id, topic, cx.now);
            }
        }
        for whereabouts in core::mem::take(&mut welcome.presences) {
            group.people.take_told(cx.now, whereabouts.member, whereabouts.presence);
        }
        for control in welcome.inboxes.iter().flatten() {
            group.take_inbox(cx.now, control);
        }
        let known = before.map_or(0, |before| before.lamport);
        group.lamport = lamport.max(known);
        group.begin_with(cx.now, host);
        group.watch_absence(cx.now);
        group.make_inbox(&mut cx);
        group.note_joined();
        before.into_iter().for_each(|before| group.take_places(before));
        // What it knew before may name a topic that its host has not heard of.
        group.watch_topics(&mut cx);
        group.mark_all();
        Ok(group)
    }

    /// Publishes an invite.
    pub fn invite<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        record: &InviteRecord,
        terms: InviteTerms,
    ) -> Result<OpId, VerbError> {
        let kind = Kind::InviteCreate {
            record: record.clone(),
            max_uses: terms.max_uses.max(1),
            expires: terms.expires,
            mode: terms.mode,
            strict: terms.strict,
        };
        self.act(&mut cx, kind)
    }

    /// Revokes an invite.
    pub fn revoke<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        id: InviteId,
    ) -> Result<(), VerbError> {
        self.act(&mut cx, Kind::InviteRevoke { invite: id }).map(|_| ())
    }

    /// Admits a joiner and answers with the Welcome for it. Admitting the same identity by the
    /// same invite again answers with a fresh Welcome.
    pub fn admit<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        request: &Admission<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, AdmitError> {
        let joiner = request.card.card().member;
        if self.check_active().is_err() {
            return Err(AdmitError::NotAllowed);
        }
        if self.came_by(&joiner, request.invite) {
            return self.welcome().ok_or(AdmitError::Full);
        }
        if !self.has_place() {
            return Err(AdmitError::Full);
        }
        let invite = self.usable_by(&joiner, request.invite, cx.now)?;
        let kind = Kind::Admit {
            card: request.card.as_bytes().into(),
            invite: Some(request.invite),
            proof: request.proof,
            handshake: request.handshake,
            use_no: invite.used,
        };
        let under = self.write_topics();
        // Nobody is admitted whom nothing could tell so.
        let room = WELCOME_BYTES - 2 * (OP_BYTES + CARD_BYTES);
        if self.welcome().is_none_or(|welcome| welcome.len() > room) {
            return Err(AdmitError::Full);
        }
        self.enact(&mut cx, kind, None, &under).map_err(|refused| match refused {
            NotAllowed::AlreadyAMember => AdmitError::AlreadyMember,
            NotAllowed::InviteUsed { .. } => AdmitError::Used,
            NotAllowed::InviteExpired => AdmitError::Expired,
            NotAllowed::InviteRevoked => AdmitError::Revoked,
            NotAllowed::NoSuchInvite => AdmitError::Unknown,
            NotAllowed::BadProof | NotAllowed::Malformed(_) => AdmitError::BadProof,
            NotAllowed::GroupFull { .. } | NotAllowed::Full { .. } => AdmitError::Full,
            _ => AdmitError::NotAllowed,
        })?;
        self.welcome().ok_or(AdmitError::Full)
    }

    /// Removes a member: the op, and new keys sealed to everybody else, leave in this step.
    pub fn remove<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        who: MemberId,
    ) -> Result<(), VerbError> {
        let cut = self.cut(&who);
        self.renew(&mut cx, |topic_commit| Kind::Remove {
            member: who,
            cut,
            reason: RemoveReason::Unsaid,
            topic_commit,
        })
    }

    /// Leaves the group.
    pub fn leave<R: CryptoRng>(&mut self, mut cx: Cx<'_, R>) -> Result<(), VerbError> {
        self.act(&mut cx, Kind::Leave).map(|_| ())
    }

    /// Makes an admin of a member.
    pub fn promote<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        who: MemberId,
    ) -> Result<(), VerbError> {
        self.act(&mut cx, Kind::Promote { member: who }).map(|_| ())
    }

    /// Takes an admin's rights.
    pub fn demote<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        who: MemberId,
    ) -> Result<(), VerbError> {
        self.act(&mut cx, Kind::Demote { member: who }).map(|_| ())
    }

    /// Makes new keys, sealed to every member, and a new topic, at once; every other member does
    /// so before its next message.
    pub fn rotate<R: CryptoRng>(&mut self, mut cx: Cx<'_, R>) -> Result<(), VerbError> {
        self.renew(&mut cx, |commit| Kind::Refresh { topic_commit: Some(commit) })
    }

    /// Changes the group's name or relays.
    pub fn set_policy<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        policy: Policy,
    ) -> Result<(), VerbError> {
        if !policy.check() {
            return Err(VerbError::BadPolicy);
        }
        self.act(&mut cx, Kind::SetPolicy { policy }).map(|_| ())
    }

    /// Sets the group's conduct, the whole of it.
    pub fn set_conduct<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        conduct: Conduct,
    ) -> Result<(), VerbError> {
        if !conduct.check() {
            return Err(VerbError::BadPolicy);
        }
        self.act(&mut cx, conduct.kind()).map(|_| ())
    }

    /// What is due when no topic to write to has become known here: a new one, begun under those
    /// of before, which the others still read.
    pub(super) fn find_lost<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        if !self.write_topics().is_empty() {
            return;
        }
        let under = self.topics_to_ask_under();
        self.recover_under(cx, &under);
        if !self.is_behind() {
            let topic = TopicSecret::generate(cx.rng);
            let kind = Kind::Refresh { topic_commit: Some(topic.commit()) };
            // A full set of ops stays as it is; it is tried again.
            if let Ok(op) = self.enact(cx, kind, Some(&topic), &under) {
                self.rotate_chain(cx, RotationReason::Renewal, Some(&topic), &under);
                self.post_hand_over(cx, &op, &topic);
            }
        }
        self.watch_lost(cx.now);
    }

    /// An op that begins a topic epoch: it and the new keys that hand the topic over are the last
    /// words under the topics of before.
    pub(super) fn renew<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        kind: impl FnOnce([u8; 32]) -> Kind,
    ) -> Result<(), VerbError> {
        self.check_active()?;
        let topic = TopicSecret::generate(cx.rng);
        let kind = kind(topic.commit());
        let under = self.write_topics();
        let op = self
            .enact(cx, kind.clone(), Some(&topic), &under)
            .map_err(|refused| verb_error(refused, &kind))?;
        self.rotate_chain(cx, RotationReason::Renewal, Some(&topic), &under);
        self.post_hand_over(cx, &op, &topic);
        Ok(())
    }

    pub(super) fn act<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        kind: Kind,
    ) -> Result<OpId, VerbError> {
        self.check_active()?;
        let under = self.write_topics();
        self.enact(cx, kind.clone(), None, &under).map_err(|refused| verb_error(refused, &kind))
    }

    pub(super) fn check_active(&self) -> Result<(), VerbError> {
        if self.state != GroupState::Active {
            return Err(VerbError::NotAMember);
        }
        if self.is_behind() {
            return Err(VerbError::Behind);
        }
        if self.write_topics().is_empty() { Err(VerbError::NoTopic) } else { Ok(()) }
    }

    /// Signs an op, takes it in, publishes it under these topics, and draws what follows from it.
    /// `topic` is the one that it begins.
    fn enact<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        kind: Kind,
        topic: Option<&TopicSecret>,
        under: &[[u8; 32]],
    ) -> Result<OpId, NotAllowed> {
        let plan = self.plan(cx, kind)?;
        let before: BTreeSet<MemberId> = self.ops.resolve().members.keys().copied().collect();
        let mut new = Vec::new();
        for op in &plan {
            // Of several ops each was tried: only a single one may be refused here.
            let inserted = self.ops.insert(op.clone());
            inserted.map_err(|_| NotAllowed::Full { ops: self.ops.iter().count() })?;
            new.push(op.id());
        }
        if let Some(topic) = topic {
            self.topics.learn(&self.id, topic.clone(), cx.now);
            self.dirty.mark(Key::Topic(topic.commit()));
        }
        for op in plan {
            let bytes = Vec::from(op.as_bytes());
            self.publish_control(cx, &Statement::Ops(Vec::from([bytes.into()])), under);
        }
        self.after_ops(cx, &before, &new);
        new.last().copied().ok_or(NotAllowed::NotAMember)
    }

    /// Joins the heads where a bundle can't name them all.
    pub(super) fn join_heads<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, under: &[[u8; 32]]) {
        if self.ops.heads().len() > OP_DEPS {
            // Only a full set of ops has no room for it, and then for nothing else either.
            let _ = self.enact(cx, Kind::Refresh { topic_commit: None }, None, under);
        }
    }

    /// The op that this comes to, after those that join the heads first if one op can't name them
    /// all.
    fn plan<R: CryptoRng>(&self, cx: &Cx<'_, R>, kind: Kind) -> Result<Vec<Op>, NotAllowed> {
        let sign = |ops: &OpSet, kind| -> Result<Op, NotAllowed> {
            let mut body = ops.next(self.me, kind, cx.now)?;
            body.incarnation = Some(cx.me.incarnation());
            Ok(Op::sign(body, cx.me.identity()))
        };
        if self.ops.heads().len() <= OP_DEPS {
            return Ok(Vec::from([sign(&self.ops, kind)?]));
        }
        let mut ahead = self.ops.clone();
        let mut plan = Vec::new();
        let mut then = |ahead: &mut OpSet, op: Op| {
            let inserted = ahead.insert(op.clone());
            plan.push(op);
            inserted.map_err(|_| NotAllowed::Full { ops: ahead.iter().count() })
        };
        while ahead.heads().len() > OP_DEPS {
            let join = sign(&ahead, Kind::Refresh { topic_commit: None })?;
            then(&mut ahead, join)?;
        }
        let op = sign(&ahead, kind)?;
        then(&mut ahead, op)?;
        Ok(plan)
    }

    /// What was accepted of a member's chains so far.
    pub(super) fn cut(&self, who: &MemberId) -> Vec<Cut> {
        let mut newest_first: Vec<(Timestamp, Cut)> = self
            .receiving
            .chains
            .iter()
            .filter(|(_, entry)| entry.head.head().sender == *who)
            .filter_map(|(chain, entry)| {
                let next = match &entry.state {
                    ChainState::Open(read) => read.next(),
                    ChainState::Closed { next } => *next,
                    _ => 0,
                };
                let incarnation = entry.head.head().incarnation;
                let index = next.checked_sub(1)?;
                Some((entry.at, Cut { incarnation, chain: *chain, index }))
            })
            .collect();
        newest_first.sort_unstable_by(|a, b| b.cmp(a));
        newest_first.truncate(CUTS);
        let mut cuts: Vec<Cut> = newest_first.into_iter().map(|(_, cut)| cut).collect();
        cuts.sort_unstable();
        cuts
    }

    /// Whether a member was admitted by this invite.
    pub(super) fn came_by(&self, member: &MemberId, invite: InviteId) -> bool {
        let grant = self.ops.resolve().members.get(member).map(|standing| standing.grant);
        grant.and_then(|grant| self.ops.op(&grant)).is_some_and(
            |op| matches!(&op.body().kind, Kind::Admit { invite: Some(by), .. } if *by == invite),
        )
    }

    /// What a newcomer needs; `None` where it is more than a join carries.
    pub(super) fn welcome(&self) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = |bytes: &[u8]| -> ByteVec { Vec::from(bytes).into() };
        let members = &self.ops.resolve().members;
        let welcome = Zeroizing::new(codec::encode(&Welcome {
            version: welcome::VERSION,
            group: self.id,
            ops: self.ops.iter().map(|op| bytes(op.as_bytes())).collect(),
            cards: self.newer_cards().map(|card| bytes(card.as_bytes())).collect(),
            topics: self
                .write_topics()
                .iter()
                .filter_map(|commit| self.topics.secret(commit))
                .map(|secret| bytes(secret.as_bytes()))
                .collect(),
            presences: self
                .people
                .presences
                .iter()
                .filter(|(member, _)| members.contains_key(member))
                .map(|(member, presence)| Whereabouts {
                    member: *member,
                    presence: presence.clone(),
                })
                .collect(),
            inboxes: Some(self.inbox_statements()),
            lamport: Some(self.lamport),
        }));
        (welcome.len() <= WELCOME_BYTES).then_some(welcome)
    }

    /// The cards that no op has.
    fn newer_cards(&self) -> impl Iterator<Item = &SignedCard> {
        let known = super::people::People::of(&self.ops);
        let cards = self.people.cards.iter();
        cards.filter(move |(id, card)| known.cards.get(*id) != Some(*card)).map(|(_, card)| card)
    }

    pub(super) fn mark_all(&mut self) {
        self.dirty.mark(Key::Meta);
        let ops: Vec<OpId> = self.ops.iter().map(Op::id).collect();
        ops.into_iter().for_each(|id| self.dirty.mark(Key::Op(id)));
        self.people.cards.keys().for_each(|member| self.dirty.mark(Key::Card(*member)));
        self.people.presences.keys().for_each(|member| self.dirty.mark(Key::Presence(*member)));
        let topics: Vec<_> = self.topics.commits().collect();
        topics.into_iter().for_each(|commit| self.dirty.mark(Key::Topic(commit)));
        self.mark_inboxes();
    }
}

/// Cuts in one Remove: an op has room for them beside everything else.
const CUTS: usize = 64;

fn verb_error(refused: NotAllowed, kind: &Kind) -> VerbError {
    let whom = match kind {
        Kind::Remove { member, .. } | Kind::Promote { member } | Kind::Demote { member } => {
            Some(*member)
        }
        _ => None,
    };
    match (refused, whom) {
        (NotAllowed::NotAMember, _) => VerbError::NotAMember,
        (NotAllowed::NoSuchMember, Some(member)) => VerbError::NoSuchMember(member),
        (NotAllowed::TargetIsSenior { .. } | NotAllowed::Yourself, Some(member)) => {
            VerbError::TargetIsSenior(member)
        }
        (NotAllowed::NoSuchInvite | NotAllowed::InviteRevoked, _) => VerbError::NoSuchInvite,
        (NotAllowed::Malformed(_), _) => VerbError::BadPolicy,
        (NotAllowed::Full { .. } | NotAllowed::GroupFull { .. }, _) => VerbError::Full,
        _ => VerbError::NotAnAdmin,
    }
}
