//! `wattle bench store`: what a long history costs: a node with many messages is started, asked for words and for pages.

use std::time::{Duration, Instant};

use anyhow::Context;
use node::{
    api::types::{Page, SearchFor, VERSION},
    store::{Body, NewMessage, Store, StoreError, Unlock},
};
use protocol::{
    group::SignedContent,
    ids::{ChainId, GroupId, MemberId, MessageId, Timestamp},
    sign::Signature,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::Serialize;
use time::OffsetDateTime;

use super::GROUP;
use crate::cli::{Place, exit::Exit, show, stage::Stage};

/// Different words, the nth of which is so many times rarer than the first; and words of a message.
const WORDS: u32 = 20_000;
const LONG: u32 = 8;
/// Messages put in by one transaction.
const AT_ONCE: u32 = 10_000;
/// Measurements of each.
const TIMES: usize = 100;
/// Members who wrote them.
const WRITERS: u8 = 20;

#[derive(Serialize)]
struct Figures {
    v: u8,
    messages: u32,
    start_ms: f64,
    history_ms: f64,
    older_ms: f64,
    word_ms: f64,
    rare_word_ms: f64,
    words_ms: f64,
    slowest_ms: f64,
    bytes: u64,
}

/// Measures a short history and a long one, in one run.
pub(super) async fn run(messages: u32, place: &Place) -> anyhow::Result<Exit> {
    for messages in [messages.div_ceil(100), messages] {
        let many = show::count(messages.into(), "message");
        show::words(format_args!("{many}: put in, then looked for …"));
        let figures = measure(messages).await?;
        if place.json {
            show::json(&figures)?;
            continue;
        }
        let Figures { start_ms, history_ms, older_ms, word_ms, rare_word_ms, words_ms, .. } =
            figures;
        show::data(format_args!(
            "{many}, {} MiB: start to ready {start_ms:.0} ms; medians: last page {history_ms:.2} ms, older page \
             {older_ms:.2} ms, search for a word {word_ms:.2} ms, a rare one {rare_word_ms:.2} ms, two words \
             {words_ms:.2} ms; slowest search {:.2} ms",
            figures.bytes >> 20,
            figures.slowest_ms
        ))?;
    }
    Ok(Exit::Done)
}

async fn measure(messages: u32) -> anyhow::Result<Figures> {
    let stage = Stage::new()?;
    let mut ana = stage.node("ana", "ana", &["--no-relay"]).await?;
    let group = ana.client.create_group(GROUP).await?.summary.id;
    ana.stop().await?;
    let dir = ana.dir.clone();
    let id = (0..32).map(|at| u8::from_str_radix(group.get(2 * at..2 * at + 2)?, 16).ok());
    let id: Vec<u8> = id.collect::<Option<_>>().context("that is no id")?;
    let group = GroupId(id.try_into().ok().context("that is no id")?);
    tokio::task::spawn_blocking(move || {
        fill(&mut Store::open(&dir, &Unlock::KeyFile)?, group, messages)
    })
    .await??;

    let begun = Instant::now();
    let mut ana = stage.node("ana", "ana", &["--no-relay"]).await?;
    let start = begun.elapsed();
    let client = &ana.client;
    let bytes = std::fs::metadata(ana.dir.join("wattle.db"))?.len();
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let mut samples: [Vec<Duration>; 5] = Default::default();
    for _ in 0..TIMES {
        let mut before = None;
        for which in [0, 1] {
            let begun = Instant::now();
            client.history(GROUP, Page { before, limit: Some(50), after: None }).await?;
            samples[which].push(begun.elapsed());
            before = Some(u64::from(1 + rng.next_u32() % messages));
        }
        let (often, rare) = (word(rng.next_u32() % 200), word(WORDS / 2 + rng.next_u32() % 10_000));
        let both = format!("{often} {}", word(rng.next_u32() % 200));
        for (which, q) in [(2, often), (3, rare), (4, both)] {
            let begun = Instant::now();
            client.search(&SearchFor { q: format!("\"{q}\""), ..SearchFor::default() }).await?;
            samples[which].push(begun.elapsed());
        }
    }
    ana.stop().await?;
    let ms = |it: Duration| it.as_secs_f64() * 1000.0;
    let slowest = samples[2..].iter().flatten().max().copied().unwrap_or_default();
    let [history, older, word, rare, words] = samples.map(|mut of| {
        of.sort();
        ms(of[of.len() / 2])
    });
    Ok(Figures {
        v: VERSION,
        messages,
        start_ms: ms(start),
        history_ms: history,
        older_ms: older,
        word_ms: word,
        rare_word_ms: rare,
        words_ms: words,
        slowest_ms: ms(slowest),
        bytes,
    })
}

/// The nth word: letters that no other one begins with.
fn word(n: u32) -> String {
    let letters =
        (0..4).map(|at| char::from(b'a' + u8::try_from(n / 13u32.pow(at) % 13).unwrap_or(0)));
    format!("{}z", letters.collect::<String>())
}

fn fill(store: &mut Store, group: GroupId, messages: u32) -> Result<(), StoreError> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let signed = SignedContent { content: vec![7; 96], signature: Signature([0; 64]) };
    let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(0) * 1_000;
    for from in (0..messages).step_by(AT_ONCE as usize) {
        store.transaction(|tx| {
            for index in from..messages.min(from + AT_ONCE) {
                // So that the first are many times more frequent than the last.
                let mut pick = || {
                    let share = f64::from(rng.next_u32()) / f64::from(u32::MAX);
                    f64::from(WORDS).powf(share) as u32 - 1
                };
                let words: Vec<String> = (0..LONG).map(|_| word(pick())).collect();
                let text = words.join(" ");
                let mut id = [0; 16];
                id[..4].copy_from_slice(&index.to_be_bytes());
                let writer = u8::try_from(index % u32::from(WRITERS)).unwrap_or(0);
                tx.put_message(&NewMessage {
                    group,
                    id,
                    from: MemberId([writer + 1; 32]),
                    body: Body::text(&text),
                    by_admin: false,
                    at: Timestamp(now.saturating_sub(u64::from(messages - index) * 1_000)),
                    class: node::api::types::Class::Ok,
                    chain: ChainId([writer + 1; 16]),
                    index,
                    message: MessageId(id),
                    lamport: 1,
                    clock: 1,
                    signed: &signed,
                    shared_by: None,
                })?;
            }
            Ok::<_, StoreError>(())
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_differ() {
        let words: std::collections::BTreeSet<String> = (0..WORDS).map(word).collect();
        assert_eq!(words.len(), WORDS as usize);
    }
}
