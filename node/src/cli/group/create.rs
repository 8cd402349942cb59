//! `wattle group create`.

use node::api::types::CreateGroup;

use super::relay_token::{self, RelayToken};
use crate::cli::{Place, exit, exit::Exit, show};

/// Make a group, with this node as its founder
///
/// It uses this node's relays, or those that are named. Where a relay serves holders of its operator's
/// tokens only, the group needs one: from --relay-token-file or the variable WATTLE_RELAY_TOKEN, never
/// from an argument. It goes to the members with the group and with its invite codes. The variable is for
/// this node's own relay: where --relay names another, it counts with --relay-token-for alone.
///
/// The group is made also where the relay does not take the token: exit code 5 says so.
#[derive(clap::Args)]
#[command(after_help = exit::help(&[
    "wattle group create ops",
    "wattle group create ops --relay-token-file ana.token",
    "wattle group create ops --relay /dns/relay.example.org/tcp/4407/p2p/12D3…",
]))]
pub struct Create {
    /// Its name: 1 to 64 bytes
    name: String,
    /// Use this relay, by the address that it printed; may be repeated [default: this node's own]
    #[arg(long = "relay", value_name = "ADDR")]
    relays: Vec<String>,
    #[command(flatten)]
    token: RelayToken,
}

impl Create {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let relay_token = self.token.given_or_of_environment(&self.relays).await?;
        let asked = CreateGroup { name: self.name.clone(), relays: self.relays, relay_token };
        let group = client.create_group_with(&asked).await?;
        if place.json {
            show::json(&group)?;
        } else {
            let (id, name) = (&group.summary.id, show::safe(&group.summary.name));
            show::data(format_args!("{}  {name}", show::safe(id)))?;
        }
        match &asked.relay_token {
            Some(given) => relay_token::settled(&client, &group.summary.id, given).await?,
            None => relay_token::warn(&group.summary),
        }
        show::next(format_args!("wattle invite {}", show::word(&self.name)));
        Ok(Exit::Done)
    }
}
