//! The relays' clients: one task for each relay that the core wants.

use std::collections::BTreeMap;

use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::{JoinError, JoinSet},
};

use crate::net::relay::{self, ClientId, Proxy, RelayCommand, RelayKey, RelayPeer, RelayReport};

/// The clients that run.
pub(super) struct Relays {
    clients: BTreeMap<RelayKey, Client>,
    tasks: JoinSet<Result<(), JoinError>>,
    /// Where the clients run.
    network: Handle,
    /// By way of what, if not directly.
    proxy: Option<Proxy>,
    reports: mpsc::Sender<(ClientId, RelayReport)>,
    /// How many clients there were.
    number: u64,
}

struct Client {
    peer: RelayPeer,
    number: u64,
    /// Whether it is connected, by what it said last.
    is_up: bool,
    commands: mpsc::Sender<RelayCommand>,
}

/// Commands for one relay that may wait, and reports of all that may.
const QUEUE: usize = 256;

impl Relays {
    pub(super) fn new(
        network: Handle,
        proxy: Option<Proxy>,
    ) -> (Self, mpsc::Receiver<(ClientId, RelayReport)>) {
        let (reports, taken) = mpsc::channel(QUEUE);
        let (clients, tasks, number) = (BTreeMap::new(), JoinSet::new(), 0);
        (Self { clients, tasks, network, proxy, reports, number }, taken)
    }

    /// The way to a relay's client, which is started where there is none. One that knows other
    /// addresses ends.
    pub(super) fn wanted(&mut self, peer: RelayPeer) -> mpsc::Sender<RelayCommand> {
        if let Some(client) = self.clients.get(&peer.peer_id)
            && client.peer == peer
        {
            return client.commands.clone();
        }
        let (commands, taken) = mpsc::channel(QUEUE);
        self.number += 1;
        let task = {
            let _here = self.network.enter();
            relay::spawn(peer.clone(), self.number, self.proxy, taken, self.reports.clone())
        };
        self.tasks.spawn(task);
        let number = self.number;
        let client = Client { peer, number, is_up: false, commands: commands.clone() };
        self.clients.insert(client.peer.peer_id, client);
        commands
    }

    /// The way to a relay's client, if it runs.
    pub(super) fn client(&self, relay: &RelayKey) -> Option<mpsc::Sender<RelayCommand>> {
        self.clients.get(relay).map(|client| client.commands.clone())
    }

    /// Whether that is a relay's client of now. What one before it has reported is nothing any more: the logs are read on
    /// from where they were kept, and that may be before it.
    pub(super) fn is_client(&self, id: &ClientId) -> bool {
        self.clients.get(&id.relay).is_some_and(|client| client.number == id.number)
    }

    /// Takes note of what a relay's client says; whether it is connected since then.
    pub(super) fn note(&mut self, relay: &RelayKey, report: &RelayReport) -> bool {
        let Some(client) = self.clients.get_mut(relay) else { return false };
        match report {
            RelayReport::Up { .. } => client.is_up = true,
            RelayReport::Down { .. } => client.is_up = false,
            _ => {}
        }
        matches!(report, RelayReport::Up { .. })
    }

    /// The relays that are connected.
    pub(super) fn connected(&self) -> Vec<RelayPeer> {
        let up = self.clients.values().filter(|client| client.is_up);
        up.map(|client| client.peer.clone()).collect()
    }

    /// Where a relay is, if its client runs.
    pub(super) fn peer(&self, relay: &RelayKey) -> Option<RelayPeer> {
        self.clients.get(relay).map(|client| client.peer.clone())
    }

    /// The ways to all clients.
    pub(super) fn clients(&self) -> Vec<mpsc::Sender<RelayCommand>> {
        self.clients.values().map(|client| client.commands.clone()).collect()
    }

    /// Ends a relay's client; it sees that nobody can tell it anything any more.
    pub(super) fn drop_client(&mut self, relay: &RelayKey) {
        self.clients.remove(relay);
    }

    /// Waits until a client dies that should live; never comes back otherwise.
    pub(super) async fn died(&mut self) {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Ok(()))) => {}
                Some(_) => return,
                None => std::future::pending().await,
            }
        }
    }

    /// Ends all clients and waits for them.
    pub(super) async fn end(mut self) {
        self.clients.clear();
        drop(self.reports);
        while self.tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::relay::DownReason;

    #[tokio::test]
    async fn a_relay_can_be_asked_while_it_is_connected_and_not_once_it_is_left() {
        let (mut relays, _reports) = Relays::new(Handle::current(), None);
        let peer = RelayPeer { peer_id: RelayKey::random(), addrs: Vec::new() };
        let key = peer.peer_id;
        let up = RelayReport::Up { wants_token: false, keeps: Duration::ZERO };
        let down = RelayReport::Down { reason: DownReason::Lost, retry_in: Duration::ZERO };
        let _commands = relays.wanted(peer.clone());
        assert!(relays.connected().is_empty());
        assert!(relays.note(&key, &up));
        assert_eq!(relays.connected(), [peer]);
        assert!(!relays.note(&key, &down) && relays.connected().is_empty());
        relays.note(&key, &up);
        let first = ClientId { relay: key, number: 1 };
        assert!(relays.is_client(&first));
        relays.drop_client(&key);
        assert!(!relays.is_client(&first));
        assert!(relays.connected().is_empty() && !relays.note(&key, &up));
        let _commands = relays.wanted(RelayPeer { peer_id: key, addrs: Vec::new() });
        assert!(!relays.is_client(&first), "what it reported is not the next one's");
    }
}
