//! An alert that somebody has to acknowledge, with any reaction: `wattle react ops last ack`.
//!
//! ```sh
//! cargo run -p examples --example alert -- ~/.local/share/wattle ops "disk is full on web1"
//! ```
//!
//! It says the alert again every five minutes (`WATTLE_REMIND=SECONDS`), as an answer to it, and ends with 0 once
//! somebody has acknowledged it, or with 8 after twelve times. Its own member's reactions don't count.

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use node::{
    api::types::{Message, SendMessage, What},
    client::{Client, EventStream},
};

/// How often it is said in all.
const TIMES: u32 = 12;
/// Sent, but nobody has acknowledged it: as `wattle send --wait` ends.
const NOT_DELIVERED: u8 = 8;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [data_dir, group, text] = args.as_slice() else {
        anyhow::bail!("say where and what: alert DATA_DIR GROUP TEXT");
    };
    let remind = std::env::var("WATTLE_REMIND").unwrap_or_else(|_| "300".into());
    let remind = Duration::from_secs(remind.parse().context("WATTLE_REMIND is no number")?);
    let client = Client::connect(Path::new(data_dir)).await?;
    // From before it is said: no acknowledgement comes too early to be seen.
    let mut events = client.events_from_now().await?;
    let alert = client.send(group, text).await?;
    println!("alert {} waits for a reaction", alert.id);
    for time in 1..=TIMES {
        if let Ok(who) = tokio::time::timeout(remind, acknowledged(&mut events, &alert)).await {
            println!("acknowledged by {:?}", who?);
            return Ok(ExitCode::SUCCESS);
        }
        if time < TIMES {
            let again = SendMessage {
                text: format!("nobody has acknowledged yet: {text}"),
                reply: Some(alert.id.clone()),
                mentions: Vec::new(),
            };
            client.say(group, &again).await?;
            println!("said again");
        }
    }
    eprintln!("nobody has acknowledged alert {}", alert.id);
    Ok(NOT_DELIVERED.into())
}

/// The name of the first who reacts to the alert.
async fn acknowledged(events: &mut EventStream, alert: &Message) -> Result<String> {
    loop {
        let What::Changed { message, .. } = events.next().await?.what else { continue };
        if message.id != alert.id {
            continue;
        }
        // The event shows the message as it is now: a reaction that was taken away is not in it.
        let mut who = message.more.reactions.iter().flat_map(|reaction| &reaction.by);
        if let Some(who) = who.find(|who| who.id != alert.from.id) {
            return Ok(who.name.clone());
        }
    }
}
