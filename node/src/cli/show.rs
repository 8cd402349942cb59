//! How things look: safe on any terminal, aligned, the same words everywhere.
//!
//! > Names and texts come from other people. What steers a terminal or turns the direction of
//! > writing is shown as an escape and never written raw, in JSON too.

use std::{
    collections::BTreeSet,
    env, fmt,
    io::{self, IsTerminal, Write},
};

use node::api::types::{
    Answered, ChangeKind, Class, Event, MemberRef, Message, MessageKind, More, Person, Reaction,
};
use protocol::hidden::is_hidden;
use serde::Serialize;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::file::amount;

/// A line of data, on standard output.
pub fn data(line: impl fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// A line of words, on standard error. Nobody's reading it is no error.
pub fn words(line: impl fmt::Display) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// The next step, as the last line on standard error.
pub fn next(command: impl fmt::Display) {
    words(format_args!("next: {command}"));
}

/// One line of JSON, on standard output.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(data(json_line(value)?)?)
}

/// One line of JSON.
pub fn json_line(value: &impl Serialize) -> anyhow::Result<String> {
    let line = serde_json::to_string(value)?;
    let mut safe = String::with_capacity(line.len());
    for c in line.chars() {
        if is_unsafe(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    Ok(safe)
}

/// Things as JSON, each on a line of its own.
pub fn json_lines<T: Serialize>(values: &[T]) -> anyhow::Result<()> {
    values.iter().try_for_each(json)
}

/// A text from somebody, on one line.
pub fn safe(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => shown.push('\t'),
            c if is_unsafe(c) => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// A text from somebody, its lines kept; those after the first are indented, so that none of them
/// can pose as a line of its own.
fn safe_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(safe).collect();
    lines.join("\n      ")
}

/// Control characters, and what is not seen or turns the direction of writing.
fn is_unsafe(c: char) -> bool {
    c.is_control() || is_hidden(c)
}

/// A member's name.
pub fn name(member: &MemberRef) -> String {
    safe(&member.name)
}

/// The names of members, in a list.
pub fn names(members: &[MemberRef]) -> String {
    members.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// What somebody typed, as it is typed again in a shell.
pub fn word(typed: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.:@/+".contains(c);
    let safe = safe(typed);
    let end_of_options = if safe.starts_with('-') { "-- " } else { "" };
    if !safe.is_empty() && safe.chars().all(plain) {
        format!("{end_of_options}{safe}")
    } else {
        format!("{end_of_options}'{}'", safe.replace('\'', "'\\''"))
    }
}

/// The first digits of an id: enough to type.
pub fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// A member by name and id, with so many digits that nobody finds another identity with the same.
pub fn identity(member: &MemberRef) -> String {
    format!("{} ({})", name(member), digits(&member.id))
}

/// The digits of an identity's id that are shown where it matters which one it is.
pub fn digits(id: &str) -> &str {
    id.get(..16).unwrap_or(id)
}

/// `1 member`, `2 members`.
pub fn count(n: u64, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// What is said of a message whose writer's logical clock leaps.
const AHEAD: &str = " (its writer's node counts far ahead of all others: shown where it came)";

/// What is said of a writer who has a verified member's name and is another identity.
const OTHER_KEY: &str = " (NOT the identity that you verified under this name)";

/// What is said of who wants to be let in under a verified name, and is another identity.
pub fn imitates(others: &[MemberRef]) -> String {
    match others {
        [] => String::new(),
        others => {
            let others = others.iter().map(identity).collect::<Vec<_>>().join(" or ");
            format!("; NOT the identity of {others}, whom you verified under this name")
        }
    }
}

/// What is said of a member's identity.
pub fn mark(verified: bool, verified_as: &[String], other_key: bool) -> Option<String> {
    match (verified, other_key) {
        (true, _) if verified_as.is_empty() => Some("verified".into()),
        (true, _) => {
            let names: Vec<String> = verified_as.iter().map(|name| safe(name)).collect();
            Some(format!("verified as {}", names.join(", ")))
        }
        (false, true) => Some("NOT the identity that you verified under this name".into()),
        (false, false) => None,
    }
}

/// Emphasis that a terminal may show.
#[derive(Clone, Copy)]
pub enum Tone {
    /// What matters less.
    Dim,
    /// Who speaks.
    Bold,
}

/// A text with emphasis, where standard output is a terminal and `NO_COLOR` is not set.
pub fn toned(tone: Tone, text: &str) -> String {
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if no_color || !io::stdout().is_terminal() {
        return text.into();
    }
    let code = match tone {
        Tone::Dim => 2,
        Tone::Bold => 1,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Rows under one another, their cells aligned by what they show; the last is not padded.
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let width = |cell: &String| cell.chars().count();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(width).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A time of the API, in UTC. What can't be read is shown as the epoch.
pub fn time(at: &str) -> OffsetDateTime {
    OffsetDateTime::parse(at, &Rfc3339)
        .map_or(OffsetDateTime::UNIX_EPOCH, |at| at.to_offset(UtcOffset::UTC))
}

/// `14:03`.
pub fn clock(at: &str) -> String {
    let at = time(at);
    format!("{:02}:{:02}", at.hour(), at.minute())
}

/// `2026-01-31 14:03 UTC`.
pub fn moment(at: &str) -> String {
    format!("{} {} UTC", time(at).date(), clock(at))
}

/// A time, in the largest unit that fits.
pub fn lasting(seconds: u64) -> String {
    match seconds {
        0..=119 => count(seconds, "second"),
        120..=7_199 => count(seconds / 60, "minute"),
        7_200..=172_799 => count(seconds / 3_600, "hour"),
        _ => count(seconds / 86_400, "day"),
    }
}

/// A span as one would write it.
pub fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units.iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{seconds}s"), |(unit, name)| format!("{}{name}", seconds / unit))
}

/// How long something took, in milliseconds.
pub fn took(micros: u64) -> String {
    match micros {
        0..=9_999 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{} ms", micros / 1_000),
    }
}

/// What a message shows.
fn said(message: &Message) -> String {
    said_with(message, safe_lines)
}

/// The same, with its text as `shown`.
fn said_with(message: &Message, shown: impl Fn(&str) -> String) -> String {
    let More { kind, edits, deleted_by, expired, .. } = &message.more;
    if *expired {
        return "(expired)".into();
    }
    if let Some(by) = deleted_by {
        return format!("(deleted by {})", name(by));
    }
    match (&message.file, kind) {
        (Some(file), _) => format!("[file] {}, {}", safe(&file.name), amount(file.size)),
        (None, MessageKind::Unknown) => UNKNOWN.into(),
        (None, _) if *edits > 0 => format!("{} (edited)", shown(&message.text)),
        (None, _) => shown(&message.text),
    }
}

/// What is shown of a message of a kind that is not known.
const UNKNOWN: &str = "(a message that this version of wattle can't show: update it)";

/// Characters of a message that are shown where another one answers it.
const QUOTED: usize = 40;

/// What a message answers.
fn answers(to: &Answered) -> String {
    let Some(from) = &to.from else { return " (to a message that is not here)".into() };
    let words = to.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let quoted: String = words.chars().take(QUOTED).collect();
    let more = if words.chars().count() > QUOTED { "…" } else { "" };
    format!(" (to {}: “{}{more}”)", name(from), safe(&quoted))
}

/// A message, in the parts of which its line is made. All of it is safe on a terminal, and nowhere else.
pub struct Parts {
    /// Who wrote it.
    pub name: String,
    /// What it answers; begins with a space.
    pub answers: String,
    /// What it says, in lines.
    pub text: String,
    /// Reactions, and whether it is pinned, each after a space.
    pub signs: String,
    /// What is to be said of where it is from and how far it is to be trusted, each after a space.
    pub remarks: String,
}

impl Parts {
    /// Those of a message, the lines of its text as they are.
    pub fn of(message: &Message) -> Self {
        let lines = |text: &str| text.lines().map(safe).collect::<Vec<_>>().join("\n");
        Self {
            name: name(&message.from),
            answers: message.more.reply.as_ref().map(answers).unwrap_or_default(),
            text: said_with(message, lines),
            signs: signs(&message.more),
            remarks: remarks(message),
        }
    }
}

/// What is to be said of where a message is from, and how far it is to be trusted.
fn remarks(message: &Message) -> String {
    let doubt = match message.class {
        Class::StaleView if message.late => " (a member who was being removed could read this)",
        Class::Ok | Class::StaleView => "",
        Class::PostCut => " (written after its writer's removal: don't trust it)",
    };
    let by = message.shared_by.as_ref().map(|by| format!(" (shared by {})", name(by)));
    let ahead = if message.ahead { AHEAD } else { "" };
    format!("{}{doubt}{ahead}", by.unwrap_or_default())
}

/// Who reacts by what, and whether it is pinned.
fn signs(more: &More) -> String {
    let sign = |it: &Reaction| format!(" [{} {}]", safe(&it.text), names(&it.by));
    let signs: String = more.reactions.iter().map(sign).collect();
    let pinned = more.pinned_by.as_ref().map(|by| format!(" (pinned by {})", name(by)));
    signs + &pinned.unwrap_or_default()
}

/// What somebody changed of a message.
pub fn changed(message: &Message, by: &MemberRef, change: &ChangeKind) -> String {
    let (by, at) = (name(by), clock(&message.at));
    let whose = match name(&message.from) {
        from if from == by => format!("the message of {at}"),
        from => format!("{from}'s message of {at}"),
    };
    match change {
        ChangeKind::Edit => format!("{by} edited {whose}: {}", said(message)),
        ChangeKind::Delete => format!("{by} deleted {whose}"),
        ChangeKind::Reaction { sign, on: true } => {
            format!("{by} reacts to {whose}: {}", safe(sign))
        }
        ChangeKind::Reaction { sign, on: false } => {
            format!("{by} no longer reacts to {whose}: {}", safe(sign))
        }
        ChangeKind::Pin { on: true } => format!("{by} pinned {whose}"),
        ChangeKind::Pin { on: false } => format!("{by} unpinned {whose}"),
        ChangeKind::Judged => {
            format!("by what is known now, {whose} shows: {}", said(message))
        }
    }
}

/// A conversation, line by line; a line with the date stands before the first of each day.
#[derive(Default)]
pub struct Conversation {
    day: Option<time::Date>,
    /// Whether the first digits of each message's id are shown: enough to name it.
    ids: bool,
    /// Members whose names are easily mistaken for another one's, by their ids.
    alike: BTreeSet<String>,
}

impl Conversation {
    /// One that shows the first digits of each message's id, or not.
    pub const fn with_ids(ids: bool) -> Self {
        Self { day: None, ids, alike: BTreeSet::new() }
    }

    /// From now on these people's names stand with the first digits of their ids, where two look alike.
    pub fn tell_apart(&mut self, people: &[Person]) {
        let alike = people.iter().filter(|person| person.alike);
        self.alike = alike.map(|person| person.member.id.clone()).collect();
    }

    /// Shows a message.
    pub fn message(&mut self, message: &Message) -> io::Result<()> {
        self.line(message, "")
    }

    /// Shows a message that stands further up.
    pub fn late(&mut self, message: &Message) -> io::Result<()> {
        self.line(message, " (came late: it stands further up in wattle history)")
    }

    fn line(&mut self, message: &Message, late: &str) -> io::Result<()> {
        if message.more.blocked {
            return Ok(());
        }
        self.date(&message.at)?;
        let clock = toned(Tone::Dim, &clock(&message.at));
        let from = match self.alike.contains(&message.from.id) {
            true => identity(&message.from),
            false => name(&message.from),
        };
        let name = toned(Tone::Bold, &from);
        let other = if message.more.other_key { OTHER_KEY } else { "" };
        let answers = message.more.reply.as_ref().map(answers).unwrap_or_default();
        let (signs, text, remarks) = (signs(&message.more), said(message), remarks(message));
        let id = if self.ids { format!(" {}", short(&message.id)) } else { String::new() };
        data(format_args!("{clock}{id} {name}{other}{answers}: {text}{signs}{remarks}{late}"))
    }

    /// Shows something that happened.
    pub fn note(&mut self, event: &Event, what: impl fmt::Display) -> io::Result<()> {
        self.date(&event.at)?;
        let line = format!("{} * {what}", clock(&event.at));
        data(toned(Tone::Dim, &line))
    }

    /// Shows something that is not to be overlooked.
    pub fn alarm(&mut self, event: &Event, what: impl fmt::Display) -> io::Result<()> {
        self.date(&event.at)?;
        let line = format!("{} ! LOOK AT THIS: {what}", clock(&event.at));
        data(toned(Tone::Bold, &line))
    }

    fn date(&mut self, at: &str) -> io::Result<()> {
        let day = time(at).date();
        let first = self.day.replace(day);
        if first == Some(day) || (first.is_none() && day == OffsetDateTime::now_utc().date()) {
            return Ok(());
        }
        data(toned(Tone::Dim, &format!("-- {day} --")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_written_raw() {
        let nasty = "a\x1b[2Jb\u{9b}c\rd\u{202e}e\u{2066}f\u{200b}g\x07\u{feff}";
        let shown = safe(nasty);
        assert_eq!(shown, "a\\u{1b}[2Jb\\u{9b}c\\rd\\u{202e}e\\u{2066}f\\u{200b}g\\u{7}\\u{feff}");
        assert_eq!(safe("so\u{ad}ft\u{180e}\u{e0041}"), "so\\u{ad}ft\\u{180e}\\u{e0041}");
        assert_eq!(safe("❤\u{fe0f} می\u{200c}نا"), "❤\u{fe0f} می\u{200c}نا");
        assert_eq!(safe("grün 👩‍👩‍👧 עברית\t=)"), "grün 👩‍👩‍👧 עברית\t=)");
    }

    #[test]
    fn a_line_in_a_text_can_not_pose_as_another_message() {
        assert_eq!(safe_lines("hi\n12:00 ana: pay him"), "hi\n      12:00 ana: pay him");
        assert_eq!(safe_lines("hi\r12:00 ana: pay"), "hi\\r12:00 ana: pay");
    }

    #[test]
    fn what_others_say_of_a_message_is_shown_safe_and_on_its_line() {
        let member = |name: &str| MemberRef { id: "00".into(), name: name.into() };
        let more = More {
            reactions: vec![Reaction {
                text: "+1".into(),
                by: vec![member("a\u{1b}na"), member("ben")],
            }],
            pinned_by: Some(member("ca\nrl")),
            ..More::default()
        };
        assert_eq!(signs(&more), " [+1 a\\u{1b}na, ben] (pinned by ca\\nrl)");
        let text = format!("two\n lines \u{202e}{}", "x".repeat(60));
        let to = Answered { id: None, from: Some(member("ada")), text };
        assert_eq!(answers(&to), format!(" (to ada: “two lines \\u{{202e}}{}…”)", "x".repeat(29)));
        assert_eq!(answers(&Answered::default()), " (to a message that is not here)");
    }

    #[test]
    fn cells_are_aligned_and_lines_have_no_tail() {
        let rows = [vec!["ana".into(), "direct".into(), String::new()], vec!["grün".into()]];
        assert_eq!(table(&rows), ["ana   direct", "grün"]);
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(clock("2026-01-31T23:30:00-01:00"), "00:30");
        assert_eq!(moment("2026-01-31T14:03:59.5Z"), "2026-01-31 14:03 UTC");
        assert_eq!(
            [took(99), took(450), took(9_999), took(23_456)],
            ["0.0 ms", "0.4 ms", "9.9 ms", "23 ms"]
        );
    }
}
