//! `wattle group retire`.

use std::io::{self, IsTerminal, Read};

use anyhow::Context;
use node::api::types::GroupState;
use zeroize::Zeroizing;

use crate::cli::{
    Place, exit,
    exit::{Exit, Failure},
    show,
};

/// Where a recovery code may stand.
const VARIABLE: &str = "WATTLE_RECOVERY";

/// The most that is read of a code, in bytes.
const CODE_MAX: u64 = 4 * 1024;

/// End the membership of a lost machine, by its recovery code
///
/// Any member's node can do it: nothing more is sealed to the lost machine, and what whoever has it
/// does at the same time counts for nothing. The code is read from standard input, or from
/// WATTLE_RECOVERY. Each group that the machine was in needs it once.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group retire ops < code.txt"]))]
pub struct Retire {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
}

impl Retire {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        // Before a code is asked for.
        let group = client.group(&self.group).await?.summary;
        if !matches!(group.state, GroupState::Active | GroupState::Desynced) {
            let message = format!("you are not in {} any more", show::safe(&group.name));
            let hint = "any member's node can retire the lost machine: ask one";
            return Err(Failure::new(Exit::Refused, message, hint).into());
        }
        let code = code()?;
        let group = client.retire(&self.group, &code).await?;
        if place.json {
            show::json(&group)?;
        }
        let (name, left) = (&group.summary.name, group.summary.members);
        let left = show::count(left, "member");
        show::words(format_args!(
            "the lost machine is retired from {}; {left} left",
            show::safe(name)
        ));
        show::next(format_args!("wattle group show {}", show::word(&self.group)));
        Ok(Exit::Done)
    }
}

fn code() -> anyhow::Result<Zeroizing<String>> {
    if let Ok(code) = std::env::var(VARIABLE) {
        return Ok(Zeroizing::new(code));
    }
    if io::stdin().is_terminal() {
        show::words("paste the recovery code, then Enter and Ctrl-D:");
    }
    let mut code = Zeroizing::new(String::new());
    let read = io::stdin().lock().take(CODE_MAX).read_to_string(&mut code);
    read.context("reading the recovery code from standard input")?;
    Ok(code)
}
