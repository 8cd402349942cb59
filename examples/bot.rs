//! A bot: answers `!ping` in every group of a running node, through its local API.
//!
//! ```sh
//! wattle up &                                  # or any node that runs
//! cargo run -p examples --example bot -- ~/.local/share/wattle
//! ```

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use node::{api::types::What, client::Client};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let data_dir = std::env::args_os()
        .nth(1)
        .or_else(|| std::env::var_os("WATTLE_DATA_DIR"))
        .map(PathBuf::from)
        .context("say which node: bot DATA_DIR (`wattle status` shows it)")?;
    let client = Client::connect(&data_dir).await?;
    let mut events = client.events_from_now().await?;
    println!("answering !ping as {}", client.status().await?.me.name);
    loop {
        let event = events.next().await?;
        if let What::Message { message } = event.what
            && !message.mine
            && message.text.trim() == "!ping"
        {
            let answer = format!("pong, {}", message.from.name);
            client.send(&message.group.id, &answer).await?;
        }
    }
}
