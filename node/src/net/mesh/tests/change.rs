//! A network that changes under connections that stand.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{Node, all, is_quic, node, nowhere};
use crate::net::{BookEntry, change::Change, mesh::*};

/// A way to a node by TCP, which can be made to swallow everything from then on.
struct Way {
    address: Multiaddr,
    swallows: watch::Sender<bool>,
}

impl Way {
    async fn to(node: &Node) -> Self {
        let tcp = node.addresses.iter().find(|address| !is_quic(address)).unwrap().to_string();
        let port: u16 = tcp.split('/').nth(4).unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().port();
        let (swallows, seen) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(carry(near, far, seen.clone()));
            }
        });
        let address = format!("/ip4/127.0.0.1/tcp/{here}").parse().unwrap();
        Self { address, swallows }
    }
}

async fn carry(mut near: TcpStream, mut far: TcpStream, mut swallows: watch::Receiver<bool>) {
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => return,
        _ = swallows.wait_for(|it| *it) => {}
    }
    // Both ends stand, and nothing comes out of either.
    std::future::pending::<()>().await;
}

async fn connect_by(way: &Way, a: &mut Node, b: &mut Node, also: Vec<BookEntry>) {
    b.book(vec![a.entry(nowhere)]).await;
    let mut entries = vec![BookEntry { addresses: vec![way.address.to_vec()], ..b.entry(nowhere) }];
    entries.extend(also);
    a.book(entries).await;
    assert_eq!(b.up().await.0, a.member());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_change_what_gives_no_sign_of_life_ends_long_before_a_ping_finds_it() {
    let (mut c, mut d) = (node(3).await, node(4).await);
    let (mut a, mut b, mut e) = (node(1).await, node(2).await, node(5).await);
    // These aren't told, and connect first.
    let other = Way::to(&d).await;
    connect_by(&other, &mut c, &mut d, Vec::new()).await;
    c.up().await;
    let way = Way::to(&b).await;
    e.book(vec![a.entry(nowhere)]).await;
    connect_by(&way, &mut a, &mut b, vec![e.entry(all)]).await;
    e.up().await;
    a.up().await;
    a.up().await;

    way.swallows.send_replace(true);
    other.swallows.send_replace(true);
    a.tell(MeshCommand::Changed(Change::default())).await;
    match a.next().await {
        MeshReport::ChannelDown { member, .. } => assert_eq!(member, b.member()),
        other => panic!("{other:?}"),
    }
    while let Ok(untold) = c.mesh.reports.try_recv() {
        let is_ping = matches!(untold, MeshReport::Latency { .. });
        assert!(is_ping, "found without being told: {untold:?}");
    }
    a.send(&e, b"here").await;
    e.receives(&a, b"here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_led_by_way_of_a_network_that_is_gone_ends_at_once() {
    let (mut a, mut b) = (node(6).await, node(7).await);
    super::connect(&mut a, &mut b, all).await;
    a.tell(MeshCommand::Changed(Change {
        left: vec!["127.0.0.1/8".parse().unwrap()],
        slept: false,
    }))
    .await;
    match a.next().await {
        MeshReport::ChannelDown { member, .. } => assert_eq!(member, b.member()),
        other => panic!("{other:?}"),
    }
    // It was too early to say so: the way is there, and found again.
    loop {
        match a.next().await {
            MeshReport::ChannelUp { .. } => return,
            MeshReport::DialFailed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}
