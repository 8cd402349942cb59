//! Relays by way of a SOCKS5 proxy, and of nothing else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use node::net::relay::{
    Begin, ClientId, DownReason, LogPlan, ProxyFault, RelayCommand, RelayPeer, RelayReport, spawn,
};
use protocol::relay_log::LogKeys;
use rendezvous::{Config, Relay};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
};

const PATIENCE: Duration = Duration::from_secs(180);

/// What is told of a relay that keeps entries as long as one does by itself.
const UP: RelayReport =
    RelayReport::Up { wants_token: false, keeps: Duration::from_hours(30 * 24) };

/// A name that nobody but the proxy knows.
const NAME: &str = "relay.invalid";

/// A SOCKS5 server that knows one name.
struct Socks {
    at: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// Who asked for what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    login: Vec<u8>,
    host: String,
}

impl Socks {
    /// Answers each request by `code`; by 0, it connects.
    async fn start(code: u8) -> Self {
        Self::slow(code, Duration::ZERO).await
    }

    /// It needs so long for each, as one does that first makes a way through others.
    async fn slow(code: u8, takes: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let all = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, code, takes, Arc::clone(&all)));
            }
        });
        Self { at, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    code: u8,
    takes: Duration,
    asked: Arc<Mutex<Vec<Asked>>>,
) -> Option<()> {
    let [_, methods] = bytes::<2>(&mut stream).await?;
    let mut offered = vec![0; methods.into()];
    stream.read_exact(&mut offered).await.ok()?;
    assert!(offered.contains(&2), "it offers to say who it is");
    stream.write_all(&[5, 2]).await.ok()?;
    let [_, len] = bytes::<2>(&mut stream).await?;
    let mut login = vec![0; len.into()];
    stream.read_exact(&mut login).await.ok()?;
    let [len] = bytes::<1>(&mut stream).await?;
    let mut password = vec![0; len.into()];
    stream.read_exact(&mut password).await.ok()?;
    stream.write_all(&[1, 0]).await.ok()?;
    login.extend(password);

    let [_, command, _, kind] = bytes::<4>(&mut stream).await?;
    assert_eq!(command, 1, "TCP alone");
    let host = match kind {
        1 => std::net::Ipv4Addr::from(bytes::<4>(&mut stream).await?).to_string(),
        3 => {
            let [len] = bytes::<1>(&mut stream).await?;
            let mut name = vec![0; len.into()];
            stream.read_exact(&mut name).await.ok()?;
            String::from_utf8(name).unwrap()
        }
        other => panic!("an address of kind {other}"),
    };
    let port = u16::from_be_bytes(bytes::<2>(&mut stream).await?);
    asked.lock().unwrap().push(Asked { login, host });
    tokio::time::sleep(takes).await;
    let mut there = match code {
        0 => Some(TcpStream::connect(("127.0.0.1", port)).await.ok()?),
        _ => None,
    };
    stream.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await.ok()?;
    if let Some(there) = &mut there {
        let _ = copy_bidirectional(&mut stream, there).await;
    }
    Some(())
}

/// What speaks no SOCKS5.
async fn web_server() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = bytes::<3>(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    at
}

async fn bytes<const N: usize>(stream: &mut TcpStream) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

async fn relay(dir: &Path) -> Relay {
    let listen = vec![([127, 0, 0, 1], 0).into()];
    Relay::start(Config { listen, ..Config::durable(dir.to_path_buf()) }).await.unwrap()
}

fn port(relay: &Relay) -> u16 {
    relay.addrs()[0].to_string().split('/').nth(4).unwrap().parse().unwrap()
}

fn key(relay: &Relay) -> String {
    RelayPeer::from_addrs(&relay.addrs()).unwrap().peer_id.to_string()
}

/// A client by way of the proxy at this address.
fn client(relay: &str, proxy: SocketAddr) -> Client {
    let (commands, inbox) = mpsc::channel(64);
    let (outbox, reports) = mpsc::channel(64);
    let proxy = format!("socks5://{proxy}").parse().unwrap();
    spawn(relay.parse().unwrap(), 0, Some(proxy), inbox, outbox);
    Client { commands, reports }
}

struct Client {
    commands: mpsc::Sender<RelayCommand>,
    reports: mpsc::Receiver<(ClientId, RelayReport)>,
}

impl Client {
    async fn next(&mut self) -> RelayReport {
        tokio::time::timeout(PATIENCE, self.reports.recv()).await.unwrap().unwrap().1
    }

    async fn is_down_by(&mut self, fault: ProxyFault) {
        for _ in 0..2 {
            match self.next().await {
                RelayReport::Down { reason, .. } => assert_eq!(reason, DownReason::Proxy(fault)),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_used_by_way_of_the_proxy_which_alone_resolves_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path()).await;
    let (port, key) = (port(&relay), key(&relay));
    for way in ["", "/ws"] {
        let socks = Socks::start(0).await;
        let mut client = client(&format!("/dns/{NAME}/tcp/{port}{way}/p2p/{key}"), socks.at);
        assert_eq!(client.next().await, UP);
        let keys = Arc::new(LogKeys::from_seeds([1; 32], [2; 32], None));
        let plan =
            LogPlan { keys: Arc::clone(&keys), after: None, begin: Begin::Start, token: None };
        client.commands.send(RelayCommand::Plan(vec![plan])).await.unwrap();
        let entry = vec![7; 512].into();
        let append = RelayCommand::Append { log: keys.id(), tag: 7, entry };
        client.commands.send(append).await.unwrap();
        while !matches!(client.next().await, RelayReport::Appended { tag: 7, .. }) {}
        let asked = socks.asked();
        assert!(!asked.is_empty() && asked.iter().all(|it| it.host == NAME), "{asked:?}");
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_takes_half_a_minute_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path()).await;
    let socks = Socks::slow(0, Duration::from_secs(30)).await;
    let at = format!("/dns/{NAME}/tcp/{}/p2p/{}", port(&relay), key(&relay));
    assert_eq!(client(&at, socks.at).next().await, UP, "at the first attempt");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_connection_shows_the_proxy_another_login() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path()).await;
    let socks = Socks::start(0).await;
    let at = format!("/dns/{NAME}/tcp/{}/p2p/{}", port(&relay), key(&relay));
    for _ in 0..2 {
        let mut client = client(&at, socks.at);
        assert_eq!(client.next().await, UP);
    }
    let logins: Vec<Vec<u8>> = socks.asked().into_iter().map(|asked| asked.login).collect();
    assert!(logins.len() == 2 && logins[0] != logins[1] && logins[0].len() == 32, "{logins:?}");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_proxy_leads_nowhere_nothing_goes_around_it() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path()).await;
    // By TCP, QUIC and WebSocket it could be reached from here at once.
    let (port, key) = (port(&relay), key(&relay));
    let near = format!("/ip4/127.0.0.1/tcp/{port}/p2p/{key}");
    // Bound, so that it is nobody else's, and not listened at.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let free = nobody.local_addr().unwrap();
    client(&near, free).is_down_by(ProxyFault::Unreachable).await;
    client(&near, Socks::start(2).await.at).is_down_by(ProxyFault::Denied).await;
    client(&near, web_server().await).is_down_by(ProxyFault::NotSocks).await;

    let socks = Socks::start(0).await;
    let quic = format!("/ip4/127.0.0.1/udp/{port}/quic-v1/p2p/{key}");
    client(&quic, socks.at).is_down_by(ProxyFault::NoWay).await;
    assert_eq!(socks.asked(), []);
    // What the proxy can't reach is not its fault.
    let mut far = client(&near, Socks::start(5).await.at);
    let reason = far.next().await;
    assert!(
        matches!(reason, RelayReport::Down { reason: DownReason::Unreachable, .. }),
        "{reason:?}"
    );
    relay.stop().await;
}
