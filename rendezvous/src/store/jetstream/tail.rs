//! What comes on a shard, from all processes: an ephemeral consumer that is made anew whenever it falters.
//!
//! A cluster that has just lost a server may need long to make one, and still has leaders: until there
//! is one, messages are fetched one by one.
//!
//! > It begins with the message that was applied last, and looks whether that is still the one that it
//! > was. If it isn't, the cluster has lost what it had acknowledged, and this process ends.

use std::{sync::Weak, time::Duration};

use async_nats::jetstream::{
    Message as JetMessage,
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
};
use futures::StreamExt as _;

use super::{
    Shared,
    applier::{Applied, Message, Queue},
    cluster::Stream,
    record::{Sum, mark},
};

/// How soon it is noticed that nothing comes any more: after twice this.
const HEARTBEAT: Duration = Duration::from_millis(500);
const EXPIRES: Duration = Duration::from_secs(20);
/// Messages and bytes asked for at once: what a shard may have waiting in memory.
const BATCH: usize = 200;
const BATCH_BYTES: usize = 4 << 20;
/// How long the server keeps a consumer of which nobody asks anything.
const FORGET: Duration = Duration::from_secs(10);
/// How often it is looked for the next message where there is no consumer.
const FETCH: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MOST: Duration = Duration::from_secs(2);
/// How long the server may take to make a consumer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a tail begins anew.
enum Faltered {
    /// The connection, the server, or a message that is missing: again.
    Again,
    /// What was applied last stands there no more.
    Parted,
    /// Messages are gone that were not applied yet.
    Behind,
    /// The store is gone.
    Ended,
}

/// Brings a shard's messages to the index, until the store is gone.
pub(super) async fn run(
    shard: u8,
    stream: Stream,
    applied: Applied,
    queue: Queue,
    shared: Weak<Shared>,
) {
    let mut pause = PAUSE;
    loop {
        let before = applied.borrow().at;
        let faltered = follow(shard, &stream, &applied, &queue).await;
        match faltered {
            Faltered::Again => {}
            Faltered::Ended => return,
            Faltered::Parted => tracing::error!(
                "the cluster has lost what it had acknowledged: give it another name (--cluster-name), \
                 so that clients read anew"
            ),
            Faltered::Behind => tracing::error!(
                "this relay fell so far behind that the cluster has let go of what it lacks; start it \
                 again, and it reads all anew"
            ),
        }
        if !matches!(faltered, Faltered::Again) {
            if let Some(shared) = shared.upgrade() {
                shared.end();
            }
            return;
        }
        let moved = applied.borrow().at > before;
        pause = if moved { PAUSE } else { (pause * 2).min(PAUSE_MOST) };
        tokio::time::sleep(pause).await;
    }
}

async fn follow(shard: u8, stream: &Stream, applied: &Applied, queue: &Queue) -> Faltered {
    let last = *applied.borrow();
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: last.at.max(1) },
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: FORGET,
        ..Default::default()
    };
    let made = stream.jet.create_consumer_on_stream(config, stream.name.as_str());
    let made = tokio::select! {
        made = tokio::time::timeout(PATIENCE, made) => made,
        ended = fetch(shard, stream, applied, queue) => return ended,
    };
    let consumer: PullConsumer = match made {
        Ok(Ok(consumer)) => consumer,
        Ok(Err(error)) => {
            tracing::debug!(shard, %error, "no consumer");
            return Faltered::Again;
        }
        Err(_) => {
            tracing::debug!(shard, "no consumer in time");
            return Faltered::Again;
        }
    };
    let asked = consumer.stream().max_messages_per_batch(BATCH).max_bytes_per_batch(BATCH_BYTES);
    let asked = asked.heartbeat(HEARTBEAT).expires(EXPIRES);
    let Ok(mut messages) = asked.messages().await else { return Faltered::Again };
    let mut expected = None;
    while let Some(message) = messages.next().await {
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(shard, %error, "the consumer falters");
                return Faltered::Again;
            }
        };
        let Some(at) = place(&message) else { return Faltered::Again };
        let next = last.at + 1;
        match expected {
            None if at == last.at => {
                // An index that was just made has seen no message yet.
                if last.mark != Sum::default() && mark(&message.payload) != last.mark {
                    return Faltered::Parted;
                }
                expected = Some(next);
                continue;
            }
            None if at > next => return Faltered::Behind,
            None if at == next => {}
            Some(expected) if at == expected => {}
            _ => return Faltered::Again,
        }
        expected = Some(at + 1);
        let payload = message.message.payload;
        if queue.send(Some(Message { shard, at, payload })).await.is_err() {
            return Faltered::Ended;
        }
    }
    Faltered::Again
}

/// Fetches what comes, message by message, for as long as it is let.
async fn fetch(shard: u8, stream: &Stream, applied: &Applied, queue: &Queue) -> Faltered {
    loop {
        tokio::time::sleep(FETCH).await;
        let mut at = applied.borrow().at + 1;
        while let Some(payload) = stream.message(at).await {
            if queue.send(Some(Message { shard, at, payload })).await.is_err() {
                return Faltered::Ended;
            }
            at += 1;
        }
    }
}

fn place(message: &JetMessage) -> Option<u64> {
    message.info().ok().map(|info| info.stream_sequence)
}
