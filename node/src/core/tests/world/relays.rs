//! Relays of the bench: lists of entries, each with its followers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use protocol::{
    ids::LogId,
    relay_log::{Cursor, Refusal, Role},
};

use super::World;
use crate::net::relay::{DownReason, LogPlan, RelayKey, RelayReport};

/// How long they say that they keep an entry.
const KEEPS: Duration = Duration::from_hours(30 * 24);

#[derive(Default)]
pub(super) struct Connection {
    /// Nothing was told yet, or what was told last.
    pub(super) up: Option<bool>,
    pub(super) logs: BTreeMap<LogId, Following>,
    pub(super) appends: Vec<(LogId, u64, Bytes)>,
    pub(super) trims: Vec<(LogId, Cursor)>,
}

pub(super) struct Following {
    pub(super) plan: LogPlan,
    pub(super) read: usize,
    pub(super) caught_up: bool,
}

#[derive(Default)]
pub(super) struct Relay {
    pub(super) down: bool,
    pub(super) full: bool,
    pub(super) full_logs: BTreeSet<LogId>,
    pub(super) logs: BTreeMap<LogId, Vec<Bytes>>,
    /// How many of each log's first entries are trimmed.
    pub(super) trimmed: BTreeMap<LogId, usize>,
    /// Of each log it tells so many entries and no more, if that is said.
    pub(super) stalls: Option<usize>,
    /// Whether what is to be trimmed never gets there.
    pub(super) loses_trims: bool,
}

impl World {
    /// How many entries of a log were ever at the relays, and how many are trimmed.
    pub(in crate::core::tests) fn entries(&self, log: &LogId) -> (usize, usize) {
        let relays = self.relays.values();
        relays.fold((0, 0), |(all, gone), relay| {
            let (logs, trimmed) = (relay.logs.get(log), relay.trimmed.get(log));
            (all + logs.map_or(0, Vec::len), gone + trimmed.copied().unwrap_or(0))
        })
    }

    /// Has the relays tell so many entries of each log and no more, or all.
    pub(in crate::core::tests) fn stall(&mut self, after: Option<usize>) {
        self.relays.values_mut().for_each(|relay| relay.stalls = after);
    }

    /// How much the relays hold of each log.
    pub(in crate::core::tests) fn lengths(&self) -> BTreeMap<LogId, usize> {
        let logs = self.relays.values().flat_map(|relay| &relay.logs);
        logs.map(|(log, entries)| (*log, entries.len())).collect()
    }

    /// Has the relays tell what came since then from the end of each log on.
    pub(in crate::core::tests) fn reverse_entries(&mut self, since: &BTreeMap<LogId, usize>) {
        let logs = self.relays.values_mut().flat_map(|relay| &mut relay.logs);
        logs.for_each(|(log, all)| all[since.get(log).copied().unwrap_or(0)..].reverse());
    }

    /// Whether nothing that is to be trimmed gets to a relay.
    pub(in crate::core::tests) fn lose_trims(&mut self, lose: bool) {
        self.relays.values_mut().for_each(|relay| relay.loses_trims = lose);
    }

    /// Fills a log with so many bytes of noise, at each relay.
    pub(in crate::core::tests) fn fill(&mut self, log: &LogId, bytes: usize) {
        let noise = (0..bytes / 32_768).map(|at| {
            let mut entry = vec![0xaa; 32_768];
            entry[..8].copy_from_slice(&(at as u64).to_be_bytes());
            Bytes::from(entry)
        });
        let noise: Vec<_> = noise.collect();
        for relay in self.relays.values_mut() {
            relay.logs.entry(*log).or_default().extend(noise.iter().cloned());
        }
    }
}

impl Connection {
    pub(super) fn turn(&mut self, up: bool) -> RelayReport {
        self.up = Some(up);
        if up {
            return RelayReport::Up { wants_token: false, keeps: KEEPS };
        }
        for following in self.logs.values_mut() {
            following.caught_up = false;
        }
        let retry_in = Duration::from_secs(5);
        RelayReport::Down { reason: DownReason::Unreachable, retry_in }
    }
}

pub(super) fn serve_one(
    key: RelayKey,
    connection: &mut Connection,
    relay: &mut Relay,
    reports: &mut Vec<(RelayKey, RelayReport)>,
) {
    let mut waiting = Vec::new();
    for (log, tag, entry) in connection.appends.drain(..) {
        match connection.logs.get(&log) {
            _ if relay.full || relay.full_logs.contains(&log) => {
                reports.push((key, RelayReport::Refused { tag, reason: Refusal::LogFull }));
            }
            Some(following) if following.plan.keys.allows(Role::Write) => {
                let entries = relay.logs.entry(log).or_default();
                if !entries.contains(&entry) {
                    entries.push(entry);
                }
                reports.push((key, RelayReport::Appended { tag }));
            }
            _ => waiting.push((log, tag, entry)),
        }
    }
    connection.appends = waiting;
    for (log, to) in std::mem::take(&mut connection.trims) {
        if relay.loses_trims {
            continue;
        }
        let keys = connection.logs.get(&log).map(|following| &following.plan.keys);
        assert!(keys.is_some_and(|keys| keys.allows(Role::Trim)), "only an own inbox is trimmed");
        let last = relay.logs.get(&log).map_or(0, Vec::len).saturating_sub(1);
        let gone = relay.trimmed.entry(log).or_default();
        *gone = usize::try_from(to.seq).unwrap().min(last).max(*gone);
        let cursor = Cursor { generation: 1, seq: u64::try_from(*gone).unwrap() };
        reports.push((key, RelayReport::Trimmed { log, cursor }));
    }
    let read = |following: &&mut Following| following.plan.keys.allows(Role::Read);
    for (log, following) in connection.logs.iter_mut().filter(|(_, it)| read(it)) {
        let all = relay.logs.get(log).map(Vec::as_slice).unwrap_or_default();
        let entries = &all[..all.len().min(relay.stalls.unwrap_or(all.len()))];
        let cursor = |read: usize| Cursor { generation: 1, seq: u64::try_from(read).unwrap() };
        following.read = following.read.max(relay.trimmed.get(log).copied().unwrap_or_default());
        if following.read < entries.len() {
            let entries: Vec<Bytes> = entries[following.read..].iter().take(3).cloned().collect();
            following.read += entries.len();
            let cursor = cursor(following.read);
            reports.push((key, RelayReport::Entries { log: *log, entries, cursor }));
        } else if !following.caught_up && entries.len() == all.len() {
            following.caught_up = true;
            let cursor = cursor(following.read);
            reports.push((key, RelayReport::CaughtUp { log: *log, cursor }));
        }
    }
}
