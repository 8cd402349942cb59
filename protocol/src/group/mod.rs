//! One group, as one member's node holds it: the state machine that ties membership, chains,
//! envelopes, gossip and sync together.
//!
//! Methods are of four kinds: *verbs*, asked by people ([`Group::send`], [`Group::remove`] …);
//! *handlers*, told by the network ([`Group::on_envelope`], [`Group::on_frame`] …); *deadlines*
//! ([`Group::deadline`], [`Group::on_deadline`]); and *polls* ([`Group::poll`],
//! [`Group::changes`]). The order for each step is: one verb or handler; [`Group::poll`] until it
//! is empty; [`Group::changes`]; commit all of it in one transaction; only then carry the outputs
//! out. A step whose commit fails is undone by [`Group::load`].

mod error;
mod output;

use alloc::vec::Vec;

use rand_core::CryptoRng;

pub use self::{error::*, output::*};
use crate::{
    endpoint::Endpoint,
    ids::{GroupId, InviteId, LogId, MemberId, OpId, Timestamp},
    invite::InviteRecord,
    membership::Policy,
    sign::Signature,
    snapshot::SnapshotError,
};

/// What each step is lent: this node's secrets, the time, randomness.
pub struct Cx<'a, R: CryptoRng> {
    /// This node's secrets.
    pub me: &'a Endpoint,
    /// The time.
    pub now: Timestamp,
    /// Randomness.
    pub rng: &'a mut R,
}

/// A joiner's request, as [`crate::join`] proved it.
pub struct Admission<'a> {
    /// The invite that was shown.
    pub invite: InviteId,
    /// The joiner's card, signed.
    pub card: &'a crate::identity::SignedCard,
    /// The invite key's signature over group, invite, joiner, card and handshake.
    pub proof: Signature,
    /// The handshake's hash that the proof covers.
    pub handshake: [u8; 32],
}

/// One group.
pub struct Group {
    id: GroupId,
}

impl Group {
    /// Founds a group with this node's member as its only one.
    pub fn create<R: CryptoRng>(cx: Cx<'_, R>, policy: Policy) -> Result<Self, BadPolicy> {
        let _ = (cx.me, cx.now, cx.rng, policy);
        Err(BadPolicy)
    }

    /// Takes up the membership that an admin's Welcome gives. `host` is the admin whom the join's
    /// handshake authenticated.
    pub fn join<R: CryptoRng>(
        cx: Cx<'_, R>,
        welcome: &[u8],
        host: MemberId,
    ) -> Result<Self, WelcomeError> {
        let _ = (cx.me, cx.now, cx.rng, welcome, host);
        Err(WelcomeError::Malformed)
    }

    /// Takes up stored records.
    pub fn load(
        me: &Endpoint,
        records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        now: Timestamp,
    ) -> Result<Self, SnapshotError> {
        let _ = (me, records.into_iter().next(), now);
        Err(SnapshotError::Damaged)
    }

    /// The records that have changed since the last call.
    pub fn changes(&mut self) -> Vec<Change> {
        Vec::new()
    }

    /// Publishes an invite.
    pub fn invite<R: CryptoRng>(
        &mut self,
        cx: Cx<'_, R>,
        record: &InviteRecord,
        terms: InviteTerms,
    ) -> Result<OpId, VerbError> {
        let _ = (cx.me, cx.now, cx.rng, record, terms);
        Err(VerbError::NotAMember)
    }

    /// Revokes an invite.
    pub fn revoke<R: CryptoRng>(&mut self, cx: Cx<'_, R>, id: InviteId) -> Result<(), VerbError> {
        let _ = (cx.me, cx.now, cx.rng, id);
        Err(VerbError::NotAMember)
    }

    /// Admits a joiner and answers with the Welcome for it. Admitting the same identity by the
    /// same invite again answers with a fresh Welcome.
    pub fn admit<R: CryptoRng>(
        &mut self,
        cx: Cx<'_, R>,
        request: &Admission<'_>,
    ) -> Result<Vec<u8>, AdmitError> {
        let _ =
            (cx.me, cx.now, cx.rng, request.invite, request.card, request.proof, request.handshake);
        Err(AdmitError::Unknown)
    }

    /// Removes a member: the op, and new keys sealed to everybody else, leave in this step.
    pub fn remove<R: CryptoRng>(&mut self, cx: Cx<'_, R>, who: MemberId) -> Result<(), VerbError> {
        let _ = (cx.me, cx.now, cx.rng, who);
        Err(VerbError::NotAMember)
    }

    /// Leaves the group.
    pub fn leave<R: CryptoRng>(&mut self, cx: Cx<'_, R>) -> Result<(), VerbError> {
        let _ = (cx.me, cx.now, cx.rng);
        Err(VerbError::NotAMember)
    }

    /// Makes an admin of a member.
    pub fn promote<R: CryptoRng>(&mut self, cx: Cx<'_, R>, who: MemberId) -> Result<(), VerbError> {
        let _ = (cx.me, cx.now, cx.rng, who);
        Err(VerbError::NotAMember)
    }

    /// Takes an admin's rights.
    pub fn demote<R: CryptoRng>(&mut self, cx: Cx<'_, R>, who: MemberId) -> Result<(), VerbError> {
        let _ = (cx.me, cx.now, cx.rng, who);
        Err(VerbError::NotAMember)
    }

    /// Makes new keys, sealed to every member, and a new topic, at once.
    pub fn rotate<R: CryptoRng>(&mut self, cx: Cx<'_, R>) -> Result<(), VerbError> {
        let _ = (cx.me, cx.now, cx.rng);
        Err(VerbError::NotAMember)
    }

    /// Changes the group's name or relays.
    pub fn set_policy<R: CryptoRng>(
        &mut self,
        cx: Cx<'_, R>,
        policy: Policy,
    ) -> Result<(), VerbError> {
        let _ = (cx.me, cx.now, cx.rng, policy);
        Err(VerbError::NotAMember)
    }

    /// Whether a message can be sealed now.
    pub fn ready(&self, now: Timestamp) -> Result<(), NotReady> {
        let _ = now;
        Err(NotReady::NotAMember)
    }

    /// Seals a message to the members of this moment; where a new chain is due, it is made and
    /// sealed to each of them first.
    pub fn send<R: CryptoRng>(
        &mut self,
        cx: Cx<'_, R>,
        kind: u8,
        payload: &[u8],
    ) -> Result<Sent, SendError> {
        let _ = (cx.me, cx.now, cx.rng, kind, payload);
        Err(NotReady::NotAMember.into())
    }

    /// Tells the members where this node may be reached: binary multiaddrs, at most 16 are told.
    pub fn present<R: CryptoRng>(&mut self, cx: Cx<'_, R>, addresses: Vec<Vec<u8>>) {
        let _ = (cx.me, cx.now, cx.rng, addresses);
    }

    /// An envelope came. A duplicate is no error.
    pub fn on_envelope<R: CryptoRng>(
        &mut self,
        cx: Cx<'_, R>,
        from: Source,
        bytes: &[u8],
    ) -> Result<(), EnvelopeError> {
        let _ = (cx.me, cx.now, cx.rng, from, bytes);
        Err(EnvelopeError::NotOurs)
    }

    /// A frame came on a member's channel.
    pub fn on_frame<R: CryptoRng>(
        &mut self,
        cx: Cx<'_, R>,
        from: MemberId,
        frame: &[u8],
    ) -> Result<(), FrameError> {
        let _ = (cx.me, cx.now, cx.rng, from, frame);
        Err(FrameError::Malformed)
    }

    /// A channel to a member stands.
    pub fn on_channel_up<R: CryptoRng>(&mut self, cx: Cx<'_, R>, member: MemberId) {
        let _ = (cx.me, cx.now, cx.rng, member);
    }

    /// A member's channel is gone.
    pub fn on_channel_down<R: CryptoRng>(&mut self, cx: Cx<'_, R>, member: MemberId) {
        let _ = (cx.me, cx.now, cx.rng, member);
    }

    /// All that a relay had in this log has been read.
    pub fn on_caught_up<R: CryptoRng>(&mut self, cx: Cx<'_, R>, log: LogId) {
        let _ = (cx.me, cx.now, cx.rng, log);
    }

    /// No relay is connected any more for this group's logs.
    pub fn on_relays_down<R: CryptoRng>(&mut self, cx: Cx<'_, R>) {
        let _ = (cx.me, cx.now, cx.rng);
    }

    /// Hands out what [`Output::Serve`] asked for.
    pub fn serve<R: CryptoRng>(&mut self, cx: Cx<'_, R>, to: MemberId, envelopes: Vec<Vec<u8>>) {
        let _ = (cx.me, cx.now, cx.rng, to, envelopes);
    }

    /// When [`Self::on_deadline`] wants to be called, at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// Does what is due.
    pub fn on_deadline<R: CryptoRng>(&mut self, cx: Cx<'_, R>) {
        let _ = (cx.me, cx.now, cx.rng);
    }

    /// The next piece of work, in order.
    pub fn poll(&mut self) -> Option<Output> {
        None
    }

    /// The group's id.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// Its name and relays.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy { name: alloc::string::String::new(), relays: Vec::new() }
    }

    /// This node's standing.
    #[must_use]
    pub fn state(&self) -> GroupState {
        GroupState::Active
    }

    /// The members, in order of seniority.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        Vec::new()
    }

    /// The newest card of anybody who is or was a member.
    #[must_use]
    pub fn card(&self, member: &MemberId) -> Option<&crate::identity::SignedCard> {
        let _ = member;
        None
    }

    /// The invites that the ops know.
    #[must_use]
    pub fn invites(&self) -> Vec<Invite> {
        Vec::new()
    }

    /// The ops by which a joiner can tell that this node's member is an admin of this group.
    #[must_use]
    pub fn admin_path(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// 40 digits that members with the same view see alike.
    #[must_use]
    pub fn fingerprint(&self) -> alloc::string::String {
        alloc::string::String::new()
    }

    /// The logs to follow, and those to write to.
    #[must_use]
    pub fn logs(&self) -> Vec<GroupLog> {
        Vec::new()
    }
}
