//! The local networks: whom to look for there, and what follows from what is found.
//!
//! > An address that was found is dialled, and told to nobody. It is of one node, which has shown there and
//! > then that it is this node.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use super::{
    DialFailure, MeshReport, Via,
    dials::{Dial, Wanted},
    run::Run,
};
use crate::net::{
    dial::remember,
    lan::{self, LanEvent},
};

/// A node that an invite's code names, which may have moved since.
pub(super) struct Inviter {
    /// Looked for until then.
    until: Instant,
    /// The join for which it was dialled last.
    join: u64,
    /// Where it answered.
    found: Vec<Multiaddr>,
}

/// Inviters looked for at one time.
const INVITERS: usize = 32;
/// How long one is looked for after it was dialled: longer than a join waits between two tries.
const LOOK: Duration = Duration::from_secs(300);

impl Inviter {
    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

impl Run {
    /// Says whom to look for: members without a channel, and inviters.
    pub(super) fn look(&mut self, now: Instant) {
        let Some(told) = &self.lan else { return };
        self.inviters.retain(|_, inviter| inviter.until > now);
        let inviters = self.inviters.keys().copied();
        let sought = self.dialer.sought().chain(inviters).collect();
        let within = self.listening.iter().filter(|address| self.reach.allows(address));
        let wanted = lan::Wanted { listening: lan::listening(within), sought };
        told.send_if_modified(|known| {
            let is_new = *known != wanted;
            *known = wanted;
            is_new
        });
    }

    pub(super) fn on_lan(&mut self, event: LanEvent) {
        self.touched = true;
        let now = Instant::now();
        match event {
            LanEvent::Found(peer, mut addresses) => {
                addresses.retain(|address| self.reach.allows(address));
                if addresses.is_empty() {
                    return;
                }
                for member in self.dialer.found(peer, &addresses, now) {
                    let (wanted, ways) = (Wanted::Channel(member), self.dialer.ways(&member));
                    match self.way(wanted, &ways, peer, addresses.clone()) {
                        Some(dial) => self.start_dial(dial),
                        None => self.way_failed(&member, DialFailure::Unreachable),
                    }
                }
                self.inviter_found(peer, addresses);
            }
            LanEvent::On(networks, trouble) => self.report(MeshReport::Lan { networks, trouble }),
        }
    }

    /// Forgets inviters' addresses that lead nowhere any more.
    pub(super) fn forget_inviters(&mut self, is_gone: impl Fn(&Multiaddr) -> bool) {
        for inviter in self.inviters.values_mut() {
            inviter.found.retain(|address| !is_gone(address));
        }
    }

    /// An inviter is dialled: looks for it, too, and adds where it was found before.
    pub(super) fn seek_inviter(&mut self, peer: PeerId, join: u64, addresses: &mut Vec<Multiaddr>) {
        let until = Instant::now() + LOOK;
        if self.lan.is_none()
            || self.inviters.len() >= INVITERS && !self.inviters.contains_key(&peer)
        {
            return;
        }
        self.looks = true;
        let inviter =
            self.inviters.entry(peer).or_insert(Inviter { until, join, found: Vec::new() });
        (inviter.until, inviter.join) = (until, join);
        addresses.retain(|address| !inviter.found.contains(address));
        addresses.splice(0..0, inviter.found.iter().cloned());
    }

    /// The inviters of this join need not be looked for any more.
    pub(super) fn inviter_reached(&mut self, join: u64) {
        self.looks = true;
        self.inviters.retain(|_, inviter| inviter.join != join);
    }

    /// Nothing led to them: where they answered, somebody else may be by the next time.
    pub(super) fn inviter_missed(&mut self, join: u64) {
        let missed = self.inviters.values_mut().filter(|inviter| inviter.join == join);
        missed.for_each(|inviter| inviter.found.clear());
    }

    fn inviter_found(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let Some(inviter) = self.inviters.get_mut(&peer) else { return };
        if !remember(&mut inviter.found, &addresses) {
            return;
        }
        let number = inviter.join;
        if let Some(join) = self.joins.get_mut(&number)
            && join.connection.is_none()
        {
            join.ways += 1;
            self.start_dial(Dial::join(number, peer, addresses));
        }
    }

    /// How the address of a connection was known.
    pub(super) fn via(&self, dial: Option<&Dial>, address: &Multiaddr) -> Via {
        let Some(dial) = dial else { return Via::Called };
        let is_found = match dial.wanted {
            Wanted::Channel(member) => self.dialer.is_found(&member, address),
            Wanted::Probe(_) | Wanted::File(_) => false,
            Wanted::Join(_) => {
                let inviter = self.inviters.get(&dial.peer);
                inviter.is_some_and(|inviter| inviter.found.contains(address))
            }
        };
        if is_found { Via::Found } else { Via::Told }
    }
}
