//! `wattle group mute`, `unmute`, `archive`, `unarchive` and `read`.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use node::api::types::{GroupSummary, Mute as Muted, ShelveGroup};
use protocol::limits::RECEIPT_MEMBERS;

use crate::cli::{Place, args, exit, exit::Exit, show};

/// Be told of nothing that comes to a group: `wattle notify` passes it over
///
/// Nobody else learns of it.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group mute ops --for 8h", "wattle group mute ops"]))]
pub struct Mute {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
    /// For how long: 30m, 8h, 7d [default: until `wattle group unmute`]
    #[arg(long = "for", value_name = "TIME", value_parser = args::duration)]
    lasts: Option<Duration>,
}

/// Be told again of what comes to a group
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group unmute ops"]))]
pub struct Unmute {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
}

/// Put a group away: `wattle group list` shows it with --all only
///
/// It comes back by itself with the next message of somebody else's; a muted one stays away. Nobody else learns of it, and what
/// comes is received as before.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group archive ops"]))]
pub struct Archive {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
}

/// Take a group back that was put away
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group unarchive ops"]))]
pub struct Unarchive {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
}

/// Mark what came to a group as read
///
/// Nothing else does: what is shown may be read by a program. Nobody else learns of it, unless you say --tell here and the
/// group's admins have receipts on (`wattle group conduct`): then the members' nodes are told what you mark as read from
/// now on, till you say --no-tell, and yours shows what they have read of yours. The relay sees that your node said
/// something then, not what.
#[derive(clap::Args)]
#[command(after_help = exit::help(&[
    "wattle group read ops",
    "wattle group read ops --up-to 4711",
    "wattle group read ops --tell",
]))]
pub struct Read {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
    /// Up to the message with this `seq`, as `wattle --json history` shows it [default: all]
    #[arg(long, value_name = "SEQ")]
    up_to: Option<u64>,
    /// Tell members what you mark as read here, now and from now on
    #[arg(long, overrides_with = "no_tell")]
    tell: bool,
    /// Tell nobody, and be told nothing, from now on
    #[arg(long)]
    no_tell: bool,
}

impl Mute {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let mute = match self.lasts {
            Some(lasts) => Muted::For { seconds: lasts.as_secs() },
            None => Muted::On,
        };
        let asked = ShelveGroup { mute: Some(mute), ..ShelveGroup::default() };
        shelve(place, &self.group, asked, |group| match &group.muted_until {
            Some(until) => format!("is muted until {}", show::moment(until)),
            None => "is muted".into(),
        })
        .await
    }
}

impl Unmute {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let asked = ShelveGroup { mute: Some(Muted::Off), ..ShelveGroup::default() };
        shelve(place, &self.group, asked, |_| "is not muted any more".into()).await
    }
}

impl Archive {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let asked = ShelveGroup { archive: Some(true), ..ShelveGroup::default() };
        shelve(place, &self.group, asked, |group| match group.muted {
            true => "is put away, and stays so while it is muted".into(),
            false => "is put away until the next message".into(),
        })
        .await
    }
}

impl Unarchive {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let asked = ShelveGroup { archive: Some(false), ..ShelveGroup::default() };
        shelve(place, &self.group, asked, |_| "is among the others again".into()).await
    }
}

impl Read {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let tell = (self.tell || self.no_tell).then_some(self.tell);
        let asked = ShelveGroup { read: true, up_to: self.up_to, tell, ..ShelveGroup::default() };
        let done = shelve(place, &self.group, asked, |group| match unread(group) {
            Some(unread) => format!("has {unread}"),
            None => "is read".into(),
        })
        .await?;
        if self.tell {
            self.say_whether_told(place).await?;
        }
        Ok(done)
    }

    /// Says why nobody is told, where that is so.
    async fn say_whether_told(&self, place: &Place) -> anyhow::Result<()> {
        let client = place.client().await?;
        if !client.conduct(&self.group).await?.receipts {
            show::words(
                "its admins have receipts off: nobody is told until one says \
                 `wattle group conduct GROUP --receipts on`",
            );
        } else if client.group(&self.group).await?.summary.members > RECEIPT_MEMBERS as u64 {
            show::words(format_args!(
                "it has more than {RECEIPT_MEMBERS} members: in groups so large nobody is told"
            ));
        }
        Ok(())
    }
}

async fn shelve(
    place: &Place,
    group: &str,
    asked: ShelveGroup,
    words: impl FnOnce(&GroupSummary) -> String,
) -> anyhow::Result<Exit> {
    let group = place.client().await?.shelve(group, &asked).await?;
    if place.json {
        show::json(&super::list::Line::of(&group))?;
    }
    show::words(format_args!("{} {}", show::safe(&group.name), words(&group)));
    show::next("wattle group list --all");
    Ok(Exit::Done)
}

/// How much is unread.
pub fn unread(group: &GroupSummary) -> Option<String> {
    match (group.unread, group.unread_more) {
        (0, _) => None,
        (n, false) => Some(format!("{n} unread")),
        (n, true) => Some(format!("{n}+ unread")),
    }
}
