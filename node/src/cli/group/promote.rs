//! `wattle group promote` and `wattle group demote`.

use crate::cli::{Place, exit, exit::Exit, show};

/// Make an admin of a member
///
/// An admin may invite, let people in, and remove those who came in below them.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group promote ops ben"]))]
pub struct Promote {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// The member's name, or the first digits of its id
    member: String,
}

/// Take an admin's rights
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group demote ops ben"]))]
pub struct Demote {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// The member's name, or the first digits of its id
    member: String,
}

impl Promote {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let group = place.client().await?.promote(&self.group, &self.member).await?;
        if place.json {
            show::json(&group)?;
        }
        let (member, name) = (show::safe(&self.member), show::safe(&group.summary.name));
        show::words(format_args!("{member} is an admin of {name} now"));
        show::next(format_args!("wattle group show {}", show::word(&self.group)));
        Ok(Exit::Done)
    }
}

impl Demote {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let group = place.client().await?.demote(&self.group, &self.member).await?;
        if place.json {
            show::json(&group)?;
        }
        let (member, name) = (show::safe(&self.member), show::safe(&group.summary.name));
        show::words(format_args!("{member} is no admin of {name} any more"));
        show::next(format_args!("wattle group show {}", show::word(&self.group)));
        Ok(Exit::Done)
    }
}
