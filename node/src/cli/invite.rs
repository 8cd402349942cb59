//! `wattle invite`.

use std::time::Duration;

use node::api::types::{CreateInvite, InviteView, RequestView};

use super::{Place, args, exit, exit::Exit, qr, show};

/// Make an invite code for a group, and decide who comes in
///
/// `wattle invite GROUP` is short for `wattle invite create GROUP`.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = exit::help(&[
        "wattle invite ops > code.txt",
        "wattle invite create ops --uses 3 --expires 7d --any-admin",
        "wattle invite list ops",
        "wattle invite approve ops ben",
    ])
)]
pub struct Invite {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    create: Option<Create>,
}

#[derive(clap::Subcommand)]
enum Verb {
    Create(Create),
    List(List),
    Approve(Approve),
    Deny(Deny),
    Revoke(Revoke),
}

/// Make an invite code
///
/// The code alone is printed on standard output. Whoever has it can ask to join: pass it on
/// privately. It works once unless --uses says otherwise; then you are asked about everybody who
/// shows it, unless --no-ask.
#[derive(clap::Args)]
#[command(after_help = exit::help(&[
    "wattle invite create ops > code.txt",
    "wattle invite create ops --uses 3 --expires 7d",
    "wattle invite create ops --qr",
]))]
pub struct Create {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// How many people may use it [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,
    /// When it ends: 30m, 48h, 7d [default: 48h]
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    expires: Option<Duration>,
    /// Ask before anybody is let in, also by a code that works once
    #[arg(long)]
    ask: bool,
    /// Let in whoever shows it, also by a code that works several times
    #[arg(long, conflicts_with = "ask")]
    no_ask: bool,
    /// Let every admin's node serve it, not this one alone
    #[arg(long)]
    any_admin: bool,
    /// Show the code as a QR code, too, on standard error where that is a terminal; with --qr=always also where it is none.
    /// Whoever sees it can use it
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "auto")]
    qr: Option<Qr>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Qr {
    /// On a terminal
    Auto,
    /// Into a file or a pipe, too
    Always,
}

/// List a group's invites, and who waits to be let in
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle invite list ops"]))]
pub struct List {
    /// The group's name, or the first digits of its id
    group: String,
}

/// Let somebody in who waits
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle invite approve ops ben"]))]
pub struct Approve {
    /// The group's name, or the first digits of its id
    group: String,
    /// The name, or the first digits of the id, of who waits
    member: String,
}

/// Send somebody away who waits
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle invite deny ops ben"]))]
pub struct Deny {
    /// The group's name, or the first digits of its id
    group: String,
    /// The name, or the first digits of the id, of who waits
    member: String,
}

/// End an invite: its code opens nothing any more
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle invite revoke ops 1a2b3c4d"]))]
pub struct Revoke {
    /// The group's name, or the first digits of its id
    group: String,
    /// The invite's id, as `wattle invite list` shows it
    id: String,
}

impl Invite {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        match (self.verb, self.create) {
            (Some(Verb::List(list)), _) => list.run(place).await,
            (Some(Verb::Approve(Approve { group, member })), _) => {
                let request = place.client().await?.approve(&group, &member).await?;
                said(&request, "let in", place)
            }
            (Some(Verb::Deny(Deny { group, member })), _) => {
                let request = place.client().await?.deny(&group, &member).await?;
                said(&request, "sent away", place)
            }
            (Some(Verb::Revoke(Revoke { group, id })), _) => {
                let invite = place.client().await?.revoke(&group, &id).await?;
                if place.json {
                    show::json(&invite)?;
                }
                show::words("the invite is revoked: its code opens nothing any more");
                Ok(Exit::Done)
            }
            (Some(Verb::Create(create)), _) | (None, Some(create)) => create.run(place).await,
            // clap asks for a group where there is no verb.
            (None, None) => Ok(Exit::Usage),
        }
    }
}

impl Create {
    async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let terms = CreateInvite {
            uses: self.uses,
            expires_in: self.expires.map(|time| time.as_secs()),
            ask: (self.ask || self.no_ask).then_some(self.ask),
            any_admin: Some(self.any_admin),
        };
        let invite = client.invite(&self.group, &terms).await?;
        if place.json {
            show::json(&invite)?;
        } else {
            show::data(invite.code.as_deref().unwrap_or_default())?;
        }
        if let Some(when) = self.qr {
            let code = invite.code.as_deref().unwrap_or_default();
            match when {
                Qr::Auto if !qr::show(code) => show::words(qr::HIDDEN),
                Qr::Always if !qr::write(code) => show::words("the code is too long for a QR code"),
                Qr::Auto | Qr::Always => {}
            }
        }
        let uses = if invite.uses == 1 { "once".into() } else { format!("{} times", invite.uses) };
        let until = show::moment(&invite.expires);
        let can = if invite.ask { "can ask to join" } else { "can join" };
        show::words(format_args!("works {uses}, until {until}; whoever has it {can}"));
        if invite.ask {
            show::next(format_args!(
                "wattle invite list {}, once they have",
                show::word(&self.group)
            ));
        } else {
            show::next("wattle join, on the other machine, and paste the code there");
        }
        Ok(Exit::Done)
    }
}

impl List {
    async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let invites = client.invites(&self.group).await?;
        let requests = client.requests(&self.group).await?;
        if place.json {
            show::json_lines(&invites)?;
            show::json_lines(&requests)?;
            return Ok(Exit::Done);
        }
        let rows: Vec<_> = invites.iter().map(row).collect();
        for line in show::table(&rows) {
            show::data(line)?;
        }
        if invites.is_empty() {
            show::words("no invites");
        }
        for request in &requests {
            show::data(waits(request))?;
        }
        if let Some(request) = requests.first() {
            show::words("compare the number with what `wattle status` shows them, then:");
            let (group, name) = (show::word(&self.group), show::word(&request.member.name));
            show::next(format_args!("wattle invite approve {group} {name}, or deny"));
        }
        Ok(Exit::Done)
    }
}

fn row(invite: &InviteView) -> Vec<String> {
    let used = format!("used {} of {}", invite.used, invite.uses);
    let ends = if invite.revoked {
        "revoked".into()
    } else {
        format!("until {}", show::moment(&invite.expires))
    };
    let ask = if invite.ask { "asks" } else { "lets in" };
    let served = if invite.any_admin { "any admin" } else { "its maker" };
    vec![show::safe(&invite.id), used, ends, ask.into(), served.into()]
}

fn waits(request: &RequestView) -> String {
    let machine = request
        .machine
        .as_deref()
        .map_or_else(String::new, |machine| format!(", machine {}", show::safe(machine)));
    format!(
        "{} waits to be let in: number {}{machine}, since {}{}",
        show::name(&request.member),
        show::safe(&request.fingerprint),
        show::moment(&request.since),
        show::imitates(&request.other_than)
    )
}

fn said(request: &RequestView, done: &str, place: &Place) -> anyhow::Result<Exit> {
    if place.json {
        show::json(request)?;
    }
    show::words(format_args!("{} is {done}", show::name(&request.member)));
    Ok(Exit::Done)
}
