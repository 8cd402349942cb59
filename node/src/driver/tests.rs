//! Whole nodes in one process.

mod crowd;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use rendezvous::Relay;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream, UdpSocket},
};

use super::*;
use crate::{
    api::types::{CreateGroup, CreateInvite, JoinState, Path, RelayState},
    core::Core,
};

const PATIENCE: Duration = Duration::from_secs(300);

fn config(dir: &TempDir, name: &str) -> NodeConfig {
    NodeConfig {
        data_dir: dir.path().into(),
        unlock: Unlock::KeyFile,
        name: name.into(),
        listen: vec!["127.0.0.1:0".into()],
        direct: true,
        relays: Vec::new(),
        host_relay: None,
        relay_proxy: None,
        reach: Reach::Anywhere,
        mdns: false,
        map_port: false,
    }
}

/// A group of A's, which B joins, and a message each way.
async fn talk(a: &Running, b: &Running) {
    a.handle
        .call(|core, now| core.create_group(&CreateGroup::named("tea"), now))
        .await
        .unwrap()
        .unwrap();
    let invite = a.handle.call(|core, now| core.invite("tea", &CreateInvite::default(), now));
    let code = invite.await.unwrap().unwrap().code.unwrap();
    let join = b.handle.call(move |core, now| core.join(&code, now)).await.unwrap().unwrap();
    until(b, move |core, _| {
        let state = core.join_state(&join.id).unwrap().state;
        assert_ne!(state, JoinState::Failed);
        (state == JoinState::Joined).then_some(())
    })
    .await;
    for (from, to, text) in [(a, b, "hello"), (b, a, "hello yourself")] {
        from.handle.call(move |core, now| core.send("tea", text, now)).await.unwrap().unwrap();
        let reader = to.reader.clone();
        until(to, move |_, _| {
            let all = reader.came_after(None, 0, 100).unwrap();
            all.iter().any(|message| message.text == text).then_some(())
        })
        .await;
    }
}

/// Waits until a node has a channel with the one other member.
async fn direct(node: &Running) {
    until(node, |core, now| {
        let status = core.status(now).unwrap();
        (status.paths.first()?.path == Path::Direct).then_some(())
    })
    .await;
}

/// Asks the core until it has an answer: after each event, and now and then for what makes none.
async fn until<T: Send + 'static>(
    node: &Running,
    ask: impl Fn(&mut Core, Timestamp) -> Option<T> + Clone + Send + 'static,
) -> T {
    let mut events = node.handle.events();
    let asked = async {
        loop {
            events.borrow_and_update();
            if let Some(answer) = node.handle.call(ask.clone()).await.unwrap() {
                return answer;
            }
            let _ = timeout(Duration::from_millis(50), events.changed()).await;
        }
    };
    timeout(PATIENCE, asked).await.expect("an answer in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_meet_by_an_invite_and_talk_both_ways() {
    let (dir_a, dir_b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (mut a, mut tries) = (start(config(&dir_a, "Ada")).await.unwrap(), 0);
    // A start waits for three seconds for them.
    while a.ready.listen.len() < 2 && tries < 5 {
        a.shutdown().await.unwrap();
        (a, tries) = (start(config(&dir_a, "Ada")).await.unwrap(), tries + 1);
    }
    let b = start(config(&dir_b, "Bob")).await.unwrap();
    assert_eq!((a.ready.name.as_str(), a.ready.listen.len()), ("Ada", 2));
    talk(&a, &b).await;
    for node in [&a, &b] {
        direct(node).await;
    }
    a.shutdown().await.unwrap();
    b.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_never_meet_talk_through_the_relay_inside_one_of_them() {
    let (dir_a, dir_b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let host_relay = Some(HostRelay { listen: vec!["127.0.0.1:0".parse().unwrap()] });
    let a = NodeConfig { direct: false, host_relay, ..config(&dir_a, "Ada") };
    let a = start(a).await.unwrap();
    let b = NodeConfig { direct: false, ..config(&dir_b, "Bob") };
    let b = start(b).await.unwrap();
    talk(&a, &b).await;
    for node in [&a, &b] {
        until(node, |core, now| {
            let status = core.status(now).unwrap();
            assert_ne!(status.paths[0].path, Path::Direct);
            (status.paths[0].path == Path::Relay).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_without_a_relay_find_each_other_after_both_were_away() {
    let (dir_a, dir_b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let config = |dir, name| NodeConfig { listen: Vec::new(), ..config(dir, name) };
    let a = start(config(&dir_a, "Ada")).await.unwrap();
    let b = start(config(&dir_b, "Bob")).await.unwrap();
    talk(&a, &b).await;
    for node in [&a, &b] {
        direct(node).await;
        until(node, |core, _| (!core.book()[0].addresses.is_empty()).then_some(())).await;
    }
    a.shutdown().await.unwrap();
    b.shutdown().await.unwrap();
    let a = start(config(&dir_a, "Ada")).await.unwrap();
    let b = start(config(&dir_b, "Bob")).await.unwrap();
    for node in [&a, &b] {
        direct(node).await;
    }
    // SQLCipher bears no thread that still writes when the process ends.
    a.shutdown().await.unwrap();
    b.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_the_same_member_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let first = start(config(&dir, "Ada")).await.unwrap();
    let ready = first.ready.clone();
    let handle = first.handle.clone();
    assert!(matches!(start(config(&dir, "Eve")).await, Err(StartError::Store(StoreError::Locked))));
    first.shutdown().await.unwrap();
    assert_eq!(handle.call(|_, _| ()).await, Err(Gone));
    let again = start(config(&dir, "Eve")).await.unwrap();
    let same = |ready: &Ready| (ready.member, ready.name.clone(), ready.peer.clone());
    assert_eq!(same(&again.ready), same(&ready));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_direct_connections_nothing_listens() {
    let dir = TempDir::new().unwrap();
    let node = start(NodeConfig { direct: false, ..config(&dir, "Ada") }).await.unwrap();
    assert!(node.ready.listen.is_empty());
    assert!(!node.handle.call(|core, now| core.status(now)).await.unwrap().unwrap().direct);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_cannot_be_read_is_named() {
    let dir = TempDir::new().unwrap();
    let relays = vec!["/ip4/127.0.0.1/tcp/1".to_owned()];
    match start(NodeConfig { relays: relays.clone(), ..config(&dir, "Ada") }).await {
        Err(StartError::Relay { address, reason: RelayAddrError::NoKey }) => {
            assert_eq!(address, relays[0]);
        }
        other => panic!("{:?}", other.err()),
    }
    let relays = vec!["/ip4/127.0.0.1/tcp/1/p2p/12D3KooWXXXX".to_owned()];
    let cut_off = start(NodeConfig { relays, ..config(&dir, "Ada") }).await.err();
    let reason = RelayAddrError::BadKey;
    assert!(matches!(cut_off, Some(StartError::Relay { reason: r, .. }) if r == reason));
    let listen = vec!["here".to_owned()];
    let refused = start(NodeConfig { listen, ..config(&dir, "Ada") }).await.err();
    assert!(matches!(refused, Some(StartError::Listen { .. })));
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_inside_keeps_its_key_and_its_port() {
    let dir = TempDir::new().unwrap();
    let port = port::tests::lasting();
    let relay = dir.path().join("relay");
    std::fs::create_dir(&relay).unwrap();
    std::fs::write(relay.join("port"), format!("{port}\n")).unwrap();
    let hosting = || NodeConfig { host_relay: Some(HostRelay::default()), ..config(&dir, "Ada") };
    let first = start(hosting()).await.unwrap();
    let relays = first.ready.relays.clone();
    assert!(relays.iter().any(|at| at.contains(&format!("/tcp/{port}/p2p/"))), "{relays:?}");
    first.shutdown().await.unwrap();
    let again = start(hosting()).await.unwrap();
    assert_eq!(again.ready.relays, relays);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_dies_ends_the_node() {
    let dir = TempDir::new().unwrap();
    let mut node = start(config(&dir, "Ada")).await.unwrap();
    assert_eq!(node.handle.call(|_, _| -> () { panic!("on purpose") }).await, Err(Gone));
    assert!(matches!(timeout(PATIENCE, node.wait()).await, Ok(Stopped::Core)));
}

/// A relay that is reached by TCP alone, and a socket where its QUIC port would be.
async fn relay_by_tcp(relay: &Relay) -> (String, UdpSocket) {
    let addrs = relay.addrs();
    let tcp = addrs.iter().map(ToString::to_string).find(|address| {
        address.split('/').nth(3) == Some("tcp") && address.split('/').nth(5) == Some("p2p")
    });
    let tcp = tcp.expect("a TCP address");
    let parts: Vec<&str> = tcp.split('/').collect();
    let far: SocketAddr = (Ipv4Addr::LOCALHOST, parts[4].parse().unwrap()).into();
    let (listener, socket) = loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
            break (listener, socket);
        }
    };
    let here = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect(far).await.unwrap();
                copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    (format!("/ip4/127.0.0.1/tcp/{here}/p2p/{}", parts[6]), socket)
}

/// A SOCKS5 proxy that takes every login and goes to every IPv4 address.
async fn socks() -> String {
    async fn carry(mut near: TcpStream) -> std::io::Result<()> {
        let mut bytes = [0; 256];
        near.read_exact(&mut bytes[..2]).await?;
        let methods = usize::from(bytes[1]);
        near.read_exact(&mut bytes[..methods]).await?;
        near.write_all(&[5, 2]).await?;
        near.read_exact(&mut bytes[..1]).await?;
        for _ in 0..2 {
            let len = usize::from(near.read_u8().await?);
            near.read_exact(&mut bytes[..len]).await?;
        }
        near.write_all(&[1, 0]).await?;
        near.read_exact(&mut bytes[..10]).await?;
        let ip = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
        let port = u16::from_be_bytes([bytes[8], bytes[9]]);
        let mut far = TcpStream::connect((ip, port)).await?;
        near.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        copy_bidirectional(&mut near, &mut far).await.map(drop)
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let here = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(carry(near));
        }
    });
    format!("socks5://{here}")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_to_relays_by_way_of_a_proxy_sends_them_no_datagram_beside_it() {
    let listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    let config_of = rendezvous::Config { listen, ..rendezvous::Config::live() };
    let relay = Relay::start(config_of).await.unwrap();
    let (hidden, silent) = relay_by_tcp(&relay).await;
    let (seen, heard) = relay_by_tcp(&relay).await;
    let proxy = Some(socks().await.parse().unwrap());
    let (dir_a, dir_b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut nodes = Vec::new();
    for (dir, relay, relay_proxy) in [(&dir_a, hidden, proxy), (&dir_b, seen, None)] {
        let relays = vec![relay];
        let config = NodeConfig { relays, relay_proxy, listen: Vec::new(), ..config(dir, "Ada") };
        let node = start(config).await.unwrap();
        let made = node.handle.call(|core, now| core.create_group(&CreateGroup::named("tea"), now));
        made.await.unwrap().unwrap();
        until(&node, |core, now| {
            let status = core.status(now).unwrap();
            (status.relays.first()?.state == RelayState::Up).then_some(())
        })
        .await;
        nodes.push(node);
    }
    // Who is not hidden asks how its machine looks from outside; the other one had its time for that.
    let mut bytes = [0; 2048];
    timeout(PATIENCE, heard.recv_from(&mut bytes)).await.unwrap().unwrap();
    assert!(silent.try_recv_from(&mut bytes).is_err());
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}
