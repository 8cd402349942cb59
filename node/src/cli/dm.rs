//! `wattle dm`.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use node::{
    api::types::{Talk, TalkState},
    client::Client,
};
use tokio::time::{Instant, sleep};

use super::{
    Place, exit,
    exit::{Exit, Failure},
    show,
};

/// Talk with one member alone, or show with whom you do
///
/// A conversation of two is a group in which nobody else ever is: @MEMBER stands for it wherever a group is named. Who
/// isn't in one with you is asked, over a group that you are both in, and nobody else there learns of it; what you
/// write waits until they come, by wattle dm on their side. Where a member asks you, this is how you come.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle dm @ben", "wattle dm @ben are you there?", "wattle dm", "wattle dm @mallory --deny"]))]
pub struct Dm {
    /// The member's name, or the first digits of the id; those with whom you talk, where left out
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    member: Option<String>,
    /// A message
    text: Vec<String>,
    /// Pass over that this member asks, who isn't told; `wattle block` passes over whatever more they ask
    #[arg(long, requires = "member", conflicts_with = "text")]
    deny: bool,
}

/// How long it is waited for a message's group, on the way into it.
const COMING: Duration = Duration::from_secs(60);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(250);

impl Dm {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let Some(member) = &self.member else { return list(&client, place).await };
        if self.deny {
            let talk = client.deny_talk(member).await?;
            if place.json {
                show::json(&talk)?;
            }
            let who = show::identity(&talk.member);
            show::words(format_args!("{who} waits, and is told nothing"));
            show::next(format_args!("wattle block @{}", show::digits(&talk.member.id)));
            return Ok(Exit::Done);
        }
        let mut talk = client.talk(member).await?;
        if talk.group.is_none() && !self.text.is_empty() {
            show::words(format_args!("coming to {}…", show::identity(&talk.member)));
            talk = come(&client, talk).await?;
        }
        let group = talk.group.clone();
        if let (Some(group), false) = (&group, self.text.is_empty()) {
            client.send(group, &self.text.join(" ")).await?;
        }
        if place.json {
            show::json(&talk)?;
        }
        let (who, digits) = (show::identity(&talk.member), show::digits(&talk.member.id));
        show::words(match talk.state {
            TalkState::Asked => format!("{who} is asked: what you write waits until they come"),
            TalkState::Asks | TalkState::Joining => format!("on the way to {who}"),
            TalkState::Open if self.text.is_empty() => format!("you talk with {who} alone"),
            TalkState::Open => format!("sent to {who} alone"),
        });
        match (&group, self.text.is_empty()) {
            (Some(_), true) => show::next(format_args!("wattle send @{digits} TEXT")),
            (Some(_), false) => show::next(format_args!("wattle tail @{digits}")),
            (None, _) => show::next("wattle dm"),
        }
        Ok(Exit::Done)
    }
}

async fn come(client: &Client, mut talk: Talk) -> anyhow::Result<Talk> {
    let end = Instant::now() + COMING;
    while talk.group.is_none() {
        if Instant::now() >= end {
            let hint = "the node goes on trying; say it again once `wattle dm` shows it as open";
            let message = "the other one's node did not let you in yet: nothing was sent";
            return Err(Failure::new(Exit::Network, message, hint).into());
        }
        sleep(LOOK).await;
        talk = client.talk(&talk.member.id).await?;
    }
    Ok(talk)
}

async fn list(client: &Client, place: &Place) -> anyhow::Result<Exit> {
    let talks = client.talks().await?;
    if place.json {
        show::json_lines(&talks)?;
        return Ok(Exit::Done);
    }
    for line in show::table(&talks.iter().map(row).collect::<Vec<_>>()) {
        show::data(line)?;
    }
    if talks.is_empty() {
        show::words("you talk with nobody alone");
        show::next("wattle dm @MEMBER");
    }
    Ok(Exit::Done)
}

fn row(talk: &Talk) -> Vec<String> {
    let since = talk.since.as_deref().map(show::moment).unwrap_or_default();
    let state = match talk.state {
        TalkState::Asked => format!("asked {since}, has not come yet"),
        TalkState::Asks => {
            format!("asks you since {since}: wattle dm @{}", show::digits(&talk.member.id))
        }
        TalkState::Joining => "you are on the way".into(),
        TalkState::Open => "open".into(),
    };
    vec![show::identity(&talk.member), state]
}
