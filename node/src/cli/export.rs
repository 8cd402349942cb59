//! `wattle export`: what a group has said, in a file for other programs or for paper.
//!
//! > Texts and names come from other people, and stay text: nothing of them is a link, a tag or a script where it is read.

mod form;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::{ValueEnum, builder::NonEmptyStringValueParser};
use node::{
    api::types::{Class, GroupView, MemberRef, Message},
    backup::drafts::{self, Kind},
    client::Client,
};
use tempfile::NamedTempFile;
use time::OffsetDateTime;

use self::form::Form;
use super::{
    Place, args, exit,
    exit::{Exit, Failure},
    history, show,
};

/// Write the messages of a group to a file, for other programs or for paper
///
/// As they are shown now, in the order of `wattle history`, all of them unless you say less; times are UTC. What you write is not encrypted, and what
/// is deleted later stays in it.
#[derive(clap::Args)]
#[command(after_help = exit::help(&[
    "wattle export ops --format html --out ops.html",
    "wattle export ops --format markdown --since 2026-01-01 --until 2026-02-01 --out january.md",
    "wattle export ops --from @ben | jq -r .text",
]))]
pub struct Export {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
    /// In which form: a JSON value a line, or text for people
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Format::Ndjson)]
    format: Format,
    /// Only what was written from this time on: 2026-01-31, 2026-01-31T14:03:00Z, or 7d ago
    #[arg(long, value_name = "TIME", value_parser = args::moment)]
    since: Option<OffsetDateTime>,
    /// Only what was written before this time
    #[arg(long, value_name = "TIME", value_parser = args::moment)]
    until: Option<OffsetDateTime>,
    /// Only what this member wrote: a name, with or without @, or the first digits of an id
    #[arg(long, value_name = "MEMBER", value_parser = NonEmptyStringValueParser::new())]
    from: Option<String>,
    /// The file, for you alone (0600), instead of standard output
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long, requires = "out")]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A message a line, as JSON
    Ndjson,
    /// Markdown
    Markdown,
    /// One page that prints well, without scripts
    Html,
}

/// Which messages.
struct Wanted {
    since: Option<OffsetDateTime>,
    until: Option<OffsetDateTime>,
    from: Option<Writer>,
}

/// Whose messages.
enum Writer {
    /// A member's of now.
    Member(String),
    /// Somebody's who was one: found by what is written on the messages.
    Former { asked: String, found: Option<MemberRef> },
}

impl Export {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let group = client.group(&self.group).await?;
        let from = self.from.as_deref().map(|asked| writer(asked, &group)).transpose()?;
        let mut wanted = Wanted { since: self.since, until: self.until, from };
        let form = self.format.form();
        let (id, name) = (&group.summary.id, &group.summary.name);
        let count = match &self.out {
            None => {
                let mut out = io::stdout().lock();
                let count = write(&client, id, name, &*form, &mut wanted, &mut out).await?;
                out.flush()?;
                count
            }
            Some(path) => {
                let mut draft = draft(path, self.force)?;
                let mut out = io::BufWriter::new(draft.as_file_mut());
                let count = write(&client, id, name, &*form, &mut wanted, &mut out).await?;
                out.flush()?;
                drop(out);
                draft.as_file().sync_all()?;
                wanted.found(count)?;
                keep(draft, path, self.force)?;
                count
            }
        };
        wanted.found(count)?;
        let messages = show::count(count, "message");
        match &self.out {
            Some(path) => {
                let path = show::safe(&path.display().to_string());
                show::words(format_args!("wrote {messages} to {path}: it is not encrypted"));
            }
            None => show::words(format_args!("wrote {messages}")),
        }
        Ok(Exit::Done)
    }
}

impl Format {
    fn form(self) -> Box<dyn Form> {
        match self {
            Self::Ndjson => Box::new(form::Ndjson),
            Self::Markdown => Box::new(form::Markdown),
            Self::Html => Box::new(form::Html),
        }
    }
}

/// Writes page after page; how many messages there were.
async fn write(
    client: &Client,
    group: &str,
    name: &str,
    form: &dyn Form,
    wanted: &mut Wanted,
    out: &mut impl Write,
) -> anyhow::Result<u64> {
    out.write_all(form.begin(name).as_bytes())?;
    let (mut count, mut apart) = (0, 0);
    for class in [Kept::Here, Kept::Apart] {
        if class == Kept::Apart {
            if apart == 0 {
                break;
            }
            out.write_all(form.apart().as_bytes())?;
        }
        let (mut last, mut day): (Option<Message>, _) = (None, None);
        loop {
            let page = client.history_beyond(group, last.as_ref(), history::PAGE).await?;
            let Some(end) = page.last().cloned() else { break };
            for message in &page {
                if !wanted.takes(message)? {
                    continue;
                }
                // Programs see who is blocked; people are not shown what they say.
                if form.keeps_apart() && message.more.blocked {
                    continue;
                }
                if form.keeps_apart() && Kept::of(message) != class {
                    apart += u64::from(class == Kept::Here);
                    continue;
                }
                let written = show::time(&message.at).date();
                if day.replace(written) != Some(written) {
                    out.write_all(form.day(written).as_bytes())?;
                }
                out.write_all(form.message(message)?.as_bytes())?;
                count += 1;
            }
            last = Some(end);
        }
    }
    out.write_all(form.end(count).as_bytes())?;
    Ok(count)
}

/// Where a message stands among the others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Here,
    Apart,
}

impl Kept {
    fn of(message: &Message) -> Self {
        if message.class == Class::PostCut { Self::Apart } else { Self::Here }
    }
}

impl Wanted {
    /// Refuses where it was asked for somebody who has written nothing here and is no member.
    fn found(&self, count: u64) -> Result<(), Failure> {
        match (count, &self.from) {
            (0, Some(Writer::Former { asked, found: None })) => {
                Err(no_such(format!("nobody called \"{asked}\" has written here")))
            }
            _ => Ok(()),
        }
    }

    fn takes(&mut self, message: &Message) -> anyhow::Result<bool> {
        let at = show::time(&message.at);
        if self.since.is_some_and(|since| at < since) || self.until.is_some_and(|until| at >= until)
        {
            return Ok(false);
        }
        match &mut self.from {
            None => Ok(true),
            Some(Writer::Member(id)) => Ok(message.from.id == *id),
            Some(Writer::Former { asked, found }) => {
                if !is_called(&message.from, asked) {
                    return Ok(false);
                }
                let found = found.get_or_insert_with(|| message.from.clone());
                if found.id == message.from.id {
                    return Ok(true);
                }
                let [one, other] =
                    [&*found, &message.from].map(|it| show::short(&it.id).to_owned());
                let message = format!("\"{asked}\" could be any of these: {one}, {other}");
                Err(no_such(message).into())
            }
        }
    }
}

/// Whom somebody means: one of the members of now, or else somebody who was one.
fn writer(asked: &str, group: &GroupView) -> anyhow::Result<Writer> {
    let asked = asked.strip_prefix('@').unwrap_or(asked);
    let called = |by: fn(&MemberRef, &str) -> bool| {
        let people = group.people.iter().map(|person| &person.member);
        people.filter(|member| by(member, asked)).collect::<Vec<_>>()
    };
    let named = called(|member, asked| member.name == asked);
    let found = if named.is_empty() { called(is_called) } else { named };
    match found.as_slice() {
        [] => Ok(Writer::Former { asked: asked.into(), found: None }),
        [member] => Ok(Writer::Member(member.id.clone())),
        several => {
            let ids: Vec<&str> = several.iter().map(|member| show::short(&member.id)).collect();
            let message = format!("\"{asked}\" could be any of these: {}", ids.join(", "));
            Err(no_such(message).into())
        }
    }
}

fn is_called(member: &MemberRef, asked: &str) -> bool {
    let digits = asked.len() >= 4 && asked.chars().all(|c| c.is_ascii_hexdigit());
    member.name == asked || (digits && member.id.starts_with(&asked.to_ascii_lowercase()))
}

fn no_such(message: String) -> Failure {
    let hint = "give the first digits of the id: `wattle group show` and `wattle history --json` have them";
    Failure::new(Exit::NoSuchName, message, hint)
}

/// A file beside the one to be, for its owner alone; gone again unless it is kept.
fn draft(path: &Path, force: bool) -> anyhow::Result<NamedTempFile> {
    if !force && fs::symlink_metadata(path).is_ok() {
        return Err(there(path).into());
    }
    let beside = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    drafts::file(beside, Kind::Export)
        .with_context(|| format!("no file can be made in {}", beside.display()))
}

/// Gives it its name; over another file only where that was asked for.
fn keep(draft: NamedTempFile, path: &Path, force: bool) -> anyhow::Result<()> {
    let kept = if force { draft.persist(path) } else { draft.persist_noclobber(path) };
    match kept.map_err(|error| error.error) {
        Ok(_) => Ok(()),
        Err(error) if !force && error.kind() == io::ErrorKind::AlreadyExists => {
            Err(there(path).into())
        }
        Err(error) => Err(error).with_context(|| format!("{} can't be written", path.display())),
    }
}

fn there(path: &Path) -> Failure {
    let message = format!("{} is there already", path.display());
    Failure::new(Exit::Refused, message, "name another file, or write over it with --force")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_is_there_is_written_over_only_where_that_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tea.md");
        let write = |text: &str, force| {
            let mut file = draft(&path, force)?;
            file.write_all(text.as_bytes())?;
            keep(file, &path, force)
        };
        write("one", false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = exit::explain(&write("two", false).unwrap_err());
        assert_eq!(refused.0, Exit::Refused);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        // One that comes while it is written is not written over either.
        let late = dir.path().join("late.md");
        let made = draft(&late, false).unwrap();
        fs::write(&late, "theirs").unwrap();
        assert!(keep(made, &late, false).is_err());
        assert_eq!(fs::read_to_string(&late).unwrap(), "theirs");
        write("two", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no draft is left");
    }

    #[test]
    fn a_member_is_found_by_name_and_by_digits_and_never_guessed() {
        let member = |id: &str, name: &str| MemberRef { id: id.repeat(16), name: name.into() };
        assert!(is_called(&member("a1b2", "ben"), "ben"));
        assert!(is_called(&member("a1b2", "ben"), "A1B2a"));
        assert!(!is_called(&member("a1b2", "ben"), "a1b"), "too few digits");
        assert!(!is_called(&member("a1b2", "ben"), "be"));
    }
}
