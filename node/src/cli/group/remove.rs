//! `wattle group remove`.

use node::{
    api::types::{GroupRef, GroupState, GroupSummary, MemberIdentity, Removal, VERSION},
    client::{Client, ClientError},
};

use crate::cli::{
    Place, exit,
    exit::{Exit, Failure},
    show,
};

/// Remove a member from a group, or from all that you share with it
///
/// It can open nothing that is sent from now on, also if it keeps all that it has. What it has read
/// so far it has read. Invites that somebody has used are ended too: it may still have their codes.
///
/// With --everywhere, as for a lost device: from each group that you and the member are in. Each is told. Where it stays
/// in one, because you are no admin there or it is a more senior one, the others are done all the same, and this ends
/// with the exit code of the first that was not.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group remove ops cleo", "wattle group remove @cleo --everywhere"]))]
pub struct Remove {
    /// The group's name, or the first digits of its id; with --everywhere the member instead
    #[arg(value_name = "GROUP|@MEMBER", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// The member's name, or the first digits of its id
    #[arg(required_unless_present = "everywhere", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    member: Option<String>,
    /// Remove @MEMBER from all groups that you share with it
    #[arg(long, conflicts_with = "member")]
    everywhere: bool,
}

impl Remove {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let Some(member) = &self.member else { return everywhere(&self.group, place).await };
        let group = place.client().await?.remove(&self.group, member).await?;
        if place.json {
            show::json(&group)?;
        }
        let (member, name) = (show::safe(member), show::safe(&group.summary.name));
        let left = show::count(group.summary.members, "member");
        show::words(format_args!("{member} is removed from {name}; {left} left"));
        show::next(format_args!("wattle group show {}", show::word(&self.group)));
        Ok(Exit::Done)
    }
}

/// Removes a member from each group that both are in. One that fails holds up no other.
async fn everywhere(member: &str, place: &Place) -> anyhow::Result<Exit> {
    let client = place.client().await?;
    let identity = client.identity(member).await?;
    // What a group has moved to is a group of its own.
    let moved = |group: &GroupSummary| group.state == GroupState::Migrated;
    let moved = client.groups().await?.into_iter().filter(moved);
    let moved: Vec<_> = moved.map(|group| group.id).collect();
    let mut shared: Vec<_> = identity.groups.iter().map(|shared| &shared.group).collect();
    shared.retain(|group| !moved.contains(&group.id));
    if shared.is_empty() {
        let message = format!("{} is in none of your groups", show::identity(&identity.member));
        let hint = "`wattle group show GROUP` shows its members";
        return Err(Failure::new(Exit::NoSuchName, message, hint).into());
    }
    let mut failed = Vec::new();
    for group in shared {
        let removal = remove(&client, group, &identity).await?;
        match place.json {
            true => show::json(&removal)?,
            false => show::data(said(&removal))?,
        }
        failed.extend(removal.error);
    }
    let Some(first) = failed.first() else {
        show::words("it can open nothing that is sent from now on; what it has read it has read");
        return Ok(Exit::Done);
    };
    let message = format!("still in {}", show::count(failed.len() as u64, "group"));
    Err(Failure::new(Exit::from_code(first.exit), message, &first.hint).into())
}

async fn remove(
    client: &Client,
    group: &GroupRef,
    identity: &MemberIdentity,
) -> Result<Removal, ClientError> {
    let error = match client.remove(&group.id, &identity.member.id).await {
        Ok(_) => None,
        Err(ClientError::Refused(error)) => Some(error),
        Err(error) => return Err(error),
    };
    Ok(Removal { v: VERSION, group: group.clone(), member: identity.member.clone(), error })
}

fn said(removal: &Removal) -> String {
    let (group, who) = (show::safe(&removal.group.name), show::identity(&removal.member));
    match &removal.error {
        None => format!("{group}: {who} is removed"),
        Some(error) => format!("{group}: {who} is NOT removed: {}", show::safe(&error.message)),
    }
}
