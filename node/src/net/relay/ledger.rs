//! What is wanted of one relay and what has come of it, over all connections. No I/O.
//!
//! > A cursor moves when entries are reported, and forwards only. An append leaves the ledger when
//! > it is answered. What a relay may not say ends the connection; what it may be late with is
//! > asked for again after a pause, so that no answer makes this side busy.

mod tokens;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use protocol::{
    ids::LogId,
    relay_log::{Answer, Challenge, Cursor, Entry, LogKeys, Refusal, Request, Role, is_bucket},
};

use self::tokens::Tokens;
use super::{Begin, DownReason, LogPlan, RelayReport, TokenFault, Under, dial::Greeting};

/// What is proven of a log, as far as it is held.
const ROLES: [Role; 3] = [Role::Write, Role::Read, Role::Trim];
/// Appends that wait or are not answered yet, and their bytes; more are refused.
const APPENDS: usize = 4096;
/// See [`APPENDS`].
const APPEND_BYTES: usize = 32 << 20;
/// Appends on the wire without an answer.
const WINDOW: usize = 128;
/// How long a relay may have an append wait that it took too fast.
const APPEND_PAUSE: [Duration; 2] = [Duration::from_millis(50), Duration::from_mins(1)];
/// How long to wait before a log is asked for again that could not be opened or followed.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Wanted logs, unanswered appends, and reports that wait for their reader.
#[derive(Default)]
pub(super) struct Ledger {
    logs: BTreeMap<LogId, Wanted>,
    handles: BTreeMap<u32, LogId>,
    todo: VecDeque<Todo>,
    waiting: VecDeque<Append>,
    sent: BTreeMap<u32, Append>,
    /// Places up to which logs are to be trimmed; and the trim without an answer.
    trims: BTreeMap<LogId, Cursor>,
    trimming: Option<(u32, LogId)>,
    bytes: usize,
    next: u32,
    /// Of this connection's handles.
    first: u32,
    challenge: Option<Challenge>,
    /// How long the relay says that it keeps an entry.
    keeps: Duration,
    reports: VecDeque<RelayReport>,
    /// When to come back, if the relay has said that it ends: it is asked for nothing more.
    leaving: Option<Duration>,
    /// Logs to be opened or followed again, and when; at most one each.
    later: BTreeMap<LogId, Instant>,
    tokens: Tokens,
}

struct Wanted {
    keys: Arc<LogKeys>,
    under: Under,
    after: Option<Cursor>,
    begin: Begin,
    handle: Option<u32>,
    follows: Follows,
}

/// How far a log's `Follow` has come on this connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follows {
    No,
    /// From a place, and nothing has come yet.
    Asked,
    Reading,
    CaughtUp,
}

enum Todo {
    Open(LogId),
    Follow(LogId),
    Close(u32),
}

struct Append {
    log: LogId,
    tag: u64,
    entry: Bytes,
    not_before: Option<Instant>,
}

impl Ledger {
    /// Replaces the set of logs that are wanted.
    pub(super) fn plan(&mut self, plan: Vec<LogPlan>) {
        let mut old = std::mem::take(&mut self.logs);
        let mut tokens = BTreeMap::new();
        for LogPlan { keys, after, begin, token } in plan {
            let id = keys.id();
            if self.logs.contains_key(&id) {
                continue;
            }
            let under = token.map(|token| {
                let hash = token.hash();
                tokens.insert(hash, token);
                hash
            });
            let before = old.remove(&id);
            let same = before.as_ref().is_some_and(|wanted| {
                ROLES.iter().all(|role| wanted.keys.allows(*role) == keys.allows(*role))
            });
            let wanted = match before {
                Some(wanted) if same && (wanted.under == under || !self.tokens.are_wanted()) => {
                    let begin = wanted.begin.or(begin);
                    if wanted.waits() && begin == Begin::Start {
                        self.todo.push_back(Todo::Follow(id));
                    }
                    Wanted { under, begin, ..wanted }
                }
                other => {
                    // Under another token it goes on from where it was.
                    let was = other.as_ref().filter(|_| same);
                    let (after, begin) =
                        was.map_or((after, begin), |it| (it.after, it.begin.or(begin)));
                    self.todo.extend(other.and_then(|it| it.handle).map(Todo::Close));
                    self.todo.push_back(Todo::Open(id));
                    Wanted { keys, under, after, begin, handle: None, follows: Follows::No }
                }
            };
            self.logs.insert(id, wanted);
        }
        for (id, wanted) in old {
            self.todo.extend(wanted.handle.map(Todo::Close));
            self.refuse_waiting(|log| *log == id, Refusal::NoSuchHandle);
        }
        self.trims.retain(|id, _| self.logs.contains_key(id));
        let logs = &self.logs;
        self.tokens
            .plan(tokens, |log| logs.get(log).filter(|it| it.handle.is_none()).map(|it| it.under));
    }

    /// Follows a log of the plan from this place, under another handle: what is still under way of
    /// the old one counts no more. What is to be appended waits on.
    pub(super) fn follow_anew(&mut self, log: LogId, after: Option<Cursor>) {
        let Some(wanted) = self.logs.get_mut(&log) else { return };
        (wanted.after, wanted.begin) = (after, Begin::Start);
        wanted.follows = Follows::No;
        if let Some(handle) = wanted.handle.take() {
            self.todo.extend([Todo::Close(handle), Todo::Open(log)]);
        }
    }

    /// Takes a place up to which a log of the plan is to be trimmed; of one log the last one counts.
    pub(super) fn trim(&mut self, log: LogId, cursor: Cursor) {
        if self.logs.get(&log).is_some_and(|wanted| wanted.keys.allows(Role::Trim)) {
            self.trims.insert(log, cursor);
        }
    }

    /// Takes an entry to be appended, or refuses it if too many wait.
    pub(super) fn append(&mut self, log: LogId, tag: u64, entry: Bytes) {
        let count = self.waiting.len() + self.sent.len();
        if count >= APPENDS || self.bytes + entry.len() > APPEND_BYTES {
            self.reports.push_back(RelayReport::Refused { tag, reason: Refusal::Unavailable });
            return;
        }
        let append = Append { log, tag, entry, not_before: None };
        self.bytes += append.entry.len();
        match self.logs.get(&log).and_then(|wanted| self.tokens.fault(wanted.under)) {
            Some(fault) => self.refuse(&append, tokens::refusal(fault)),
            None => self.waiting.push_back(append),
        }
    }

    /// Starts a connection: everything is opened and followed anew, unanswered appends are sent
    /// again, in their order.
    pub(super) fn connected(&mut self, greeting: Greeting) {
        self.challenge = Some(greeting.challenge);
        self.keeps = greeting.keeps;
        self.tokens.begin(greeting.wants_token);
        self.first = self.next.wrapping_add(1);
        self.handles.clear();
        self.todo.clear();
        self.later.clear();
        self.leaving = None;
        // Whoever asked for it asks again, in time.
        self.trimming = None;
        for (id, wanted) in &mut self.logs {
            wanted.handle = None;
            wanted.follows = Follows::No;
            self.todo.push_back(Todo::Open(*id));
        }
        for (_, append) in std::mem::take(&mut self.sent).into_iter().rev() {
            if self.logs.contains_key(&append.log) {
                self.waiting.push_front(append);
            } else {
                self.refuse(&append, Refusal::NoSuchHandle);
            }
        }
        if !greeting.wants_token {
            self.reports.push_back(RelayReport::Up { wants_token: false, keeps: self.keeps });
        }
    }

    /// Says that there is no connection.
    pub(super) fn down(&mut self, reason: DownReason, retry_in: Duration) {
        self.tokens.begin(false);
        self.reports.push_back(RelayReport::Down { reason, retry_in });
    }

    /// Takes how long a ping took; where the last one is not told yet, it is told no more.
    pub(super) fn timed(&mut self, took: Duration) {
        self.reports.retain(|report| !matches!(report, RelayReport::Latency { .. }));
        self.reports.push_back(RelayReport::Latency { took });
    }

    /// Takes an answer of the relay.
    pub(super) fn answer(&mut self, answer: Answer, now: Instant) -> Result<(), DownReason> {
        match answer {
            Answer::Hello { .. } => return Err(DownReason::Misbehaved),
            Answer::TokenTaken => self.token_taken()?,
            Answer::TokenRefused { reason } => self.token_refused(reason, now)?,
            Answer::Opened { handle } => self.issued(handle)?,
            Answer::OpenRefused { handle, reason } => {
                self.issued(handle)?;
                if let Some(log) = self.handles.remove(&handle) {
                    self.open_refused(log, handle, reason, now);
                }
            }
            Answer::FollowRefused { handle, reason } => {
                if let Some((log, wanted)) = self.followed(handle)? {
                    wanted.follows = Follows::No;
                    self.later.insert(log, now + LOG_PAUSE);
                    self.reports.push_back(RelayReport::LogRefused { log, reason });
                }
            }
            Answer::Appended { req, cursor } => {
                let append = self.sent.remove(&req).ok_or(DownReason::Misbehaved)?;
                self.bytes -= append.entry.len();
                self.begins_at(append.log, cursor);
                self.reports.push_back(RelayReport::Appended { tag: append.tag, cursor });
            }
            Answer::AppendRefused { req, reason } => {
                let append = self.sent.remove(&req).ok_or(DownReason::Misbehaved)?;
                self.append_refused(append, reason, now);
            }
            Answer::Trimmed { req, cursor } => {
                let log = self.trim_answered(req)?;
                self.reports.push_back(RelayReport::Trimmed { log, cursor });
            }
            Answer::TrimRefused { req, reason } => {
                self.trim_answered(req)?;
                tracing::debug!(%reason, "a relay did not trim a log");
            }
            Answer::Begins { handle, cursor } => {
                if let Some((log, wanted)) = self.followed(handle)? {
                    let is_later = wanted.after.is_some_and(|after| cursor.seq > after.seq);
                    if wanted.follows != Follows::Asked
                        || !is_later
                        || !is_onward(wanted.after, cursor)
                    {
                        return Err(DownReason::Misbehaved);
                    }
                    wanted.follows = Follows::Reading;
                    wanted.after = Some(cursor);
                    self.reports.push_back(RelayReport::Begins { log, cursor });
                }
            }
            Answer::Entries { handle, entries, cursor } => {
                if let Some((log, wanted)) = self.followed(handle)? {
                    are_next(wanted.after, &entries, cursor)?;
                    if wanted.follows == Follows::Asked {
                        wanted.follows = Follows::Reading;
                    }
                    wanted.after = Some(cursor);
                    let entries = entries.into_iter().map(|entry| entry.bytes.into()).collect();
                    self.reports.push_back(RelayReport::Entries { log, entries, cursor });
                }
            }
            Answer::CaughtUp { handle, cursor } => {
                if let Some((log, wanted)) = self.followed(handle)? {
                    if wanted.follows == Follows::CaughtUp || !is_onward(wanted.after, cursor) {
                        return Err(DownReason::Misbehaved);
                    }
                    wanted.follows = Follows::CaughtUp;
                    wanted.after = Some(cursor);
                    self.reports.push_back(RelayReport::CaughtUp { log, cursor });
                }
            }
            Answer::CursorGone { handle } => {
                if let Some((log, wanted)) = self.followed(handle)? {
                    wanted.after.take().ok_or(DownReason::Misbehaved)?;
                    (wanted.begin, wanted.follows) = (Begin::Start, Follows::No);
                    self.todo.push_back(Todo::Follow(log));
                    self.reports.push_back(RelayReport::CursorGone { log });
                }
            }
            Answer::Leaving { retry_ms } => self.leaving = Some(Duration::from_millis(retry_ms)),
        }
        Ok(())
    }

    /// The next request to be written, if one is due.
    pub(super) fn next_request(&mut self, now: Instant) -> Option<Request> {
        if self.leaving.is_some() {
            return None;
        }
        self.ask_again(now);
        while let Some(todo) = self.todo.pop_front() {
            if let Some(request) = self.request(&todo) {
                return Some(request);
            }
        }
        if let Some(token) = self.tokens.next(now) {
            return Some(Request::Token { token });
        }
        if let Some(trim) = self.next_trim() {
            return Some(trim);
        }
        if self.sent.len() >= WINDOW {
            return None;
        }
        let index = self.waiting.iter().position(|append| {
            append.not_before.is_none_or(|at| at <= now) && self.handle(append.log).is_some()
        })?;
        let append = self.waiting.remove(index)?;
        let handle = self.handle(append.log)?;
        let req = self.number();
        let entry = append.entry.to_vec();
        self.sent.insert(req, append);
        Some(Request::Append { req, handle, entry })
    }

    /// The next trim, one at a time.
    fn next_trim(&mut self) -> Option<Request> {
        let mut open = self.trims.keys().filter(|log| self.handle(**log).is_some());
        let log = open.next().copied().filter(|_| self.trimming.is_none())?;
        let (handle, cursor) = (self.handle(log)?, self.trims.remove(&log)?);
        let req = self.number();
        self.trimming = Some((req, log));
        Some(Request::Trim { req, handle, cursor })
    }

    fn trim_answered(&mut self, req: u32) -> Result<LogId, DownReason> {
        let asked = self.trimming.take_if(|(asked, _)| *asked == req);
        asked.map(|(_, log)| log).ok_or(DownReason::Misbehaved)
    }

    /// When [`Self::next_request`] may have one again, with nothing else happening: never now. What
    /// is due already waits for an answer or for the wire.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let appends = self.waiting.iter().filter_map(|append| append.not_before);
        let others = self.later.values().copied().chain(self.tokens.due());
        appends.chain(others).filter(|at| *at > now).min()
    }

    /// Why nothing is open on this connection and nothing will be, where the relay wants a token.
    pub(super) fn shut_out(&self) -> Option<TokenFault> {
        self.tokens.shut_out().filter(|_| self.todo.is_empty() && self.leaving.is_none())
    }

    /// Whether there is a token that was shown on no connection yet.
    pub(super) fn has_new_token(&self) -> bool {
        self.tokens.has_new()
    }

    /// Within which time to come back, if the relay has said that it ends.
    pub(super) fn leaving(&self) -> Option<Duration> {
        self.leaving
    }

    /// The next report for the reader.
    pub(super) fn next_report(&mut self) -> Option<RelayReport> {
        self.reports.pop_front()
    }

    /// How many reports wait for the reader.
    pub(super) fn reports(&self) -> usize {
        self.reports.len()
    }

    fn request(&mut self, todo: &Todo) -> Option<Request> {
        match *todo {
            Todo::Open(id) => {
                let wanted = self.logs.get(&id)?;
                if wanted.handle.is_some() {
                    return None;
                }
                let under = wanted.under;
                if !self.tokens.opens(under) {
                    self.shut(id, under);
                    return None;
                }
                let handle = self.number();
                let wanted = self.logs.get_mut(&id)?;
                let challenge = self.challenge.as_ref()?;
                wanted.handle = Some(handle);
                self.handles.insert(handle, id);
                let keys = &wanted.keys;
                let proofs = ROLES.iter().filter_map(|role| keys.prove(*role, challenge)).collect();
                if keys.allows(Role::Read) {
                    self.todo.push_front(Todo::Follow(id));
                }
                Some(Request::Open { handle, publics: keys.publics(), proofs })
            }
            Todo::Follow(id) => {
                let wanted = self.logs.get_mut(&id).filter(|it| it.follows == Follows::No)?;
                let is_read = wanted.keys.allows(Role::Read) && !wanted.waits();
                let handle = wanted.handle.filter(|_| is_read)?;
                wanted.follows =
                    if wanted.after.is_some() { Follows::Asked } else { Follows::Reading };
                Some(Request::Follow { handle, after: wanted.after })
            }
            Todo::Close(handle) => {
                self.handles.remove(&handle)?;
                Some(Request::Close { handle })
            }
        }
    }

    /// An entry was appended here: a log that waited for its first one is followed from there on.
    fn begins_at(&mut self, log: LogId, cursor: Cursor) {
        if let Some(wanted) = self.logs.get_mut(&log).filter(|it| it.waits()) {
            wanted.after = Some(cursor);
            self.todo.push_back(Todo::Follow(log));
        }
    }

    /// Leaves a log closed until its token is taken.
    fn shut(&mut self, log: LogId, under: Under) {
        if let Some(fault) = self.tokens.shut(log, under) {
            self.tell(under, Some(fault));
            self.refuse_waiting(|it| *it == log, tokens::refusal(fault));
        }
    }

    fn token_taken(&mut self) -> Result<(), DownReason> {
        let was_up = self.tokens.is_up();
        let (under, logs) = self.tokens.taken().ok_or(DownReason::Misbehaved)?;
        if !was_up {
            self.reports.push_back(RelayReport::Up { wants_token: true, keeps: self.keeps });
        }
        self.todo.extend(logs.into_iter().map(Todo::Open));
        self.tell(under, None);
        Ok(())
    }

    fn token_refused(&mut self, reason: Refusal, now: Instant) -> Result<(), DownReason> {
        let (under, fault) = self.tokens.refused(reason, now).ok_or(DownReason::Misbehaved)?;
        let logs = self.tokens.closed(under);
        self.refuse_waiting(|log| logs.contains(log), reason);
        self.tell(under, Some(fault));
        Ok(())
    }

    fn tell(&mut self, under: Under, fault: Option<TokenFault>) {
        if self.tokens.is_news(under, fault) {
            self.reports.push_back(RelayReport::Token { under, fault });
        }
    }

    fn handle(&self, log: LogId) -> Option<u32> {
        self.logs.get(&log)?.handle
    }

    fn number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// Refuses a relay that names a handle which this side never gave.
    fn issued(&self, handle: u32) -> Result<(), DownReason> {
        // Handles and the numbers of appends are counted together, and a connection ends long
        // before the count does.
        if handle.wrapping_sub(self.first) < self.next.wrapping_sub(self.first).wrapping_add(1) {
            Ok(())
        } else {
            Err(DownReason::Misbehaved)
        }
    }

    /// The log that is being followed under this handle; `None` if it is no longer wanted.
    fn followed(&mut self, handle: u32) -> Result<Option<(LogId, &mut Wanted)>, DownReason> {
        self.issued(handle)?;
        let Some(log) = self.handles.get(&handle).copied() else { return Ok(None) };
        let wanted = self.logs.get_mut(&log).filter(|wanted| wanted.handle == Some(handle));
        match wanted {
            Some(wanted) if wanted.follows == Follows::No => Err(DownReason::Misbehaved),
            wanted => Ok(wanted.map(|wanted| (log, wanted))),
        }
    }

    fn open_refused(&mut self, log: LogId, handle: u32, reason: Refusal, now: Instant) {
        let wanted = self.logs.get_mut(&log).filter(|wanted| wanted.handle == Some(handle));
        let Some(wanted) = wanted else { return };
        wanted.handle = None;
        wanted.follows = Follows::No;
        self.later.insert(log, now + LOG_PAUSE);
        self.reports.push_back(RelayReport::LogRefused { log, reason });
        self.refuse_waiting(|it| *it == log, reason);
    }

    /// Puts what has waited long enough back among what is to be done.
    fn ask_again(&mut self, now: Instant) {
        while let Some((&log, _)) = self.later.iter().find(|(_, at)| **at <= now) {
            self.later.remove(&log);
            if let Some(wanted) = self.logs.get(&log) {
                let todo = if wanted.handle.is_some() { Todo::Follow } else { Todo::Open };
                self.todo.push_back(todo(log));
            }
        }
    }

    fn append_refused(&mut self, mut append: Append, reason: Refusal, now: Instant) {
        if let Refusal::RateLimited { retry_ms } = reason {
            let [least, most] = APPEND_PAUSE;
            append.not_before = Some(now + Duration::from_millis(retry_ms).clamp(least, most));
            self.waiting.push_front(append);
        } else {
            self.refuse(&append, reason);
        }
    }

    fn refuse_waiting(&mut self, is_meant: impl Fn(&LogId) -> bool, reason: Refusal) {
        let (refused, kept): (VecDeque<_>, _) =
            std::mem::take(&mut self.waiting).into_iter().partition(|it| is_meant(&it.log));
        self.waiting = kept;
        refused.iter().for_each(|append| self.refuse(append, reason));
    }

    fn refuse(&mut self, append: &Append, reason: Refusal) {
        self.bytes -= append.entry.len();
        self.reports.push_back(RelayReport::Refused { tag: append.tag, reason });
    }
}

impl Wanted {
    /// Whether it is not followed before something is appended here.
    fn waits(&self) -> bool {
        self.begin == Begin::OwnFirst && self.after.is_none()
    }
}

/// Whether a place is not before `after`, nor of another life of the relay's store.
fn is_onward(after: Option<Cursor>, cursor: Cursor) -> bool {
    after.is_none_or(|after| cursor.generation == after.generation && cursor.seq >= after.seq)
}

/// Refuses entries that are not the next ones: out of order, repeated, of no bucket's size.
fn are_next(after: Option<Cursor>, entries: &[Entry], cursor: Cursor) -> Result<(), DownReason> {
    let is_sound = is_onward(after, cursor)
        && entries.is_sorted_by(|a, b| a.seq < b.seq)
        && entries.first().is_some_and(|it| after.is_none_or(|after| it.seq > after.seq))
        && entries.last().is_some_and(|it| it.seq <= cursor.seq)
        && entries.iter().all(|it| is_bucket(it.bytes.len()));
    if is_sound { Ok(()) } else { Err(DownReason::Misbehaved) }
}

#[cfg(test)]
mod tests;
