//! `wattle group create`.

use crate::cli::{Place, exit, exit::Exit, show};

/// Make a group, with this node as its founder
///
///
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group create ops"]))]
pub struct Create {
    /// Its name: 1 to 64 bytes
    name: String,
}

impl Create {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let group = place.client().await?.create_group(&self.name).await?;
        if place.json {
            show::json(&group)?;
        } else {
            let (id, name) = (&group.summary.id, show::safe(&group.summary.name));
            show::data(format_args!("{}  {name}", show::safe(id)))?;
        }
        show::next(format_args!("wattle invite {}", show::word(&self.name)));
        Ok(Exit::Done)
    }
}
