//! A way to a node by TCP that can be slow, or cut in silence.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{Node, is_quic, nowhere};
use crate::net::{BookEntry, mesh::*};

/// What carries bytes to the node: as they come, or so many in a second.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    Fast,
    PerSecond(usize),
}

/// A way to a node by TCP, which can be made to swallow everything from then on.
pub(super) struct Way {
    pub(super) address: Multiaddr,
    pub(super) swallows: watch::Sender<bool>,
}

/// What a slow way takes at once; a few of these wait in it.
const CHUNK: usize = 1_000;
/// How many of these wait in it, as in a modem that keeps whatever comes.
const WAITING: usize = 2_000;

impl Way {
    pub(super) async fn to(node: &Node, pace: Pace) -> Self {
        let tcp = node.addresses.iter().find(|address| !is_quic(address)).unwrap().to_string();
        let port: u16 = tcp.split('/').nth(4).unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().port();
        let (swallows, seen) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(carry(near, far, pace, seen.clone()));
            }
        });
        let address = format!("/ip4/127.0.0.1/tcp/{here}").parse().unwrap();
        Self { address, swallows }
    }
}

async fn carry(near: TcpStream, far: TcpStream, pace: Pace, mut swallows: watch::Receiver<bool>) {
    let (mut from_near, mut to_near) = near.into_split();
    let (mut from_far, mut to_far) = far.into_split();
    let there = async {
        match pace {
            Pace::Fast => drop(copy(&mut from_near, &mut to_far).await),
            Pace::PerSecond(bytes) => slowly(&mut from_near, &mut to_far, bytes).await,
        }
    };
    tokio::select! {
        () = there => return,
        _ = copy(&mut from_far, &mut to_near) => return,
        _ = swallows.wait_for(|it| *it) => {}
    }
    // Both ends stand, and nothing comes out of either.
    std::future::pending::<()>().await;
}

/// Carries so many bytes in a second, and takes in whatever comes meanwhile. Where this machine was held up, what would have
/// been carried follows at once.
async fn slowly(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    per_second: usize,
) {
    let (takes, mut waiting) = mpsc::channel::<(Instant, Vec<u8>)>(WAITING);
    let taking = async {
        let mut bytes = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut bytes).await
            && takes.send((Instant::now(), bytes[..length].to_vec())).await.is_ok()
        {}
        drop(takes);
    };
    let giving = async {
        let mut free = Instant::now();
        while let Some((came, bytes)) = waiting.recv().await {
            let takes = Duration::from_secs(1) * bytes.len() as u32 / per_second as u32;
            free = free.max(came) + takes;
            sleep_until(free).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(taking, giving);
}

/// A channel by this way, which A dials.
pub(super) async fn connect_by(way: &Way, a: &mut Node, b: &mut Node, also: Vec<BookEntry>) {
    b.book(vec![a.entry(nowhere)]).await;
    let mut entries = vec![BookEntry { addresses: vec![way.address.to_vec()], ..b.entry(nowhere) }];
    entries.extend(also);
    a.book(entries).await;
    assert_eq!(b.up().await.0, a.member());
}
