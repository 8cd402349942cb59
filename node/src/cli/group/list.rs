//! `wattle group list`.

use node::api::types::{Backlog, GroupState, GroupSummary, OtherKey, VERSION};
use serde::Serialize;

use crate::cli::{Place, exit, exit::Exit, show};

/// List the groups of this node
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group list", "wattle group list --all", "wattle --json group list"]))]
pub struct List {
    /// Those that were put away, too
    #[arg(long)]
    all: bool,
}

impl List {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let groups = place.client().await?.groups().await?;
        if place.json {
            let lines: Vec<_> = groups.iter().map(Line::of).collect();
            show::json_lines(&lines)?;
            return Ok(Exit::Done);
        }
        let shown = groups.iter().filter(|group| self.all || !group.archived);
        let shown: Vec<_> = shown.map(row).collect();
        for line in show::table(&shown) {
            show::data(line)?;
        }
        let away = groups.len().saturating_sub(shown.len());
        if away > 0 {
            let away = show::count(away as u64, "group");
            show::words(format_args!("{away} put away: wattle group list --all"));
        }
        if groups.is_empty() {
            show::words("no groups yet");
            show::next("wattle group create NAME, or wattle join with somebody's invite code");
        }
        Ok(Exit::Done)
    }
}

/// A group on a line of its own.
#[derive(Serialize)]
pub struct Line<'a> {
    v: u8,
    #[serde(flatten)]
    group: &'a GroupSummary,
}

impl<'a> Line<'a> {
    pub const fn of(group: &'a GroupSummary) -> Self {
        Self { v: VERSION, group }
    }
}

/// How far it is with what was said meanwhile.
fn catching_up(backlog: &Backlog) -> String {
    let messages = show::count(backlog.messages, "message");
    let upto = show::time(&backlog.upto).date();
    format!("catching up: {} %, {messages} read, up to {upto}", backlog.percent)
}

/// Whoever has a verified member's name and is another identity.
fn other_key(other: &OtherKey) -> String {
    let verified = other.verified.iter().map(show::identity).collect::<Vec<_>>().join(" or ");
    let (who, id) = (show::identity(&other.member), show::digits(&other.member.id));
    format!(
        "LOOK AT THIS: {who} has the name of {verified}, whom you verified, and is another identity; nothing is sent here until \
         you have looked: wattle verify @{id}"
    )
}

/// A group in a table.
pub fn row(group: &GroupSummary) -> Vec<String> {
    let standing = match group.state {
        GroupState::Active => show::count(group.members, "member"),
        GroupState::Desynced => {
            format!("{}; catching up: this state is old", show::count(group.members, "member"))
        }
        GroupState::Removed => "you were removed".into(),
        GroupState::Left => "you have left".into(),
        GroupState::Migrated => "moved".into(),
    };
    let waiting = match group.queued {
        0 => String::new(),
        n => format!("{} waiting: {}", show::count(n, "message"), show::safe(&group.waiting_for)),
    };
    let mut notes = Vec::from([waiting]);
    notes.extend(super::shelf::unread(group));
    if group.muted {
        notes.push("muted".into());
    }
    if group.archived {
        notes.push("put away".into());
    }
    notes.extend(group.other_keys.iter().map(other_key));
    notes.extend(group.backlog.as_ref().map(catching_up));
    if group.missing > 0 {
        notes.push(format!("{} missing", show::count(group.missing, "message")));
    }
    if group.warnings > 0 {
        notes.push("look at `wattle group show`".into());
    }
    let closed = group.relay_states.iter().filter(|relay| !relay.hint.is_empty());
    notes.extend(
        closed.map(|relay| format!("{}: look at `wattle group show`", show::safe(&relay.reason))),
    );
    notes.retain(|note| !note.is_empty());
    vec![show::safe(&group.name), show::short(&group.id).into(), standing, notes.join("; ")]
}
