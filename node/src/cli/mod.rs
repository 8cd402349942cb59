//! The command line: a face of the local API, one file for each command.
//!
//! > Standard output is data, standard error is words. Each command ends by naming the next one,
//! > and each wait names what it waits for. Secrets are never in arguments.

mod args;
mod audit;
mod backup;
mod bench;
mod block;
mod complete;
mod completions;
mod config;
mod cursor;
mod delivery;
mod demo;
mod dm;
mod doctor;
mod down;
mod exit;
mod export;
mod file;
mod given;
mod group;
mod history;
mod identity;
mod init;
mod input;
mod invite;
mod join;
mod machine;
mod man;
mod name;
mod notify;
mod passphrase;
mod ping;
mod progress;
mod qr;
mod recovery;
mod relay;
mod said;
mod search;
mod send;
mod service;
mod show;
mod stage;
mod status;
mod stop;
mod tail;
mod token;
mod up;
mod verify;
mod wipe;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use node::{
    client::{Client, ClientError, Token},
    config::{self as settings, Origin, Settings},
};

use self::{
    exit::{Exit, Failure},
    given::Typed,
};

/// End-to-end encrypted groups, from the command line.
///
/// Without a command it starts a node here, as `wattle up` does.
#[derive(Parser)]
#[command(name = "wattle", version, args_override_self = true, after_help = exit::help(&["wattle up", "wattle demo"]))]
pub struct Cli {
    /// Where the node keeps everything [default: your place for data on this system]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "WATTLE_DATA_DIR",
        hide_env_values = true,
        display_order = 900
    )]
    data_dir: Option<PathBuf>,
    /// The settings file [default: node.toml in your place for settings, if it is there]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "WATTLE_CONFIG",
        hide_env_values = true,
        display_order = 901
    )]
    config: Option<PathBuf>,
    /// The socket that a node has for programs with tokens: WATTLE_TOKEN_FILE names the token's file
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "WATTLE_SOCKET",
        hide_env_values = true,
        display_order = 903
    )]
    socket: Option<PathBuf>,
    /// Print data as JSON, one value on each line
    #[arg(long, global = true, display_order = 902)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
    #[arg(skip)]
    typed: Typed,
}

#[derive(Subcommand)]
enum Command {
    Init(init::Init),
    Up(up::Up),
    Down(down::Down),
    Status(status::Status),
    Ping(ping::Ping),
    Doctor(doctor::Doctor),
    Group(group::Group),
    Invite(invite::Invite),
    Join(join::Join),
    Send(send::Send),
    Edit(said::Edit),
    Delete(said::Delete),
    React(said::React),
    Pin(said::Pin),
    Delivery(delivery::Delivery),
    File(file::File),
    Tail(tail::Tail),
    Notify(notify::Notify),
    Cursor(cursor::Cursor),
    Token(token::Arguments),
    History(history::History),
    Search(search::Search),
    Export(export::Export),
    Verify(verify::Verify),
    Wipe(wipe::Wipe),
    Recovery(recovery::Recovery),
    Audit(audit::Audit),
    Backup(backup::Backup),
    Demo(demo::Demo),
    Machine(machine::Arguments),
    Name(name::Name),
    Dm(dm::Dm),
    Block(block::Block),
    Unblock(block::Unblock),
    Blocked(block::Blocked),
    Bench(bench::Bench),
    Relay(relay::Relay),
    Config(config::Config),
    Service(service::Service),
    Man(man::Man),
    Completions(completions::Completions),
    #[command(name = "__complete")]
    Complete(complete::Complete),
}

/// What every command is told.
pub struct Place {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Who named it.
    pub data_dir_by: Origin,
    /// Where the settings file is, or would be.
    pub settings_file: Option<PathBuf>,
    /// Whether it is there.
    pub has_settings: bool,
    /// What it says; nothing, where it is not there.
    pub settings: Settings,
    /// Who gave which argument.
    pub typed: Typed,
    /// The socket for programs, where this is one.
    pub socket: Option<PathBuf>,
    /// Whether data is to be JSON.
    pub json: bool,
}

impl Cli {
    /// What was typed; without a command it is `wattle up`, with all that the environment says to that.
    pub fn typed() -> Self {
        let command = hearing(Self::command());
        let mut matches = command.clone().get_matches();
        if matches.subcommand().is_none() {
            let words = std::env::args_os().chain(["up".into()]);
            matches = command.get_matches_from(words);
        }
        let typed = Typed::of(&matches);
        match Self::from_arg_matches(&matches) {
            Ok(cli) => Self { typed, ..cli },
            Err(error) => error.format(&mut Self::command()).exit(),
        }
    }

    /// Runs the command, and says on standard error why it was not done, if so.
    pub async fn run(mut self) -> ExitCode {
        let command = self.command.take();
        let ended = match self.place() {
            Ok(place) => {
                command.unwrap_or_else(|| Command::Up(up::Up::default())).run(&place).await
            }
            // What is said to a shell that completes would stand in the midst of a line.
            Err(_) if matches!(command, Some(Command::Complete(_))) => Ok(Exit::Done),
            Err(error) => Err(error),
        };
        match ended {
            Ok(exit) => exit.into(),
            Err(error) if exit::is_broken_pipe(&error) => Exit::Done.into(),
            Err(error) => {
                let (exit, message, hint) = exit::explain(&error);
                show::words(format_args!("error: {}", show::safe(&message)));
                if !hint.is_empty() {
                    show::words(format_args!("hint: {}", show::safe(&hint)));
                }
                exit.into()
            }
        }
    }
}

impl Cli {
    /// Where it is run, by what the settings file says, too.
    fn place(self) -> anyhow::Result<Place> {
        let settings_file = self.config.clone().or_else(settings::settings_file);
        // What can't be looked at is read, and refused.
        let is_gone = |error: std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        let is_there =
            settings_file.as_ref().is_some_and(|file| !file.symlink_metadata().is_err_and(is_gone));
        let has_settings = self.config.is_some() || is_there;
        let settings = match settings_file.as_ref().filter(|_| has_settings) {
            Some(file) => Settings::read(file).map_err(config::refused)?,
            None => Settings::default(),
        };
        let of_file = Some(settings.data_dir.clone()).filter(|dir| !dir.as_os_str().is_empty());
        let data_dir_by = match (&self.data_dir, &of_file) {
            (Some(_), _) => self.typed.origin("data_dir").unwrap_or(Origin::Flag),
            (None, Some(_)) => Origin::File,
            (None, None) => Origin::Default,
        };
        let data_dir = settings::data_dir(self.data_dir.or(of_file))?;
        let (socket, json, typed) = (self.socket, self.json, self.typed);
        let place = Place {
            data_dir,
            data_dir_by,
            settings_file,
            has_settings,
            settings,
            typed,
            socket,
            json,
        };
        Ok(place)
    }
}

impl Command {
    async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        match self {
            Self::Init(init) => or_interrupted(init.run(place)).await,
            Self::Config(config) => config.run(place),
            Self::Service(service) => service.run(place),
            Self::Man(man) => man.run(),
            Self::Completions(completions) => completions.run(),
            Self::Complete(complete) => complete.run(place).await,
            // These end what they began when they are interrupted.
            Self::Up(up) => up.run(place).await,
            Self::Relay(relay) => relay.run(place).await,
            Self::Demo(demo) => demo.run(place).await,
            Self::Bench(bench) => bench.run(place).await,
            Self::Join(join) => join.run(place).await,
            Self::Down(down) => or_interrupted(down.run(place)).await,
            Self::Status(status) => or_interrupted(status.run(place)).await,
            Self::Ping(ping) => or_interrupted(ping.run(place)).await,
            Self::Doctor(doctor) => or_interrupted(doctor.run(place)).await,
            Self::Group(group) => or_interrupted(group.run(place)).await,
            Self::Invite(invite) => or_interrupted(invite.run(place)).await,
            Self::Send(send) => or_interrupted(send.run(place)).await,
            Self::Edit(edit) => or_interrupted(edit.run(place)).await,
            Self::Delete(delete) => or_interrupted(delete.run(place)).await,
            Self::React(react) => or_interrupted(react.run(place)).await,
            Self::Pin(pin) => or_interrupted(pin.run(place)).await,
            Self::Delivery(delivery) => or_interrupted(delivery.run(place)).await,
            Self::File(file) => or_interrupted(file.run(place)).await,
            Self::Tail(tail) => or_interrupted(tail.run(place)).await,
            Self::Notify(notify) => or_interrupted(notify.run(place)).await,
            Self::Token(token) => or_interrupted(token.run(place)).await,
            Self::Cursor(cursor) => or_interrupted(cursor.run(place)).await,
            Self::Search(search) => or_interrupted(search.run(place)).await,
            Self::Export(export) => or_interrupted(export.run(place)).await,
            Self::Backup(backup) => or_interrupted(backup.run(place)).await,
            Self::Audit(audit) => or_interrupted(audit.run(place)).await,
            Self::Machine(machine) => or_interrupted(machine.run(place)).await,
            Self::Dm(dm) => or_interrupted(dm.run(place)).await,
            Self::Block(block) => or_interrupted(block.run(place)).await,
            Self::Unblock(unblock) => or_interrupted(unblock.run(place)).await,
            Self::Blocked(blocked) => or_interrupted(blocked.run(place)).await,
            Self::Name(name) => or_interrupted(name.run(place)).await,
            Self::Verify(verify) => or_interrupted(verify.run(place)).await,
            Self::Wipe(wipe) => or_interrupted(wipe.run(place)).await,
            Self::History(history) => or_interrupted(history.run(place)).await,
            Self::Recovery(recovery) => or_interrupted(recovery.run(place)).await,
        }
    }
}

/// A command that takes no variable for said that is set to nothing.
fn hearing(command: clap::Command) -> clap::Command {
    let is_nothing =
        |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|it| it.is_empty());
    let arguments = command.mut_args(|argument| match argument.get_env() {
        Some(name) if is_nothing(name) => argument.env(None::<&str>),
        _ => argument,
    });
    arguments.mut_subcommands(hearing)
}

async fn or_interrupted(run: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    tokio::select! {
        biased; // It is listened for before anything is asked at a terminal, which would be left silent.
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        ended = run => ended,
    }
}

impl Place {
    /// Finds the running node.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Ok(self.connect(self.token()?.as_ref()).await?)
    }

    /// The same once more, with the token that was read.
    pub async fn connect(&self, token: Option<&Token>) -> Result<Client, ClientError> {
        match (&self.socket, token) {
            (Some(socket), Some(token)) => Client::connect_with(socket, token.clone()).await,
            _ => Client::connect(&self.data_dir).await,
        }
    }

    /// What this program shows to be let in, if it is one with a token.
    pub fn token(&self) -> anyhow::Result<Option<Token>> {
        let token = settings::token()?;
        match (&self.socket, token) {
            (None, None) => Ok(None),
            (Some(_), Some(token)) => Ok(Some(token)),
            (Some(_), None) => {
                let hint = "set WATTLE_TOKEN_FILE to the file that has it";
                Err(Failure::new(Exit::Usage, "a token is needed with --socket", hint).into())
            }
            (None, Some(_)) => {
                let hint = "set WATTLE_SOCKET to the path that the node was given with --programs";
                Err(Failure::new(Exit::Usage, "a token is set, and no socket for it", hint).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    /// The words of each command, `wattle` first, with what it is.
    fn all(words: &[&str], command: &clap::Command) -> Vec<(Vec<String>, clap::Command)> {
        let words = [words, &[command.get_name()]].concat();
        let own = (words.iter().map(ToString::to_string).collect(), command.clone());
        let below = command.get_subcommands().flat_map(|below| all(&words, below));
        std::iter::once(own).chain(below).collect()
    }

    #[test]
    fn every_command_says_in_one_line_what_it_does_and_shows_how() {
        let commands = all(&[], &Cli::command());
        assert!(commands.len() > 50, "{}", commands.len());
        for (words, command) in commands {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty() && !about.contains('\n'), "{words:?}: {about:?}");
            let below = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let (examples, codes) = below.split_once("\n\n").expect("examples, then exit codes");
            assert!(examples.starts_with("Examples:\n  ") && codes == exit::CODES, "{words:?}");
            let last = words.last().expect("its name");
            assert!(examples.contains(last.as_str()), "{words:?}: {examples}");
            let asked = Cli::try_parse_from(words.iter().map(String::as_str).chain(["--help"]));
            let Err(help) = asked else { panic!("{words:?} --help runs it") };
            assert_eq!((help.kind(), help.exit_code()), (ErrorKind::DisplayHelp, 0), "{words:?}");
        }
    }

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }
}
