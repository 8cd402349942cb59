//! `wattle send`.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    time::Duration,
};

use anyhow::Context;
use clap::ValueEnum;
use node::{
    api::types::{Delivery, Message, What},
    client::{Client, ClientError, EventStream},
};

use super::{
    Place, args, exit,
    exit::{Exit, Failure},
    input, show,
};

/// Send messages to a group
///
/// Without TEXT each line of standard input is a message. The node keeps what it can't deliver yet.
///
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle send ops deployed", "wattle send ops deployed --wait all", "make 2>&1 | wattle send ops"]))]
pub struct Send {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// The message
    text: Vec<String>,
    /// Wait until a relay has it, or until all members' nodes have it
    #[arg(long, value_name = "FOR")]
    wait: Option<Wait>,
    /// How long to wait: 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = args::duration, default_value = "30s")]
    timeout: Duration,
}

/// What `--wait` waits for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wait {
    /// A relay keeps it.
    Stored,
    /// Each member's node has it.
    All,
}

/// Own messages that are not yet where they are waited for, by local id.
type Open = BTreeMap<String, Delivery>;

impl Send {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let mut events = client.events_from_now().await?;
        let sent = if self.text.is_empty() {
            self.send_lines(&client, place).await?
        } else {
            vec![self.send(&client, &self.text.join(" "), place).await?]
        };
        let messages = show::count(sent.len() as u64, "message");
        match self.wait {
            None => show::words(format_args!("{messages} sent")),
            Some(wait) => {
                let mut open =
                    sent.into_iter().filter_map(|one| Some((one.id, one.delivery?))).collect();
                let settled = settle(wait, &mut open, &mut events);
                match tokio::time::timeout(self.timeout, settled).await {
                    Ok(settled) => settled?,
                    Err(_) => return Err(wait.missed(&open).into()),
                }
                show::words(format_args!("{messages} {}", wait.done()));
            }
        }
        show::next(format_args!("wattle tail {}", show::word(&self.group)));
        Ok(Exit::Done)
    }

    async fn send(&self, client: &Client, text: &str, place: &Place) -> anyhow::Result<Message> {
        let sent = client.send(&self.group, text).await?;
        if place.json {
            show::json(&sent)?;
        }
        Ok(sent)
    }

    async fn send_lines(&self, client: &Client, place: &Place) -> anyhow::Result<Vec<Message>> {
        // An unknown group is told before anything is typed.
        let group = client.group(&self.group).await?.summary.name;
        if io::stdin().is_terminal() {
            let group = show::safe(&group);
            show::words(format_args!("to {group}: each line is a message; Ctrl-D ends"));
        }
        let (mut lines, mut sent) = (input::lines(), Vec::new());
        for number in 1.. {
            let Some(line) = lines.recv().await.transpose()? else { break };
            if !line.trim().is_empty() {
                let message = self.send(client, &line, place).await;
                sent.push(message.with_context(|| format!("line {number}"))?);
            }
        }
        Ok(sent)
    }
}

/// Waits until nothing is open.
async fn settle(wait: Wait, open: &mut Open, events: &mut EventStream) -> Result<(), ClientError> {
    loop {
        open.retain(|_, delivery| !wait.holds(delivery));
        if open.is_empty() {
            return Ok(());
        }
        if let What::Delivery { message, delivery } = events.next().await?.what
            && let Some(known) = open.get_mut(&message)
        {
            *known = delivery;
        }
    }
}

impl Wait {
    /// Whether a message is where it is waited for. What all members have needs no relay.
    fn holds(self, delivery: &Delivery) -> bool {
        let all = delivery.sealed && delivery.missing.is_empty();
        all || (self == Self::Stored && delivery.stored)
    }

    fn done(self) -> &'static str {
        match self {
            Self::Stored => "sent, and kept by a relay or by all members",
            Self::All => "sent; all members' nodes have it",
        }
    }

    fn missed(self, open: &Open) -> Failure {
        let what = show::count(open.len() as u64, "message");
        let mut missing: Vec<_> = open.values().flat_map(|one| &one.missing).cloned().collect();
        missing.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
        missing.dedup();
        let message = if open.values().any(|one| !one.sealed) {
            format!("{what} still waiting here, not yet sealed; the node goes on trying")
        } else {
            let missing = show::names(&missing);
            match self {
                Self::All => format!("{what} not yet with {missing}; the node goes on trying"),
                Self::Stored => {
                    format!(
                        "{what} kept by no relay yet, nor by {missing}; the node goes on trying"
                    )
                }
            }
        };
        Failure::new(Exit::NotDelivered, message, "wattle status")
    }
}

#[cfg(test)]
mod tests {
    use node::api::types::MemberRef;

    use super::*;

    fn delivery(sealed: bool, stored: bool, missing: &[&str]) -> Delivery {
        let member = |name: &&str| MemberRef { id: format!("{name}-id"), name: (*name).into() };
        let missing = missing.iter().map(member).collect();
        Delivery { sealed, stored, received: vec![], missing }
    }

    #[test]
    fn waiting_ends_with_what_was_asked_for_and_not_before() {
        let queued = delivery(false, false, &[]);
        let stored = delivery(true, true, &["ben"]);
        let all = delivery(true, false, &[]);
        assert_eq!([&queued, &stored, &all].map(|one| Wait::All.holds(one)), [false, false, true]);
        assert_eq!(
            [&queued, &stored, &all].map(|one| Wait::Stored.holds(one)),
            [false, true, true]
        );
    }

    #[test]
    fn who_is_missing_is_named_once() {
        let one = delivery(true, true, &["cleo", "ben"]);
        let open = [("1".into(), one.clone()), ("2".into(), one)].into_iter().collect();
        let words = Wait::All.missed(&open).to_string();
        assert!(words.starts_with("2 messages not yet with ben, cleo;"), "{words}");
    }
}
