//! `wattle completions`.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::{Cli, exit, exit::Exit};

/// Print what completes commands and options in a shell
///
/// Names of groups and members are not completed: they are other people's words.
#[derive(clap::Args)]
#[command(after_help = exit::help(&[
    "wattle completions bash > ~/.local/share/bash-completion/completions/wattle",
    "wattle completions fish > ~/.config/fish/completions/wattle.fish",
]))]
pub struct Completions {
    /// For which shell
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> anyhow::Result<Exit> {
        let mut text = Vec::new();
        generate(self.shell, &mut Cli::command(), "wattle", &mut text);
        io::stdout().lock().write_all(&text)?;
        Ok(Exit::Done)
    }
}
