//! How this machine looks from outside: what relays say of it, where it is over IPv6, and who is told.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    group::Group,
    ids::{GroupId, MemberId, Timestamp},
};

use super::{Core, membership::is_active, peers::add, relays::group_relays, why::Here};
use crate::{
    api::types::{Ipv6, Outside},
    net::{Reach, address, relay::RelayKey},
    store::StoreError,
};

/// How this machine looks from outside, and what of it members are told.
#[derive(Default)]
pub(super) struct Outlook {
    /// The PeerId under which they meet it there, as an address without a place. None: they don't.
    name: Option<String>,
    /// Whether that was told at all since the start.
    is_known: bool,
    /// What each relay says, with an address for members where there is a NAT.
    seen: BTreeMap<RelayKey, (Outside, Option<String>)>,
    /// Where members meet it over IPv6, by this machine's own addresses.
    six: Vec<String>,
    /// What each group was told last.
    pub(super) told: BTreeMap<GroupId, Vec<String>>,
}

impl Outlook {
    /// What relays say, each thing once.
    pub(super) fn all(&self) -> Vec<Outside> {
        let mut all = Vec::new();
        add(&mut all, self.seen.values().map(|(outside, _)| outside.clone()));
        all
    }

    /// What the members of a group are to know: this machine's own addresses and what the group's relays say, or
    /// the name alone.
    pub(super) fn told_to(&self, group: &Group) -> Vec<String> {
        let mut told = self.six.clone();
        let relays = group_relays(group);
        let seen = relays.iter().filter_map(|relay| self.seen.get(&relay.peer_id));
        add(&mut told, seen.filter_map(|(_, met)| met.clone()));
        if told.is_empty() {
            told.extend(self.name.clone());
        }
        told
    }
}

impl Core {
    /// How this machine looks from outside by what each relay says, and under which PeerId, told as an address
    /// without a place, members meet it there, if they do: with each goes the address at which they do, where there is a NAT.
    /// Over IPv6 they do at the addresses of `six`, whatever relays say.
    pub fn on_outside(
        &mut self,
        name: Option<String>,
        seen: BTreeMap<RelayKey, (Outside, Option<String>)>,
        six: Vec<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let outlook = &mut self.peers.outlook;
        (outlook.name, outlook.seen, outlook.six) = (name, seen, six);
        outlook.is_known = true;
        self.tell_outside();
        self.finish(now);
        Ok(())
    }

    /// Sees to it that each group knows what its relays say of this machine, and nothing that others say: its
    /// relays may be others than before.
    pub(super) fn tell_outside(&mut self) {
        let outlook = &mut self.peers.outlook;
        outlook.told.retain(|id, _| self.groups.contains_key(id));
        let active = self.groups.values().filter(|group| is_active(group));
        let news = active.filter(|group| {
            let told = outlook.told.get(&group.id()).cloned().unwrap_or_default();
            told != outlook.told_to(group)
        });
        self.after.present.extend(news.map(Group::id));
    }

    /// How this machine is met over IPv6, where that is known.
    pub(super) fn ipv6_status(&self) -> Option<Ipv6> {
        let Outlook { name, six, is_known, .. } = &self.peers.outlook;
        if !self.options.direct || self.options.reach == Reach::Local {
            return None;
        }
        let problem = match (self.hidden(), name) {
            (Some(Here::Hidden), _) => {
                "relays are reached by way of a proxy: nobody is met behind a firewall"
            }
            (Some(_), _) => "with --listen nobody is met behind a firewall",
            (None, None) if *is_known => {
                "the system gives this node no port to be met at; it is tried again each minute"
            }
            (None, None) => return None,
            (None, Some(_)) if six.is_empty() => {
                "this machine has no address of the internet over IPv6"
            }
            (None, Some(_)) => "",
        };
        let addresses = six.iter().filter_map(|met| address::ip_text(met)).collect();
        Some(Ipv6 { addresses, problem: problem.into() })
    }

    /// Whether this machine can call and be called over IPv6 at all.
    pub(super) fn has_six(&self) -> bool {
        let mut listening = self.peers.listening.iter();
        !self.peers.outlook.six.is_empty() || listening.any(|own| address::is_global_six(own))
    }

    /// What the relays of groups with a member say of this machine.
    pub(super) fn here(&self, member: &MemberId) -> Here {
        let Outlook { name, seen, .. } = &self.peers.outlook;
        if let Some(hidden) = self.hidden() {
            return hidden;
        }
        let shared = |group: &&Group| {
            is_active(group) && group.members().iter().any(|other| other.id == *member)
        };
        let shared = self.groups.values().filter(shared);
        let relays: BTreeSet<RelayKey> = shared
            .filter(|group| self.has_relay(group))
            .flat_map(|group| group_relays(group).into_iter().map(|relay| relay.peer_id))
            .collect();
        let said = relays.iter().find_map(|relay| seen.get(relay));
        match said {
            Some((outside, _)) => Here::Seen(outside.nat),
            None if name.is_some() && !relays.is_empty() => Here::Unseen,
            None => Here::Apart,
        }
    }

    /// Why there is no outer swarm, where a person chose so.
    fn hidden(&self) -> Option<Here> {
        match (&self.options.relay_proxy, self.options.fixed) {
            (Some(_), _) => Some(Here::Hidden),
            (None, true) => Some(Here::Fixed),
            (None, false) => None,
        }
    }
}
