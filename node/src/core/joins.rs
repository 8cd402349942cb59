//! Joining by a code: by the invite's mailbox and by direct streams at once, until one answers.
//!
//! > A join is kept until it has ended: it goes on after a restart, and when inviter and joiner are
//! > never online together.

use std::collections::{BTreeMap, VecDeque};

use protocol::{
    group::GroupState,
    ids::{GroupId, InviteId, Timestamp},
    invite::{InviteCode, group_prefix},
    join::{
        JoinStep, Joiner, RefusedReason, Request,
        letter::Letters,
        mailbox::{Direction, MailFrame},
    },
    noise::Peer,
    relay_log::LogKeys,
};
use zeroize::Zeroizing;

use super::{Core, VerbError, mail::Carrier, membership::is_active, relays::Owner, step::random};
use crate::{
    api::types::{JoinState, JoinView, VERSION, What},
    net::{
        Reach, address,
        relay::{RelayKey, RelayPeer},
    },
    store::{JoinRow, StoreError, Tx, unhex},
};

/// The joins under way.
#[derive(Default)]
pub(super) struct Joining(pub(super) BTreeMap<InviteId, Attempt>);

pub(super) struct Attempt {
    pub(super) row: JoinRow,
    pub(super) code: InviteCode,
    pub(super) relays: Vec<RelayPeer>,
    /// The last few sessions: a late answer to an earlier one is as good.
    sessions: VecDeque<Session>,
    /// When each way is tried next, and how often it was.
    tries: BTreeMap<Way, (Timestamp, u32)>,
    stream: Option<u64>,
    /// What was asked by letter, and the answers to it.
    pub(super) asked: Option<(Request, Letters)>,
    /// The relays in whose mailbox that lies, for all that this run of the process knows; where it is lost, when it is put
    /// there again.
    pub(super) posted: BTreeMap<RelayKey, Option<Timestamp>>,
    /// When to ask by letter, if nobody answers before.
    pub(super) ask_at: Option<Timestamp>,
    /// A Welcome to a group whose state can't be read now: into which group, and by whom.
    pub(super) welcomed: Option<(GroupId, Zeroizing<Vec<u8>>, Peer)>,
    /// How many entries of each relay's mailbox were read since it was stored how far.
    pub(super) unstored: BTreeMap<RelayKey, usize>,
}

struct Session {
    id: [u8; 16],
    carrier: Carrier,
    joiner: Option<Joiner>,
    sent: u16,
    received: u16,
}

/// A way to the inviter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Relay(RelayKey),
    Direct,
}

/// Sessions of one join that may still be answered.
const SESSIONS: usize = 8;

/// The wait before a way is tried again, at first and at most.
const RETRY_MS: u64 = 15_000;
/// See [`RETRY_MS`].
const RETRY_MAX_MS: u64 = 240_000;

/// How far clocks may differ before a code's own end is believed.
const SKEW_MS: u64 = 300_000;

/// Exit codes of a join that failed.
pub(super) const REFUSED: u8 = 5;

const UNHEARD_LEAVE: &str = "The admin whom you asked does not know yet that you left. Try again once \
                             they have heard of it, or ask for an invite of an admin who has.";
pub(super) const UNHEARD_REMOVAL: &str = "The admin who let you in does not know yet that you were removed. Ask \
                               for an invite of an admin who does.";

/// How long a relay's mailbox is given to be answered live, before a letter is left there.
const ASK_MS: u64 = 10_000;

impl Core {
    /// Begins to join by a code, or says how far the join by that code is.
    pub fn join(&mut self, code: &str, now: Timestamp) -> Result<JoinView, VerbError> {
        let parsed = InviteCode::parse(code)?;
        let id = parsed.secret.id();
        if let Some(group) = self
            .groups
            .values()
            .find(|group| is_active(group) && group_prefix(group.id()) == parsed.group_prefix)
        {
            let (group, name) = (group.id(), group.policy().name.clone());
            if let Some(shown) = self.take_passes(group, &parsed, now)? {
                return Ok(shown);
            }
            let earlier = self.store.read(|tx| tx.join(id))?;
            return match earlier.filter(|row| row.group == Some(group)) {
                Some(row) => Ok(self.store.read(|tx| view(tx, &row))?),
                None => Err(VerbError::AlreadyMember { group: name }),
            };
        }
        if let Some(attempt) = self.joining.0.get(&id) {
            let row = attempt.row.clone();
            return Ok(self.store.read(|tx| view(tx, &row))?);
        }
        if has_ended(&parsed, now) {
            return Err(VerbError::Expired);
        }
        let attempt = Attempt::new(
            JoinRow {
                id,
                code: Some(Zeroizing::new(code.into())),
                state: JoinState::Connecting,
                detail: waiting_for(JoinState::Connecting).into(),
                exit: None,
                group: None,
                started: now,
                request: None,
            },
            parsed,
        );
        let no_relay = attempt.relays.is_empty() || self.options.reach == Reach::Local;
        if no_relay && (attempt.code.direct.is_empty() || !self.options.direct) {
            return Err(VerbError::NoWay);
        }
        let row = attempt.row.clone();
        let shown = self.record(now, |step| {
            step.tx.put_join(&row)?;
            let join = view(step.tx, &row)?;
            step.emit(None, What::Join { join: join.clone() })?;
            Ok(join)
        })?;
        self.joining.0.insert(id, attempt);
        self.after.logs = true;
        self.try_joins(now)?;
        self.finish(now);
        Ok(shown)
    }

    /// All joins, oldest first.
    pub fn joins(&mut self) -> Result<Vec<JoinView>, VerbError> {
        Ok(self.store.read(|tx| {
            tx.joins()?.iter().map(|row| view(tx, row)).collect::<Result<_, StoreError>>()
        })?)
    }

    /// One join.
    pub fn join_state(&mut self, id: &str) -> Result<JoinView, VerbError> {
        let id = unhex(id).and_then(|id| InviteId::from_slice(&id)).ok_or(VerbError::NoSuchJoin)?;
        let row = self.store.read(|tx| tx.join(id))?.ok_or(VerbError::NoSuchJoin)?;
        Ok(self.store.read(|tx| view(tx, &row))?)
    }

    /// Takes up a join that was under way.
    pub(super) fn resume_join(&mut self, row: JoinRow) {
        let code = row.code.as_ref().and_then(|code| InviteCode::parse(code).ok());
        if let Some(code) = code {
            self.joining.0.insert(row.id, Attempt::new(row, code));
        }
    }

    /// Tries every way whose time has come, and ends the joins whose invite has expired.
    pub(super) fn try_joins(&mut self, now: Timestamp) -> Result<(), StoreError> {
        for id in self.joining.0.keys().copied().collect::<Vec<_>>() {
            let Some(attempt) = self.joining.0.get(&id) else { continue };
            if has_ended(&attempt.code, now) && attempt.welcomed.is_none() {
                let detail = "the invite expired before the inviter's node answered";
                self.fail_join(id, detail, now)?;
                continue;
            }
            for way in attempt.ways(self.options.direct) {
                self.try_way(id, way, now)?;
            }
            self.ask(id, now)?;
        }
        Ok(())
    }

    pub(super) fn join_refused(
        &mut self,
        id: InviteId,
        reason: RefusedReason,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match reason {
            // That may change.
            RefusedReason::Unavailable | RefusedReason::TooMany => Ok(()),
            RefusedReason::AlreadyMember if let Some(why) = self.unheard(id) => {
                self.fail_join(id, why, now)
            }
            reason => self.fail_join(id, &reason.to_string(), now),
        }
    }

    /// What an admin has not heard of who takes this node's member for one still.
    pub(super) fn unheard(&self, id: InviteId) -> Option<&'static str> {
        let prefix = self.joining.0.get(&id)?.code.group_prefix;
        let group = self.groups.values().find(|group| group_prefix(group.id()) == prefix)?;
        match group.state() {
            GroupState::Active | GroupState::Migrated => None,
            GroupState::Removed => Some(UNHEARD_REMOVAL),
            GroupState::Left => Some(UNHEARD_LEAVE),
        }
    }

    pub(super) fn tell_join(&mut self, row: &JoinRow, now: Timestamp) -> Result<(), StoreError> {
        self.record(now, |step| {
            step.tx.put_join(row)?;
            let join = view(step.tx, row)?;
            step.emit(None, What::Join { join })
        })
    }

    /// A relay is connected: whoever waited for it goes on.
    pub(super) fn joins_on_relay(
        &mut self,
        relay: &RelayKey,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for id in self.joining.0.keys().copied().collect::<Vec<_>>() {
            let wanted = self.joining.0.get(&id).is_some_and(|attempt| attempt.uses(relay));
            if wanted {
                self.try_way(id, Way::Relay(*relay), now)?;
            }
        }
        Ok(())
    }

    fn try_way(&mut self, id: InviteId, way: Way, now: Timestamp) -> Result<(), StoreError> {
        let Some(attempt) = self.joining.0.get(&id) else { return Ok(()) };
        if attempt.tries.get(&way).is_some_and(|(next, _)| *next > now) {
            return Ok(());
        }
        match way {
            Way::Relay(relay) => {
                let log = attempt.keys().id();
                if self.serves(&relay, Owner::Join(id)) {
                    self.tried(id, way, now);
                    return self.call(id, Carrier::Relay(relay, log), now);
                }
                // Tried as soon as it is up.
                if let Some(attempt) = self.joining.0.get_mut(&id) {
                    attempt.tries.remove(&way);
                }
                Ok(())
            }
            Way::Direct => {
                let (old, addresses) = (attempt.stream, attempt.code.direct.clone());
                if let Some(old) = old {
                    self.close_stream(old);
                }
                let stream = self.dial_join(id, addresses);
                if let Some(attempt) = self.joining.0.get_mut(&id) {
                    attempt.stream = Some(stream);
                }
                self.tried(id, way, now);
                Ok(())
            }
        }
    }

    fn tried(&mut self, id: InviteId, way: Way, now: Timestamp) {
        if let Some(attempt) = self.joining.0.get_mut(&id) {
            let tries = attempt.tries.get(&way).map_or(0, |(_, tries)| tries.saturating_add(1));
            let wait = RETRY_MS.saturating_mul(1 << tries.min(16)).min(RETRY_MAX_MS);
            attempt.tries.insert(way, (now.plus_ms(wait), tries));
        }
    }

    /// Begins a session on a carrier that stands.
    fn call(&mut self, id: InviteId, carrier: Carrier, now: Timestamp) -> Result<(), StoreError> {
        let Some(attempt) = self.joining.0.get_mut(&id) else { return Ok(()) };
        let session = random(&mut self.rng);
        let started = Joiner::start(&attempt.code, &self.me, &session, now, &mut self.rng);
        let (joiner, body) = match started {
            Ok(started) => started,
            Err(error) => {
                tracing::warn!(%error, "a join can't begin");
                return Ok(());
            }
        };
        if attempt.sessions.len() >= SESSIONS {
            attempt.sessions.pop_front();
        }
        attempt.sessions.push_back(Session {
            id: session,
            carrier,
            joiner: Some(joiner),
            sent: 1,
            received: 0,
        });
        if let Carrier::Relay(relay, _) = carrier
            && !attempt.posted.contains_key(&relay)
        {
            attempt.ask_at.get_or_insert(now.plus_ms(ASK_MS));
        }
        let key = attempt.code.secret.seal_key();
        let frame = MailFrame { session, direction: Direction::FromJoiner, seq: 0, body };
        self.post(carrier, &key, &frame);
        self.join_reached(id, JoinState::RelayReached, now)
    }

    pub(super) fn join_stream_open(
        &mut self,
        id: InviteId,
        stream: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.call(id, Carrier::Stream(stream), now)
    }

    pub(super) fn join_stream_closed(&mut self, id: InviteId, stream: u64, _now: Timestamp) {
        if let Some(attempt) = self.joining.0.get_mut(&id) {
            attempt.sessions.retain(|session| session.carrier != Carrier::Stream(stream));
            attempt.stream = attempt.stream.filter(|open| *open != stream);
        }
    }

    /// A frame by the host.
    pub(super) fn join_frame(
        &mut self,
        id: InviteId,
        frame: MailFrame,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(attempt) = self.joining.0.get_mut(&id) else { return Ok(()) };
        let key = attempt.code.secret.seal_key();
        let Some(session) = attempt.sessions.iter_mut().find(|session| session.id == frame.session)
        else {
            return Ok(());
        };
        if session.received != frame.seq {
            return Ok(());
        }
        let Some(joiner) = session.joiner.take() else { return Ok(()) };
        session.received = session.received.saturating_add(1);
        match joiner.on_frame(&frame.body, now) {
            Ok(JoinStep::Proceed { joiner, send, .. }) => {
                session.joiner = Some(joiner);
                let (carrier, first) = (session.carrier, session.sent);
                session.sent += u16::try_from(send.len()).unwrap_or(0);
                for (body, seq) in send.into_iter().zip(first..) {
                    let direction = Direction::FromJoiner;
                    self.post(
                        carrier,
                        &key,
                        &MailFrame { session: frame.session, direction, seq, body },
                    );
                }
                self.join_reached(id, JoinState::ChannelOpen, now)
            }
            Ok(JoinStep::Waiting { joiner, left: Some(_) }) => {
                session.joiner = Some(joiner);
                self.join_reached(id, JoinState::InviteProven, now)
            }
            Ok(JoinStep::Waiting { joiner, left: None }) => {
                session.joiner = Some(joiner);
                // The answer may come when this node, or theirs, is away: a letter finds it.
                if attempt.posted.len() < attempt.relays.len() {
                    attempt.ask_at = Some(now);
                }
                self.join_reached(id, JoinState::WaitingForApproval, now)?;
                self.ask(id, now)
            }
            Ok(JoinStep::Welcomed { welcome, host, group }) => {
                self.joined(id, group, &welcome, &host, now)
            }
            Ok(JoinStep::Refused(reason)) => self.join_refused(id, reason, now),
            Err(error) => {
                tracing::debug!(%error, "a session of a join has ended");
                Ok(())
            }
        }
    }

    pub(super) fn fail_join(
        &mut self,
        id: InviteId,
        why: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(attempt) = self.joining.0.get(&id) else { return Ok(()) };
        let row = JoinRow {
            code: None,
            state: JoinState::Failed,
            detail: why.into(),
            exit: Some(REFUSED),
            request: None,
            ..attempt.row.clone()
        };
        self.tell_join(&row, now)?;
        self.end_join(id);
        Ok(())
    }

    pub(super) fn end_join(&mut self, id: InviteId) {
        if let Some(stream) = self.joining.0.remove(&id).and_then(|attempt| attempt.stream) {
            self.close_stream(stream);
        }
        self.after.logs = true;
    }

    pub(super) fn join_reached(
        &mut self,
        id: InviteId,
        state: JoinState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(attempt) = self.joining.0.get(&id) else { return Ok(()) };
        if attempt.row.state >= state {
            return Ok(());
        }
        let row = JoinRow { state, detail: waiting_for(state).into(), ..attempt.row.clone() };
        self.tell_join(&row, now)?;
        if let Some(attempt) = self.joining.0.get_mut(&id) {
            attempt.row = row;
        }
        Ok(())
    }
}

impl Joining {
    /// The mailboxes to follow, and where.
    pub(super) fn mailboxes(&self) -> impl Iterator<Item = (InviteId, &[RelayPeer], LogKeys)> {
        self.0.iter().map(|(id, attempt)| (*id, attempt.relays.as_slice(), attempt.keys()))
    }

    /// Whether it was asked by letter, in this run of the process or an earlier one.
    pub(super) fn has_asked(&self, id: InviteId) -> bool {
        self.0.get(&id).is_some_and(|attempt| attempt.asked.is_some())
    }

    pub(super) fn seal_key(&self, id: InviteId) -> Option<[u8; 32]> {
        self.0.get(&id).map(|attempt| attempt.code.secret.seal_key())
    }

    /// What was said by way of a relay is lost with its client: it is said again as soon as another
    /// is connected.
    pub(super) fn lost(&mut self, relay: &RelayKey) {
        for attempt in self.0.values_mut() {
            attempt.tries.remove(&Way::Relay(*relay));
            attempt.posted.remove(relay);
        }
    }

    /// Makes every way due.
    pub(super) fn all_due(&mut self) {
        for attempt in self.0.values_mut() {
            attempt.tries.values_mut().for_each(|(at, _)| *at = Timestamp::default());
            attempt.ask_at = attempt.ask_at.map(|_| Timestamp::default());
            attempt.posted.values_mut().flatten().for_each(|at| *at = Timestamp::default());
        }
    }

    /// When a way is to be tried again, or an invite ends.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let tries = self.0.values().flat_map(|attempt| attempt.tries.values()).map(|(at, _)| *at);
        let ends = self.0.values().filter_map(|attempt| attempt.code.expires);
        let letters = self.0.values().filter_map(|attempt| attempt.ask_at);
        let again = self.0.values().flat_map(|attempt| attempt.posted.values().copied().flatten());
        tries.chain(letters).chain(again).chain(ends.map(|at| at.plus_ms(SKEW_MS + 1))).min()
    }
}

impl Attempt {
    fn new(row: JoinRow, code: InviteCode) -> Self {
        let texts: Vec<String> =
            code.relays.iter().filter_map(|bytes| address::to_text(bytes)).collect();
        let request = row.request.as_ref().and_then(|bytes| Request::from_bytes(bytes).ok());
        Self {
            asked: request.map(|request| {
                let letters = Letters::new(&code, &request);
                (request, letters)
            }),
            posted: BTreeMap::new(),
            ask_at: None,
            welcomed: None,
            unstored: BTreeMap::new(),
            row,
            relays: address::relays(texts.iter().map(String::as_str)),
            code,
            sessions: VecDeque::new(),
            tries: BTreeMap::new(),
            stream: None,
        }
    }

    pub(super) fn keys(&self) -> LogKeys {
        LogKeys::from_seeds(self.code.secret.box_write(), self.code.secret.box_read(), None)
    }

    pub(super) fn uses(&self, relay: &RelayKey) -> bool {
        self.relays.iter().any(|known| known.peer_id == *relay)
    }

    fn ways(&self, direct: bool) -> Vec<Way> {
        let direct = (direct && !self.code.direct.is_empty()).then_some(Way::Direct);
        self.relays.iter().map(|relay| Way::Relay(relay.peer_id)).chain(direct).collect()
    }
}

pub(super) fn view(tx: &Tx<'_>, row: &JoinRow) -> Result<JoinView, StoreError> {
    Ok(JoinView {
        v: VERSION,
        id: row.id.to_string(),
        state: row.state,
        group: row.group.map(|group| tx.group(group)).transpose()?,
        detail: row.detail.clone(),
        exit: row.exit,
    })
}

/// Whether a code has expired, also by a clock that is somewhat wrong.
pub(super) fn has_ended(code: &InviteCode, now: Timestamp) -> bool {
    code.expires.is_some_and(|expires| expires.plus_ms(SKEW_MS) < now)
}

fn waiting_for(state: JoinState) -> &'static str {
    match state {
        JoinState::Connecting => "looking for the inviter's relay or node",
        JoinState::RelayReached => "waiting for the inviter's node, which may be offline",
        JoinState::InviterFound => "opening a channel to the inviter's node",
        JoinState::ChannelOpen => "waiting for the inviter's node to check the invite",
        JoinState::InviteProven => "receiving the group's keys",
        JoinState::WaitingForApproval => {
            "waiting for approval: an admin of the group is being asked"
        }
        JoinState::Joined | JoinState::Failed => "",
    }
}
