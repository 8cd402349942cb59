//! How long the other ends of channels take to answer: by libp2p's pings, the first one on each
//! connection at once and then one every 5 s.

use std::time::Duration;

use libp2p::swarm::ConnectionId;
use tokio::time::Instant;

use super::{MeshReport, run::Run};

impl Run {
    /// A ping came back. It is told of the channels on its connection; of one that is still in its
    /// handshake once it stands.
    pub(super) fn on_latency(&mut self, id: ConnectionId, took: Duration) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.latency = Some(took);
        connection.beat.note_read(Instant::now());
        self.has_given_sign(id);
        for member in self.channels_on(id) {
            self.report(MeshReport::Latency { member, took });
        }
        self.probe_answered(id, took);
    }
}
