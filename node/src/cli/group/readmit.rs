//! `wattle group readmit`.

use crate::cli::{Place, exit, exit::Exit, show};

/// Let somebody in again
///
/// A member who is back because a removal does not count is sealed to from then on, without the
/// wait; somebody who has left or was removed is a member again. Only admins may.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group readmit ops cleo"]))]
pub struct Readmit {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// The member's name, or the first digits of its id
    member: String,
}

impl Readmit {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let group = place.client().await?.readmit(&self.group, &self.member).await?;
        if place.json {
            show::json(&group)?;
        }
        let (member, name) = (show::safe(&self.member), show::safe(&group.summary.name));
        show::words(format_args!("{member} is a member of {name}"));
        show::next(format_args!("wattle group show {}", show::word(&self.group)));
        Ok(Exit::Done)
    }
}
