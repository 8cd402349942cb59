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
    let full = WIDTH * usize::from(backlog.percent.min(100)) / 100;
    let bar = format!("{}{}", "#".repeat(full), " ".repeat(WIDTH - full));
    let messages = show::count(backlog.messages, "message");
    let upto = show::time(&backlog.upto).date();
    format!("{}  [{bar}] {:>3} %  {messages}, up to {upto}", show::safe(group), backlog.percent)
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
