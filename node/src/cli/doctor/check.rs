//! One thing that was looked at: how it is, and what to do about it.
//!
//! > What is `said` holds no name, key, address, id, path or text of anybody's: it may be passed on. Whatever
//! > might goes into the `detail`, which a report leaves out.

use serde::Serialize;

use super::super::{exit::Exit, show};

/// What became of one look.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    v: u8,
    /// What was looked at.
    check: &'static str,
    state: State,
    said: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    advice: String,
    #[serde(skip)]
    exit: Exit,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// As it should be.
    Well,
    /// It works, and could be better.
    Look,
    /// It does not work.
    Broken,
    /// It can't be known.
    Unknown,
}

impl Check {
    pub(super) fn well(check: &'static str, said: impl Into<String>) -> Self {
        Self::new(check, State::Well, said.into(), Exit::Done)
    }

    pub(super) fn look(check: &'static str, said: impl Into<String>) -> Self {
        Self::new(check, State::Look, said.into(), Exit::Done)
    }

    pub(super) fn broken(check: &'static str, said: impl Into<String>, exit: Exit) -> Self {
        Self::new(check, State::Broken, said.into(), exit)
    }

    pub(super) fn unknown(check: &'static str, said: impl Into<String>) -> Self {
        Self::new(check, State::Unknown, said.into(), Exit::Done)
    }

    fn new(check: &'static str, state: State, said: String, exit: Exit) -> Self {
        let (detail, advice) = (String::new(), String::new());
        Self { v: node::api::types::VERSION, check, state, said, detail, advice, exit }
    }

    /// With what is for this person's eyes alone.
    pub(super) fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// With what to do.
    pub(super) fn advice(self, advice: impl Into<String>) -> Self {
        Self { advice: advice.into(), ..self }
    }

    /// Without what may not be passed on.
    pub(super) fn redacted(self) -> Self {
        Self { detail: String::new(), ..self }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// As lines for a person.
    pub(super) fn lines(&self) -> Vec<String> {
        let state = match self.state {
            State::Well => "ok",
            State::Look => "look",
            State::Broken => "FAILS",
            State::Unknown => "?",
        };
        let between = if self.detail.is_empty() { "" } else { ": " };
        let said = show::safe(&format!("{}{between}{}", self.said, self.detail));
        let mut lines = vec![format!("{state:<5}  {:<10}  {said}", self.check)];
        if !self.advice.is_empty() {
            lines.push(format!("{:19}{}", "", show::safe(&self.advice)));
        }
        lines
    }
}

/// How the command ends: by the gravest of what is broken.
pub(super) fn exit(checks: &[Check]) -> Exit {
    let broken = |exit: Exit| checks.iter().any(|check| check.is_broken() && check.exit == exit);
    [Exit::Integrity, Exit::NotRunning, Exit::Unexpected, Exit::Network]
        .into_iter()
        .find(|exit| broken(*exit))
        .unwrap_or(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_leaves_the_details_out_and_the_gravest_fault_gives_the_exit_code() {
        let checks = [
            Check::well("one", "fine").detail("of ana"),
            Check::look("two", "slow").advice("wait"),
            Check::broken("three", "gone", Exit::Network).detail("at 10.0.0.7"),
        ];
        assert_eq!(exit(&checks[..2]), Exit::Done);
        assert_eq!(exit(&checks), Exit::Network);
        let worst = Check::broken("four", "damaged", Exit::Integrity);
        let all: Vec<Check> = checks.iter().cloned().chain([worst]).collect();
        assert_eq!(exit(&all), Exit::Integrity);
        let lines: Vec<String> = all.iter().flat_map(Check::lines).collect();
        assert_eq!(lines[0], "ok     one         fine: of ana");
        assert_eq!(lines[2], "                   wait");
        let passed_on = all.into_iter().map(Check::redacted);
        let passed_on: Vec<String> = passed_on.flat_map(|check| check.lines()).collect();
        let text = passed_on.join("\n");
        assert!(!text.contains("ana") && !text.contains("10.0.0.7") && text.contains("FAILS"));
    }
}
