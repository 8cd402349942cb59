//! `wattle group share-history`.

use crate::cli::{Place, exit, exit::Exit, show};

/// Share the last messages with those who came later
///
/// Every member of this moment gets them, with their writers and times; who had them sees nothing
/// new. The group's policy must allow it.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group share-history ops --last 50"]))]
pub struct ShareHistory {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// How many of the last messages, at most 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    last: u32,
}

impl ShareHistory {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let told = place.client().await?.share_history(&self.group, self.last).await?;
        if place.json {
            show::json(&told)?;
            return Ok(Exit::Done);
        }
        let names: Vec<String> = told.with.iter().map(|member| show::safe(&member.name)).collect();
        show::data(format_args!("shared {} messages with {}", told.shared, names.join(", ")))?;
        if told.skipped > 0 {
            show::words(format_args!("{} were too long or too old to share", told.skipped));
        }
        show::next(format_args!("wattle history {}", show::word(&self.group)));
        Ok(Exit::Done)
    }
}
