//! Whether a member's node answers, way by way: asked by a person, kept in memory for a while.
//!
//! > Members alone are asked. Of direct ways the network tries those that the member told, or was found at; by
//! > way of the relay its node is asked in its inbox, which is sealed, and answers in this node's.

use std::collections::VecDeque;

use protocol::{
    group::Group,
    ids::{GroupId, MemberId, Timestamp},
};

use super::{Core, Effect, VerbError, membership::is_active, words};
use crate::{
    api::types::{MemberRef, PingView, VERSION, Via, Way, WayTried},
    net::mesh::{ProbeAnswer, ProbesEnd},
    store::StoreError,
};

/// Pings that are remembered; the oldest that is over makes room.
const MOST: usize = 16;
/// How long an answer by way of the relay is waited for, in milliseconds.
const PATIENCE_MS: u64 = 10_000;

/// Those that were asked last.
#[derive(Default)]
pub(super) struct Pings {
    all: VecDeque<Ping>,
    next: u64,
}

struct Ping {
    number: u64,
    group: GroupId,
    member: MemberId,
    name: MemberRef,
    asked: Timestamp,
    ways: Vec<WayTried>,
    /// Whether the network still tries ways.
    is_probing: bool,
    /// The question at the relay that waits for its answer.
    waits_for: Option<[u8; 16]>,
}

/// What a member's node has answered by way of the relay.
pub(super) struct Pong {
    pub(super) group: GroupId,
    pub(super) from: MemberId,
    pub(super) nonce: [u8; 16],
    /// By its clock.
    pub(super) theirs: Timestamp,
    /// By this node's.
    pub(super) now: Timestamp,
}

impl Core {
    /// Begins to try each way to a member, in this group or in any; who is asked already is not asked once
    /// more meanwhile.
    pub fn ping(
        &mut self,
        group: Option<&str>,
        who: &str,
        now: Timestamp,
    ) -> Result<PingView, VerbError> {
        let (id, member) = self.find_pinged(group, who)?;
        self.pings.end_late(now);
        let standing = self.pings.all.iter().find(|it| it.member == member && !it.is_over());
        if let Some(standing) = standing {
            return Ok(standing.view());
        }
        self.pings.make_room()?;
        let number = self.pings.next;
        self.pings.next += 1;
        let group = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        let mut ping = Ping {
            number,
            group: id,
            member,
            name: words::named(group, &member),
            asked: now,
            ways: Vec::new(),
            is_probing: self.options.direct,
            waits_for: None,
        };
        ping.ways.extend(self.channel_tried(member, now));
        match self.ask_by_relay(id, member, now)? {
            Ok(nonce) => ping.waits_for = Some(nonce),
            Err(reason) => ping.ways.push(WayTried::failed(Way::Relay, reason)),
        }
        if ping.is_probing {
            self.effects.push_back(Effect::Probe { ticket: number, member });
        } else {
            let reason = "direct connections are turned off here".into();
            ping.ways.push(WayTried::failed(Way::Direct, reason));
        }
        let view = ping.view();
        self.pings.all.push_back(ping);
        self.finish(now);
        Ok(view)
    }

    /// How far a ping is.
    pub fn ping_state(&mut self, id: &str, now: Timestamp) -> Result<PingView, VerbError> {
        self.pings.end_late(now);
        let number: u64 = id.parse().map_err(|_| VerbError::NoSuchPing)?;
        let found = self.pings.all.iter().find(|ping| ping.number == number);
        found.map(Ping::view).ok_or(VerbError::NoSuchPing)
    }

    /// The network has tried one way.
    pub fn on_probed(
        &mut self,
        ticket: u64,
        address: String,
        via: Via,
        outcome: Result<ProbeAnswer, String>,
    ) {
        let Some(ping) = self.pings.under_way(ticket) else { return };
        let answer = outcome.as_ref().ok();
        ping.ways.push(WayTried {
            address: Some(address),
            via: Some(via),
            latency_us: answer.map(|answer| micros(answer.took)),
            connected_us: answer.map(|answer| micros(answer.connected)),
            ..WayTried::failed(Way::Direct, outcome.err().unwrap_or_default())
        });
    }

    /// The network has tried all ways that there are.
    pub fn on_probes_over(&mut self, ticket: u64, end: ProbesEnd) {
        let Some(ping) = self.pings.under_way(ticket) else { return };
        ping.is_probing = false;
        let reason = match end {
            ProbesEnd::Crowded => "not tried: too many ways are asked about at once",
            ProbesEnd::Late => "not tried in time",
            ProbesEnd::Tried if ping.ways.iter().any(|tried| tried.way == Way::Direct) => return,
            ProbesEnd::Tried => "no address of it is known that this node dials",
        };
        ping.ways.push(WayTried::failed(Way::Direct, reason.into()));
    }

    /// Whom a person means: in this group, or else the one member of that name in any.
    fn find_pinged(
        &self,
        group: Option<&str>,
        who: &str,
    ) -> Result<(GroupId, MemberId), VerbError> {
        let (id, member) = match group {
            Some(group) => {
                let id = self.find_group(group)?;
                (id, self.find_member(id, who)?)
            }
            None => self.find_anywhere(who)?,
        };
        if !self.groups.get(&id).is_some_and(is_active) {
            return Err(VerbError::NotAMember);
        }
        if member == self.me.member() { Err(VerbError::PingSelf) } else { Ok((id, member)) }
    }

    fn find_anywhere(&self, who: &str) -> Result<(GroupId, MemberId), VerbError> {
        let mut found: Vec<(GroupId, MemberId)> = Vec::new();
        for group in self.groups.values().filter(|group| is_active(group)) {
            match self.find_member(group.id(), who) {
                Ok(member) => found.push((group.id(), member)),
                Err(VerbError::NoSuchMember { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let Some((_, member)) = found.first().copied() else {
            return Err(VerbError::NoSuchMember { asked: who.into() });
        };
        if found.iter().any(|(_, other)| *other != member) {
            let candidates = found.iter().filter_map(|(id, member)| {
                let named = words::named(self.groups.get(id)?, member);
                Some(format!("{} ({})", named.name, named.id.get(..8)?))
            });
            let mut candidates: Vec<String> = candidates.collect();
            candidates.sort();
            candidates.dedup();
            return Err(VerbError::AmbiguousMember { asked: who.into(), candidates });
        }
        let with_relay = |(id, _): &&(GroupId, MemberId)| {
            self.groups.get(id).is_some_and(|group| self.has_relay(group))
        };
        let best = found.iter().find(with_relay).or(found.first());
        best.copied().ok_or_else(|| VerbError::NoSuchMember { asked: who.into() })
    }

    /// The channel that stands, if one does.
    fn channel_tried(&self, member: MemberId, now: Timestamp) -> Option<WayTried> {
        let path = self.channel_path(member, now)?;
        Some(WayTried {
            address: path.address,
            via: path.via,
            latency_us: path.latency_us,
            ..WayTried::failed(Way::Channel, String::new())
        })
    }

    /// Asks a member's node by way of the relay; says why not, where that can't be.
    fn ask_by_relay(
        &mut self,
        id: GroupId,
        member: MemberId,
        now: Timestamp,
    ) -> Result<Result<[u8; 16], String>, VerbError> {
        if let Err(reason) = self.connected_relays(id) {
            return Ok(Err(reason));
        }
        let asked = self.step(id, now, |group: &mut Group, step| {
            Ok::<_, StoreError>(group.ping(step.cx(), member))
        })?;
        Ok(asked.ok_or_else(|| "where its inbox is is not known yet".into()))
    }
}

impl Pings {
    /// Takes an answer that came by way of a relay; to no question of this run it is passed over.
    pub(super) fn answered(&mut self, pong: &Pong) {
        let asked = |ping: &&mut Ping| {
            (ping.group, ping.member) == (pong.group, pong.from)
                && ping.waits_for == Some(pong.nonce)
        };
        let Some(ping) = self.all.iter_mut().find(asked) else { return };
        ping.waits_for = None;
        let took = pong.now.ms_since(ping.asked);
        let there = ping.asked.plus_ms(took / 2);
        ping.ways.push(WayTried {
            latency_us: Some(took.saturating_mul(1_000)),
            ahead_ms: Some(difference(pong.theirs, there)),
            ..WayTried::failed(Way::Relay, String::new())
        });
    }

    fn under_way(&mut self, number: u64) -> Option<&mut Ping> {
        self.all.iter_mut().find(|ping| ping.number == number && ping.is_probing)
    }

    /// Ends what was waited for too long.
    fn end_late(&mut self, now: Timestamp) {
        for ping in &mut self.all {
            let waited = now.ms_since(ping.asked);
            if waited >= PATIENCE_MS && ping.waits_for.take().is_some() {
                let reason =
                    "no answer in 10 s: its node is off, can't reach the relay, or is older than \
                              this question"
                        .into();
                ping.ways.push(WayTried::failed(Way::Relay, reason));
            }
        }
    }

    fn make_room(&mut self) -> Result<(), VerbError> {
        if self.all.len() >= MOST {
            let over = self.all.iter().position(Ping::is_over);
            let over = over.ok_or(VerbError::TooManyPings { limit: MOST })?;
            self.all.remove(over);
        }
        Ok(())
    }
}

impl Ping {
    fn is_over(&self) -> bool {
        !self.is_probing && self.waits_for.is_none()
    }

    fn view(&self) -> PingView {
        PingView {
            v: VERSION,
            id: self.number.to_string(),
            member: self.name.clone(),
            done: self.is_over(),
            ways: self.ways.clone(),
        }
    }
}

impl WayTried {
    /// A way of which nothing came, for this reason.
    fn failed(way: Way, reason: String) -> Self {
        let (latency_us, connected_us, ahead_ms) = (None, None, None);
        Self { way, address: None, via: None, latency_us, connected_us, ahead_ms, reason }
    }
}

/// By how many milliseconds one time is after another.
fn difference(one: Timestamp, other: Timestamp) -> i64 {
    let ms = i64::try_from(one.0.abs_diff(other.0)).unwrap_or(i64::MAX);
    if one < other { -ms } else { ms }
}

fn micros(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
