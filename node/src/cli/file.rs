//! `wattle file`.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context;
use clap::{Subcommand, builder::NonEmptyStringValueParser};
use node::api::types::{FileStanding, FileView};
use tokio::time::{Instant, sleep};

use super::{Place, exit, exit::Exit, show};

/// Send files to groups, and fetch them
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle file send tea plan.pdf", "wattle file get tea plan.pdf"]))]
pub struct File {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Send(Send),
    Get(Get),
    List(List),
    Cancel(Cancel),
}

/// Offer a file to everybody in a group
///
/// It is read once and stays where it is: members fetch it from this node, or from each other, while they are
/// connected. Whoever has it keeps giving it when yours is off.
#[derive(clap::Args)]
struct Send {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
    /// The file, of at most 16 GiB
    path: PathBuf,
}

/// Fetch a file that was offered, and wait until it is here
///
/// The node goes on when this is interrupted, and where it was after a restart.
#[derive(clap::Args)]
struct Get {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
    /// The file's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    file: String,
    /// Do not wait for it
    #[arg(long)]
    no_wait: bool,
}

/// Show the files that were offered in a group
#[derive(clap::Args)]
struct List {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
}

/// Fetch a file no longer, or give it no longer
///
/// What was fetched whole stays on the disk.
#[derive(clap::Args)]
struct Cancel {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
    /// The file's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    file: String,
}

/// How often it is looked how far a file is.
const LOOK: Duration = Duration::from_millis(250);
/// How many signs are as long as the whole way.
const WIDTH: usize = 24;

impl File {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        match self.command {
            Command::Send(send) => send.run(place).await,
            Command::Get(get) => get.run(place).await,
            Command::List(list) => list.run(place).await,
            Command::Cancel(cancel) => cancel.run(place).await,
        }
    }
}

impl Send {
    async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let path = std::path::absolute(&self.path).context("the path can't be read")?;
        let path = path.to_str().context("the path is not UTF-8")?;
        let message = client.send_file(&self.group, path).await?;
        if place.json {
            show::json(&message)?;
            return Ok(Exit::Done);
        }
        let size = message.file.as_ref().map_or(0, |file| file.size);
        show::words(format_args!(
            "offered {} ({}): it is given from where it is, as long as this node runs",
            show::safe(&message.text),
            amount(size)
        ));
        show::data(&message.id)?;
        Ok(Exit::Done)
    }
}

impl Get {
    async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let mut view = client.fetch_file(&self.group, &self.file).await?;
        let (began, first) = (Instant::now(), view.bytes);
        let line = Line { is_terminal: io::stderr().is_terminal() && !place.json };
        while view.state == FileStanding::Fetching && view.problem.is_empty() && !self.no_wait {
            let took = began.elapsed().as_secs_f64();
            line.show(&way(&view, rate(view.bytes.saturating_sub(first), took)));
            sleep(LOOK).await;
            let files = client.files(&self.group).await?;
            let Some(now) = files.into_iter().find(|file| file.id == view.id) else { break };
            view = now;
        }
        line.hide();
        if place.json {
            show::json(&view)?;
        } else if let Some(path) = &view.path {
            show::data(show::safe(path))?;
        } else if !view.problem.is_empty() {
            show::words(format_args!("it does not go on: {}", show::safe(&view.problem)));
        }
        let done = view.state == FileStanding::Here
            || self.no_wait && view.state == FileStanding::Fetching;
        Ok(if done { Exit::Done } else { Exit::Unexpected })
    }
}

impl List {
    async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        for view in place.client().await?.files(&self.group).await? {
            if place.json {
                show::json(&view)?;
                continue;
            }
            let stands = match view.state {
                FileStanding::Offered => "offered".into(),
                FileStanding::Fetching if !view.problem.is_empty() => show::safe(&view.problem),
                FileStanding::Fetching => format!("{} %", percent(&view)),
                FileStanding::Here => show::safe(view.path.as_deref().unwrap_or("here")),
            };
            let (id, name) = (show::short(&view.id), show::safe(&view.file.name));
            let (size, from) = (amount(view.file.size), show::name(&view.from));
            show::data(format_args!("{id}  {name}  {size}  {from}  {stands}"))?;
        }
        Ok(Exit::Done)
    }
}

impl Cancel {
    async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let view = place.client().await?.drop_file(&self.group, &self.file).await?;
        if place.json {
            show::json(&view)?;
        }
        Ok(Exit::Done)
    }
}

/// One line on standard error that is written over, where that is a terminal.
struct Line {
    is_terminal: bool,
}

impl Line {
    fn show(&self, line: &str) {
        if self.is_terminal {
            drop(write!(io::stderr().lock(), "\r\x1b[2K{line}"));
        }
    }

    fn hide(&self) {
        self.show("");
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.hide();
    }
}

/// `plan.pdf  [#########               ]  38 %  76.0 MiB of 200.0 MiB, 11.2 MiB/s from 2 members`
fn way(view: &FileView, rate: u64) -> String {
    let percent = percent(view);
    let full = WIDTH * usize::try_from(percent).unwrap_or(0) / 100;
    let bar = format!("{}{}", "#".repeat(full), " ".repeat(WIDTH - full));
    let from = match view.sources {
        0 => "waits for somebody who has it".into(),
        n => format!("{}/s from {}", amount(rate), show::count(n, "member")),
    };
    let (bytes, size) = (amount(view.bytes), amount(view.file.size));
    let name = show::safe(&view.file.name);
    format!("{name}  [{bar}] {percent:>3} %  {bytes} of {size}, {from}")
}

fn percent(view: &FileView) -> u64 {
    let share = u128::from(view.bytes) * 100 / u128::from(view.file.size.max(1));
    u64::try_from(share).unwrap_or(100).min(100)
}

/// Bytes in a second.
fn rate(bytes: u64, seconds: f64) -> u64 {
    if seconds < 0.5 { 0 } else { (bytes as f64 / seconds) as u64 }
}

/// A size, for people.
pub(super) fn amount(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB"];
    if bytes < 1024 {
        return show::count(bytes, "byte");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = units[0];
    for larger in &units[1..] {
        if amount >= 1024.0 {
            (amount, unit) = (amount / 1024.0, larger);
        }
    }
    format!("{amount:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use node::api::types::{FileRef, MemberRef};

    use super::*;

    #[test]
    fn the_line_says_how_much_is_here_how_fast_it_comes_and_of_how_many() {
        let view = |bytes, sources| FileView {
            v: 1,
            id: "00".into(),
            seq: 1,
            from: MemberRef { id: "00".into(), name: "ben".into() },
            mine: false,
            file: FileRef { name: "pl\u{1b}an".into(), size: 200 << 20 },
            state: FileStanding::Fetching,
            path: None,
            bytes,
            sources,
            problem: String::new(),
        };
        let half = "pl\\u{1b}an  [############            ]  50 %  100.0 MiB of 200.0 MiB, \
                    10.0 MiB/s from 2 members";
        assert_eq!(way(&view(100 << 20, 2), rate(20 << 20, 2.0)), half);
        assert!(way(&view(0, 0), 0).ends_with("waits for somebody who has it"));
    }

    #[test]
    fn amounts_are_in_the_largest_unit_of_which_there_is_one() {
        let shown = [1, 1023, 1024, 1 << 20, 3 << 30, 2 << 40].map(amount);
        let words = ["1 byte", "1023 bytes", "1.0 KiB", "1.0 MiB", "3.0 GiB", "2048.0 GiB"];
        assert_eq!(shown, words);
    }
}
