//! `wattle group remove`.

use crate::cli::{Place, exit, exit::Exit, show};

/// Remove a member from a group
///
/// It can open nothing that is sent from now on, also if it keeps all that it has. What it has read
/// so far it has read. Invites that somebody has used are ended too: it may still have their codes.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group remove ops cleo"]))]
pub struct Remove {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// The member's name, or the first digits of its id
    member: String,
}

impl Remove {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let group = place.client().await?.remove(&self.group, &self.member).await?;
        if place.json {
            show::json(&group)?;
        }
        let (member, name) = (show::safe(&self.member), show::safe(&group.summary.name));
        let left = show::count(group.summary.members, "member");
        show::words(format_args!("{member} is removed from {name}; {left} left"));
        show::next(format_args!("wattle group show {}", show::word(&self.group)));
        Ok(Exit::Done)
    }
}
