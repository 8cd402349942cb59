//! `wattle file`.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::{Subcommand, builder::NonEmptyStringValueParser};
use node::{
    api::types::{FileStanding, FileView, Message},
    client::Client,
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Place, args,
    exit::{self, Exit, Failure},
    show,
};

/// Send files to groups, and fetch them
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle file send tea plan.pdf", "wattle file get tea plan.pdf", "wattle file get tea plan.pdf --timeout 10m"]))]
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
#[command(after_help = exit::help(&["wattle file send tea plan.pdf"]))]
struct Send {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
    /// The file, of at most 16 GiB
    path: PathBuf,
}

/// Fetch a file that was offered, and wait until it is here
///
/// The node goes on when this is interrupted or its time is over, and where it was after a restart.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle file get tea plan.pdf", "wattle file get tea plan.pdf --timeout 10m"]))]
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
    /// Wait at most so long: 30s, 10m
    #[arg(long, value_name = "TIME", value_parser = args::duration, conflicts_with = "no_wait")]
    timeout: Option<Duration>,
}

/// Show the files that were offered in a group
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle file list tea"]))]
struct List {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
}

/// Fetch a file no longer, or give it no longer
///
/// What was fetched whole stays on the disk.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle file cancel tea plan.pdf"]))]
struct Cancel {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
    /// The file's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    file: String,
}

/// How often it is looked how far a file is, where somebody sees it.
const LOOK: Duration = Duration::from_millis(250);
/// How often where nobody does.
const LOOK_UNSEEN: Duration = Duration::from_secs(1);
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
        let message = client.send_file(&self.group, &whole(&self.path)?).await?;
        if place.json {
            show::json(&message)?;
            return Ok(Exit::Done);
        }
        show::words(offered(&message));
        show::data(&message.id)?;
        Ok(Exit::Done)
    }
}

/// A path as the node takes it.
fn whole(path: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path).context("the path can't be read")?;
    Ok(path.to_str().context("the path is not UTF-8")?.into())
}

/// The same, of a file that can be read.
pub fn readable(path: &Path) -> anyhow::Result<String> {
    let refused = |why: String| {
        let message =
            format!("{} can't be offered: {why}", show::safe(&path.display().to_string()));
        Failure::new(Exit::Usage, message, "name a file that you can read; nothing was sent")
    };
    // Not opened before: a pipe would be waited for.
    let meta = fs::metadata(path).map_err(|error| refused(error.to_string()))?;
    if !meta.is_file() {
        return Err(refused("it is no file".into()).into());
    }
    fs::File::open(path).map_err(|error| refused(error.to_string()))?;
    whole(path)
}

/// What is said of a file that was offered.
pub fn offered(message: &Message) -> String {
    let size = message.file.as_ref().map_or(0, |file| file.size);
    format!(
        "offered {} ({}): it is given from where it is, as long as this node runs",
        show::safe(&message.text),
        amount(size)
    )
}

impl Get {
    async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let view = client.fetch_file(&self.group, &self.file).await?;
        if self.no_wait && view.state == FileStanding::Fetching && !view.failed {
            if place.json {
                show::json(&view)?;
            }
            return Ok(Exit::Done);
        }
        let (patience, id) = (self.timeout, view.id.clone());
        let ended = follow(&client, &self.group, view, place);
        let view = match patience {
            None => ended.await?,
            Some(patience) => match timeout(patience, ended).await {
                Ok(ended) => ended?,
                Err(_) => return Err(self.late(&client, &id, patience).await.into()),
            },
        };
        if place.json {
            show::json(&view)?;
        }
        match view.state {
            FileStanding::Here => {
                if let Some(path) = view.path.as_deref().filter(|_| !place.json) {
                    show::data(show::safe(path))?;
                }
                Ok(Exit::Done)
            }
            FileStanding::Fetching => {
                let why = format!("it does not go on: {}", show::safe(&view.problem));
                Err(Failure::new(Exit::Refused, why, "ask for it again once that is mended").into())
            }
            FileStanding::Offered => {
                let why = "it is fetched no more: wattle file cancel, or another program, said so";
                Err(Failure::new(Exit::Refused, why, "").into())
            }
        }
    }

    async fn late(&self, client: &Client, id: &str, patience: Duration) -> Failure {
        let here = client.file(&self.group, id).await.map_or_else(
            |_| String::new(),
            |view| format!(" ({} of {} are)", amount(view.bytes), amount(view.file.size)),
        );
        let patience = patience.as_secs();
        let why = format!("not all of it is here after {patience} s{here}; the node goes on");
        Failure::new(Exit::Network, why, format!("wattle file list {}", show::safe(&self.group)))
    }
}

/// Shows how far a file is, until it goes on no more.
async fn follow(
    client: &Client,
    group: &str,
    mut view: FileView,
    place: &Place,
) -> anyhow::Result<FileView> {
    let (began, first) = (Instant::now(), view.bytes);
    let line = Line { is_terminal: io::stderr().is_terminal() && !place.json };
    let (mut problem, mut waits) = (String::new(), String::new());
    while view.state == FileStanding::Fetching && !view.failed {
        if !line.is_terminal && view.waits != waits {
            waits.clone_from(&view.waits);
            if !waits.is_empty() {
                show::words(format_args!("it waits: {}", show::safe(&waits)));
            }
        }
        if view.problem != problem {
            problem.clone_from(&view.problem);
            if !problem.is_empty() {
                line.hide();
                show::words(format_args!("{}; still trying", show::safe(&problem)));
            }
        }
        let took = began.elapsed().as_secs_f64();
        line.show(&way(&view, rate(view.bytes.saturating_sub(first), took)));
        sleep(if line.is_terminal { LOOK } else { LOOK_UNSEEN }).await;
        view = client.file(group, &view.id).await?;
    }
    Ok(view)
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
                FileStanding::Fetching if !view.waits.is_empty() => {
                    format!("{} %, waits: {}", percent(&view), show::safe(&view.waits))
                }
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
        0 if !view.waits.is_empty() => format!("waits: {}", show::safe(&view.waits)),
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
        let view = |bytes, sources, waits: &str| FileView {
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
            failed: false,
            waits: waits.into(),
        };
        let half = "pl\\u{1b}an  [############            ]  50 %  100.0 MiB of 200.0 MiB, \
                    10.0 MiB/s from 2 members";
        assert_eq!(way(&view(100 << 20, 2, ""), rate(20 << 20, 2.0)), half);
        assert!(way(&view(0, 0, ""), 0).ends_with("waits for somebody who has it"));
        assert!(way(&view(0, 0, "no\u{1b} way"), 0).ends_with("waits: no\\u{1b} way"));
    }

    #[test]
    fn amounts_are_in_the_largest_unit_of_which_there_is_one() {
        let shown = [1, 1023, 1024, 1 << 20, 3 << 30, 2 << 40].map(amount);
        let words = ["1 byte", "1023 bytes", "1.0 KiB", "1.0 MiB", "3.0 GiB", "2048.0 GiB"];
        assert_eq!(shown, words);
    }
}
