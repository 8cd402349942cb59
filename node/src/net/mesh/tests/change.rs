//! A network that changes under connections that stand.

use super::{
    all, node, nowhere,
    way::{Pace, Way, connect_by},
};
use crate::net::{change::Change, mesh::*};

/// Whether what gives no sign of life, and nothing else, ends before a connection that is cut with it and was told of no
/// change: that is found ten seconds later. Where this machine was held up for so long, that says nothing.
async fn is_found_first() -> bool {
    let (mut c, mut d) = (node(3).await, node(4).await);
    let (mut a, mut b, mut e) = (node(1).await, node(2).await, node(5).await);
    // These aren't told, and connect first.
    let other = Way::to(&d, Pace::Fast).await;
    connect_by(&other, &mut c, &mut d, Vec::new()).await;
    c.up().await;
    let way = Way::to(&b, Pace::Fast).await;
    e.book(vec![a.entry(nowhere)]).await;
    connect_by(&way, &mut a, &mut b, vec![e.entry(all)]).await;
    e.up().await;
    a.up().await;
    a.up().await;

    way.swallows.send_replace(true);
    other.swallows.send_replace(true);
    a.tell(MeshCommand::Changed(Change::default())).await;
    match a.next().await {
        MeshReport::ChannelDown { member, .. } if member == b.member() => {}
        MeshReport::ChannelDown { .. } => return false,
        other => panic!("{other:?}"),
    }
    while let Ok(untold) = c.mesh.reports.try_recv() {
        if !matches!(untold, MeshReport::Latency { .. }) {
            return false;
        }
    }
    a.send(&e, b"here").await;
    match e.next().await {
        MeshReport::Frame { frame, .. } => assert_eq!(frame, b"here"),
        MeshReport::ChannelDown { .. } => return false,
        other => panic!("{other:?}"),
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_change_what_gives_no_sign_of_life_ends_long_before_a_ping_finds_it() {
    for _ in 0..3 {
        if is_found_first().await {
            return;
        }
    }
    panic!("it is silent for long before it ends, or another ends with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_led_by_way_of_a_network_that_is_gone_ends_at_once() {
    let (mut a, mut b) = (node(6).await, node(7).await);
    super::connect(&mut a, &mut b, all).await;
    a.tell(MeshCommand::Changed(Change {
        left: vec!["127.0.0.1/8".parse().unwrap()],
        ..Change::default()
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
