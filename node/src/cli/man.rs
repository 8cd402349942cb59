//! `wattle man`.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_mangen::Man as Page;

use super::{Cli, exit, exit::Exit};

/// Print the manual page, for man(1)
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle man | man -l -", "wattle man > ~/.local/share/man/man1/wattle.1"]))]
pub struct Man {}

impl Man {
    pub fn run(self) -> anyhow::Result<Exit> {
        let mut cli = Cli::command();
        cli.build();
        let mut text = Vec::new();
        Page::new(cli.clone()).render(&mut text)?;
        below(&cli, &mut text)?;
        io::stdout().lock().write_all(&text)?;
        Ok(Exit::Done)
    }
}

/// What is said of each command below another one.
fn below(command: &clap::Command, text: &mut Vec<u8>) -> io::Result<()> {
    let is_told = |it: &&clap::Command| it.get_name() != "help" && !it.is_hide_set();
    for command in command.get_subcommands().filter(is_told) {
        let page = Page::new(command.clone());
        page.render_name_section(text)?;
        page.render_synopsis_section(text)?;
        page.render_description_section(text)?;
        page.render_options_section(text)?;
        below(command, text)?;
    }
    Ok(())
}
