//! The command line: what can be asked for, and what comes out.

mod announce;
mod bench;
mod check;
mod given;
mod named;
mod owner;
mod reload;
mod run;
mod status;
mod store;
mod supervisor;
mod token;
mod words;

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use rendezvous::settings::DOCUMENTED;

use given::Given;

/// Wattle's blind relay: keeps sealed messages for groups, and can read none of them.
#[derive(Parser)]
#[command(name = "wattle-rendezvous", version, arg_required_else_help = true)]
#[command(after_help = "The first minute: wattle-rendezvous run\n\
                        Then on each machine: wattle up --relay ADDRESS")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a relay until interrupted. Nothing needs to be set.
    Run(run::Run),
    /// Look at a relay from outside: what works, and what to do about what doesn't. With --store: at
    /// the store of one that doesn't run.
    Check(check::Check),
    /// Say how the relay on this machine is, as its dashboard does.
    Status(status::Status),
    /// Put load on a relay, its own or another, and measure: how fast, what it costs, and that nothing
    /// acknowledged is lost.
    Bench(bench::Bench),
    /// Save what can be read of a damaged store, beside it. The relay must not run.
    Repair(store::Repair),
    /// Say who may use a relay that is not open to all: make, show and revoke tokens.
    Token(token::Token),
    /// Write a settings file that says of each key what it means.
    Init(Init),
    /// Print the settings that hold, from flags, environment and file.
    Config(Given),
    /// Print the manual page, for man(1).
    Man,
    /// Print what completes commands in a shell.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
struct Init {
    /// Where to write it; - is standard output [default: the user's configuration directory].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write it even if there is one.
    #[arg(long)]
    force: bool,
}

/// Does what is asked for, and says how it went.
pub(crate) fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(asked) => run::run(asked),
        Command::Check(asked) => {
            return check::check(asked).unwrap_or_else(|error| words::tell(&error));
        }
        Command::Status(asked) => {
            return status::status(asked).unwrap_or_else(|error| words::tell(&error));
        }
        Command::Bench(asked) => {
            return bench::bench(asked).unwrap_or_else(|error| words::tell(&error));
        }
        Command::Repair(asked) => store::repair(asked),
        Command::Token(asked) => asked.run(),
        Command::Init(asked) => init(asked),
        Command::Config(given) => given.settings().and_then(|set| print(set.written().as_bytes())),
        Command::Man => man().context("the manual page can't be printed"),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "wattle-rendezvous", &mut text);
            print(&text)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => words::tell(&error),
    }
}

fn init(asked: Init) -> anyhow::Result<()> {
    let path = match asked.config {
        Some(path) if path.as_os_str() == "-" => return print(DOCUMENTED.as_bytes()),
        Some(path) => path,
        None => given::users_file().context("no home directory; name a file with --config")?,
    };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("{} can't be made", dir.display()))?;
    }
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(asked.force);
    let mut file = options.create_new(!asked.force).open(&path).with_context(|| {
        format!("{} can't be written; if it is there: --force writes it anew", path.display())
    })?;
    file.write_all(DOCUMENTED.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("{} can't be written", path.display()))?;
    println!("{}", path.display());
    eprintln!("Every key is shown with what it is. Next: wattle-rendezvous run");
    Ok(())
}

/// The page of the program, and of each of its commands.
fn man() -> io::Result<()> {
    let mut text = Vec::new();
    let mut cli = Cli::command();
    cli.build();
    clap_mangen::Man::new(cli.clone()).render(&mut text)?;
    for command in cli.get_subcommands().filter(|it| it.get_name() != "help") {
        let page = clap_mangen::Man::new(command.clone());
        page.render_name_section(&mut text)?;
        page.render_synopsis_section(&mut text)?;
        page.render_options_section(&mut text)?;
    }
    io::stdout().lock().write_all(&text)
}

/// Prints data; who reads no further is no error.
fn print(text: &[u8]) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }
}
