//! Circuits that stand, counted in all and by the address of whoever asked for them.
//!
//! > One counts from when it is granted until it has ended, and what is denied counts for nobody: where many
//! > share an address, none of them can have the others refused without circuits of its own that stand.

use std::{collections::HashMap, net::IpAddr};

use libp2p::swarm::ConnectionId;

use crate::{
    blocks::{Block, blocks},
    limits::{CIRCUITS_LEAST, CIRCUITS_SHARE, Limits},
};

/// All circuits of a relay.
pub(super) struct Standing {
    most: u32,
    /// Of one address.
    share: u32,
    all: u32,
    askers: HashMap<ConnectionId, Asker>,
    blocks: HashMap<Block, u32>,
    /// Granted, and not yet agreed to by whom they lead to: who asked, and who is asked.
    waiting: Vec<(ConnectionId, ConnectionId)>,
}

/// A connection that asked for circuits which stand.
struct Asker {
    from: Option<IpAddr>,
    circuits: u32,
}

impl Standing {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            most: limits.circuits,
            share: (limits.circuits / CIRCUITS_SHARE).max(CIRCUITS_LEAST),
            all: 0,
            askers: HashMap::new(),
            blocks: HashMap::new(),
            waiting: Vec::new(),
        }
    }

    /// One is granted to a connection from there, and its other side is asked.
    pub(super) fn begins(&mut self, asker: ConnectionId, from: Option<IpAddr>, to: ConnectionId) {
        self.waiting.push((asker, to));
        self.askers.entry(asker).or_insert(Asker { from, circuits: 0 }).circuits += 1;
        self.all += 1;
        for (block, _) in blocks(from) {
            *self.blocks.entry(block).or_default() += 1;
        }
    }

    /// The other side has answered; says whether it was asked.
    pub(super) fn answered(&mut self, asker: ConnectionId, to: ConnectionId) -> bool {
        let place = self.waiting.iter().position(|waiting| *waiting == (asker, to));
        place.map(|place| self.waiting.swap_remove(place)).is_some()
    }

    /// One that a connection had asked for has ended.
    pub(super) fn ended(&mut self, asker: ConnectionId) {
        self.give_back(asker, 1);
    }

    /// A connection has ended. What leads to it and was agreed to ends where it was asked for.
    pub(super) fn gone(&mut self, connection: ConnectionId) {
        self.give_back(connection, u32::MAX);
        let has_gone = |(asker, to): &mut (_, _)| *asker == connection || *to == connection;
        let lost: Vec<_> = self.waiting.extract_if(.., has_gone).collect();
        for (asker, _) in lost {
            self.give_back(asker, 1);
        }
    }

    /// Whether one more may be granted to somebody from there.
    pub(super) fn has_room(&self, from: Option<IpAddr>) -> bool {
        let held = |block| self.blocks.get(&block).copied().unwrap_or(0);
        let mut blocks = blocks(from);
        self.all < self.most
            && blocks.all(|(block, times)| held(block) < self.share.saturating_mul(times))
    }

    fn give_back(&mut self, asker: ConnectionId, count: u32) {
        let Some(of) = self.askers.get_mut(&asker) else { return };
        let (from, count) = (of.from, count.min(of.circuits));
        of.circuits -= count;
        if of.circuits == 0 {
            self.askers.remove(&asker);
        }
        self.all -= count;
        for (block, _) in blocks(from) {
            if let Some(held) = self.blocks.get_mut(&block) {
                *held -= count;
                if *held == 0 {
                    self.blocks.remove(&block);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    fn standing(circuits: u32) -> Standing {
        Standing::new(&Limits { circuits, ..Limits::default() })
    }

    /// How many more are granted from there.
    fn most(standing: &mut Standing, asker: usize, from: impl Into<IpAddr>) -> usize {
        let from = Some(from.into());
        let grant = |_: &usize| {
            let has_room = standing.has_room(from);
            if has_room {
                standing.begins(id(asker), from, id(99));
            }
            has_room
        };
        (0..9999).take_while(grant).count()
    }

    #[test]
    fn an_address_has_a_part_and_a_network_not_all() {
        let mut circuits = standing(1600);
        assert_eq!(most(&mut circuits, 1, [192, 0, 2, 1]), 100);
        assert_eq!(most(&mut circuits, 2, [192, 0, 2, 2]), 100);
        let subnet = |number| Ipv6Addr::new(0x2001, 0xdb8, 1, number, 0, 0, 0, 0);
        let taken = [1, 2, 3, 4, 5].map(|it| most(&mut circuits, 10 + usize::from(it), subnet(it)));
        assert_eq!(taken, [100, 100, 100, 100, 0]);
        let mut few = standing(9);
        let taken = [1, 2].map(|it| most(&mut few, it, [192, 0, 2, u8::try_from(it).unwrap()]));
        assert_eq!(taken, [8, 1]);
    }

    #[test]
    fn nothing_is_kept_of_circuits_that_have_ended_however_they_did() {
        let mut circuits = standing(16);
        let here: IpAddr = [192, 0, 2, 1].into();
        for round in 0..100 {
            assert_eq!(most(&mut circuits, 1, here), 8, "of round {round}");
            assert_eq!(circuits.all, 8);
            assert!(circuits.answered(id(1), id(99)), "one stands");
            assert!(circuits.answered(id(1), id(99)), "one is refused");
            circuits.ended(id(1));
            circuits.gone(id(99));
            assert_eq!(circuits.all, 1, "whom six waited for has gone");
            assert!(!circuits.answered(id(1), id(99)));
            if round % 2 == 0 {
                circuits.ended(id(1));
            } else {
                circuits.gone(id(1));
            }
            circuits.ended(id(1));
            assert_eq!((circuits.all, circuits.waiting.len()), (0, 0));
            assert!(circuits.askers.is_empty() && circuits.blocks.is_empty());
        }
    }
}
