//! By what a relay is dialled: TCP and QUIC, WebSocket where nothing else goes, or TCP by way of a proxy alone.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, Transport,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    dns,
    identity::Keypair,
    multiaddr::Protocol,
    noise, quic, relay,
    swarm::NetworkBehaviour,
    tcp, websocket, yamux,
};

use super::{Proxy, ProxyFault, proxy::Socks};

/// By what the relay is dialled.
#[derive(Clone)]
pub(super) enum Ways {
    /// As this machine reaches it.
    Plain,
    /// By way of a proxy alone; with what tells that it is at fault.
    Proxy(Proxy, Arc<OnceLock<ProxyFault>>),
}

/// A key, and a transport that proves it.
pub(super) struct Made {
    key: Keypair,
    transport: Boxed<(PeerId, StreamMuxerBox)>,
    patience: Duration,
}

/// The whole of it: dialing, handshake, stream, hello.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The same by way of a proxy, which may have to make its own way first.
pub(super) const PROXY_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest WebSocket message that is taken: a frame of Noise is 64 KiB and its length.
const MESSAGE_MAX: usize = 128 << 10;

/// How far the windows of a connection may grow together, above 256 KiB for each stream: what a
/// relay can make this side hold that it does not read. Left alone, Yamux goes to [`YAMUX_MOST`].
const WINDOW_GROWTH: usize = 16 << 20;
const YAMUX_MOST: usize = 1 << 30;
const YAMUX_LEAST: usize = 256 << 10;
/// Streams that a relay may be opening at once: Identify's and Ping's, and some to spare.
const NEGOTIATING: usize = 8;
/// Streams on a circuit, refused ones among them.
const CIRCUIT_STREAMS: usize = 16;
/// How long a circuit without a stream is kept.
const CIRCUIT_IDLE: Duration = Duration::from_secs(10);

impl Ways {
    /// How long a connection may take.
    pub(super) const fn patience(&self) -> Duration {
        match self {
            Self::Plain => CONNECT_TIMEOUT,
            Self::Proxy(..) => PROXY_TIMEOUT,
        }
    }

    /// TCP and QUIC. Names are resolved here only if there are some, and never where there is a proxy.
    pub(super) fn plain(&self, key: Keypair, addrs: &[Multiaddr]) -> Option<Made> {
        let transport = match self {
            Self::Proxy(proxy, fault) => secured(Socks::new(*proxy, Arc::clone(fault)), &key)?,
            Self::Plain => {
                let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
                let quic = quic::tokio::Transport::new(quic::Config::new(&key))
                    .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
                let both = secured(tcp, &key)?.or_transport(quic).map(|it, _| it.into_inner());
                match addrs.iter().any(has_name) {
                    true => dns::tokio::Transport::system(both.boxed()).ok()?.boxed(),
                    false => both.boxed(),
                }
            }
        };
        Some(Made { key, transport, patience: self.patience() })
    }

    /// WebSocket alone, also to a proxy that ends TLS; names are resolved below it, so that the proxy is
    /// asked for the right one.
    pub(super) fn web(&self, key: Keypair) -> Option<Made> {
        let transport = match self {
            Self::Plain => {
                let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
                web_over(dns::tokio::Transport::system(tcp).ok()?, &key)?
            }
            Self::Proxy(proxy, fault) => web_over(Socks::new(*proxy, Arc::clone(fault)), &key)?,
        };
        Some(Made { key, transport, patience: self.patience() })
    }
}

impl Made {
    /// A swarm that does this on its connections.
    pub(super) fn swarm<B: NetworkBehaviour>(self, behaviour: B) -> Option<Swarm<B>> {
        let builder = SwarmBuilder::with_existing_identity(self.key).with_tokio();
        let builder = builder.with_other_transport(|_| self.transport).ok()?;
        let builder = builder.with_behaviour(|_| behaviour).ok()?.with_swarm_config(few);
        Some(builder.with_connection_timeout(self.patience).build())
    }

    /// The same for one that makes and takes circuits.
    pub(super) fn with_circuits<B: NetworkBehaviour>(
        self,
        behaviour: impl FnOnce(relay::client::Behaviour) -> B,
    ) -> Option<Swarm<B>> {
        let builder = SwarmBuilder::with_existing_identity(self.key).with_tokio();
        let builder = builder.with_other_transport(|_| self.transport).ok()?;
        let builder = builder.with_relay_client(noise::Config::new, circuit).ok()?;
        let builder = builder.with_behaviour(|_, circuits| behaviour(circuits)).ok()?;
        let builder = builder
            .with_swarm_config(|config| few(config).with_idle_connection_timeout(CIRCUIT_IDLE));
        Some(builder.with_connection_timeout(self.patience).build())
    }
}

/// WebSocket over this way of making connections.
fn web_over<T>(below: T, key: &Keypair) -> Option<Boxed<(PeerId, StreamMuxerBox)>>
where
    T: Transport + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut web = websocket::Config::new(below);
    web.set_max_data_size(MESSAGE_MAX).set_max_redirects(0);
    secured(web, key)
}

/// Noise and Yamux over this way of making connections.
fn secured<T>(below: T, key: &Keypair) -> Option<Boxed<(PeerId, StreamMuxerBox)>>
where
    T: Transport + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let secured = below.upgrade(Version::V1Lazy).authenticate(noise::Config::new(key).ok()?);
    Some(secured.multiplex(narrow()).boxed())
}

/// Yamux with windows that grow by no more than [`WINDOW_GROWTH`]: what it guarantees to streams,
/// however few they are, it can't give to one.
fn narrow() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams((YAMUX_MOST - WINDOW_GROWTH) / YAMUX_LEAST);
    config
}

/// Yamux with the other end of a circuit.
fn circuit() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(CIRCUIT_STREAMS);
    config
}

fn few(config: libp2p::swarm::Config) -> libp2p::swarm::Config {
    config.with_max_negotiating_inbound_streams(NEGOTIATING)
}

fn has_name(addr: &Multiaddr) -> bool {
    use Protocol::{Dns, Dns4, Dns6, Dnsaddr};
    addr.iter().any(|part| matches!(part, Dns(_) | Dns4(_) | Dns6(_) | Dnsaddr(_)))
}
