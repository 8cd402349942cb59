//! How long members' nodes and relays take to answer, as they did last: in memory only.

use std::{collections::BTreeMap, time::Duration};

use protocol::ids::MemberId;

use super::{
    Core,
    membership::is_active,
    relays::{Owner, group_relays},
};
use crate::net::relay::RelayKey;

/// Microseconds, there and back.
#[derive(Default)]
pub(super) struct Latencies {
    members: BTreeMap<MemberId, u64>,
    relays: BTreeMap<RelayKey, u64>,
}

impl Latencies {
    /// The member's channel is gone, or another took its place.
    pub(super) fn forget(&mut self, member: &MemberId) {
        self.members.remove(member);
    }

    pub(super) fn of_member(&self, member: &MemberId) -> Option<u64> {
        self.members.get(member).copied()
    }

    pub(super) fn of_relay(&self, relay: &RelayKey) -> Option<u64> {
        self.relays.get(relay).copied()
    }
}

impl Core {
    /// The node at the other end of a member's channel has answered a ping.
    pub fn on_latency(&mut self, member: MemberId, took: Duration) {
        if self.peers.has_channel(&member) {
            self.latencies.members.insert(member, micros(took));
        }
    }

    /// A relay has answered a ping; `None`: it is not connected.
    pub(super) fn relay_latency(&mut self, relay: &RelayKey, took: Option<Duration>) {
        match took {
            Some(took) if self.relays.contains_key(relay) => {
                self.latencies.relays.insert(*relay, micros(took));
            }
            _ => drop(self.latencies.relays.remove(relay)),
        }
        let relays = &self.relays;
        self.latencies.relays.retain(|relay, _| relays.contains_key(relay));
    }

    /// Of each member of a group that has a relay now, how far that relay is: the nearest, where there
    /// are several.
    pub(super) fn relay_latencies(&self) -> BTreeMap<MemberId, u64> {
        let mut nearest: BTreeMap<MemberId, u64> = BTreeMap::new();
        for group in self.groups.values().filter(|group| is_active(group)) {
            let owner = Owner::Group(group.id());
            let serving = group_relays(group).into_iter().map(|relay| relay.peer_id);
            let serving = serving.filter(|relay| self.serves(relay, owner));
            let known = serving.filter_map(|relay| self.latencies.of_relay(&relay)).min();
            let Some(known) = known else { continue };
            for member in group.members() {
                let least = nearest.entry(member.id).or_insert(known);
                *least = known.min(*least);
            }
        }
        nearest
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
