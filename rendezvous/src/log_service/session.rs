//! One client's stream: requests in, answers and pages of logs out, in one loop.
//!
//! Memory held for a client is bounded: one frame being read, [`ANSWERS_WAITING`] small answers,
//! one page being read and one being written. A client that breaks the rules of the wire is
//! dropped without a word.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{
    FutureExt as _, Sink, SinkExt as _, StreamExt as _,
    future::{BoxFuture, poll_fn},
};
use protocol::{
    codec,
    ids::LogId,
    limits::{ENVELOPE_MAX, LOG_BATCH_BYTES, LOG_PROOFS, LOG_REQUEST_MAX},
    relay_log::{Answer, Challenge, Cursor, LogPublics, Proof, Refusal, Request, Role, is_bucket},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::{
    LogService,
    budgets::Budget,
    followers::{Bell, Following},
    holders::{Held, Pass},
    leave, now,
    stuck::Stuck,
    writer::{Append, Job},
};
use crate::{
    limits::{
        ANSWERS_WAITING, BAD_PROOFS, Limits, OPEN_COST, RETRY, STUCK, TOKEN_RETRY, TRIMS_BURST,
        TRIMS_PER_S,
    },
    pace::Pace,
    store::{NewEntry, Page, StoreError},
    watch::Counted,
};

/// Bytes with which the buffers of a stream begin.
const BUFFER: usize = 1024;

/// Bytes of answers after which they are written before more are.
const FLUSHED: usize = 8192;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The client closed it.
    #[error("closed by the client")]
    Closed,
    /// The client broke the rules of the wire.
    #[error("the client broke the protocol")]
    Broken,
    /// It was used under a token that has ended.
    #[error("there is no good token")]
    NoToken,
    /// No log was open for too long.
    #[error("no log is open")]
    Idle,
    /// The client took nothing of what it was sent for too long.
    #[error("the client doesn't read")]
    Stuck,
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
}

/// Serves one client, who calls from an address, until its stream ends or the relay is told to
/// leave; then the client is told so, and what it has asked for is answered first.
pub(crate) async fn serve(
    service: Arc<LogService>,
    from: Option<IpAddr>,
    io: impl AsyncRead + AsyncWrite,
) -> Result<(), Ended> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|_| io::Error::other("no randomness"))?;
    let _present = Counted::new(&service.counts.clients);
    let (reader, writer) = tokio::io::split(io);
    // They grow where they are used: most clients of a relay rest.
    let reader = FramedRead::with_capacity(reader, frames(LOG_REQUEST_MAX), BUFFER);
    let mut writer = FramedWrite::with_capacity(writer, frames(usize::MAX), BUFFER);
    writer.set_backpressure_boundary(FLUSHED);
    tokio::pin!(reader, writer);
    let limits = service.limits();
    let (replies, mut done) = mpsc::channel(limits.appends_waiting.max(1));
    let bell = Arc::new(Bell::default());
    let budget = from.map(|address| service.budgets.of(address, Instant::now()));
    let budget = budget.unwrap_or_default();
    let shared = Arc::clone(&service);
    let mut session =
        Session::new(shared, Arc::clone(&limits), nonce, budget, replies, Arc::clone(&bell));
    let mut unflushed = false;
    let mut stuck = Stuck::new(limits.ping_timeout.saturating_mul(STUCK));

    while !session.has_left(unflushed) {
        session.read_on();
        let waits = unflushed || !session.answers.is_empty();
        stuck.waits(waits.then(|| writer.write_buffer().len()), Instant::now());
        tokio::select! {
            written = write(&mut writer, !session.answers.is_empty()), if waits => {
                written?;
                stuck.waits(None, Instant::now());
                unflushed = match session.answers.pop_front() {
                    Some(answer) => {
                        writer.start_send_unpin(Bytes::from(codec::encode(&answer)))?;
                        true
                    }
                    None => false,
                };
            }
            Some((req, result)) = done.recv() => session.appended(req, result),
            read = finished(&mut session.reading) => session.page(read, Instant::now()),
            (req, trimmed) = finished(&mut session.trimming) => session.trimmed(req, trimmed),
            handles = bell.rung(), if session.reads_on() => session.grown(handles),
            () = session.pass.ended() => return Err(Ended::NoToken),
            () = pause(session.idle_until), if !session.leaves => return Err(Ended::Idle),
            () = pause(stuck.until()) => if stuck.is_so(writer.write_buffer().len(), Instant::now()) {
                return Err(Ended::Stuck);
            },
            () = pause(session.paused_until) => session.paused_until = None,
            () = pause(session.rests_until) => session.rests_until = None,
            retry = service.leave.told(), if !session.leaves => session.leave(retry),
            frame = reader.next(), if session.has_room() => match frame {
                Some(Ok(frame)) => session.request(&frame, Instant::now())?,
                Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => return Err(Ended::Broken),
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Ended::Closed),
            },
        }
    }
    futures::SinkExt::<Bytes>::close(&mut writer).await?;
    leave::client_goes_first(reader).await;
    Ok(())
}

/// Waits until a frame can be taken, or, if there is none, until all are flushed.
async fn write<S: Sink<Bytes, Error = io::Error> + Unpin>(
    sink: &mut S,
    has_more: bool,
) -> io::Result<()> {
    poll_fn(|cx| if has_more { sink.poll_ready_unpin(cx) } else { sink.poll_flush_unpin(cx) }).await
}

type Read = (u32, u64, Result<Page, StoreError>);

/// A trim's number, and where its log begins.
type Trim = (u32, Result<u64, StoreError>);

/// Awaits a call of the store, if one is under way.
async fn finished<T>(call: &mut Option<BoxFuture<'static, T>>) -> T {
    match call {
        Some(under_way) => {
            let result = under_way.await;
            *call = None;
            result
        }
        None => std::future::pending().await,
    }
}

pub(super) async fn pause(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

pub(super) fn again_in(wait: Duration) -> Refusal {
    Refusal::RateLimited { retry_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) }
}

fn frames(max: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(max.min(u32::MAX as usize)).new_codec()
}

/// What a relay knows of one stream.
struct Session {
    service: Arc<LogService>,
    /// As they were when the stream began: what it was told stays so.
    limits: Arc<Limits>,
    challenge: Challenge,
    /// Shared by all streams from one address.
    budget: Budget,
    pass: Pass,
    logs: BTreeMap<u32, OpenLog>,
    bell: Arc<Bell>,
    replies: mpsc::Sender<(u32, Result<Cursor, Refusal>)>,
    appends_waiting: usize,
    answers: VecDeque<Answer>,
    /// Handles with something to read, in the order of their turns.
    due: VecDeque<u32>,
    reading: Option<BoxFuture<'static, Read>>,
    trimming: Option<BoxFuture<'static, Trim>>,
    trims: Pace,
    rounds: u64,
    bad_proofs: u32,
    requests: Pace,
    bytes: Pace,
    paused_until: Option<Instant>,
    /// Until then nothing is read: the address was told much.
    rests_until: Option<Instant>,
    /// When the stream ends if no log is open by then.
    idle_until: Option<Instant>,
    /// Whether the client was told that the relay is about to end.
    leaves: bool,
}

struct OpenLog {
    id: LogId,
    roles: BTreeSet<Role>,
    follow: Option<Follow>,
    _counted: Counted,
    /// The token that it counts for.
    under: Option<Held>,
}

struct Follow {
    after: u64,
    /// Whether the client named a place, and has not heard yet whether the log begins after it.
    asks_where: bool,
    has_caught_up: bool,
    /// Tells the page of an earlier `Follow` from one of this.
    round: u64,
    following: Following,
}

impl Session {
    fn new(
        service: Arc<LogService>,
        limits: Arc<Limits>,
        nonce: [u8; 32],
        budget: Budget,
        replies: mpsc::Sender<(u32, Result<Cursor, Refusal>)>,
        bell: Arc<Bell>,
    ) -> Self {
        let start = Instant::now();
        let pass = Pass::new(service.holders.clone());
        let rest = budget.wait_to_read(start);
        let hello = Answer::Hello {
            nonce,
            max_logs: limits.logs,
            ttl_ms: u64::try_from(limits.ttl.as_millis()).unwrap_or(u64::MAX),
            now_ms: now().0,
            wants_token: pass.wanted(),
        };
        Self {
            challenge: Challenge::new(&service.relay, nonce),
            budget,
            pass,
            logs: BTreeMap::new(),
            bell,
            replies,
            appends_waiting: 0,
            answers: VecDeque::from([hello]),
            due: VecDeque::new(),
            reading: None,
            trimming: None,
            trims: Pace::new(TRIMS_PER_S, TRIMS_BURST, start),
            rounds: 0,
            bad_proofs: 0,
            requests: Pace::new(limits.requests_per_s, limits.requests_burst, start),
            bytes: Pace::new(limits.bytes_per_s, limits.bytes_burst, start),
            paused_until: None,
            rests_until: (!rest.is_zero()).then(|| start + rest),
            idle_until: start.checked_add(limits.idle),
            leaves: false,
            limits,
            service,
        }
    }

    /// Takes a request from the wire.
    fn request(&mut self, frame: &[u8], now: Instant) -> Result<(), Ended> {
        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let request = codec::decode(frame).map_err(|_| Ended::Broken)?;
        let cost = if matches!(request, Request::Open { .. }) { OPEN_COST } else { 1 };
        let wait = self.requests.take(cost, now).max(self.bytes.take(len, now));
        let wait = wait.max(self.budget.ask(cost, now));
        self.paused_until = (!wait.is_zero()).then(|| now + wait);
        match request {
            Request::Open { handle, publics, proofs } => {
                self.open(handle, publics, &proofs)?;
            }
            Request::Append { req, handle, entry } => self.append(req, handle, entry, now),
            Request::Follow { handle, after } => self.follow(handle, after),
            Request::Close { handle } => self.close(handle, now),
            Request::Trim { req, handle, cursor } => self.trim(req, handle, cursor, now),
            Request::Token { token } => {
                let shown = self.pass.show(&token).map_err(|reason| self.refused(reason));
                self.answers.push_back(match shown {
                    Ok(()) => Answer::TokenTaken,
                    Err(reason) => Answer::TokenRefused { reason },
                });
            }
        }
        Ok(())
    }

    fn close(&mut self, handle: u32, now: Instant) {
        if self.logs.remove(&handle).is_some() && self.logs.is_empty() {
            self.idle_until = now.checked_add(self.limits.idle);
        }
    }

    fn open(&mut self, handle: u32, publics: LogPublics, proofs: &[Proof]) -> Result<(), Ended> {
        if self.logs.contains_key(&handle) || proofs.len() > LOG_PROOFS {
            return Err(Ended::Broken);
        }
        // One log under many handles would have each append read as often.
        let is_open = self.logs.values().any(|log| log.id == publics.id());
        if is_open || self.logs.len() >= self.limits.logs as usize {
            let reason = self.refused(Refusal::TooManyLogs);
            self.answers.push_back(Answer::OpenRefused { handle, reason });
            return Ok(());
        }
        let under = match self.pass.open() {
            Ok(under) => under,
            Err(reason) => {
                if self.logs.is_empty() && self.pass.is_counted() {
                    // It is to ask again, and here.
                    let wait = TOKEN_RETRY.saturating_add(self.limits.idle);
                    self.idle_until = Instant::now().checked_add(wait);
                }
                let reason = self.refused(reason);
                self.answers.push_back(Answer::OpenRefused { handle, reason });
                return Ok(());
            }
        };
        let roles: Result<BTreeSet<_>, _> =
            proofs.iter().map(|proof| publics.check(proof, &self.challenge)).collect();
        if let Some(roles) = roles.ok().filter(|roles| !roles.is_empty()) {
            let counted = Counted::new(&self.service.counts.logs);
            let log = OpenLog { id: publics.id(), roles, follow: None, _counted: counted, under };
            self.logs.insert(handle, log);
            self.idle_until = None;
            self.answers.push_back(Answer::Opened { handle });
            return Ok(());
        }
        self.bad_proofs += 1;
        if self.bad_proofs > BAD_PROOFS {
            return Err(Ended::Broken);
        }
        let reason = self.refused(Refusal::BadProof);
        self.answers.push_back(Answer::OpenRefused { handle, reason });
        Ok(())
    }

    fn append(&mut self, req: u32, handle: u32, entry: Vec<u8>, now: Instant) {
        if let Err(reason) = self.try_append(req, handle, entry, now) {
            let reason = self.refused(reason);
            self.answers.push_back(Answer::AppendRefused { req, reason });
        }
    }

    fn try_append(
        &mut self,
        req: u32,
        handle: u32,
        bytes: Vec<u8>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let log = self.logs.get(&handle).ok_or(Refusal::NoSuchHandle)?;
        if !log.roles.contains(&Role::Write) {
            return Err(Refusal::BadProof);
        }
        if bytes.len() > ENVELOPE_MAX {
            return Err(Refusal::TooLarge);
        }
        if !is_bucket(bytes.len()) {
            return Err(Refusal::NotBucket);
        }
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = NewEntry { log: log.id, bytes };
        let lane = self.service.lane(log.id);
        let queued = self.budget.queue(lane.number(), lane.all(), lane.free());
        let queued = queued.ok_or_else(|| again_in(RETRY))?;
        let room = lane.reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => again_in(RETRY),
            mpsc::error::TrySendError::Closed(()) => Refusal::Unavailable,
        })?;
        if let Some(under) = &log.under {
            under.spend(len, now)?;
        }
        if let Err(wait) = self.budget.spend(len, now) {
            log.under.iter().for_each(|under| under.refund(len));
            return Err(again_in(wait.max(RETRY)));
        }
        room.send(Job::new(Append { entry, req, reply: self.replies.clone() }, queued));
        self.appends_waiting += 1;
        Ok(())
    }

    fn follow(&mut self, handle: u32, after: Option<Cursor>) {
        let reason = match self.logs.get_mut(&handle) {
            None => Refusal::NoSuchHandle,
            Some(log) if !log.roles.contains(&Role::Read) => Refusal::BadProof,
            Some(log) => {
                log.follow = None;
                if after.is_some_and(|it| it.generation != self.service.store.generation()) {
                    self.answers.push_back(Answer::CursorGone { handle });
                    return;
                }
                self.rounds += 1;
                log.follow = Some(Follow {
                    after: after.map_or(0, |cursor| cursor.seq),
                    asks_where: after.is_some(),
                    has_caught_up: false,
                    round: self.rounds,
                    following: self.service.followers.follow(log.id, handle, &self.bell),
                });
                self.grown([handle].into());
                return;
            }
        };
        let reason = self.refused(reason);
        self.answers.push_back(Answer::FollowRefused { handle, reason });
    }

    fn trim(&mut self, req: u32, handle: u32, cursor: Cursor, now: Instant) {
        if let Err(reason) = self.try_trim(req, handle, cursor, now) {
            let reason = self.refused(reason);
            self.answers.push_back(Answer::TrimRefused { req, reason });
        }
    }

    fn try_trim(
        &mut self,
        req: u32,
        handle: u32,
        cursor: Cursor,
        now: Instant,
    ) -> Result<(), Refusal> {
        let log = self.logs.get(&handle).ok_or(Refusal::NoSuchHandle)?;
        if !log.roles.contains(&Role::Trim) {
            return Err(Refusal::BadProof);
        }
        if self.trimming.is_some() {
            return Err(again_in(RETRY));
        }
        self.trims.try_take(1, now).map_err(again_in)?;
        // Numbers of another generation say nothing here.
        let is_here = cursor.generation == self.service.store.generation();
        let (id, to) = (log.id, if is_here { cursor.seq } else { 0 });
        let (service, budget) = (Arc::clone(&self.service), self.budget.clone());
        let trim = async move { (req, service.trim(&budget, id, to).await) };
        self.trimming = Some(trim.boxed());
        Ok(())
    }

    /// Takes what became of a trim.
    fn trimmed(&mut self, req: u32, begins: Result<u64, StoreError>) {
        self.answers.push_back(match begins {
            Ok(seq) => Answer::Trimmed { req, cursor: self.place(seq) },
            Err(error) => {
                self.service.failed("could not trim a log", &error);
                Answer::TrimRefused { req, reason: self.refused(Refusal::Unavailable) }
            }
        });
    }

    /// Takes the writer's answer to an append.
    fn appended(&mut self, req: u32, result: Result<Cursor, Refusal>) {
        self.appends_waiting -= 1;
        self.answers.push_back(match result {
            Ok(cursor) => Answer::Appended { req, cursor },
            Err(reason) => Answer::AppendRefused { req, reason: self.refused(reason) },
        });
    }

    /// These logs may have something to read.
    fn grown(&mut self, handles: BTreeSet<u32>) {
        for handle in handles {
            if !self.due.contains(&handle) {
                self.due.push_back(handle);
            }
        }
    }

    /// Takes what was read of a log.
    fn page(&mut self, (handle, round, page): Read, now: Instant) {
        let read = page.as_ref().map_or(&[][..], |page| &page.entries);
        let bytes: usize = read.iter().map(|entry| entry.bytes.len()).sum();
        if bytes > 0 {
            // Also of what nobody wants any more: it was read.
            let rest = self.budget.deliver(u32::try_from(bytes).unwrap_or(u32::MAX), now);
            self.rests_until = (!rest.is_zero()).then(|| now + rest);
            self.service.counts.deliveries_paced.inc_by(u64::from(!rest.is_zero()));
        }
        let Some(log) = self.logs.get_mut(&handle) else { return };
        let Some(follow) = log.follow.as_mut().filter(|follow| follow.round == round) else {
            return;
        };
        let generation = self.service.store.generation();
        let place = |seq| Cursor { generation, seq };
        match page {
            Err(error) => {
                self.service.failed("could not read a log", &error);
                log.follow = None;
                let reason = Refusal::Unavailable;
                self.service.counts.refuse(reason);
                self.answers.push_back(Answer::FollowRefused { handle, reason });
            }
            Ok(page) if page.head < follow.after => {
                log.follow = None;
                self.answers.push_back(Answer::CursorGone { handle });
            }
            Ok(page) => {
                if std::mem::take(&mut follow.asks_where) && page.begins > follow.after {
                    let cursor = place(page.begins);
                    self.answers.push_back(Answer::Begins { handle, cursor });
                }
                follow.following.ends_at(page.head);
                follow.after = page.read_to;
                if !page.entries.is_empty() {
                    let cursor = place(page.read_to);
                    let entries = page.entries;
                    self.service.counts.deliveries.inc_by(entries.len() as u64);
                    self.service.counts.delivery_bytes.inc_by(bytes as u64);
                    self.answers.push_back(Answer::Entries { handle, entries, cursor });
                }
                if page.read_to < page.head {
                    self.grown([handle].into());
                } else if !follow.has_caught_up {
                    follow.has_caught_up = true;
                    let cursor = place(page.head);
                    self.answers.push_back(Answer::CaughtUp { handle, cursor });
                }
            }
        }
    }

    /// Whether it would read more now. While not, a bell that rings need not wake it: it stays rung.
    fn reads_on(&self) -> bool {
        let may_read = !self.leaves && self.rests_until.is_none();
        may_read && self.reading.is_none() && self.answers.is_empty()
    }

    /// Starts to read the next log that has something, if nothing waits to be written.
    fn read_on(&mut self) {
        while self.reads_on() {
            let Some(handle) = self.due.pop_front() else { return };
            let Some(log) = self.logs.get(&handle) else { continue };
            let Some(follow) = &log.follow else { continue };
            let (id, after, round) = (log.id, follow.after, follow.round);
            // Where its log begins the store alone can say.
            let asks_tail = !follow.asks_where;
            let recent = asks_tail.then(|| follow.following.recent(after, LOG_BATCH_BYTES));
            if let Some(page) = recent.flatten() {
                self.page((handle, round, Ok(page)), Instant::now());
                continue;
            }
            let (service, budget) = (Arc::clone(&self.service), self.budget.clone());
            let read = async move { (handle, round, service.read(&budget, id, after).await) };
            self.reading = Some(read.boxed());
        }
    }

    /// Counts a refusal.
    fn refused(&self, reason: Refusal) -> Refusal {
        self.service.counts.refuse(reason);
        reason
    }

    fn place(&self, seq: u64) -> Cursor {
        Cursor { generation: self.service.store.generation(), seq }
    }

    /// Tells the client, and takes nothing more from it.
    fn leave(&mut self, retry_ms: u64) {
        self.leaves = true;
        self.due.clear();
        self.reading = None;
        self.answers.push_back(Answer::Leaving { retry_ms });
    }

    /// Whether the relay leaves, and all that was asked for is answered and written.
    fn has_left(&self, unflushed: bool) -> bool {
        let is_done = self.appends_waiting == 0 && self.trimming.is_none();
        self.leaves && is_done && self.answers.is_empty() && !unflushed
    }

    fn has_room(&self) -> bool {
        !self.leaves
            && self.answers.len() < ANSWERS_WAITING
            && self.appends_waiting < self.limits.appends_waiting
            && self.paused_until.is_none()
    }
}
