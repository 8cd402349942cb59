//! What is wanted of one relay and what has come of it, over all connections. No I/O.
//!
//! > A cursor moves when entries are reported. An append leaves the ledger when it is answered.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use protocol::{
    ids::LogId,
    relay_log::{Answer, Challenge, Cursor, LogKeys, Refusal, Request, Role},
};

use super::{DownReason, LogPlan, RelayReport};

/// Appends that wait or are not answered yet, and their bytes; more are refused.
const APPENDS: usize = 4096;
/// See [`APPENDS`].
const APPEND_BYTES: usize = 32 << 20;
/// Appends on the wire without an answer.
const WINDOW: usize = 128;

/// Wanted logs, unanswered appends, and reports that wait for their reader.
#[derive(Default)]
pub(super) struct Ledger {
    logs: BTreeMap<LogId, Wanted>,
    handles: BTreeMap<u32, LogId>,
    todo: VecDeque<Todo>,
    waiting: VecDeque<Append>,
    sent: BTreeMap<u32, Append>,
    bytes: usize,
    next: u32,
    challenge: Option<Challenge>,
    reports: VecDeque<RelayReport>,
}

struct Wanted {
    keys: Arc<LogKeys>,
    after: Option<Cursor>,
    handle: Option<u32>,
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
        for LogPlan { keys, after } in plan {
            let id = keys.id();
            if self.logs.contains_key(&id) {
                continue;
            }
            let wanted = match old.remove(&id) {
                Some(wanted)
                    if wanted.keys.allows(Role::Read) == keys.allows(Role::Read)
                        && wanted.keys.allows(Role::Write) == keys.allows(Role::Write) =>
                {
                    wanted
                }
                other => {
                    self.todo.extend(other.and_then(|it| it.handle).map(Todo::Close));
                    self.todo.push_back(Todo::Open(id));
                    Wanted { keys, after, handle: None }
                }
            };
            self.logs.insert(id, wanted);
        }
        for (id, wanted) in old {
            self.todo.extend(wanted.handle.map(Todo::Close));
            self.refuse_waiting(id, Refusal::NoSuchHandle);
        }
    }

    /// Takes an entry to be appended, or refuses it if too many wait.
    pub(super) fn append(&mut self, log: LogId, tag: u64, entry: Bytes) {
        let count = self.waiting.len() + self.sent.len();
        if count >= APPENDS || self.bytes + entry.len() > APPEND_BYTES {
            self.reports.push_back(RelayReport::Refused { tag, reason: Refusal::Unavailable });
            return;
        }
        self.bytes += entry.len();
        self.waiting.push_back(Append { log, tag, entry, not_before: None });
    }

    /// Starts a connection: everything is opened and followed anew, unanswered appends are sent
    /// again, in their order.
    pub(super) fn connected(&mut self, challenge: Challenge) {
        self.challenge = Some(challenge);
        self.handles.clear();
        self.todo.clear();
        for (id, wanted) in &mut self.logs {
            wanted.handle = None;
            self.todo.push_back(Todo::Open(*id));
        }
        for (_, append) in std::mem::take(&mut self.sent).into_iter().rev() {
            if self.logs.contains_key(&append.log) {
                self.waiting.push_front(append);
            } else {
                self.refuse(&append, Refusal::NoSuchHandle);
            }
        }
        self.reports.push_back(RelayReport::Up);
    }

    /// Says that there is no connection.
    pub(super) fn down(&mut self, reason: DownReason, retry_in: Duration) {
        self.reports.push_back(RelayReport::Down { reason, retry_in });
    }

    /// Takes an answer of the relay.
    pub(super) fn answer(&mut self, answer: Answer, now: Instant) -> Result<(), DownReason> {
        match answer {
            Answer::Hello { .. } => return Err(DownReason::Misbehaved),
            Answer::Opened { .. } => {}
            Answer::OpenRefused { handle, reason } => {
                if let Some(log) = self.handles.remove(&handle) {
                    if let Some(wanted) = self.logs.get_mut(&log) {
                        wanted.handle = None;
                    }
                    self.reports.push_back(RelayReport::LogRefused { log, reason });
                    self.refuse_waiting(log, reason);
                }
            }
            Answer::FollowRefused { handle, reason } => {
                if let Some(log) = self.handles.get(&handle).copied() {
                    self.reports.push_back(RelayReport::LogRefused { log, reason });
                }
            }
            Answer::Appended { req, .. } => {
                if let Some(append) = self.sent.remove(&req) {
                    self.bytes -= append.entry.len();
                    self.reports.push_back(RelayReport::Appended { tag: append.tag });
                }
            }
            Answer::AppendRefused { req, reason } => {
                if let Some(append) = self.sent.remove(&req) {
                    self.append_refused(append, reason, now);
                }
            }
            Answer::Entries { handle, entries, cursor } => {
                let is_sound = !entries.is_empty()
                    && entries.is_sorted_by(|a, b| a.seq < b.seq)
                    && entries.last().is_some_and(|last| last.seq <= cursor.seq);
                if !is_sound {
                    return Err(DownReason::Misbehaved);
                }
                if let Some(log) = self.advance(handle, cursor) {
                    let entries = entries.into_iter().map(|entry| entry.bytes.into()).collect();
                    self.reports.push_back(RelayReport::Entries { log, entries, cursor });
                }
            }
            Answer::CaughtUp { handle, cursor } => {
                if let Some(log) = self.advance(handle, cursor) {
                    self.reports.push_back(RelayReport::CaughtUp { log, cursor });
                }
            }
            Answer::CursorGone { handle } => self.cursor_gone(handle)?,
        }
        Ok(())
    }

    /// The next request to be written, if one is due.
    pub(super) fn next_request(&mut self, now: Instant) -> Option<Request> {
        while let Some(todo) = self.todo.pop_front() {
            if let Some(request) = self.request(&todo) {
                return Some(request);
            }
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

    /// When [`Self::next_request`] may have one again, with nothing else happening.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().filter_map(|append| append.not_before).min()
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
                let handle = self.number();
                let wanted = self.logs.get_mut(&id)?;
                let challenge = self.challenge.as_ref()?;
                wanted.handle = Some(handle);
                self.handles.insert(handle, id);
                let keys = &wanted.keys;
                let roles = [Role::Write, Role::Read];
                let proofs = roles.iter().filter_map(|role| keys.prove(*role, challenge)).collect();
                if keys.allows(Role::Read) {
                    self.todo.push_front(Todo::Follow(id));
                }
                Some(Request::Open { handle, publics: keys.publics(), proofs })
            }
            Todo::Follow(id) => {
                let wanted = self.logs.get(&id)?;
                Some(Request::Follow { handle: wanted.handle?, after: wanted.after })
            }
            Todo::Close(handle) => {
                self.handles.remove(&handle)?;
                Some(Request::Close { handle })
            }
        }
    }

    fn handle(&self, log: LogId) -> Option<u32> {
        self.logs.get(&log)?.handle
    }

    fn number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// Moves a log's cursor; `None` if the log is no longer wanted.
    fn advance(&mut self, handle: u32, cursor: Cursor) -> Option<LogId> {
        let log = *self.handles.get(&handle)?;
        let wanted = self.logs.get_mut(&log).filter(|wanted| wanted.handle == Some(handle))?;
        wanted.after = Some(cursor);
        Some(log)
    }

    fn cursor_gone(&mut self, handle: u32) -> Result<(), DownReason> {
        let Some(log) = self.handles.get(&handle).copied() else { return Ok(()) };
        let Some(wanted) = self.logs.get_mut(&log).filter(|it| it.handle == Some(handle)) else {
            return Ok(());
        };
        wanted.after.take().ok_or(DownReason::Misbehaved)?;
        self.todo.push_back(Todo::Follow(log));
        self.reports.push_back(RelayReport::CursorGone { log });
        Ok(())
    }

    fn append_refused(&mut self, mut append: Append, reason: Refusal, now: Instant) {
        if let Refusal::RateLimited { retry_ms } = reason {
            append.not_before = Some(now + Duration::from_millis(retry_ms.min(60_000)));
            self.waiting.push_front(append);
        } else {
            self.refuse(&append, reason);
        }
    }

    fn refuse_waiting(&mut self, log: LogId, reason: Refusal) {
        let (refused, kept): (VecDeque<_>, _) =
            std::mem::take(&mut self.waiting).into_iter().partition(|append| append.log == log);
        self.waiting = kept;
        refused.iter().for_each(|append| self.refuse(append, reason));
    }

    fn refuse(&mut self, append: &Append, reason: Refusal) {
        self.bytes -= append.entry.len();
        self.reports.push_back(RelayReport::Refused { tag: append.tag, reason });
    }
}

#[cfg(test)]
mod tests;
