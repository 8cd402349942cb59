//! `wattle group policy`.

use std::time::Duration;

use clap::ValueEnum;
use node::api::conduct::{PolicyView, SetPolicy};

use super::relay_token::{self, RelayToken};
use crate::cli::{Place, args, exit, exit::Exit, show};

/// Show or change what a group's admins agree on
///
/// Without a change it prints the policy. Only admins may change it; `never` turns a time off.
///
/// Where a relay serves holders of its operator's tokens only, --relay-token-file gives the group one,
/// or another in the place of the one that it has: all members use it from then on. Replace a token
/// before its operator revokes it, so that nobody is shut out. Exit code 5 says that the relay does not
/// take it.
#[derive(clap::Args)]
#[command(after_help = exit::help(&[
    "wattle group policy ops",
    "wattle group policy ops --evict-after 30d --history share",
    "wattle group policy ops --relay /dns/relay.example.org/tcp/4407/p2p/12D3…",
    "wattle group policy ops --relay-token-file new.token",
]))]
pub struct Policy {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// Remove who was away this long: 30d, or never; an admin's node does it
    #[arg(long, value_name = "TIME", value_parser = args::span_or_never)]
    evict_after: Option<Duration>,
    /// Make new keys when a member was lost this long: 10m, or never
    #[arg(long, value_name = "TIME", value_parser = args::span_or_never)]
    rotate_on_disconnect: Option<Duration>,
    /// Whether members may share history with those who came later
    #[arg(long, value_enum)]
    history: Option<Sharing>,
    /// Use this relay from now on, in the place of those of before; may be repeated. Change it while these
    /// still run: who is away hears of it there
    #[arg(long = "relay", value_name = "ADDR")]
    relays: Vec<String>,
    #[command(flatten)]
    token: RelayToken,
}

#[derive(Clone, Copy, ValueEnum)]
enum Sharing {
    /// They may
    Share,
    /// Nobody may
    None,
}

impl Policy {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let change = SetPolicy {
            evict_after: self.evict_after.map(|time| time.as_secs()),
            rotate_on_disconnect: self.rotate_on_disconnect.map(|time| time.as_secs()),
            share_history: self.history.map(|sharing| matches!(sharing, Sharing::Share)),
            relays: (!self.relays.is_empty()).then(|| self.relays.clone()),
            relay_token: self.token.given().await?,
        };
        let client = place.client().await?;
        let policy = if change == SetPolicy::default() {
            client.policy(&self.group).await?
        } else {
            client.set_policy(&self.group, &change).await?
        };
        if place.json {
            show::json(&policy)?;
        } else {
            print(&policy)?;
        }
        if let Some(given) = &change.relay_token {
            relay_token::settled(&client, &policy.group.id, given).await?;
        }
        if place.json {
            return Ok(Exit::Done);
        }
        show::next(format_args!("wattle group show {}", show::word(&self.group)));
        Ok(Exit::Done)
    }
}

fn print(policy: &PolicyView) -> std::io::Result<()> {
    let after = |seconds: Option<u64>| seconds.map_or("never".into(), show::span);
    show::data(format_args!("removed for being away  {}", after(policy.evict_after)))?;
    show::data(format_args!("new keys after a loss   {}", after(policy.rotate_on_disconnect)))?;
    let history = if policy.share_history { "members may share it" } else { "not shared" };
    show::data(format_args!("history                 {history}"))?;
    for relay in &policy.relays {
        show::data(format_args!("relay                   {}", show::safe(relay)))?;
    }
    for relay in &policy.relay_tokens {
        show::data(format_args!("token of its operator   for {}", show::safe(relay)))?;
    }
    if policy.pair {
        show::data("a conversation of two: new keys at each turn")?;
    }
    Ok(())
}
