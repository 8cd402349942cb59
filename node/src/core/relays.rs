//! Relays: which logs to follow where, how each relay stands, and what waits to be stored there.

mod shown;
mod wanted;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use protocol::{
    group::{Group, LogRole},
    ids::{GroupId, InviteId, LogId, Timestamp},
    relay_log::{Cursor, LogKeys, Refusal, RelayToken, Role},
};

use self::wanted::Wanted;
use super::{Core, Effect, membership::is_active, tokens::Tokens, withheld::Watch};
use crate::{
    api::types::{RelayStatus, What},
    net::{
        address,
        relay::{Begin, DownReason, LogPlan, RelayKey, RelayPeer},
    },
    store::StoreError,
};

/// A relay in use.
pub(super) struct Relay {
    peer: RelayPeer,
    pub(super) state: State,
    /// How long it says that it keeps an entry.
    keeps: Duration,
    /// The logs of the plan that the network has.
    planned: BTreeSet<LogId>,
    /// Those of them that can be read.
    readable: BTreeSet<LogId>,
    /// Those of them that are read from this node's own first entry on.
    later: BTreeSet<LogId>,
    /// The token of each, where it has one.
    passes: BTreeMap<LogId, RelayToken>,
    pub(super) tokens: Tokens,
    /// Those of which all has been read since the relay was last connected.
    caught_up: BTreeSet<LogId>,
    /// Those that it says that it does not tell for now.
    closed: BTreeSet<LogId>,
    /// Outbox rows handed to the network, and not answered, each with its log.
    in_flight: BTreeMap<u64, LogId>,
    /// The last outbox row that was handed over for the first time.
    handed: u64,
    /// Outbox rows that were refused: when to try each again, and how often it was tried.
    refused: BTreeMap<u64, (Timestamp, u32)>,
    /// Those of them that wait for the log that follows, too.
    copied: BTreeSet<u64>,
    /// What it is to tell.
    pub(super) watch: Watch,
}

pub(super) enum State {
    Connecting,
    Up,
    Down { reason: DownReason, retry: Timestamp },
}

/// What a log is to this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// A group's log.
    Group(GroupId),
    /// The mailbox of an invite that this node serves.
    Invite(InviteId),
    /// The mailbox of an invite that this node redeems.
    Join(InviteId),
}

/// Rows of the outbox handed to one relay at once.
const WINDOW: usize = 64;

/// The longest time that a relay is believed to keep an entry, in milliseconds: a year.
const KEPT_MAX_MS: u64 = 365 * 24 * super::HOUR_MS;

/// The wait after a refusal, at first and at most.
const RETRY_MS: u64 = 5_000;
/// See [`RETRY_MS`].
const RETRY_MAX_MS: u64 = 300_000;

impl Core {
    /// Tells the network what has changed in what is wanted of relays. Logs in `anew` are read from
    /// where it is stored that they are read to, though they are followed already.
    pub(super) fn plan(&mut self, anew: &[LogId], now: Timestamp) -> Result<(), StoreError> {
        let mut wanted = self.wanted(now)?;
        self.want_inboxes(&mut wanted);
        self.plan_for(wanted, now)?;
        self.follow_anew(anew)
    }

    fn follow_anew(&mut self, logs: &[LogId]) -> Result<(), StoreError> {
        for (key, relay) in &mut self.relays {
            let bytes = key.to_bytes();
            for log in logs.iter().copied() {
                if !relay.planned.contains(&log) {
                    continue;
                }
                let after = self.store.read(|tx| tx.cursor(&bytes, log))?;
                relay.reads_anew(&log);
                self.effects.push_back(Effect::FollowAnew { relay: *key, log, after });
            }
        }
        Ok(())
    }

    fn plan_for(
        &mut self,
        wanted: BTreeMap<RelayKey, Wanted>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.logs = wanted
            .values()
            .flat_map(|(_, logs)| logs.iter().map(|(log, (_, owner))| (*log, *owner)))
            .collect();
        for key in self.relays.keys().copied().collect::<Vec<_>>() {
            if !wanted.contains_key(&key) {
                self.relays.remove(&key);
                self.effects.push_back(Effect::RelayDrop(key));
            }
        }
        // Of a group that can't be taken up just now it is not forgotten what is withheld.
        let active = self.groups.values().filter(|group| is_active(group)).map(Group::id);
        let alive: BTreeSet<GroupId> = active.chain(self.unloaded.iter().copied()).collect();
        self.relays.values_mut().for_each(|relay| relay.watch.keep_groups(&alive));
        for (key, (peer, logs)) in wanted {
            let bytes = key.to_bytes();
            let planned: BTreeSet<LogId> = logs.keys().copied().collect();
            let can_be_read =
                |(_, (keys, _)): &(&LogId, &(LogKeys, Owner))| keys.allows(Role::Read);
            let readable: BTreeSet<LogId> =
                logs.iter().filter(can_be_read).map(|(log, _)| *log).collect();
            let passes: BTreeMap<LogId, RelayToken> = logs
                .iter()
                .filter_map(|(log, (_, owner))| {
                    Some((*log, self.token_of(*owner, &bytes)?.clone()))
                })
                .collect();
            let later = self.later(&logs);
            let is_same = |relay: &Relay| {
                let same_logs = relay.planned == planned && relay.later == later;
                same_logs && relay.passes == passes && relay.peer == peer
            };
            if self.relays.get(&key).is_some_and(is_same) {
                continue;
            }
            let plans = self.store.read(|tx| {
                logs.into_iter()
                    .map(|(log, (keys, _))| {
                        let (keys, token) = (Arc::new(keys), passes.get(&log).cloned());
                        let (own, after) = (later.contains(&log), tx.cursor(&bytes, log)?);
                        let begin = if own { Begin::OwnFirst } else { Begin::Start };
                        Ok(LogPlan { keys, after, begin, token })
                    })
                    .collect::<Result<Vec<_>, StoreError>>()
            })?;
            let relay = self.relays.entry(key).or_insert_with(|| Relay {
                peer: peer.clone(),
                state: State::Connecting,
                keeps: Duration::ZERO,
                planned: BTreeSet::new(),
                readable: BTreeSet::new(),
                later: BTreeSet::new(),
                passes: BTreeMap::new(),
                tokens: Tokens::default(),
                caught_up: BTreeSet::new(),
                closed: BTreeSet::new(),
                in_flight: BTreeMap::new(),
                handed: 0,
                refused: BTreeMap::new(),
                copied: BTreeSet::new(),
                watch: self.watches.remove(&key).unwrap_or_default(),
            });
            if relay.peer != peer {
                // Its client knows the old addresses only.
                relay.peer = peer.clone();
                relay.state = State::Connecting;
                relay.tokens = Tokens::default();
                relay.caught_up.clear();
                relay.closed.clear();
                relay.in_flight.clear();
                relay.handed = 0;
                relay.watch.client_ends(now);
                self.joining.lost(&key);
                self.effects.push_back(Effect::RelayDrop(key));
            }
            relay.caught_up.retain(|log| planned.contains(log));
            relay.closed.retain(|log| planned.contains(log));
            relay.tokens.keep(&planned, &passes);
            relay.watch.keep_logs(&planned);
            plans.iter().for_each(|plan| relay.watch.follows(plan.keys.id(), plan.after));
            (relay.planned, relay.readable, relay.passes) = (planned, readable, passes);
            relay.later = later;
            self.after.outbox = true;
            self.effects.push_back(Effect::RelayPlan(peer, plans));
        }
        if self.unloaded.is_empty() {
            self.watches.clear();
        }
        Ok(())
    }

    /// Hands over what waits for relays, as much as may be under way at once. What is for a log that
    /// nobody knows any more, of a topic or an inbox that is over, is given up.
    pub(super) fn pump(&mut self) -> Result<(), StoreError> {
        let mut given_up = Vec::new();
        for (key, relay) in &mut self.relays {
            let room = WINDOW.saturating_sub(relay.in_flight.len());
            if room == 0 {
                continue;
            }
            let limit = u32::try_from(room).unwrap_or(u32::MAX);
            let bytes = key.to_bytes();
            let after = relay.handed;
            for row in self.store.read(|tx| tx.outbox(&bytes, after, limit))? {
                relay.handed = row.tag;
                let planned = relay.planned.contains(&row.log);
                let inbox = || self.groups.values().any(|group| group.inbox(&row.log).is_some());
                if !planned && self.unloaded.is_empty() && !inbox() {
                    given_up.push(row.tag);
                    continue;
                }
                relay.in_flight.insert(row.tag, row.log);
                self.after.logs |= !planned;
                self.effects.push_back(Effect::Append {
                    relay: *key,
                    log: row.log,
                    tag: row.tag,
                    entry: row.entry.into(),
                });
            }
        }
        self.after.outbox |= !given_up.is_empty();
        self.store.transaction(|tx| {
            given_up.into_iter().try_for_each(|tag| tx.take_outbox(tag).map(|_| ()))
        })
    }

    /// Tries again what relays have refused, where that is due.
    pub(super) fn retry_refused(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let followers = self.followers();
        for (key, relay) in &mut self.relays {
            let due: Vec<u64> = relay
                .refused
                .iter()
                .filter(|(tag, (at, _))| *at <= now && !relay.in_flight.contains_key(tag))
                .map(|(tag, _)| *tag)
                .collect();
            for tag in due {
                match self.store.read(|tx| tx.outbox_entry(tag))? {
                    None => drop(relay.refused.remove(&tag)),
                    Some(row) => {
                        if let Some(log) = followers.get(&row.log)
                            && relay.copied.insert(tag)
                        {
                            self.store.transaction(|tx| tx.copy_outbox(tag, *log))?;
                            self.after.outbox = true;
                        }
                        relay.in_flight.insert(tag, row.log);
                        self.after.logs |= !relay.planned.contains(&row.log);
                        self.effects.push_back(Effect::Append {
                            relay: *key,
                            log: row.log,
                            tag,
                            entry: row.entry.into(),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Of each old log, the one that its group writes to now: what the old one refuses goes there too.
    fn followers(&self) -> BTreeMap<LogId, LogId> {
        let mut followers = BTreeMap::new();
        for group in self.groups.values() {
            let logs = group.logs();
            let of = |role| logs.iter().filter(move |log| log.role == role).map(|it| it.keys.id());
            if let Some(now) = of(LogRole::Write).next() {
                followers.extend(of(LogRole::Follow).map(|old| (old, now)));
            }
        }
        followers
    }

    /// Makes every entry due that this relay has refused.
    pub(super) fn refused_due_at(&mut self, key: &RelayKey, now: Timestamp) {
        if let Some(relay) = self.relays.get_mut(key) {
            relay.refused.values_mut().for_each(|(at, _)| *at = now);
        }
    }

    /// Makes every refused entry due.
    pub(super) fn refused_due(&mut self, now: Timestamp) {
        for relay in self.relays.values_mut() {
            relay.refused.values_mut().for_each(|(at, _)| *at = now);
        }
    }

    /// When a refused entry is to be tried again.
    pub(super) fn refused_deadline(&self) -> Option<Timestamp> {
        self.relays
            .values()
            .flat_map(|relay| {
                relay.refused.iter().filter(|(tag, _)| !relay.in_flight.contains_key(tag))
            })
            .map(|(_, (at, _))| *at)
            .min()
    }

    /// Notes a relay's state; whether it is news.
    pub(super) fn relay_up(
        &mut self,
        key: &RelayKey,
        wants_token: bool,
        keeps: Duration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(relay) = self.relays.get_mut(key) else { return Ok(()) };
        relay.keeps = keeps;
        relay.tokens.up(wants_token);
        if !wants_token {
            self.tell_token(key, |_| true, None, now)?;
        }
        let Some(relay) = self.relays.get_mut(key) else { return Ok(()) };
        if matches!(relay.state, State::Up) {
            return Ok(());
        }
        relay.state = State::Up;
        self.after.members = true;
        self.tell_relay(key, now)
    }

    /// See [`Self::relay_up`]. Groups that are left without any relay are told.
    pub(super) fn relay_down(
        &mut self,
        key: &RelayKey,
        reason: DownReason,
        retry: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(relay) = self.relays.get_mut(key) else { return Ok(()) };
        let was = std::mem::replace(&mut relay.state, State::Down { reason, retry });
        relay.caught_up.clear();
        relay.closed.clear();
        relay.tokens.down();
        if !matches!(was, State::Down { reason: before, .. } if before == reason) {
            self.tell_relay(key, now)?;
        }
        if !matches!(was, State::Up) {
            return Ok(());
        }
        self.after.members = true;
        self.tell_cut_off(key, now)
    }

    /// Tells the groups that used a relay and are left without any.
    pub(super) fn tell_cut_off(
        &mut self,
        key: &RelayKey,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let cut_off: Vec<GroupId> = self
            .groups
            .values()
            .filter(|group| is_active(group) && !self.has_relay(group))
            .filter(|group| group_relays(group).iter().any(|relay| relay.peer_id == *key))
            .map(Group::id)
            .collect();
        for id in cut_off {
            self.step(id, now, |group, step| {
                group.on_relays_down(step.cx());
                Ok::<_, StoreError>(())
            })?;
        }
        Ok(())
    }

    /// All that a relay had in a log has been read.
    pub(super) fn caught_up(
        &mut self,
        key: &RelayKey,
        log: LogId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if let Some(relay) = self.relays.get_mut(key) {
            relay.caught_up.insert(log);
            relay.closed.remove(&log);
        }
        let Some(Owner::Group(id)) = self.logs.get(&log).copied() else { return Ok(()) };
        // One that the group has left knows nothing of what came after.
        let is_its = |relay: RelayPeer| relay.peer_id == *key;
        if !self.groups.get(&id).is_some_and(|group| group_relays(group).into_iter().any(is_its)) {
            return Ok(());
        }
        self.step(id, now, |group, step| {
            group.on_caught_up(step.cx(), log);
            Ok(())
        })
    }

    /// Tells a group that was taken up again what its relays have told before.
    pub(super) fn catch_up(&mut self, id: GroupId, now: Timestamp) -> Result<(), StoreError> {
        let Some(group) = self.groups.get(&id) else { return Ok(()) };
        // Those that the group has left know nothing of what came after.
        let its = group_relays(group).into_iter();
        let logs: BTreeSet<LogId> = its
            .filter_map(|peer| self.relays.get(&peer.peer_id))
            .flat_map(|relay| relay.caught_up.iter().copied())
            .filter(|log| self.logs.get(log) == Some(&Owner::Group(id)))
            .collect();
        logs.into_iter().try_for_each(|log| {
            self.step(id, now, |group, step| {
                group.on_caught_up(step.cx(), log);
                Ok(())
            })
        })
    }

    /// An entry is on a relay's disk.
    pub(super) fn appended(
        &mut self,
        key: &RelayKey,
        tag: u64,
        at: Cursor,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut keeps = 0;
        if let Some(relay) = self.relays.get_mut(key) {
            keeps = u64::try_from(relay.keeps.as_millis()).unwrap_or(u64::MAX).min(KEPT_MAX_MS);
            relay.in_flight.remove(&tag);
            relay.refused.remove(&tag);
            relay.copied.remove(&tag);
            self.after.outbox = true;
            self.after.logs |= self.groups.values().any(|group| !is_active(group));
        }
        let row = self.store.read(|tx| tx.outbox_entry(tag))?;
        let own = self.record(now, |step| {
            let Some(seq) = step.tx.take_outbox(tag)? else { return Ok(None) };
            if step.tx.mark_stored(seq, now, now.plus_ms(keeps))? {
                step.delivery(seq)?;
            }
            step.tx.chain_place(seq)
        })?;
        if let Some(row) = row {
            self.note_kept(key, &row, own, at, now);
        }
        Ok(())
    }

    /// A relay refused an entry: it waits. People hear of it once, until the relay has taken all.
    /// Where it is in the outbox no more, that is nothing to anybody.
    pub(super) fn refused(
        &mut self,
        key: &RelayKey,
        tag: u64,
        reason: Refusal,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(relay) = self.relays.get_mut(key) else { return Ok(()) };
        let log = relay.in_flight.remove(&tag);
        self.after.outbox = true;
        if self.store.read(|tx| tx.outbox_entry(tag))?.is_none() {
            relay.refused.remove(&tag);
            return Ok(());
        }
        let tries = relay.refused.get(&tag).map_or(0, |(_, tries)| tries.saturating_add(1));
        let wait = RETRY_MS.saturating_mul(1 << tries.min(16)).min(RETRY_MAX_MS);
        let told = !relay.refused.is_empty();
        relay.refused.insert(tag, (now.plus_ms(wait), tries));
        if reason == Refusal::LogFull
            && let Some(log) = log
            && let Some(Owner::Group(id)) = self.logs.get(&log).copied()
        {
            self.step(id, now, |group, step| {
                group.on_log_full(step.cx(), log);
                Ok::<_, StoreError>(())
            })?;
        }
        // Of tokens a group's own words tell.
        if told || matches!(reason, Refusal::TokenNeeded | Refusal::TokenInvalid) {
            return Ok(());
        }
        let text = format!("A relay did not store an entry: {reason}. It is tried again.");
        self.record(now, |step| step.emit(None, What::Alarm { text }))
    }

    /// Each relay, and the logs that are open there.
    pub(super) fn planned(&self) -> Vec<(RelayKey, BTreeSet<LogId>)> {
        self.relays.iter().map(|(key, relay)| (*key, relay.planned.clone())).collect()
    }

    /// Forgets that a relay has a plan, so that it gets a new one and reads again from what is
    /// stored.
    pub(super) fn restart_relay(&mut self, key: &RelayKey, now: Timestamp) {
        if let Some(Relay { mut watch, .. }) = self.relays.remove(key) {
            watch.restarts(now);
            self.watches.insert(*key, watch);
            self.joining.lost(key);
            self.effects.push_back(Effect::RelayDrop(*key));
            self.after.logs = true;
        }
    }

    /// Whether a relay's client is to be dropped, and the network does not know yet.
    pub(super) fn is_dropping(&self, key: &RelayKey) -> bool {
        self.effects.iter().any(|it| matches!(it, Effect::RelayDrop(relay) if relay == key))
    }

    /// Whether any of a group's relays is connected.
    pub(super) fn has_relay(&self, group: &Group) -> bool {
        group_relays(group).iter().any(|relay| self.is_served(group, &relay.peer_id))
    }

    /// Whether this one is connected, and serves it.
    pub(super) fn is_served(&self, group: &Group, relay: &RelayKey) -> bool {
        self.serves(relay, Owner::Group(group.id()))
    }

    /// All relays, as the API shows them.
    pub(super) fn relay_statuses(
        &mut self,
        now: Timestamp,
    ) -> Result<Vec<RelayStatus>, StoreError> {
        let Self { store, relays, latencies, .. } = self;
        relays
            .iter()
            .map(|(key, relay)| {
                let waiting = store.read(|tx| tx.outbox_len(&key.to_bytes()))?;
                Ok(relay.status(waiting, latencies.of_relay(key), now))
            })
            .collect()
    }

    fn tell_relay(&mut self, key: &RelayKey, now: Timestamp) -> Result<(), StoreError> {
        let Some(relay) = self.relays.get(key) else { return Ok(()) };
        let status = relay.status(0, self.latencies.of_relay(key), now);
        let bytes = key.to_bytes();
        self.record(now, |step| {
            let waiting = step.tx.outbox_len(&bytes)?;
            step.emit(None, What::Relay { relay: RelayStatus { waiting, ..status } })
        })
    }
}

/// The relays of a group's policy.
pub(super) fn group_relays(group: &Group) -> Vec<RelayPeer> {
    address::relays(group.policy().relays.iter().map(String::as_str))
}
