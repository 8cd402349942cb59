//! `wattle history`.

use clap::builder::NonEmptyStringValueParser;
use node::{
    api::types::{Class, Message, Only, Page},
    client::{Client, ClientError},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Place, args, exit,
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
#[command(after_help = exit::help(&[
    "wattle history ops -n 100",
    "wattle history ops --ids",
    "wattle history ops --before 1a2b3c4d",
    "wattle history ops --from @ben --since 7d --until 1d",
]))]
pub struct History {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
    /// How many of the last messages, of those that are asked for
    #[arg(short, value_name = "N", default_value_t = 50)]
    n: u32,
    /// Only what stands before this message: the first digits of its id, at least four (--ids shows them)
    #[arg(long, value_name = "MESSAGE", value_parser = NonEmptyStringValueParser::new())]
    before: Option<String>,
    /// Only what this member wrote, now or once: a name, with or without @, or the first digits of an id
    #[arg(long, value_name = "MEMBER", visible_alias = "member", value_parser = NonEmptyStringValueParser::new())]
    from: Option<String>,
    /// Only what was written from this time on, by the writer's clock: 2026-01-31, 2026-01-31T14:03:00Z, or 7d ago
    #[arg(long, value_name = "TIME", value_parser = args::moment)]
    since: Option<OffsetDateTime>,
    /// Only what was written before this time
    #[arg(long, value_name = "TIME", value_parser = args::moment)]
    until: Option<OffsetDateTime>,
    /// Show the first digits of each message's id, by which to answer, edit or react
    #[arg(long)]
    ids: bool,
}

impl History {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let (messages, is_more) = self.read(&client).await?;
        if place.json {
            show::json_lines(&messages)?;
            return Ok(Exit::Done);
        }
        let (apart, kept): (Vec<_>, Vec<_>) =
            messages.iter().partition(|message| message.class == Class::PostCut);
        let mut conversation = Conversation::with_ids(self.ids);
        conversation.tell_apart(&client.group(&self.group).await?.people);
        for message in &kept {
            conversation.message(message)?;
        }
        if !apart.is_empty() {
            show::data("-- kept apart: written after the writer's removal --")?;
            for message in &apart {
                conversation.message(message)?;
            }
        }
        let hidden = messages.iter().filter(|message| message.more.blocked).count();
        if hidden > 0 {
            let hidden = show::count(hidden as u64, "message");
            show::words(format_args!("{hidden} of blocked members: wattle blocked"));
        }
        match (messages.first(), self.is_all()) {
            (None, true) => show::words("no messages yet"),
            (None, false) => show::words("no such messages"),
            (Some(first), false) if is_more => {
                let id = show::short(&first.id);
                show::words(format_args!("there may be older ones: the same with --before {id}"));
            }
            (Some(_), _) => {}
        }
        show::next(format_args!("wattle tail {}", show::word(&self.group)));
        Ok(Exit::Done)
    }

    fn is_all(&self) -> bool {
        let Self { before, from, since, until, .. } = self;
        before.is_none() && from.is_none() && since.is_none() && until.is_none()
    }

    /// The messages, oldest first, and whether there may be more before them.
    async fn read(&self, client: &Client) -> anyhow::Result<(Vec<Message>, bool)> {
        let before = match &self.before {
            Some(message) => Some(client.find_message(&self.group, message).await?.seq),
            None => None,
        };
        // Nothing was written before that, and a year before 0 can't be told.
        let written = |at: OffsetDateTime| at.max(OffsetDateTime::UNIX_EPOCH).format(&Rfc3339);
        let rfc3339 = |at: Option<OffsetDateTime>| at.map(written).transpose();
        let (since, until) = (rfc3339(self.since)?, rfc3339(self.until)?);
        let only = Only { from: self.from.clone(), since, until };
        Ok(read(client, &self.group, &only, (before, self.n)).await?)
    }
}

/// The last `n` messages, oldest first.
pub async fn last(client: &Client, group: &str, n: u32) -> Result<Vec<Message>, ClientError> {
    Ok(read(client, group, &Only::default(), (None, n)).await?.0)
}

/// The last `n` messages that are wanted before one, oldest first; and whether there may be more.
async fn read(
    client: &Client,
    group: &str,
    only: &Only,
    (before, n): (Option<u64>, u32),
) -> Result<(Vec<Message>, bool), ClientError> {
    let mut pages: Vec<Vec<Message>> = Vec::new();
    let (mut left, mut before) = (n, before);
    let mut is_more = true;
    while left > 0 && is_more {
        let limit = left.min(PAGE);
        let page = if *only == Only::default() {
            let page = Page { before, limit: Some(limit), after: None };
            let page = client.history(group, page).await?;
            before = page.first().filter(|_| page.len() == limit as usize).map(|first| first.seq);
            page
        } else {
            let (page, next) = client.history_only(group, only, (before, limit)).await?;
            before = next;
            page
        };
        is_more = before.is_some();
        left = left.saturating_sub(u32::try_from(page.len()).unwrap_or(limit));
        pages.push(page);
    }
    if n == 0 {
        client.group(group).await?;
    }
    Ok((pages.into_iter().rev().flatten().collect(), is_more))
}
