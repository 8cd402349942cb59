//! Whole nodes in one process.

use tempfile::TempDir;

use super::*;
fn config(dir: &TempDir, name: &str) -> NodeConfig {
    NodeConfig {
        data_dir: dir.path().into(),
        unlock: Unlock::KeyFile,
        name: name.into(),
        listen: vec!["127.0.0.1:0".into()],
        direct: true,
        relays: Vec::new(),
        host_relay: None,
    }
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
    let listen = vec!["here".to_owned()];
    let refused = start(NodeConfig { listen, ..config(&dir, "Ada") }).await.err();
    assert!(matches!(refused, Some(StartError::Listen { .. })));
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing was made");
}
