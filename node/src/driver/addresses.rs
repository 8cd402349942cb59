//! Where this node can be met, as it is told: a port of the router's, where one leads here, and where it listens.

use std::net::Ipv4Addr;

use tokio::time::{Duration, timeout};

use crate::{
    api::types::PortMap,
    net::{
        Multiaddr,
        mapping::{Aim, Failure, Mapping, Standing},
    },
};

/// What is known of it.
pub(super) struct Addresses {
    mapping: Option<Mapping>,
    listening: Vec<Multiaddr>,
    mapped: Vec<Multiaddr>,
}

/// Addresses that are told at most: presence has no place for more.
const ADDRESSES: usize = 16;
/// How long the router has to take its port back.
const LEAVE: Duration = Duration::from_secs(2);

impl Addresses {
    pub(super) fn new(mapping: Option<Mapping>) -> Self {
        Self { mapping, listening: Vec::new(), mapped: Vec::new() }
    }

    /// The node listens here now; gives all that is to be told.
    pub(super) fn listens(&mut self, listening: Vec<Multiaddr>) -> Vec<String> {
        self.listening = listening;
        if let Some(mapping) = &self.mapping {
            mapping.wanted.send_if_modified(|wanted| {
                let is_new = wanted.listening != self.listening;
                wanted.listening.clone_from(&self.listening);
                is_new
            });
        }
        self.all()
    }

    /// The machine's network is another, and its router perhaps, too. By which address relays saw it before says nothing
    /// any more.
    pub(super) fn network_changed(&self) {
        if let Some(mapping) = &self.mapping {
            mapping.wanted.send_modify(|wanted| {
                wanted.changes = wanted.changes.wrapping_add(1);
                wanted.outside.clear();
            });
        }
    }

    /// Relays see this machine at these addresses now.
    pub(super) fn outside(&self, mut seen: Vec<Ipv4Addr>) {
        seen.sort_unstable();
        seen.dedup();
        if let Some(mapping) = &self.mapping {
            mapping.wanted.send_if_modified(|wanted| {
                let is_new = wanted.outside != seen;
                wanted.outside.clone_from(&seen);
                is_new
            });
        }
    }

    /// Waits until it stands otherwise with the router; forever, where it is not asked for a port. It is the one task to
    /// which anybody on the local network may speak: should it die of that, the node does without.
    pub(super) async fn standing(&mut self) -> Standing {
        let standing = match &mut self.mapping {
            Some(mapping) if mapping.aim == Aim::Map => mapping.standings.recv().await,
            _ => std::future::pending().await,
        };
        standing.unwrap_or_else(|| {
            self.mapping = None;
            Standing::Fails(Failure::Ended)
        })
    }

    /// It stands so; gives that in words, and all that is to be told.
    pub(super) fn stands(&mut self, standing: Standing) -> (PortMap, Vec<String>) {
        let map = match standing {
            Standing::Stands(language, addresses) => {
                self.mapped = addresses;
                PortMap {
                    by: language.to_string(),
                    addresses: text(&self.mapped),
                    problem: String::new(),
                }
            }
            Standing::Fails(failure) => {
                self.mapped.clear();
                PortMap { problem: failure.to_string(), ..PortMap::default() }
            }
        };
        (map, self.all())
    }

    fn all(&self) -> Vec<String> {
        let mut all = text(&self.mapped);
        // Without a listener, nothing that leads here leads anywhere.
        if self.listening.is_empty() {
            all.clear();
        }
        all.extend(text(&self.listening).into_iter().filter(|own| !self.is_mapped(own)));
        all.truncate(ADDRESSES);
        all
    }

    fn is_mapped(&self, address: &str) -> bool {
        self.mapped.iter().any(|mapped| mapped.to_string() == address)
    }

    /// Has the router take back what it gave.
    pub(super) async fn end(self) {
        if let Some(Mapping { wanted, standings, task, .. }) = self.mapping {
            drop((wanted, standings));
            let _ = timeout(LEAVE, task).await;
        }
    }
}

fn text(addresses: &[Multiaddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::mapping::{Language, Wanted};

    #[tokio::test]
    async fn a_node_does_without_the_router_where_the_task_that_asks_it_dies() {
        let (wanted, _told) = tokio::sync::watch::channel(Wanted::default());
        let standings = tokio::sync::mpsc::channel(1).1;
        let task = tokio::spawn(async {});
        let mut addresses =
            Addresses::new(Some(Mapping { aim: Aim::Map, wanted, standings, task }));
        let standing = addresses.standing().await;
        assert_eq!(standing, Standing::Fails(Failure::Ended));
        assert!(!addresses.stands(standing).0.problem.is_empty());
        assert!(addresses.mapping.is_none());
    }

    #[tokio::test]
    async fn what_relays_saw_in_one_network_says_nothing_in_the_next() {
        let (wanted, told) = tokio::sync::watch::channel(Wanted::default());
        let standings = tokio::sync::mpsc::channel(1).1;
        let task = tokio::spawn(async {});
        let addresses = Addresses::new(Some(Mapping { aim: Aim::Map, wanted, standings, task }));
        let seen = Ipv4Addr::new(11, 78, 0, 2);
        addresses.outside(vec![seen, seen]);
        assert_eq!(told.borrow().outside, [seen]);
        addresses.network_changed();
        assert_eq!((told.borrow().changes, told.borrow().outside.as_slice()), (1, &[][..]));
    }

    #[test]
    fn what_the_router_gave_is_told_first_and_for_as_long_as_it_stands() {
        let mut addresses = Addresses::new(None);
        let at = |text: &str| text.parse::<Multiaddr>().unwrap();
        let (own, outside) = (at("/ip4/192.168.1.7/tcp/1"), at("/ip4/11.78.0.2/tcp/1"));
        let stands = || Standing::Stands(Language::Pcp, vec![outside.clone()]);
        assert!(addresses.stands(stands()).1.is_empty(), "nothing listens");
        let both = [outside.to_string(), own.to_string()];
        assert_eq!(addresses.listens(vec![own.clone()]), both);
        let (map, told) = addresses.stands(stands());
        assert_eq!(
            (map.by.as_str(), &map.addresses[..], &told[..]),
            ("PCP", &both[..1], &both[..])
        );
        let (map, told) = addresses.stands(Standing::Fails(Failure::Silent));
        assert!(map.addresses.is_empty() && !map.problem.is_empty());
        assert_eq!(told, both[1..]);
        let many: Vec<Multiaddr> = (0..20).map(|n| at(&format!("/ip4/10.0.0.{n}/tcp/1"))).collect();
        addresses.listens(many);
        assert_eq!(addresses.stands(stands()).1.len(), ADDRESSES);
    }
}
