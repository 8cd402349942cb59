//! `wattle __complete`: what may stand next on a command line, for the functions that `wattle completions` prints.
//!
//! > Names are other people's words, and what is completed stands on a person's command line: one that is more than letters, digits
//! > and `._-` is named by digits of its id. Nothing is said but candidates; who has no node has no names.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use clap::{Arg, Command, CommandFactory};
use node::{api::types::MemberRef, client::Client};
use tokio::time::timeout;

use super::{Cli, Place, exit, exit::Exit, show};

/// Say what may stand next on a command line, for a shell
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle __complete group ''"]), hide = true)]
pub struct Complete {
    /// The line up to here, where the shell has not taken it apart
    #[arg(long, value_name = "TEXT")]
    line: Option<String>,
    /// Its words without the program's, the last of them as far as it goes
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// How long the node may take, before it has no names.
const PATIENCE: Duration = Duration::from_millis(500);

/// The most that are proposed.
const MOST: usize = 500;

/// For the shell: files belong here.
const FILES: &str = ":files";

/// A word that may stand there, and what it is.
type Candidate = (String, String);

impl Complete {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let words = match &self.line {
            Some(line) => words(line).into_iter().skip(1).collect(),
            None => self.words,
        };
        let mut cli = Cli::command();
        cli.build();
        let at = At::of(&cli, &words);
        let (before, typed) = at.typed();
        let found = match at.next(typed) {
            Next::Words(words) => words,
            Next::Files => vec![(FILES.into(), String::new())],
            Next::Names(kinds) => {
                let named = timeout(PATIENCE, at.names(&kinds, typed, place)).await;
                named.ok().flatten().unwrap_or_default()
            }
        };
        let fits = |(word, _): &&Candidate| word.starts_with(typed) || word == FILES;
        for (word, about) in found.iter().filter(fits).take(MOST) {
            let before = if word == FILES { "" } else { before };
            show::data(format_args!("{before}{word}\t{}", show::safe(about)))?;
        }
        Ok(Exit::Done)
    }
}

/// Where on a command line somebody is.
struct At<'a> {
    command: &'a Command,
    /// The option whose value is typed.
    option: Option<&'a Arg>,
    /// How many positional arguments there are already.
    position: usize,
    /// Whether options have ended.
    is_escaped: bool,
    /// What was given before, by the argument's id.
    given: BTreeMap<&'a str, &'a str>,
    last: &'a str,
}

enum Next {
    Words(Vec<Candidate>),
    Files,
    Names(Kinds),
}

/// Whose names belong somewhere.
struct Kinds {
    groups: bool,
    members: bool,
    /// Whether members' have an @.
    marked: bool,
}

impl<'a> At<'a> {
    fn of(cli: &'a Command, words: &'a [String]) -> Self {
        let (last, before) = words.split_last().map_or(("", words), |(it, words)| (it, words));
        let (option, given) = (None, BTreeMap::new());
        let mut at = Self { command: cli, option, position: 0, is_escaped: false, given, last };
        before.iter().for_each(|word| at.pass(word));
        at
    }

    /// Goes on behind a word.
    fn pass(&mut self, word: &'a str) {
        if let Some(option) = self.option.take() {
            self.given.insert(option.get_id().as_str(), word);
        } else if self.is_escaped || !word.starts_with('-') || word == "-" {
            let below = self.command.get_subcommands();
            let named = |it: &&Command| {
                it.get_name() == word || it.get_all_aliases().any(|one| one == word)
            };
            let below = below.filter(|_| self.position == 0 && !self.is_escaped).find(named);
            match (below, self.positional()) {
                (Some(below), _) => self.command = below,
                (None, Some(argument)) => {
                    self.given.insert(argument.get_id().as_str(), word);
                    self.position += 1;
                }
                (None, None) => {}
            }
        } else if word == "--" {
            self.is_escaped = true;
        } else {
            self.option = self.option(word).filter(|it| takes_value(it) && !word.contains('='));
        }
    }

    /// The option that a word names; of several letters the last.
    fn option(&self, word: &str) -> Option<&'a Arg> {
        let mut all = self.command.get_arguments();
        let Some(long) = word.strip_prefix("--") else {
            let letter = word.chars().last()?;
            return all.find(|it| it.get_short() == Some(letter));
        };
        let long = long.split('=').next().unwrap_or(long);
        let has =
            |it: &&Arg| it.get_long_and_visible_aliases().is_some_and(|all| all.contains(&long));
        all.find(has)
    }

    /// The positional argument that is next; the last one may be given again and again.
    fn positional(&self) -> Option<&'a Arg> {
        let all: Vec<&Arg> = self.command.get_positionals().collect();
        let last =
            all.last().copied().filter(|it| it.get_num_args().is_some_and(|n| n.max_values() > 1));
        all.get(self.position).copied().or(last)
    }

    /// What of the last word stays as it is, and what is completed.
    fn typed(&self) -> (&'a str, &'a str) {
        let is_value = self.option.is_none() && !self.is_escaped && self.last.starts_with("--");
        match self.last.find('=').filter(|_| is_value) {
            Some(at) => self.last.split_at(at + 1),
            None => ("", self.last),
        }
    }

    fn next(&self, typed: &str) -> Next {
        if let Some(option) = self.option {
            return values(option, Vec::new());
        }
        if self.last.starts_with('-') && !self.is_escaped {
            if self.last.contains('=') {
                let nothing = Next::Words(Vec::new());
                return self.option(self.last).map_or(nothing, |option| values(option, Vec::new()));
            }
            let options = self.command.get_arguments().filter(|it| !it.is_hide_set());
            let names = options
                .filter_map(|it| Some((format!("--{}", it.get_long()?), about(it.get_help()))));
            return Next::Words(names.collect());
        }
        let below =
            self.command.get_subcommands().filter(|_| self.position == 0 && !self.is_escaped);
        let below = below.filter(|it| !it.is_hide_set());
        let commands: Vec<Candidate> =
            below.map(|it| (it.get_name().into(), about(it.get_about()))).collect();
        match self.positional() {
            // One who types a command is not asked for a name.
            Some(argument)
                if !commands.iter().any(|(it, _)| !typed.is_empty() && it.starts_with(typed)) =>
            {
                values(argument, commands)
            }
            _ => Next::Words(commands),
        }
    }

    /// Names that the node knows, at the place that the line says.
    async fn names(&self, kinds: &Kinds, typed: &str, place: &Place) -> Option<Vec<Candidate>> {
        let node = match self.given.get("data_dir") {
            Some(dir) if !self.given.contains_key("socket") => {
                Client::connect(&PathBuf::from(dir)).await.ok()?
            }
            _ => place.client().await.ok()?,
        };
        let mut found = Vec::new();
        if kinds.groups {
            let groups = node.groups().await.ok()?.into_iter().filter(|group| !group.archived);
            found = told_apart(groups.map(|group| (group.name, group.id)), "");
        }
        if kinds.members {
            let members: Vec<MemberRef> = match self.given.get("group") {
                Some(group) => {
                    let view = node.group(group).await.ok()?;
                    view.people.into_iter().map(|known| known.member).collect()
                }
                None => {
                    node.status().await.ok()?.paths.into_iter().map(|known| known.member).collect()
                }
            };
            let mark = if kinds.marked || typed.starts_with('@') { "@" } else { "" };
            found.extend(told_apart(members.into_iter().map(|it| (it.name, it.id)), mark));
        }
        Some(found)
    }
}

/// By name where one is enough and can be typed as it is, else by digits.
fn told_apart(all: impl Iterator<Item = (String, String)>, mark: &str) -> Vec<Candidate> {
    let all: BTreeMap<String, String> = all.map(|(name, id)| (id, name)).collect();
    let plain = |c: char| c.is_alphanumeric() || "._-".contains(c);
    let is_one = |name: &String| all.values().filter(|other| *other == name).count() == 1;
    let can = |name: &String| !name.starts_with('-') && name.chars().all(plain) && is_one(name);
    let named = all.iter().map(|(id, name)| match can(name) {
        true => (format!("{mark}{name}"), show::short(id).to_owned()),
        false => (show::short(id).to_owned(), name.clone()),
    });
    let mut named: Vec<Candidate> = named.collect();
    named.sort();
    named
}

/// What an argument may be, beside what else may stand there.
fn values(argument: &Arg, mut others: Vec<Candidate>) -> Next {
    let known = argument.get_possible_values();
    if !known.is_empty() {
        let shown = known.iter().filter(|it| !it.is_hide_set());
        others.extend(shown.map(|it| (it.get_name().into(), about(it.get_help()))));
        return Next::Words(others);
    }
    let named = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    let name = named.unwrap_or_else(|| argument.get_id().as_str().to_uppercase());
    let is = |what: &str| name.split('|').any(|one| one.trim_start_matches('@') == what);
    let kinds = Kinds { groups: is("GROUP"), members: is("MEMBER"), marked: name.contains('@') };
    match name.as_str() {
        _ if kinds.groups || kinds.members => Next::Names(kinds),
        "FILE" | "PATH" | "DIR" => Next::Files,
        _ => Next::Words(others),
    }
}

fn takes_value(option: &Arg) -> bool {
    option.get_num_args().is_some_and(|n| n.min_values() > 0)
}

fn about(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

/// The words of a line of shell, without their quotes; the last may be empty, or not yet have its end.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), Some(String::new()), None);
    let mut rest = line.trim_start().chars();
    while let Some(c) = rest.next() {
        let begun = word.get_or_insert_default();
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (Some('\''), c) => begun.push(c),
            (_, '\\') => begun.extend(rest.next()),
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if c.is_whitespace() => {
                words.extend(word.take().filter(|word| !word.is_empty()));
            }
            (_, c) => begun.push(c),
        }
    }
    words.push(word.unwrap_or_default());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(line: &str) -> Vec<String> {
        let mut cli = Cli::command();
        cli.build();
        let words: Vec<String> = words(line).into_iter().skip(1).collect();
        let at = At::of(&cli, &words);
        let (_, typed) = at.typed();
        match at.next(typed) {
            Next::Words(words) => {
                words.into_iter().map(|(word, _)| word).filter(|it| it.starts_with(typed)).collect()
            }
            Next::Files => vec![FILES.into()],
            Next::Names(Kinds { groups, members, marked }) => {
                let (groups, members) = (groups.then_some("groups"), members.then_some("members"));
                let all = groups.into_iter().chain(members).chain(marked.then_some("marked"));
                all.map(Into::into).collect()
            }
        }
    }

    #[test]
    fn commands_options_and_their_values_stand_where_they_belong() {
        for (line, next) in [
            ("wattle gr", &["group"][..]),
            ("wattle group promote ", &["groups"]),
            ("wattle group promote tea ", &["members"]),
            ("wattle group remove ", &["groups", "members", "marked"]),
            ("wattle group remove tea ben --every", &["--everywhere"]),
            ("wattle send ", &["groups"]),
            ("wattle send te", &["groups"]),
            ("wattle send tea ", &[]),
            ("wattle send tea --mention ", &["members"]),
            ("wattle send --mention=b", &["members"]),
            ("wattle send tea --file ", &[":files"]),
            ("wattle --data-dir ", &[":files"]),
            ("wattle --json --data-dir /tmp/x sen", &["send"]),
            ("wattle verify ", &["groups", "members", "marked"]),
            ("wattle ping ben --group ", &["groups"]),
            ("wattle completions z", &["zsh"]),
            ("wattle export tea --format=mark", &["markdown"]),
            ("wattle send -- ", &["groups"]),
            ("wattle __comp", &[]),
            ("wattle relay", &[]),
            ("wattle cursor li --x=y", &[]),
        ] {
            let mut found = all(line);
            found.retain(|it| it != "help");
            let mut wanted: Vec<&str> = next.to_vec();
            wanted.sort_unstable();
            found.sort();
            assert_eq!(found, wanted, "{line}");
        }
    }

    #[test]
    fn names_that_a_shell_would_read_otherwise_are_named_by_digits() {
        let people = [
            ("ben", "1111"),
            ("$(rm -rf)", "2222"),
            ("two words", "3333"),
            ("-rf", "4444"),
            ("twin", "5555"),
            ("twin", "6666"),
            ("José.b_2", "7777"),
            ("a\u{202e}b", "8888"),
        ];
        let people = people.into_iter().map(|(name, id)| (name.to_owned(), id.repeat(16)));
        let found: Vec<String> =
            told_apart(people, "@").into_iter().map(|(word, _)| word).collect();
        let digits = ["22222222", "33333333", "44444444", "55555555", "66666666", "88888888"];
        assert_eq!(found, [&digits[..], &["@José.b_2", "@ben"]].concat());
    }

    #[test]
    fn a_line_of_shell_is_taken_apart() {
        assert_eq!(
            words("wattle  send 'two words' a\\ b \"c d\" "),
            ["wattle", "send", "two words", "a b", "c d", ""]
        );
        assert_eq!(words(" wattle --data-dir=\"/a b"), ["wattle", "--data-dir=/a b"]);
        assert_eq!(words(""), [""]);
    }
}
