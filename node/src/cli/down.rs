//! `wattle down`.

use super::{Place, exit, exit::Exit, show};

/// End the node
///
/// Returns when the node's database is closed.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle down"]))]
pub struct Down {}

impl Down {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        place.client().await?.down().await?;
        show::words("the node has ended");
        show::next("wattle up");
        Ok(Exit::Done)
    }
}
