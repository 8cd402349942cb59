//! `wattle invite`.

use std::time::Duration;

use node::api::types::{CreateInvite, InviteView};

use super::{Place, args, exit, exit::Exit, show};

/// Make an invite code for a group
///
/// The code alone is printed on standard output. Whoever has it can join: pass it on privately.
///
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle invite ops --uses 3 --expires 7d", "wattle invite ops > code.txt"]))]
pub struct Invite {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// How many people may use it [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,
    /// When it ends: 30m, 48h, 7d [default: 48h]
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    expires: Option<Duration>,
    /// List the group's invites instead
    #[arg(long, conflicts_with_all = ["uses", "expires", "revoke"])]
    list: bool,
    /// End an invite instead, by its id
    #[arg(long, value_name = "ID", conflicts_with_all = ["uses", "expires"])]
    revoke: Option<String>,
}

impl Invite {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        if self.list {
            return list(&client.invites(&self.group).await?, place);
        }
        if let Some(id) = &self.revoke {
            client.revoke(&self.group, id).await?;
            show::words("the invite is revoked: its code opens nothing any more");
            return Ok(Exit::Done);
        }
        let terms =
            CreateInvite { uses: self.uses, expires_in: self.expires.map(|time| time.as_secs()) };
        let invite = client.invite(&self.group, &terms).await?;
        if place.json {
            show::json(&invite)?;
        } else {
            show::data(invite.code.as_deref().unwrap_or_default())?;
        }
        let uses = if invite.uses == 1 { "once".into() } else { format!("{} times", invite.uses) };
        let until = show::moment(&invite.expires);
        show::words(format_args!("works {uses}, until {until}; whoever has it can join"));
        show::next("wattle join, on the other machine, and paste the code there");
        Ok(Exit::Done)
    }
}

fn list(invites: &[InviteView], place: &Place) -> anyhow::Result<Exit> {
    if place.json {
        show::json_lines(invites)?;
        return Ok(Exit::Done);
    }
    let row = |invite: &InviteView| {
        let used = format!("used {} of {}", invite.used, invite.uses);
        let ends = if invite.revoked {
            "revoked".into()
        } else {
            format!("until {}", show::moment(&invite.expires))
        };
        vec![show::safe(&invite.id), used, ends]
    };
    for line in show::table(&invites.iter().map(row).collect::<Vec<_>>()) {
        show::data(line)?;
    }
    if invites.is_empty() {
        show::words("no invites");
    }
    Ok(Exit::Done)
}
