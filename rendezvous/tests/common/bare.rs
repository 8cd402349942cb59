//! JetStream without a relay, under the same faults: what the longest gap is to be measured against.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{
    Client,
    jetstream::{self, Context, stream},
};
use tokio::task::JoinHandle;

use super::nats::Nats;

/// How long a stream may take until all its servers have all of it, before something is done.
const UNSETTLED: Duration = Duration::from_secs(40);

/// The stream of the log of the load: its id's first byte, in eight shards.
pub fn stream_of(log: &protocol::ids::LogId) -> String {
    format!("wattle-{}", log.as_bytes()[0] % 8)
}

/// A publisher that waits for each acknowledgement.
pub struct Bare {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Duration>,
}

pub async fn connect(urls: &[String]) -> Client {
    let options = async_nats::ConnectOptions::new().ping_interval(Duration::from_secs(2));
    options.connect(urls).await.unwrap()
}

impl Bare {
    pub async fn start(client: &Client) -> Self {
        let jet = jetstream::new(client.clone());
        let config = stream::Config {
            name: "bare".into(),
            subjects: vec!["bare".into()],
            num_replicas: 3,
            ..Default::default()
        };
        // A cluster that is busy may not answer in the client's own time.
        let start = Instant::now();
        while let Err(error) = jet.create_stream(config.clone()).await {
            assert!(start.elapsed() < UNSETTLED * 4, "{error}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(publish(client.clone(), Arc::clone(&stop)));
        Self { stop, task }
    }

    /// Stops; answers the longest time without an acknowledgement.
    pub async fn gap(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap().as_secs_f64()
    }
}

async fn publish(client: Client, stop: Arc<AtomicBool>) -> Duration {
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let request = async_nats::Request::new()
            .payload(vec![7; 512].into())
            .timeout(Some(Duration::from_secs(2)));
        let answer = client.send_request("bare", request).await;
        if answer.is_ok_and(|answer| answer.payload.windows(5).any(|part| part == b"\"seq\"")) {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    longest
}

/// Which server leads a stream, by its number.
pub async fn leader(jet: &Context, stream: &str) -> usize {
    loop {
        let name = match jet.get_stream(stream).await {
            Ok(stream) => stream.cached_info().cluster.as_ref().and_then(|it| it.leader.clone()),
            Err(_) => None,
        };
        if let Some(name) = name {
            return number(&name);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Has a stream led by a server, so that a fault there meets both.
pub async fn lead(client: &Client, stream: &str, server: usize) {
    let jet = jetstream::new(client.clone());
    for _ in 0..20 {
        if leader(&jet, stream).await == server {
            return;
        }
        let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
        let _ = client.request(subject, "".into()).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until each stream has a leader, and others that have all that it has: the next fault is to meet
/// a whole cluster. A server that does not get there is started again; 2.10.27 has been seen to keep one
/// out of a stream's group for minutes after a SIGKILL under load.
pub async fn settled(jet: &Context, nats: &mut Nats) {
    let shards = (0..8).map(|shard| format!("wattle-{shard}"));
    for name in shards.chain(["bare".to_owned()]) {
        let (start, mut since) = (Instant::now(), Instant::now());
        loop {
            let info = jet.get_stream(&name).await.ok();
            let cluster = info.and_then(|stream| stream.cached_info().cluster.clone());
            let cluster = cluster.unwrap_or_default();
            let is_there = |peer: &&stream::PeerInfo| peer.current && !peer.offline;
            if cluster.leader.is_some() && cluster.replicas.iter().filter(is_there).count() == 2 {
                break;
            }
            assert!(start.elapsed() < UNSETTLED * 8, "{name} has not settled: {cluster:?}");
            if since.elapsed() > UNSETTLED {
                println!("{name} does not settle: {cluster:?}");
                let missing = cluster.replicas.iter().filter(|peer| !is_there(peer));
                let servers: Vec<_> = missing.map(|peer| number(&peer.name)).collect();
                tokio::task::block_in_place(|| servers.into_iter().for_each(|it| nats.again(it)));
                since = Instant::now();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn number(server: &str) -> usize {
    server.trim_start_matches('n').parse().unwrap()
}
