//! `wattle edit`, `delete`, `react`, `pin`: what changes a message.

use clap::builder::NonEmptyStringValueParser;
use node::{api::types::Message, core::TEXT_MAX};

use super::{Place, exit, exit::Exit, input, show};

/// Which message.
#[derive(clap::Args)]
pub struct Which {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
    /// The first digits of the message's id, at least four (wattle history GROUP --ids shows them), or last
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    message: String,
}

/// Give a message of yours another text
///
/// Everybody sees that it was edited. What it said before stays on members' machines, and can be asked for there.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle edit ops 1a2b3c4d deployed to staging", "wattle edit ops last - < text"]))]
pub struct Edit {
    #[command(flatten)]
    which: Which,
    /// What it says now; - is standard input
    #[arg(required = true)]
    text: Vec<String>,
}

/// Delete a message of yours
///
/// The others' nodes are asked to delete it, and show that you did. What somebody has copied, backed up or exported, and
/// what a changed program keeps, stays: nobody can take it back.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle delete ops 1a2b3c4d"]))]
pub struct Delete {
    #[command(flatten)]
    which: Which,
}

/// React to a message with an emoji or a short word
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle react ops 1a2b3c4d 👍", "wattle react ops last ack", "wattle react ops last ack --off"]))]
pub struct React {
    #[command(flatten)]
    which: Which,
    /// The emoji or word, at most 32 bytes
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    sign: String,
    /// Take it away again
    #[arg(long)]
    off: bool,
}

/// Pin a message for everybody, as an admin
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle pin ops 1a2b3c4d", "wattle pin ops 1a2b3c4d --off"]))]
pub struct Pin {
    #[command(flatten)]
    which: Which,
    /// Pin it no more
    #[arg(long)]
    off: bool,
}

impl Edit {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let Which { group, message } = self.which;
        let text = match self.text.as_slice() {
            [dash] if dash == "-" => input::whole(TEXT_MAX)?,
            words => words.join(" "),
        };
        let shown = place.client().await?.edit(&group, &message, &text).await?;
        done(place, &group, &shown)
    }
}

impl Delete {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let Which { group, message } = self.which;
        let shown = place.client().await?.delete_message(&group, &message).await?;
        done(place, &group, &shown)
    }
}

impl React {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let Which { group, message } = self.which;
        let shown = place.client().await?.react(&group, &message, &self.sign, !self.off).await?;
        done(place, &group, &shown)
    }
}

impl Pin {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let Which { group, message } = self.which;
        let shown = place.client().await?.pin(&group, &message, !self.off).await?;
        done(place, &group, &shown)
    }
}

fn done(place: &Place, group: &str, shown: &Message) -> anyhow::Result<Exit> {
    if place.json {
        show::json(shown)?;
    } else {
        show::Conversation::default().message(shown)?;
    }
    show::next(format_args!("wattle history {}", show::word(group)));
    Ok(Exit::Done)
}
