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

use super::{Input, World};
use crate::net::{
    address,
    relay::{DownReason, LogPlan, RelayKey, RelayReport},
};

/// How long they say that they keep an entry.
const KEEPS: Duration = Duration::from_hours(30 * 24);

#[derive(Default)]
pub(super) struct Connection {
    /// Nothing was told yet, or what was told last.
    pub(super) up: Option<bool>,
    pub(super) logs: BTreeMap<LogId, Following>,
    pub(super) appends: Vec<(LogId, u64, Bytes)>,
    pub(super) trims: Vec<(LogId, Cursor)>,
    /// How many entries of each log were told.
    pub(super) told: BTreeMap<LogId, usize>,
}

pub(super) struct Following {
    pub(super) plan: LogPlan,
    pub(super) read: usize,
    pub(super) caught_up: bool,
    /// Whether it is read once something is appended, from there on.
    pub(super) waits: bool,
}

#[derive(Default)]
pub(super) struct Relay {
    pub(super) down: bool,
    /// How often it has lost its store, or said so.
    pub(super) lost: u64,
    /// The place that it says to have given to what it hides; else the one that it gave.
    pub(super) gives: Option<u64>,
    /// Whether it says of each log that it can't tell it.
    pub(super) refuses: bool,
    /// Who can't reach it.
    pub(super) out_of_reach: BTreeSet<&'static str>,
    pub(super) full: bool,
    pub(super) full_logs: BTreeSet<LogId>,
    pub(super) logs: BTreeMap<LogId, Vec<Bytes>>,
    /// How many of each log's first entries are trimmed.
    pub(super) trimmed: BTreeMap<LogId, usize>,
    /// Of each log it tells so many entries and no more, if that is said.
    pub(super) stalls: Option<usize>,
    /// Whether what is stored now is told to nobody; and what is so.
    pub(super) hides: bool,
    pub(super) hidden: BTreeSet<Bytes>,
    /// What it takes from nobody.
    pub(super) unwanted: BTreeSet<Bytes>,
    /// What it has refused.
    pub(super) refused: Vec<Bytes>,
    /// What it was given that it had.
    pub(super) had: BTreeSet<Bytes>,
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

    /// What relays hold of a log.
    pub(in crate::core::tests) fn entries_of(&self, log: &LogId) -> Vec<Bytes> {
        self.relays.values().filter_map(|relay| relay.logs.get(log)).flatten().cloned().collect()
    }

    /// How many entries of a log relays have told this node.
    pub(in crate::core::tests) fn told(&self, name: &str, log: &LogId) -> usize {
        let plans = self.nodes[name].plans.values();
        plans.filter_map(|connection| connection.told.get(log)).sum()
    }

    /// Has the relays tell so many entries of each log and no more, or all.
    pub(in crate::core::tests) fn stall(&mut self, after: Option<usize>) {
        self.relays.values_mut().for_each(|relay| relay.stalls = after);
    }

    /// Whether a relay tells nobody what it stores from now on.
    pub(in crate::core::tests) fn relay_hides(&mut self, relay: &str, hides: bool) {
        let peer = address::relays([relay])[0].peer_id;
        self.relays.get_mut(&peer).unwrap().hides = hides;
    }

    /// A relay hides what came since then, but so many of the last entries of each log; which those are.
    pub(in crate::core::tests) fn relay_hides_since(
        &mut self,
        relay: &str,
        since: &BTreeMap<LogId, usize>,
        but: usize,
    ) -> Vec<Bytes> {
        let peer = address::relays([relay])[0].peer_id;
        let relay = self.relays.get_mut(&peer).unwrap();
        let mut told = Vec::new();
        for (log, entries) in &relay.logs {
            let new = &entries[since.get(log).copied().unwrap_or(0)..];
            let (hidden, last) = new.split_at(new.len().saturating_sub(but));
            relay.hidden.extend(hidden.iter().cloned());
            told.extend(last.iter().cloned());
        }
        told
    }

    /// A relay takes from nobody what it has not, and another one has; which that is.
    pub(in crate::core::tests) fn relay_wants_none(
        &mut self,
        relay: &str,
        of: &str,
    ) -> &BTreeSet<Bytes> {
        let [peer, other] = [relay, of].map(|relay| address::relays([relay])[0].peer_id);
        let theirs: Vec<Bytes> = self.relays[&other].logs.values().flatten().cloned().collect();
        let relay = self.relays.get_mut(&peer).unwrap();
        let has: BTreeSet<&Bytes> = relay.logs.values().flatten().collect();
        relay.unwanted = theirs.into_iter().filter(|it| !has.contains(it)).collect();
        &relay.unwanted
    }

    /// What a relay has refused, each time.
    pub(in crate::core::tests) fn relay_refused(&self, relay: &str) -> &[Bytes] {
        &self.relays[&address::relays([relay])[0].peer_id].refused
    }

    /// What a relay was given that it had.
    pub(in crate::core::tests) fn relay_had(&self, relay: &str) -> &BTreeSet<Bytes> {
        &self.relays[&address::relays([relay])[0].peer_id].had
    }

    /// A relay says that what it hides has this place, whichever it gave it.
    pub(in crate::core::tests) fn relay_gives(&mut self, relay: &str, place: Option<u64>) {
        let peer = address::relays([relay])[0].peer_id;
        self.relays.get_mut(&peer).unwrap().gives = place;
    }

    /// Whether a relay says of each log that it can't tell it.
    pub(in crate::core::tests) fn relay_refuses(&mut self, relay: &str, refuses: bool) {
        let peer = address::relays([relay])[0].peer_id;
        self.relays.get_mut(&peer).unwrap().refuses = refuses;
    }

    /// A relay's store is repaired while it is down: of what it hid, an empty place is left.
    pub(in crate::core::tests) fn relay_is_repaired(&mut self, relay: &str) {
        self.relay_stands(relay, false);
        self.settle();
        let peer = address::relays([relay])[0].peer_id;
        let at = self.relays.get_mut(&peer).unwrap();
        let lost = std::mem::take(&mut at.hidden);
        let entries = at.logs.values_mut().flatten();
        entries.filter(|it| lost.contains(*it)).for_each(|it| *it = Bytes::new());
        self.relay_stands(relay, true);
    }

    /// Somebody does not reach a relay any more.
    pub(in crate::core::tests) fn relay_is_out_of_reach(&mut self, relay: &str, of: &'static str) {
        let peer = address::relays([relay])[0].peer_id;
        self.relays.get_mut(&peer).unwrap().out_of_reach.insert(of);
    }

    /// Somebody reaches a relay again, or for the first time.
    pub(in crate::core::tests) fn relay_is_within_reach(&mut self, relay: &str, of: &str) {
        let peer = address::relays([relay])[0].peer_id;
        self.relays.get_mut(&peer).unwrap().out_of_reach.remove(of);
    }

    /// A relay says that it has lost its store; and whether it has.
    pub(in crate::core::tests) fn relay_loses(&mut self, relay: &str, is_true: bool) {
        let peer = address::relays([relay])[0].peer_id;
        let relay = self.relays.get_mut(&peer).unwrap();
        relay.lost += 1;
        if is_true {
            (relay.logs, relay.trimmed) = Default::default();
        }
        for node in self.nodes.values_mut() {
            let Some(connection) = node.plans.get_mut(&peer) else { continue };
            for (log, following) in &mut connection.logs {
                if std::mem::take(&mut following.read) > 0 {
                    let gone = RelayReport::CursorGone { log: *log };
                    node.inbox.push_back(super::Input::Relay(peer, gone));
                }
                following.caught_up = false;
            }
        }
    }

    /// Somebody gives a relay what another one has, and what it has not, from a log's end on.
    pub(in crate::core::tests) fn relay_is_given(&mut self, relay: &str, of: &str, last: usize) {
        let [peer, other] = [relay, of].map(|relay| address::relays([relay])[0].peer_id);
        let theirs = self.relays[&other].logs.clone();
        let relay = self.relays.get_mut(&peer).unwrap();
        for (log, entries) in theirs {
            let known = relay.logs.entry(log).or_default();
            for entry in entries.into_iter().rev().take(last) {
                if !known.contains(&entry) {
                    known.push(entry);
                }
            }
        }
    }

    /// A relay tells all that it hid, after what it told.
    pub(in crate::core::tests) fn relay_tells_late(&mut self, relay: &str) {
        let peer = address::relays([relay])[0].peer_id;
        let relay = self.relays.get_mut(&peer).unwrap();
        let hidden = std::mem::take(&mut relay.hidden);
        for entries in relay.logs.values_mut() {
            let late: Vec<Bytes> =
                entries.iter().filter(|it| hidden.contains(*it)).cloned().collect();
            entries.extend(late);
        }
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

impl World {
    /// What the relays have for a node.
    pub(super) fn serve(&mut self, name: &'static str) -> bool {
        let node = self.nodes.get_mut(name).unwrap();
        if node.core.is_none() || !node.inbox.is_empty() {
            return false;
        }
        let mut reports = Vec::new();
        for (key, connection) in &mut node.plans {
            let relay = self.relays.get_mut(key).unwrap();
            match (relay.down || relay.out_of_reach.contains(name), connection.up) {
                (false, Some(true)) => serve_one(*key, connection, relay, &mut reports),
                (true, Some(false)) => {}
                (down, _) => reports.push((*key, connection.turn(!down))),
            }
        }
        let busy = !reports.is_empty();
        node.inbox.extend(reports.into_iter().map(|(key, report)| Input::Relay(key, report)));
        busy
    }
}

fn serve_one(
    key: RelayKey,
    connection: &mut Connection,
    relay: &mut Relay,
    reports: &mut Vec<(RelayKey, RelayReport)>,
) {
    let mut waiting = Vec::new();
    for (log, tag, entry) in connection.appends.drain(..) {
        match connection.logs.get_mut(&log) {
            _ if relay.full
                || relay.full_logs.contains(&log)
                || relay.unwanted.contains(&entry) =>
            {
                relay.refused.push(entry);
                reports.push((key, RelayReport::Refused { tag, reason: Refusal::LogFull }));
            }
            Some(following) if following.plan.keys.allows(Role::Write) => {
                let entries = relay.logs.entry(log).or_default();
                if relay.hides && !entries.contains(&entry) {
                    relay.hidden.insert(entry.clone());
                }
                let place = entries.iter().position(|it| *it == entry).unwrap_or(entries.len());
                let given = relay.gives.filter(|_| relay.hidden.contains(&entry));
                let seq = given.unwrap_or(u64::try_from(place + 1).unwrap());
                if place == entries.len() {
                    entries.push(entry);
                } else {
                    relay.had.insert(entry);
                }
                if std::mem::take(&mut following.waits) {
                    following.read = entries.len();
                }
                let cursor = Cursor { generation: 1 + relay.lost, seq };
                reports.push((key, RelayReport::Appended { tag, cursor }));
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
    let read = |it: &&mut Following| it.plan.keys.allows(Role::Read) && !it.waits;
    for (log, following) in connection.logs.iter_mut().filter(|(_, it)| read(it)) {
        if relay.refuses {
            if std::mem::take(&mut following.caught_up) {
                let reason = Refusal::Unavailable;
                reports.push((key, RelayReport::LogRefused { log: *log, reason }));
            }
            continue;
        }
        let all = relay.logs.get(log).map(Vec::as_slice).unwrap_or_default();
        let entries = &all[..all.len().min(relay.stalls.unwrap_or(all.len()))];
        let generation = 1 + relay.lost;
        let cursor = |read: usize| Cursor { generation, seq: u64::try_from(read).unwrap() };
        following.read = following.read.max(relay.trimmed.get(log).copied().unwrap_or_default());
        if following.read < entries.len() {
            let mut entries: Vec<Bytes> =
                entries[following.read..].iter().take(3).cloned().collect();
            following.read += entries.len();
            *connection.told.entry(*log).or_default() += entries.len();
            let cursor = cursor(following.read);
            entries.retain(|entry| !entry.is_empty() && !relay.hidden.contains(entry));
            reports.push((key, RelayReport::Entries { log: *log, entries, cursor }));
        } else if !following.caught_up && entries.len() == all.len() {
            following.caught_up = true;
            let cursor = cursor(following.read);
            reports.push((key, RelayReport::CaughtUp { log: *log, cursor }));
        }
    }
}
