//! Whole nodes in one process.

use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::{
    api::types::{CreateGroup, CreateInvite, JoinState, Path},
    core::Core,
};

const PATIENCE: Duration = Duration::from_secs(30);

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
    let a = start(config(&dir_a, "Ada")).await.unwrap();
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
        let status = node.handle.call(|core, now| core.status(now)).await.unwrap().unwrap();
        assert_eq!(status.paths[0].path, Path::Relay);
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
    let port = crate::net::free_port().unwrap();
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
