//! `wattle wipe`.

use super::{Place, exit, exit::Exit, show};

/// Erase a group from this machine: its messages, keys, log and fetched files
///
/// Leave it first. What other members have stays with them, and so do your backups, exports, and the files that you offered; a
/// disk that copies what it writes, as most SSDs do, may keep traces, all of them encrypted. Whoever is invited again
/// comes back as a newcomer.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle wipe ops", "wattle wipe ops --unheard"]))]
pub struct Wipe {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// Also if nobody has heard yet that you left: they will take you for a member who is away
    #[arg(long)]
    unheard: bool,
}

impl Wipe {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let wiped = place.client().await?.wipe(&self.group, self.unheard).await?;
        if place.json {
            show::json(&wiped)?;
        }
        let files = match wiped.files {
            0 => String::new(),
            n => format!(", with {}", show::count(n, "file")),
        };
        show::words(format_args!("{} is erased from this machine{files}", show::safe(&self.group)));
        show::next("wattle group list");
        Ok(Exit::Done)
    }
}
