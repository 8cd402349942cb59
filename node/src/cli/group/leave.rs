//! `wattle group leave`.

use crate::cli::{Place, exit, exit::Exit, show};

/// Leave a group
///
/// What was written in it so far stays readable here. To come back, one needs a new invite.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group leave ops"]))]
pub struct Leave {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
}

impl Leave {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let left = place.client().await?.leave(&self.group).await?;
        if place.json {
            show::json(&left)?;
        }
        show::words(format_args!("you have left {}", show::safe(&self.group)));
        show::next("wattle group list");
        Ok(Exit::Done)
    }
}
