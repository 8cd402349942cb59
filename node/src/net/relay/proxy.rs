//! A SOCKS5 proxy between this node and its relays (RFC 1928): Tor, for one.
//!
//! > Where there is one, nothing goes to a relay but through it: no UDP, and no name is resolved here. What can't go
//! > through it does not go.
//!
//! Each connection shows the proxy another name and password (RFC 1929), if it asks for some: Tor then keeps each
//! on a circuit of its own, so that they can't be told to be one node's by where they come out.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    str::FromStr,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use futures::{FutureExt as _, future, future::BoxFuture};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    multiaddr::Protocol,
};
use tokio::net::TcpStream;
use tokio_socks::{Error, TargetAddr, tcp::Socks5Stream};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

/// Where the proxy is. Reads and writes `socks5://IP:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxy(SocketAddr);

/// No address of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a proxy: one looks like socks5://127.0.0.1:9050, its place an IP address and a port")]
pub struct ProxySyntax;

/// Why the proxy leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyFault {
    /// Nobody answers there.
    #[error("the proxy for relays can't be reached")]
    Unreachable,
    /// What answers there is none, or does not answer.
    #[error("what listens at the proxy's address hangs up, or speaks no SOCKS5")]
    NotSocks,
    /// It wants to know who asks.
    #[error("the proxy for relays wants a login")]
    Login,
    /// It does not go there.
    #[error("the proxy for relays does not allow it")]
    Denied,
    /// There is nothing to ask it for.
    #[error("the relay has no address that a proxy reaches: neither TCP nor WebSocket")]
    NoWay,
}

impl FromStr for Proxy {
    type Err = ProxySyntax;

    fn from_str(text: &str) -> Result<Self, ProxySyntax> {
        let place = text.strip_prefix("socks5://").or_else(|| text.strip_prefix("socks5h://"));
        let place = place.ok_or(ProxySyntax)?.trim_end_matches('/');
        place.parse().map(Self).map_err(|_| ProxySyntax)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socks5://{}", self.0)
    }
}

impl Proxy {
    /// Whether it is on this machine.
    pub(super) fn is_here(self) -> bool {
        self.0.ip().is_loopback()
    }

    /// Whether it leads to an address: one of TCP, with a name or a number.
    pub(super) fn leads_to(address: &Multiaddr) -> bool {
        let plain: Multiaddr = address
            .iter()
            .filter(|part| !matches!(part, Protocol::Ws(_) | Protocol::Wss(_) | Protocol::Tls))
            .collect();
        target(&plain).is_some()
    }
}

/// TCP by way of a proxy, for the connections of one attempt.
pub(super) struct Socks {
    proxy: Proxy,
    /// Why it leads nowhere, where it is the proxy's fault.
    fault: Arc<OnceLock<ProxyFault>>,
}

impl Socks {
    pub(super) fn new(proxy: Proxy, fault: Arc<OnceLock<ProxyFault>>) -> Self {
        Self { proxy, fault }
    }
}

impl Transport for Socks {
    type Output = Compat<TcpStream>;
    type Error = io::Error;
    type ListenerUpgrade = future::Pending<io::Result<Self::Output>>;
    type Dial = BoxFuture<'static, io::Result<Self::Output>>;

    fn listen_on(
        &mut self,
        _: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        _: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        let Some(target) = target(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let (proxy, fault) = (self.proxy, Arc::clone(&self.fault));
        let dial = async move {
            connect(proxy, target).await.map(|stream| stream.compat()).map_err(|error| {
                if let Some(found) = of_proxy(&error) {
                    // The first one counts.
                    let _ = fault.set(found);
                }
                io::Error::other(error)
            })
        };
        Ok(dial.boxed())
    }

    fn poll(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Poll::Pending
    }
}

async fn connect(proxy: Proxy, target: TargetAddr<'static>) -> Result<TcpStream, Error> {
    let stream = TcpStream::connect(proxy.0).await.map_err(|_| Error::ProxyServerUnreachable)?;
    stream.set_nodelay(true)?;
    let word = || getrandom::u64().map(|word| format!("{word:016x}"));
    let words = word().and_then(|name| Ok((name, word()?)));
    let (name, password) = words.map_err(|_| io::Error::other("no randomness"))?;
    let through =
        Socks5Stream::connect_with_password_and_socket(stream, target, &name, &password).await?;
    Ok(through.into_inner())
}

/// What the proxy is asked for: names as they are.
fn target(address: &Multiaddr) -> Option<TargetAddr<'static>> {
    /// The longest name that SOCKS5 carries.
    const NAME: usize = 255;
    let mut parts = address.iter().filter(|part| !matches!(part, Protocol::P2p(_)));
    let (host, port, end) = (parts.next()?, parts.next()?, parts.next());
    let (Protocol::Tcp(port), None) = (port, end) else { return None };
    let at = |ip: IpAddr| Some(TargetAddr::Ip(SocketAddr::new(ip, port)));
    match host {
        Protocol::Ip4(ip) => at(ip.into()),
        Protocol::Ip6(ip) => at(ip.into()),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => {
            let fits = (1..=NAME).contains(&name.len());
            fits.then(|| TargetAddr::Domain(name.into_owned().into(), port))
        }
        _ => None,
    }
}

/// The proxy's own fault, where it is that: that a relay can't be reached from there is none.
fn of_proxy(error: &Error) -> Option<ProxyFault> {
    match error {
        Error::ProxyServerUnreachable => Some(ProxyFault::Unreachable),
        Error::ConnectionNotAllowedByRuleset => Some(ProxyFault::Denied),
        Error::NoAcceptableAuthMethods
        | Error::AuthorizationRequired
        | Error::PasswordAuthFailure(_)
        | Error::UnknownAuthMethod => Some(ProxyFault::Login),
        Error::InvalidResponseVersion
        | Error::InvalidReservedByte
        | Error::UnknownAddressType
        | Error::CommandNotSupported
        | Error::Io(_) => Some(ProxyFault::NotSocks),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_named_by_its_address_and_nothing_else() {
        for text in ["socks5://127.0.0.1:9050", "socks5h://127.0.0.1:9050/", "socks5://[::1]:1080"]
        {
            text.parse::<Proxy>().unwrap();
        }
        let whole = "socks5://127.0.0.1:9050";
        assert_eq!(whole.parse::<Proxy>().unwrap().to_string(), whole);
        // A name would have to be resolved, and a login has no place in an argument.
        for text in ["", "127.0.0.1:9050", "http://127.0.0.1:9050", "socks5://tor.example:9050"] {
            assert_eq!(text.parse::<Proxy>(), Err(ProxySyntax), "{text}");
        }
        assert_eq!("socks5://ana:word@127.0.0.1:9050".parse::<Proxy>(), Err(ProxySyntax));
    }

    #[test]
    fn names_go_to_the_proxy_as_they_are_and_what_is_not_tcp_does_not() {
        let asked = |text: &str| target(&text.parse().unwrap());
        let onion = "abcdefghijklmnop.onion";
        let named = asked(&format!("/dns/{onion}/tcp/4407/p2p/{}", libp2p::PeerId::random()));
        assert!(matches!(named, Some(TargetAddr::Domain(name, 4407)) if name == onion));
        assert!(matches!(asked("/ip6/2001:db8::1/tcp/1"), Some(TargetAddr::Ip(_))));
        for text in
            ["/ip4/192.0.2.1/udp/1/quic-v1", "/dnsaddr/r.example", "/ip4/192.0.2.1/tcp/1/ws"]
        {
            assert!(asked(text).is_none(), "{text}");
        }
        let long = format!("/dns/{}/tcp/1", "a".repeat(256));
        assert!(asked(&long).is_none());
        for text in
            ["/dns/r.example/tcp/443/wss", "/ip4/192.0.2.1/tcp/1/ws", "/dns/r.example/tcp/1"]
        {
            assert!(Proxy::leads_to(&text.parse().unwrap()), "{text}");
        }
        assert!(!Proxy::leads_to(&"/ip4/192.0.2.1/udp/1/quic-v1".parse().unwrap()));
    }
}
