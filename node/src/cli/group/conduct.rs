//! `wattle group conduct`.

use clap::ValueEnum;
use node::api::conduct::{ConductView, SetConduct};
use protocol::limits::{EXPIRES_MAX_S, EXPIRES_MIN_S};

use crate::cli::{Place, args, exit, exit::Exit, show};

/// Show or change for how long a group's messages are kept, and whether members may tell what they have read
///
/// Without a change it prints what is set. Only admins may change it.
///
/// --disappear holds for what is sent from then on: each message says how long it asks to be kept, and what was
/// sent before stays as it was. It asks all members' nodes to delete; it can't make them. Each node counts from when
/// the message came to it, or was sent, by its own clock. Members can copy what they read, nodes of older versions
/// keep it, and files that were offered are not deleted.
///
/// --receipts on lets members tell what they have read; each decides for itself (`wattle group read --tell`), and who
/// doesn't tell isn't told. Groups of more than 64 members tell nothing.
///
/// --typing off has members' nodes tell nobody who is typing. It is told to members with whom this machine is connected
/// directly, in groups of up to 64, where a person's program tells it at all; no relay sees it, and it is kept by nobody.
#[derive(clap::Args)]
#[command(after_help = exit::help(&[
    "wattle group conduct ops",
    "wattle group conduct ops --disappear 1w",
    "wattle group conduct ops --disappear never",
    "wattle group conduct ops --receipts on",
    "wattle group conduct ops --typing off",
]))]
pub struct Conduct {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// Ask that messages be deleted after this time, 1m to 365d, or never
    #[arg(long, value_name = "TIME", value_parser = time)]
    disappear: Option<u32>,
    /// Whether members may tell what they have read
    #[arg(long, value_enum)]
    receipts: Option<Switch>,
    /// Whether members' nodes tell each other who is typing
    #[arg(long, value_enum)]
    typing: Option<Switch>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Switch {
    /// Who wants to, may
    On,
    /// Nobody may
    Off,
}

impl Switch {
    fn is_on(self) -> bool {
        matches!(self, Self::On)
    }
}

/// In seconds; 0: never.
fn time(text: &str) -> Result<u32, String> {
    if text == "never" {
        return Ok(0);
    }
    let seconds = args::span_or_never(text)?.as_secs();
    let bounds = EXPIRES_MIN_S..=EXPIRES_MAX_S;
    let fits = u32::try_from(seconds).ok().filter(|seconds| bounds.contains(seconds));
    fits.ok_or_else(|| "1m to 365d, or never".into())
}

impl Conduct {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let Self { group, disappear, receipts, typing } = self;
        let (receipts, typing) = (receipts.map(Switch::is_on), typing.map(Switch::is_on));
        let change = SetConduct { disappear, receipts, typing };
        let conduct = match change == SetConduct::default() {
            true => client.conduct(&group).await?,
            false => client.set_conduct(&group, &change).await?,
        };
        if place.json {
            show::json(&conduct)?;
        } else {
            print(&conduct)?;
        }
        Ok(Exit::Done)
    }
}

fn print(conduct: &ConductView) -> std::io::Result<()> {
    match conduct.disappear {
        None => show::data("messages disappear  never")?,
        Some(seconds) => {
            let after = show::span(seconds.into());
            show::data(format_args!(
                "messages disappear  after {after}: asks all members' nodes to delete; can't make them"
            ))?;
        }
    }
    show::data(match conduct.receipts {
        true => {
            "members may tell what they have read  yes, who wants to: wattle group read GROUP --tell"
        }
        false => "members may tell what they have read  no",
    })?;
    show::data(match conduct.typing {
        true => "who is typing is shown  yes, to members who are connected directly",
        false => "who is typing is shown  no",
    })
}
