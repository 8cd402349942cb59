//! Connections whose other end is there, however slow the way, and such whose other end is gone.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{
    Node, node,
    way::{Pace, Way, connect_by},
};
use crate::net::{mesh::*, silence::SILENT};

/// How long it takes until a node's channel is down, however busy this machine is, and why it is.
async fn down(node: &mut Node) -> (Duration, ChannelEnd) {
    let from = Instant::now();
    let down = async {
        loop {
            match node.mesh.reports.recv().await {
                Some(MeshReport::Latency { .. }) => {}
                Some(MeshReport::ChannelDown { reason, .. }) => return (from.elapsed(), reason),
                other => panic!("{other:?}"),
            }
        }
    };
    timeout(Duration::from_secs(150), down).await.expect("it is noticed")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_way_that_is_busy_for_a_minute_ends_no_channel() {
    let (mut a, mut b) = (node(1).await, node(2).await);
    let way = Way::to(&b, Pace::PerSecond(20_000)).await;
    connect_by(&way, &mut a, &mut b, Vec::new()).await;
    a.up().await;
    let start = Instant::now();
    let frames: Vec<Vec<u8>> = (0..20).map(|n| vec![n; 50_000]).collect();
    for frame in &frames {
        a.send(&b, frame).await;
    }
    for frame in &frames {
        b.receives(&a, frame).await;
    }
    assert!(start.elapsed() > Duration::from_secs(45), "1 MB at 20 kB/s");
    b.send(&a, b"all of it").await;
    a.receives(&b, b"all of it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_sent_more_than_the_way_carries_gives_a_ping_up_and_is_heard_by_that() {
    let (mut a, mut b) = (node(1).await, node(2).await);
    let way = Way::to(&b, Pace::PerSecond(5_000)).await;
    connect_by(&way, &mut a, &mut b, Vec::new()).await;
    a.up().await;
    // The answers to B's pings stand behind these, and B has nothing else to say meanwhile.
    let frames: Vec<Vec<u8>> = (0..4).map(|n| vec![n; 50_000]).collect();
    for frame in &frames {
        a.send(&b, frame).await;
    }
    for frame in &frames {
        b.receives(&a, frame).await;
    }
    b.send(&a, b"all of it").await;
    a.receives(&b, b"all of it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_is_cut_in_silence_is_noticed_at_both_ends() {
    let (mut a, mut b) = (node(1).await, node(2).await);
    let way = Way::to(&b, Pace::Fast).await;
    connect_by(&way, &mut a, &mut b, Vec::new()).await;
    a.up().await;
    way.swallows.send_replace(true);
    let ((a, _), (b, _)) = tokio::join!(down(&mut a), down(&mut b));
    println!("noticed after {a:?} and {b:?}");
    assert!(a.max(b) > SILENT / 2, "what came last was not long ago");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_is_cut_in_silence_under_a_burst_is_noticed_by_who_writes() {
    let (mut a, mut b) = (node(1).await, node(2).await);
    let way = Way::to(&b, Pace::PerSecond(20_000)).await;
    connect_by(&way, &mut a, &mut b, Vec::new()).await;
    a.up().await;
    for n in 0..200 {
        a.send(&b, &[n; 50_000]).await;
    }
    b.receives(&a, &[0; 50_000]).await;
    way.swallows.send_replace(true);
    let (after, why) = down(&mut a).await;
    println!("noticed after {after:?}");
    assert_eq!(why, ChannelEnd::Closed, "the connection ends before the channel's writer gives up");
}
