//! `wattle group follow`.

use crate::cli::{Place, exit, exit::Exit, show};

/// Follow an admin to the group that a group has moved to
///
/// Nothing more is sent in the old one from here.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group follow ops"]))]
pub struct Follow {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// The first digits of the new group's id [default: the most senior admin's]
    #[arg(long, value_name = "ID")]
    to: Option<String>,
}

impl Follow {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let group = place.client().await?.follow(&self.group, self.to).await?;
        if place.json {
            show::json(&group)?;
        } else {
            show::data(&group.summary.id)?;
        }
        let name = show::safe(&group.summary.name);
        show::words(format_args!("you are in the new {name}"));
        show::next(format_args!("wattle group show {}", show::short(&group.summary.id)));
        Ok(Exit::Done)
    }
}
