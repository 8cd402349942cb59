//! `wattle delivery`.

use node::api::types::{DeliveryState, MemberDelivery};

use super::{Place, exit, exit::Exit, show};

/// Show how far a message of yours is with each member
///
/// sealed: encrypted to them; no relay keeps it yet. stored: a relay keeps it. received: the member's
/// node has it. can't: it won't get there, and why. Times are UTC, by this node's clock.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle delivery ops", "wattle delivery ops 1a2b3c4d"]))]
pub struct Delivery {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// The first digits of the message's id, at least four [default: the last that you wrote]
    message: Option<String>,
}

impl Delivery {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let message = self.message.as_deref().unwrap_or("last");
        let delivery = place.client().await?.delivery(&self.group, message).await?;
        if place.json {
            show::json(&delivery)?;
            return Ok(Exit::Done);
        }
        let (id, at) = (show::short(&delivery.message), show::moment(&delivery.at));
        let state = word(delivery.state);
        show::data(format_args!("{id}  {at}  {state}{}", because(&delivery.reason)))?;
        for line in show::table(&delivery.members.iter().map(row).collect::<Vec<_>>()) {
            show::data(format_args!("  {line}"))?;
        }
        show::next("wattle status");
        Ok(Exit::Done)
    }
}

fn row(to: &MemberDelivery) -> Vec<String> {
    let id = show::short(&to.member.id).into();
    let since = to.since.as_deref().map(show::moment).unwrap_or_default();
    vec![show::name(&to.member), id, word(to.state).into(), since, show::safe(&to.reason)]
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {}", show::safe(reason)) }
}

fn word(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Queued => "queued",
        DeliveryState::Sealed => "sealed",
        DeliveryState::Stored => "stored",
        DeliveryState::Received => "received",
        DeliveryState::Read => "read",
        DeliveryState::Cant => "can't",
    }
}
