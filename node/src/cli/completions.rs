//! `wattle completions`.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::{Cli, exit, exit::Exit};

/// Print what completes commands, options, groups and members in a shell
///
/// In bash, zsh and fish the node that runs is asked for groups and members; a name that a shell would not take as it stands is
/// completed by digits of its id. Elsewhere, and where no node runs, commands and options are completed.
#[derive(clap::Args)]
#[command(after_help = exit::help(&[
    "wattle completions bash > ~/.local/share/bash-completion/completions/wattle",
    "wattle completions zsh > ~/.zfunc/_wattle",
    "wattle completions fish > ~/.config/fish/completions/wattle.fish",
]))]
pub struct Completions {
    /// For which shell
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> anyhow::Result<Exit> {
        let mut text = Vec::new();
        match self.shell {
            Shell::Bash => text.extend_from_slice(include_bytes!("completions/bash")),
            Shell::Zsh => text.extend_from_slice(include_bytes!("completions/zsh")),
            Shell::Fish => text.extend_from_slice(include_bytes!("completions/fish")),
            other => generate(other, &mut Cli::command(), "wattle", &mut text),
        }
        io::stdout().lock().write_all(&text)?;
        Ok(Exit::Done)
    }
}
