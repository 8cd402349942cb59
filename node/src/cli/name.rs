//! `wattle name`.

use super::{Place, exit, exit::Exit, show};

/// Give yourself another name, in all your groups
///
/// Only the name changes: you are the same identity, and whoever has verified you still has. Members see it once their
/// nodes have heard of it; what they wrote before with the old name in it stays as it is.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle name anna"]))]
pub struct Name {
    /// The name that others see from now on
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: String,
}

impl Name {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let renamed = place.client().await?.rename(&self.name).await?;
        if place.json {
            show::json(&renamed)?;
        }
        let (name, before) = (show::safe(&renamed.me.name), show::safe(&renamed.before));
        if renamed.me.name == renamed.before {
            show::words(format_args!("{name} is your name already"));
        } else {
            show::words(format_args!("you are {name} from now on; you were {before}"));
        }
        show::next("wattle status");
        Ok(Exit::Done)
    }
}
