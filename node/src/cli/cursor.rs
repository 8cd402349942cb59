//! `wattle cursor`.

use clap::builder::NonEmptyStringValueParser;
use node::api::types::{CursorView, SetCursor};

use super::{Place, exit, exit::Exit, show};

/// List, set or drop the cursors by which scripts read groups
///
/// `wattle tail GROUP --cursor NAME` makes one, begins after what was read by it, and moves it. There may be 64.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = exit::help(&["wattle cursor", "wattle cursor set log-shipper ops --from-start", "wattle cursor drop log-shipper"])
)]
pub struct Cursor {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand)]
enum What {
    /// Show all of them
    #[command(after_help = exit::help(&["wattle cursor list", "wattle --json cursor list"]))]
    List,
    /// Make one, or put one elsewhere: after the last event, where nothing else is said
    #[command(after_help = exit::help(&["wattle cursor set log-shipper ops", "wattle cursor set log-shipper ops --to 4711"]))]
    Set {
        /// Its name: a to z, digits, dots, dashes and underscores; at most 32
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// The group's name, or the first digits of its id
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        group: String,
        /// After the event with this `seq`, as lines of `wattle --json tail` show it
        #[arg(long, value_name = "SEQ", conflicts_with = "from_start")]
        to: Option<u64>,
        /// Before the first event that is kept
        #[arg(long)]
        from_start: bool,
    },
    /// Remove one
    #[command(after_help = exit::help(&["wattle cursor drop log-shipper"]))]
    Drop {
        /// Its name
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
}

impl Cursor {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let cursors = match self.what.unwrap_or(What::List) {
            What::List => client.cursors().await?,
            What::Set { name, group, to, from_start } => {
                let asked = SetCursor { group, after: to, from_start };
                vec![client.set_cursor(&name, &asked).await?]
            }
            What::Drop { name } => {
                client.drop_cursor(&name).await?;
                show::words(format_args!("dropped the cursor {}", show::safe(&name)));
                show::next("wattle cursor list");
                return Ok(Exit::Done);
            }
        };
        if place.json {
            show::json_lines(&cursors)?;
            return Ok(Exit::Done);
        }
        for line in show::table(&cursors.iter().map(row).collect::<Vec<_>>()) {
            show::data(line)?;
        }
        match cursors.iter().find(|cursor| !cursor.restored).or(cursors.first()) {
            Some(cursor) if cursor.restored => show::next(format_args!(
                "wattle cursor set {} {}",
                show::word(&cursor.name),
                show::word(&cursor.group.name)
            )),
            Some(cursor) => show::next(format_args!(
                "wattle tail {} --cursor {}",
                show::word(&cursor.group.name),
                show::word(&cursor.name)
            )),
            None => {
                show::words("no cursors yet");
                show::next("wattle tail GROUP --cursor NAME");
            }
        }
        Ok(Exit::Done)
    }
}

fn row(cursor: &CursorView) -> Vec<String> {
    let CursorView { after, last, .. } = cursor;
    let how = match (cursor.restored, cursor.held) {
        (true, _) => format!(
            "set it anew: wattle cursor set {} {}",
            show::word(&cursor.name),
            show::word(&cursor.group.name)
        ),
        (false, true) => "read by somebody now".into(),
        (false, false) => format!("moved {}", show::moment(&cursor.moved)),
    };
    let at = match cursor.restored {
        true => format!(
            "after event {after} of the node whose backup this is, which counted on its own"
        ),
        false => format!("after event {after} of {last}"),
    };
    vec![show::safe(&cursor.name), show::safe(&cursor.group.name), at, how]
}
