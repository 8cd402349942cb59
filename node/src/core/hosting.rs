//! Serving whoever shows an invite: live on a carrier, or by letter.
//!
//! > What a joiner is told leaves after the op that lets it in is on the disk. A letter waits in the
//! > outbox until the relay has it; a live answer is lost with its carrier, and the joiner comes
//! > again.

use std::collections::{BTreeMap, VecDeque};

use protocol::{
    group::{AdmitError, Group},
    ids::{InviteId, MemberId, Timestamp},
    invite::InviteRecord,
    join::{
        Admission, Host, JoinRequest, Offer, RefusedReason, Request,
        letter::{self, Reply, Writer},
        mailbox::{self, Direction, MailFrame},
        session,
    },
    membership::AdmitMode,
    relay_log::LogKeys,
};
use zeroize::Zeroizing;

use super::{
    Core, invites::count, mail::Carrier, membership::is_active, requests::asked, step::Step,
};
use crate::{
    net::address,
    store::{RequestState, StoreError},
};

/// The joiners of one invite that are there now.
#[derive(Default)]
pub(super) struct Sessions(BTreeMap<[u8; 16], Serving>);

struct Serving {
    carrier: Carrier,
    since: Timestamp,
    stage: Stage,
}

enum Stage {
    /// It was answered, and its proof is awaited.
    Proving(Box<Host>),
    /// A person is being asked about this one.
    Waiting { member: MemberId, admission: Box<Admission>, sent: u16 },
}

/// Who asked by letter in the last minute.
#[derive(Default)]
pub(super) struct Letters(VecDeque<(Timestamp, MemberId)>);

/// What becomes of a joiner.
pub(super) enum Verdict {
    /// Let in.
    Welcome(Zeroizing<Vec<u8>>),
    /// A person is asked.
    Pending,
    /// Sent away.
    Refused(RefusedReason),
    /// Told nothing.
    Silence,
}

/// Joiners of one invite that are served at once; the oldest makes room.
const SESSIONS: usize = 16;

/// How long a joiner may take to prove itself.
const SESSION_MS: u64 = 60_000;

/// Letters to one invite that are answered within a minute, and how soon one joiner's next is.
const LETTERS: usize = 32;
/// See [`LETTERS`].
const LETTER_MS: u64 = 5_000;

/// How long each more senior admin's node, and before them the invite's maker's, is given to answer
/// a letter first.
const STEP_MS: u64 = 15_000;

impl Core {
    /// A frame by a joiner.
    pub(super) fn host_frame(
        &mut self,
        id: InviteId,
        carrier: Carrier,
        frame: MailFrame,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match (frame.direction, frame.seq) {
            (Direction::FromJoiner, 0) => {
                self.host_accept(id, carrier, &frame, now);
                Ok(())
            }
            (Direction::FromJoiner, 1) => self.host_prove(id, carrier, &frame, now),
            (Direction::Request, 0) => self.host_letter(id, &frame, now),
            _ => Ok(()),
        }
    }

    fn host_accept(&mut self, id: InviteId, carrier: Carrier, frame: &MailFrame, now: Timestamp) {
        let Some(hosting) = self.hosted.invites.get_mut(&id) else { return };
        let group = self.groups.get(&hosting.row.group).filter(|group| is_active(group));
        let Some(group) = group.filter(|group| group.invite_record(id).is_some()) else { return };
        hosting.sessions.drop_late(now);
        if hosting.sessions.0.contains_key(&frame.session) {
            return;
        }
        let ops = group.admin_path();
        let offer = Offer {
            invite: &hosting.record,
            group: group.id(),
            ops: &ops,
            key: &self.noise,
            me: &self.me,
        };
        let accepted = Host::accept(offer, &frame.session, &frame.body, &mut self.rng);
        let (host, body) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => return tracing::debug!(%error, "a joiner was not answered"),
        };
        let stage = Stage::Proving(Box::new(host));
        hosting.sessions.add(frame.session, Serving { carrier, since: now, stage });
        let key = hosting.record.seal_key;
        self.answer(carrier, &key, frame.session, 0, vec![body]);
    }

    fn host_prove(
        &mut self,
        id: InviteId,
        carrier: Carrier,
        frame: &MailFrame,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(hosting) = self.hosted.invites.get_mut(&id) else { return Ok(()) };
        let key = hosting.record.seal_key;
        let Some(host) = hosting.sessions.take_proving(&frame.session, carrier) else {
            return Ok(());
        };
        let (mut admission, request) = match host.on_frame(&frame.body, now) {
            Ok(proven) => proven,
            Err(error) => {
                tracing::debug!(%error, "a joiner proved nothing");
                return Ok(());
            }
        };
        let verdict = self.decide(id, &request, false, now)?;
        if !matches!(verdict, Verdict::Pending) {
            if let Some(frames) = said(admission, &verdict, now) {
                self.answer(carrier, &key, frame.session, 1, frames);
            }
            return Ok(());
        }
        match admission.pending(now) {
            Ok(pending) => self.answer(carrier, &key, frame.session, 1, vec![pending]),
            Err(error) => tracing::warn!(%error, "a joiner can't be answered"),
        }
        if let Some(hosting) = self.hosted.invites.get_mut(&id) {
            let member = request.member;
            drop(hosting.sessions.take_waiting(&member));
            let stage = Stage::Waiting { member, admission: Box::new(admission), sent: 2 };
            hosting.sessions.add(frame.session, Serving { carrier, since: now, stage });
        }
        Ok(())
    }

    /// Somebody asks by letter. The invite's maker answers at once, and who asks a person; every
    /// other admin's node leaves those before it some time, so that no use is spent twice.
    fn host_letter(
        &mut self,
        id: InviteId,
        frame: &MailFrame,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(hosting) = self.hosted.invites.get_mut(&id) else { return Ok(()) };
        let group = self.groups.get(&hosting.row.group).filter(|group| is_active(group));
        let Some(group) = group.filter(|group| group.invite_record(id).is_some()) else {
            return Ok(());
        };
        let asked = Request::from_bytes(&frame.body)
            .ok()
            .filter(|request| request.session() == frame.session)
            .and_then(|request| request.check(&hosting.record, group.id()).ok());
        let Some(asked) = asked else { return Ok(()) };
        if asked.member == self.me.member() || !hosting.letters.admit(asked.member, now) {
            return Ok(());
        }
        let creator = group.invites().into_iter().find(|invite| invite.id == id);
        let mine = creator.is_some_and(|invite| invite.creator == self.me.member());
        let ask = group.may_admit(id, &asked.member, now) == Ok(AdmitMode::Ask);
        let steps = 1 + group.senior_admins() as u64;
        if mine || ask {
            return self.decide(id, &asked, true, now).map(drop);
        }
        let state = RequestState::Due(now.plus_ms(STEP_MS * steps));
        self.keep_request(id, &asked, true, state, now)
    }

    /// Serves the letters whose time has come, if nobody else has.
    pub(super) fn serve_due(&mut self, now: Timestamp) -> Result<(), StoreError> {
        for row in self.hosted.requests.due(now) {
            let (id, member) = (row.invite, row.member);
            let group = self.hosted.invites.get(&id).map(|hosting| hosting.row.group);
            let group = group.and_then(|group| self.groups.get(&group));
            let waits = group.is_some_and(|group| !group.is_member(&member));
            if let Some(asked) = asked(&row).filter(|_| waits) {
                self.decide(id, &asked, true, now)?;
            }
            // Unless it waits for a person now, it is answered.
            if self.hosted.requests.is_due(id, &member) {
                self.forget_request(id, member)?;
            }
        }
        Ok(())
    }

    /// Lets a joiner in, if the invite is still good.
    pub(super) fn admit(
        &mut self,
        id: InviteId,
        request: &JoinRequest,
        letter: bool,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        let Some(hosting) = self.hosted.invites.get(&id) else { return Ok(Verdict::Silence) };
        let (record, mut row) = (hosting.record.clone(), hosting.row.clone());
        let group = row.group;
        let verdict = self.step(group, now, |group, step| {
            let admission = protocol::group::Admission {
                invite: id,
                card: &request.card,
                proof: request.proof,
                handshake: request.handshake,
            };
            let verdict = match group.admit(step.cx(), &admission) {
                Ok(welcome) => Verdict::Welcome(welcome),
                Err(AdmitError::BadProof) => Verdict::Silence,
                Err(error) => Verdict::Refused(refusal(error)),
            };
            count(&mut row, group, now);
            step.tx.put_invite(&row)?;
            step.tx.drop_request(id, request.member)?;
            if letter {
                step.write(group, &record, request, &verdict)?;
            }
            Ok::<_, StoreError>(verdict)
        })?;
        if let Some(hosting) = self.hosted.invites.get_mut(&id) {
            hosting.row = row;
        }
        self.hosted.requests.remove(id, &request.member);
        Ok(verdict)
    }

    /// Tells a joiner who is there what was decided.
    pub(super) fn tell_waiting(
        &mut self,
        id: InviteId,
        member: &MemberId,
        verdict: &Verdict,
        now: Timestamp,
    ) {
        let Some(hosting) = self.hosted.invites.get_mut(&id) else { return };
        let key = hosting.record.seal_key;
        let Some((session, carrier, admission, sent)) = hosting.sessions.take_waiting(member)
        else {
            return;
        };
        if let Some(frames) = said(admission, verdict, now) {
            self.answer(carrier, &key, session, sent, frames);
        }
    }

    fn answer(
        &mut self,
        carrier: Carrier,
        key: &[u8; 32],
        session: [u8; 16],
        first: u16,
        frames: Vec<Vec<u8>>,
    ) {
        for (body, seq) in frames.into_iter().zip(first..) {
            let answer = MailFrame { session, direction: Direction::FromHost, seq, body };
            self.post(carrier, key, &answer);
        }
    }
}

impl Step<'_> {
    /// Answers by letter, through the outbox.
    pub(super) fn write(
        &mut self,
        group: &Group,
        invite: &InviteRecord,
        to: &JoinRequest,
        verdict: &Verdict,
    ) -> Result<(), StoreError> {
        let reply = match verdict {
            Verdict::Welcome(welcome) => Reply::Welcome(welcome),
            Verdict::Pending => Reply::Pending,
            Verdict::Refused(reason) => Reply::Refused(*reason),
            Verdict::Silence => return Ok(()),
        };
        let ops = group.admin_path();
        let writer = Writer { invite, group: group.id(), ops: &ops, me: self.me };
        let frames = match letter::write(writer, to, reply, self.rng) {
            Ok(frames) => frames,
            Err(error) => {
                tracing::warn!(%error, "a joiner can't be answered by letter");
                return Ok(());
            }
        };
        let log = LogKeys::from_seeds(invite.box_write, invite.box_read, None).id();
        for (body, seq) in frames.into_iter().zip(0..) {
            let session = session(&to.handshake);
            let frame = MailFrame { session, direction: Direction::Letter, seq, body };
            let Ok(entry) = mailbox::seal(&invite.seal_key, &frame, self.rng) else { continue };
            for relay in address::relays(group.policy().relays.iter().map(String::as_str)) {
                let relay = relay.peer_id.to_bytes();
                self.tx.put_outbox(group.id(), &relay, log, &entry, None, self.now)?;
            }
        }
        self.after.outbox = true;
        Ok(())
    }
}

impl Sessions {
    fn add(&mut self, session: [u8; 16], serving: Serving) {
        while self.0.len() >= SESSIONS {
            let oldest = self.0.iter().min_by_key(|(_, serving)| serving.since);
            let Some(oldest) = oldest.map(|(session, _)| *session) else { break };
            self.0.remove(&oldest);
        }
        self.0.insert(session, serving);
    }

    fn take_proving(&mut self, session: &[u8; 16], carrier: Carrier) -> Option<Host> {
        let known = self.0.get(session)?;
        if known.carrier != carrier || !matches!(known.stage, Stage::Proving(_)) {
            return None;
        }
        match self.0.remove(session)?.stage {
            Stage::Proving(host) => Some(*host),
            Stage::Waiting { .. } => None,
        }
    }

    fn take_waiting(&mut self, who: &MemberId) -> Option<([u8; 16], Carrier, Admission, u16)> {
        let waits = |serving: &Serving| matches!(&serving.stage, Stage::Waiting { member, .. } if member == who);
        let session = self.0.iter().find(|(_, serving)| waits(serving)).map(|(id, _)| *id)?;
        let Serving { carrier, stage, .. } = self.0.remove(&session)?;
        match stage {
            Stage::Waiting { admission, sent, .. } => Some((session, carrier, *admission, sent)),
            Stage::Proving(_) => None,
        }
    }

    fn drop_late(&mut self, now: Timestamp) {
        self.0.retain(|_, serving| {
            matches!(serving.stage, Stage::Waiting { .. })
                || now.ms_since(serving.since) < SESSION_MS
        });
    }
}

impl Letters {
    /// Whether this letter is answered: a code's holder may write many.
    fn admit(&mut self, member: MemberId, now: Timestamp) -> bool {
        self.0.retain(|(at, _)| *at <= now && now.ms_since(*at) < SESSION_MS);
        let soon =
            |(at, known): &(Timestamp, MemberId)| *known == member && now.ms_since(*at) < LETTER_MS;
        if self.0.len() >= LETTERS || self.0.iter().any(soon) {
            return false;
        }
        self.0.push_back((now, member));
        true
    }
}

/// The frames that tell a verdict on an open channel.
fn said(admission: Admission, verdict: &Verdict, now: Timestamp) -> Option<Vec<Vec<u8>>> {
    let frames = match verdict {
        Verdict::Welcome(welcome) => admission.welcome(welcome, now),
        Verdict::Refused(reason) => admission.refuse(*reason, now).map(|frame| vec![frame]),
        Verdict::Pending | Verdict::Silence => return None,
    };
    frames.inspect_err(|error| tracing::warn!(%error, "a joiner can't be answered")).ok()
}

pub(super) fn refusal(error: AdmitError) -> RefusedReason {
    match error {
        AdmitError::Used => RefusedReason::Used,
        AdmitError::Expired => RefusedReason::Expired,
        AdmitError::Revoked => RefusedReason::Revoked,
        AdmitError::Full => RefusedReason::Full,
        AdmitError::AlreadyMember => RefusedReason::AlreadyMember,
        _ => RefusedReason::Unavailable,
    }
}
