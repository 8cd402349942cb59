//! `wattle block`, `unblock` and `blocked`.

use clap::builder::NonEmptyStringValueParser;
use node::api::types::BlockedMember;

use super::{Place, exit, exit::Exit, show};

/// Show nothing more of what a member says, in all groups
///
/// The member is told nothing: what it says is received, kept and confirmed as before, and shown again after
/// `wattle unblock`. Programs see it, marked as blocked. What a blocked admin does in a group still holds there.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle block @mallory", "wattle unblock @mallory"]))]
pub struct Block {
    /// The member's name, or the first digits of the id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    member: String,
}

/// Show again what a member says
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle unblock @mallory"]))]
pub struct Unblock {
    /// The member's name, or the first digits of the id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    member: String,
}

/// Show who is blocked
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle blocked", "wattle --json blocked"]))]
pub struct Blocked {}

impl Block {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let blocked = place.client().await?.block(&self.member).await?;
        if place.json {
            show::json(&blocked)?;
        }
        show::words(format_args!("{} is blocked", show::identity(&blocked.member)));
        if !blocked.admin_in.is_empty() {
            let groups: Vec<String> = blocked.admin_in.iter().map(|it| show::safe(it)).collect();
            show::words(format_args!(
                "this is an admin of {}: what it does there still holds",
                groups.join(", ")
            ));
        }
        show::next(format_args!("wattle unblock @{}", show::digits(&blocked.member.id)));
        Ok(Exit::Done)
    }
}

impl Unblock {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let blocked = place.client().await?.unblock(&self.member).await?;
        if place.json {
            show::json(&blocked)?;
        }
        show::words(format_args!("{} is not blocked any more", show::identity(&blocked.member)));
        show::next("wattle history GROUP");
        Ok(Exit::Done)
    }
}

impl Blocked {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let blocked = place.client().await?.blocked().await?;
        if place.json {
            show::json_lines(&blocked)?;
            return Ok(Exit::Done);
        }
        for line in show::table(&blocked.iter().map(row).collect::<Vec<_>>()) {
            show::data(line)?;
        }
        if blocked.is_empty() {
            show::words("nobody is blocked");
        }
        Ok(Exit::Done)
    }
}

fn row(blocked: &BlockedMember) -> Vec<String> {
    vec![show::identity(&blocked.member), format!("since {}", show::moment(&blocked.since))]
}
