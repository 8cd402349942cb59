//! `wattle history`.

use node::{
    api::types::{Class, Message, Page},
    client::{Client, ClientError},
};

use super::{
    Place, exit,
    exit::Exit,
    show::{self, Conversation},
};

/// How many messages are asked for at once: with the longest texts, all of them escaped, and all
/// members named in each, an answer is still short enough to be read.
pub const PAGE: u32 = 100;

/// Print the messages of a group
///
/// Times are UTC.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle history ops -n 100", "wattle history ops --ids"]))]
pub struct History {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// How many of the last messages
    #[arg(short, value_name = "N", default_value_t = 50)]
    n: u32,
    /// Show the first digits of each message's id, by which to answer, edit or react
    #[arg(long)]
    ids: bool,
}

impl History {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let messages = last(&place.client().await?, &self.group, self.n).await?;
        if place.json {
            show::json_lines(&messages)?;
            return Ok(Exit::Done);
        }
        let (apart, kept): (Vec<_>, Vec<_>) =
            messages.iter().partition(|message| message.class == Class::PostCut);
        let mut conversation = Conversation::with_ids(self.ids);
        for message in &kept {
            conversation.message(message)?;
        }
        if !apart.is_empty() {
            show::data("-- kept apart: written after the writer's removal --")?;
            for message in &apart {
                conversation.message(message)?;
            }
        }
        if messages.is_empty() {
            show::words("no messages yet");
        }
        show::next(format_args!("wattle tail {}", show::word(&self.group)));
        Ok(Exit::Done)
    }
}

/// The last `n` messages, oldest first.
pub async fn last(client: &Client, group: &str, n: u32) -> Result<Vec<Message>, ClientError> {
    let mut pages: Vec<Vec<Message>> = Vec::new();
    let (mut left, mut before) = (n, None);
    while left > 0 {
        let limit = left.min(PAGE);
        let page = Page { before, limit: Some(limit), after: None };
        let page = client.history(group, page).await?;
        let Some(first) = page.first() else { break };
        before = Some(first.seq);
        left -= limit;
        pages.push(page);
    }
    if n == 0 {
        client.group(group).await?;
    }
    Ok(pages.into_iter().rev().flatten().collect())
}
