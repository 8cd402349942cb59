//! `wattle group migrate`.

use crate::cli::{Place, exit, exit::Exit, show};

/// Move a group to a new one, with the same people
///
/// You are the founder of the new one. Members follow by themselves if you are the most senior admin,
/// else each is asked. Nothing more is sent in the old group. Only admins may; anybody can make a new
/// group, and invite those who come along.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group migrate ops", "wattle group migrate ops --without mallory"]))]
pub struct Migrate {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// A member who is left behind; may be given several times
    #[arg(long, value_name = "MEMBER")]
    without: Vec<String>,
}

impl Migrate {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let group = place.client().await?.migrate(&self.group, self.without).await?;
        if place.json {
            show::json(&group)?;
        } else {
            show::data(&group.summary.id)?;
        }
        let (name, members) = (show::safe(&group.summary.name), group.summary.members);
        let members = show::count(members, "member");
        show::words(format_args!("{name} goes on as a new group, with {members}"));
        show::next(format_args!("wattle group show {}", show::short(&group.summary.id)));
        Ok(Exit::Done)
    }
}
