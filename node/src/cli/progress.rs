//! How far something long is, on one line of a terminal that is written over.

use std::io::{self, IsTerminal, Write};

use node::{
    api::types::{Backlog, What},
    client::{Client, ClientError},
};

use super::show;

/// A line on standard error that shows how far something is. Where that is no terminal, it is said once, and once
/// more at the end.
pub struct Bar {
    is_terminal: bool,
    shown: Option<String>,
}

/// How many signs are as long as the whole way.
const WIDTH: usize = 24;

impl Bar {
    pub fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), shown: None }
    }

    /// Shows how far a group's backlog is.
    pub fn show(&mut self, group: &str, backlog: &Backlog) {
        self.hide();
        if backlog.percent >= 100 {
            self.shown = None;
            show::words(done(group, backlog));
            return;
        }
        if backlog.ended {
            self.shown = None;
            return;
        }
        let line = line(group, backlog);
        let is_first = self.shown.is_none();
        self.shown = Some(line);
        match self.is_terminal {
            true => self.redraw(),
            false if is_first => show::words(format_args!(
                "{}: reading what was said since {}",
                show::safe(group),
                show::moment(&backlog.since)
            )),
            false => {}
        }
    }

    /// Takes it away, so that something else can be written.
    pub fn hide(&self) {
        if self.is_terminal && self.shown.is_some() {
            drop(write!(io::stderr().lock(), "\r\x1b[2K"));
        }
    }

    /// Shows it again, below what was written.
    pub fn redraw(&self) {
        if self.is_terminal
            && let Some(line) = &self.shown
        {
            drop(write!(io::stderr().lock(), "\r\x1b[2K{line}"));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.hide();
    }
}

/// A line on standard error that shows how far this program is, where that is a terminal; gone when it ends.
pub struct Percent {
    what: &'static str,
    is_terminal: bool,
}

impl Percent {
    pub fn new(what: &'static str) -> Self {
        Self { what, is_terminal: io::stderr().is_terminal() }
    }

    pub fn show(&self, percent: u8) {
        if self.is_terminal {
            let line = percent_line(self.what, percent);
            drop(write!(io::stderr().lock(), "\r\x1b[2K{line}"));
        }
    }
}

impl Drop for Percent {
    fn drop(&mut self) {
        if self.is_terminal {
            drop(write!(io::stderr().lock(), "\r\x1b[2K"));
        }
    }
}

/// Shows the backlogs of all groups of a node, where somebody looks, until it ends.
pub async fn follow(client: Client) -> Result<(), ClientError> {
    if !io::stderr().is_terminal() {
        return Ok(());
    }
    let (mut events, mut bar) = (client.events_from_now().await?, Bar::new());
    loop {
        let event = events.next().await?;
        if let (What::CatchingUp { backlog }, Some(group)) = (&event.what, &event.group) {
            bar.show(&group.name, backlog);
        }
    }
}

/// `tea  [#########               ]  38 %  4211 messages, up to 2026-11-03`
fn line(group: &str, backlog: &Backlog) -> String {
    let messages = show::count(backlog.messages, "message");
    let upto = show::time(&backlog.upto).date();
    format!("{}  {messages}, up to {upto}", percent_line(&show::safe(group), backlog.percent))
}

/// `tea  [#########               ]  38 %`
fn percent_line(what: &str, percent: u8) -> String {
    let full = WIDTH * usize::from(percent.min(100)) / 100;
    let bar = format!("{}{}", "#".repeat(full), " ".repeat(WIDTH - full));
    format!("{what}  [{bar}] {percent:>3} %")
}

fn done(group: &str, backlog: &Backlog) -> String {
    let (group, messages) = (show::safe(group), show::count(backlog.messages, "message"));
    format!("{group}: all is read, {messages} since {}", show::moment(&backlog.since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_much_of_the_way_is_behind() {
        let backlog = |percent| Backlog {
            messages: 4211,
            since: "2026-10-23T10:00:00Z".into(),
            upto: "2026-11-03T14:03:00Z".into(),
            percent,
            ended: false,
        };
        let at = |percent| line("te\u{1b}a", &backlog(percent));
        let half = "te\\u{1b}a  [############            ]  50 %  4211 messages, up to 2026-11-03";
        assert_eq!(at(50), half);
        assert!(at(0).contains("[                        ]   0 %"), "{}", at(0));
        assert_eq!(
            done("tea", &backlog(100)),
            "tea: all is read, 4211 messages since 2026-10-23 10:00 UTC"
        );
    }
}
