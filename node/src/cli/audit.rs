//! `wattle audit`.

use clap::Subcommand;
use node::{
    api::conduct::{AuditEntry, AuditReport},
    client::{Client, ClientError},
};

use super::{
    Place, exit,
    exit::{Exit, Failure},
    show,
};

/// Entries that are asked for at once.
const PAGE: u32 = 500;

/// Show what this node did and saw in a group, and check that nothing of it was changed
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = exit::help(&["wattle audit ops", "wattle audit verify", "wattle audit export ops > ops.ndjson"])
)]
pub struct Audit {
    #[command(subcommand)]
    command: Option<Command>,
    /// The group's name, or the first digits of its id [default: the only one]
    group: Option<String>,
    /// How many of the last entries
    #[arg(short, value_name = "N", default_value_t = 50)]
    n: u32,
}

#[derive(Subcommand)]
enum Command {
    /// Check the logs against themselves and against what bundles tell of them
    #[command(after_help = exit::help(&["wattle audit verify", "wattle audit verify ops"]))]
    Verify {
        /// The group's name, or the first digits of its id [default: every group]
        group: Option<String>,
    },
    /// Print all entries that are kept, one JSON object on each line
    #[command(after_help = exit::help(&["wattle audit export ops > ops.ndjson"]))]
    Export {
        /// The group's name, or the first digits of its id [default: every group]
        group: Option<String>,
    },
}

impl Audit {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        match self.command {
            Some(Command::Verify { group }) => verify(&client, group, place).await,
            Some(Command::Export { group }) => export(&client, group).await,
            None => show_last(&client, self.group, self.n, place).await,
        }
    }
}

async fn show_last(
    client: &Client,
    group: Option<String>,
    n: u32,
    place: &Place,
) -> anyhow::Result<Exit> {
    let groups = groups(client, group).await?;
    let [group] = groups.as_slice() else {
        let hint = "name one: wattle group list shows them";
        return Err(Failure::new(Exit::Usage, "which group?", hint).into());
    };
    let page = client.audit(group, None, n.min(PAGE)).await?;
    if place.json {
        show::json_lines(&page.entries)?;
        return Ok(Exit::Done);
    }
    page.entries.iter().try_for_each(print)?;
    show::next("wattle audit verify");
    Ok(Exit::Done)
}

async fn verify(client: &Client, group: Option<String>, place: &Place) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    for group in groups(client, group).await? {
        let report = client.verify_audit(&group).await?;
        if !report.holds {
            exit = Exit::Integrity;
        }
        if place.json {
            show::json(&report)?;
        } else {
            print_report(&report)?;
        }
    }
    if !place.json {
        show::next("wattle audit export GROUP");
    }
    Ok(exit)
}

async fn export(client: &Client, group: Option<String>) -> anyhow::Result<Exit> {
    for group in groups(client, group).await? {
        let mut from = 0;
        loop {
            let page = client.audit(&group, Some(from), PAGE).await?;
            let Some(last) = page.entries.last() else { break };
            from = last.seq + 1;
            show::json_lines(&page.entries)?;
        }
    }
    Ok(Exit::Done)
}

/// The group that was named, or all of them.
async fn groups(client: &Client, group: Option<String>) -> Result<Vec<String>, ClientError> {
    match group {
        Some(group) => Ok(vec![group]),
        None => Ok(client.groups().await?.into_iter().map(|group| group.id).collect()),
    }
}

fn print(entry: &AuditEntry) -> std::io::Result<()> {
    let text = show::safe(&entry.text);
    show::data(format_args!("{:>6}  {}  {:<14}  {text}", entry.seq, entry.at, entry.event))
}

fn print_report(report: &AuditReport) -> std::io::Result<()> {
    let name = show::safe(&report.group.name);
    if !report.holds {
        return show::data(format_args!("{name}: does not hold: {}", show::safe(&report.error)));
    }
    show::data(format_args!(
        "{name}: {} entries from {} hold, {} of them signed for all before; {} heads in own bundles are \
         in it; the heads of {} other members are kept",
        report.entries,
        report.first,
        report.checkpoints,
        report.anchors,
        report.peers.len()
    ))
}
