//! Messages one after another, many at once, and all that somebody missed.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use harness::Node;
use node::api::types::{Path, What};
use tokio::task::JoinSet;

use crate::{
    Asked,
    pair::{GROUP, Pair, words},
    report::{Figure, Outcome, median, share},
};

/// The length of what is said, in bytes: that of a short message.
pub const TEXT: usize = 140;

/// Messages of a burst that are being handed to the node at one time, as by a few programs.
const AT_ONCE: usize = 8;
/// Messages that are handed over before the harness asks whether the node still answers.
const SHEAF: usize = 256;

/// From asking one node to send a message until the other has told that it is there; the path is to be this one
/// before and after.
pub fn latency(pair: &Pair, asked: &Asked, path: Path) -> Outcome {
    pair.reaches(path, asked.patience())?;
    let samples: Vec<Duration> =
        texts("one by one", 0..asked.messages).iter().map(|text| pair.say(text)).collect();
    let burst = burst(pair, asked)?;
    pair.reaches(path, Duration::ZERO)?;
    let shares = [50, 90, 99].map(|percent| Figure::ms(share(&samples, percent)));
    let more = [Figure::Number(burst), Figure::Words(words(&pair.path()))];
    Ok(shares.into_iter().chain(more).collect())
}

/// Messages per second, from the first that is sent to the last that is read.
fn burst(pair: &Pair, asked: &Asked) -> Result<f64, String> {
    let seen = pair.ben.latest_event();
    let begun = Instant::now();
    send_all(&pair.ana, texts("at once", 0..asked.messages));
    let read = read_all(&pair.ben, seen, asked.messages, asked.patience())?;
    Ok(f64::from(asked.messages) / (read - begun).as_secs_f64())
}

/// Who was away reads what was said meanwhile: how long that takes from the start of its process.
pub fn catch_up(pair: &mut Pair, asked: &Asked, from: Source) -> Outcome {
    let mut seconds = Vec::new();
    for round in 0..asked.rounds {
        pair.ben.stop();
        send_all(&pair.ana, texts(&format!("missed {round}"), 0..asked.away));
        pair.until_sent();
        if from == Source::Member {
            pair.kill_relay();
        }
        let seen = pair.ben.latest_event();
        let begun = Instant::now();
        pair.ben.start_again();
        let read = read_all(&pair.ben, seen, asked.away, asked.patience());
        if from == Source::Member {
            pair.restart_relay();
            pair.until_relay_up();
        }
        seconds.push((read? - begun).as_secs_f64());
    }
    let (seconds, away) = (median(seconds), f64::from(asked.away));
    Ok([away, seconds, away / seconds].map(Figure::Number).into())
}

/// Whence somebody gets what it missed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The relay's log.
    Relay,
    /// A member, directly, while the relay is gone.
    Member,
}

/// Texts of one length, all different.
pub fn texts(about: &str, numbers: Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("{:.<TEXT$}", format!("{about} {number} "))).collect()
}

fn send_all(node: &Node, texts: Vec<String>) {
    for sheaf in texts.chunks(SHEAF) {
        let sheaf = sheaf.to_vec();
        node.ask("send", |client| async move {
            let mut under_way = JoinSet::new();
            for text in sheaf {
                if under_way.len() >= AT_ONCE
                    && let Some(sent) = under_way.join_next().await
                {
                    sent.expect("a task that sends")?;
                }
                let client = client.clone();
                under_way.spawn(async move { client.send(GROUP, &text).await.map(drop) });
            }
            while let Some(sent) = under_way.join_next().await {
                sent.expect("a task that sends")?;
            }
            Ok(())
        });
    }
}

/// When so many messages were there, of those after event number `seen`.
fn read_all(node: &Node, seen: u64, all: u32, patience: Duration) -> Result<Instant, String> {
    let mut read = 0;
    let last = node.within(patience, seen, |event| {
        read += u32::from(matches!(&event.what, What::Message { message } if !message.mine));
        (read >= all).then(Instant::now)
    });
    last.ok_or_else(|| format!("{read} of {all} read within {} s", patience.as_secs()))
}
