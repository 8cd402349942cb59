//! `wattle token`.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use node::api::types::{AccessView, GrantAccess, Scope};

use super::{Place, args, exit, exit::Exit, show};

/// Let programs of this machine use the node, each with a token for what it does
///
/// A program with a token reaches the node by the socket that `wattle up --programs PATH` makes, also under another user
/// or in a container, and may do there what the token says, in the groups that it names. Members see its messages as yours.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = exit::help(&[
        "wattle token new backup-report --may send --group ops > token",
        "WATTLE_SOCKET=/run/wattle/programs WATTLE_TOKEN_FILE=token wattle send ops done",
        "wattle token revoke backup-report",
    ])
)]
pub struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand)]
enum What {
    New(New),
    /// Show which there are, and what each is for
    #[command(after_help = exit::help(&["wattle token list", "wattle --json token list"]))]
    List,
    /// End one: from then on nobody is let in by it, and who reads by it is told no more
    #[command(after_help = exit::help(&["wattle token revoke backup-report"]))]
    Revoke {
        /// Its label
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        label: String,
    },
}

/// Make one
///
/// The token alone is printed on standard output, once: the node keeps its hash. Who has it can use it from any user of this
/// machine that reaches the socket.
#[derive(clap::Args)]
#[command(after_help = exit::help(&[
    "wattle token new backup-report --may send --group ops > token",
    "wattle token new archive --may read --group ops --group tea --expires 30d",
    "wattle token new bot --may read,send --group ops --rate 10",
]))]
struct New {
    /// For what it is: a to z, digits, dots, dashes and underscores; at most 32
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    label: String,
    /// What may be done with it; may be repeated
    #[arg(long, value_enum, required = true, value_delimiter = ',')]
    may: Vec<May>,
    /// In this group alone: its name, or the first digits of its id; may be repeated [default: in all, those to come too]
    #[arg(long, value_name = "GROUP", value_parser = NonEmptyStringValueParser::new())]
    group: Vec<String>,
    /// Messages in a minute [default: 60]
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// When it ends: 48h, 30d [default: when it is revoked]
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    expires: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum May {
    /// Read what is said, and what was
    Read,
    /// Say something, react, and see who is in the group and how far a message is
    Send,
    /// Both, and what an admin does: invites, members, policy; and change messages of yours
    Admin,
}

impl Arguments {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        match self.what.unwrap_or(What::List) {
            What::New(new) => {
                let asked = new.asked();
                let granted = client.grant(&asked).await?;
                if place.json {
                    show::json(&granted)?;
                } else {
                    show::data(&granted.token)?;
                }
                show::words(format_args!(
                    "the token {} may {}; it is not shown again",
                    show::safe(&granted.access.label),
                    what(&granted.access)
                ));
                show::next("WATTLE_SOCKET=PATH WATTLE_TOKEN_FILE=FILE wattle send GROUP TEXT");
            }
            What::List => {
                let all = client.accesses().await?;
                if place.json {
                    show::json_lines(&all)?;
                    return Ok(Exit::Done);
                }
                for line in show::table(&all.iter().map(row).collect::<Vec<_>>()) {
                    show::data(line)?;
                }
                match all.first() {
                    None => {
                        show::words("no tokens yet");
                        show::next("wattle token new LABEL --may send --group GROUP");
                    }
                    Some(first) => {
                        show::next(format_args!(
                            "wattle token revoke {}",
                            show::word(&first.label)
                        ));
                    }
                }
            }
            What::Revoke { label } => {
                client.revoke_access(&label).await?;
                show::words(format_args!("the token {} has ended", show::safe(&label)));
                show::next("wattle token list");
            }
        }
        Ok(Exit::Done)
    }
}

impl New {
    fn asked(self) -> GrantAccess {
        let scope = |may: &May| match may {
            May::Read => Scope::Read,
            May::Send => Scope::Send,
            May::Admin => Scope::Admin,
        };
        GrantAccess {
            label: self.label,
            may: self.may.iter().map(scope).collect(),
            groups: (!self.group.is_empty()).then_some(self.group),
            rate: self.rate,
            expires_in: self.expires.map(|time| time.as_secs()),
        }
    }
}

/// What may be done with one, and where.
fn what(access: &AccessView) -> String {
    let may: Vec<&str> = access.may.iter().map(named).collect();
    let groups = match &access.groups {
        None => "all groups".into(),
        Some(groups) if groups.is_empty() => "no group any more".into(),
        Some(groups) => {
            groups.iter().map(|group| show::safe(&group.name)).collect::<Vec<_>>().join(", ")
        }
    };
    format!("{} in {groups}", may.join(", "))
}

fn row(access: &AccessView) -> Vec<String> {
    let ends = match (&access.until, access.ended) {
        (None, _) => "until it is revoked".into(),
        (Some(until), false) => format!("until {}", show::moment(until)),
        (Some(until), true) => format!("ended {}", show::moment(until)),
    };
    let rate = format!("{} a minute", access.rate);
    vec![show::safe(&access.label), what(access), rate, ends]
}

const fn named(scope: &Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Send => "send",
        Scope::Admin => "admin",
    }
}
