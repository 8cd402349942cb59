//! `wattle group rotate`.

use crate::cli::{Place, exit, exit::Exit, show};

/// Make this node's sending keys anew
///
/// Nobody who learnt the old ones can read what follows. Nodes do it by themselves when members
/// change, and every day.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group rotate ops"]))]
pub struct Rotate {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
}

impl Rotate {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let rotated = place.client().await?.rotate(&self.group).await?;
        if place.json {
            show::json(&rotated)?;
        }
        let group = show::safe(&self.group);
        show::words(format_args!("your next message in {group} is under new keys"));
        show::next(format_args!("wattle send {}", show::word(&self.group)));
        Ok(Exit::Done)
    }
}
