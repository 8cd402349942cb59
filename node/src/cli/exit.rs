//! How a command ends: a code for programs, a sentence and a next step for people.

use std::fmt;

use node::client::ClientError;

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Something that should not happen.
    Unexpected = 1,
    /// Asked for wrongly; a mistyped or cut-off invite code too.
    Usage = 2,
    /// No node is running.
    NotRunning = 3,
    /// The network, a relay, or the time ran out.
    Network = 4,
    /// Refused: used up, expired, revoked, not allowed.
    Refused = 5,
    /// No such name, or more than one.
    NoSuchName = 6,
    /// A key is not the one that was known.
    KeyChanged = 7,
    /// Sent, but not delivered to all that were asked for.
    NotDelivered = 8,
    /// A quota or a rate.
    Quota = 9,
    /// A gap, a fork or a bad signature.
    Integrity = 10,
    /// Interrupted.
    Interrupted = 130,
}

/// What stands below the help of every command.
pub fn help(examples: &[&str]) -> String {
    let lines: Vec<String> = examples.iter().map(|example| format!("  {example}\n")).collect();
    format!("Examples:\n{}\n{CODES}", lines.concat())
}

/// What they say of the codes.
pub const CODES: &str = "\
Exit codes:
  0 done · 1 unexpected · 2 usage, or a damaged code · 3 node not running · 4 network, relay or
  time-out · 5 refused · 6 no such or ambiguous name · 7 key changed · 8 sent but not delivered
  to all · 9 quota · 10 integrity · 130 interrupted";

/// A command that was not done.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    hint: String,
}

impl Exit {
    /// From a number in an answer of the API.
    pub fn from_code(code: u8) -> Self {
        use Exit::{
            Done, Integrity, Interrupted, KeyChanged, Network, NoSuchName, NotDelivered,
            NotRunning, Quota, Refused, Unexpected, Usage,
        };
        [Done, Usage, NotRunning, Network, Refused, NoSuchName]
            .into_iter()
            .chain([KeyChanged, NotDelivered, Quota, Integrity, Interrupted])
            .find(|exit| *exit as u8 == code)
            .unwrap_or(Unexpected)
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

impl Failure {
    /// An error to return: what happened, and what to try.
    pub fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: hint.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What a person is told about an error, and how the program ends. Its context stands before it.
pub fn explain(error: &anyhow::Error) -> (Exit, String, String) {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return (failure.exit, failure.message.clone(), failure.hint.clone());
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused(refusal)) => {
            (Exit::from_code(refusal.exit), format!("{error:#}"), refusal.hint.clone())
        }
        Some(error @ ClientError::NotRunning) => {
            (Exit::NotRunning, error.to_string(), "start it with: wattle up".into())
        }
        Some(error @ ClientError::Ended) => {
            (Exit::NotRunning, error.to_string(), "start it again with: wattle up".into())
        }
        Some(error @ ClientError::Garbled) => (
            Exit::Unexpected,
            error.to_string(),
            "restart the node with this program: wattle down, then wattle up".into(),
        ),
        Some(ClientError::Socket(_)) | None => {
            (Exit::Unexpected, format!("{error:#}"), String::new())
        }
    }
}

/// Whether nobody reads what is printed any more.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use node::api::types::ApiError;

    use super::*;

    #[test]
    fn every_exit_code_survives_the_api() {
        for code in 0..=u8::MAX {
            let exit = Exit::from_code(code) as u8;
            let known = code <= 10 || code == 130;
            assert_eq!(exit, if known { code } else { 1 });
        }
    }

    #[test]
    fn a_refusal_says_where_it_happened() {
        let refusal = ApiError {
            code: "message-too-long".into(),
            message: "the message is too long".into(),
            hint: "Send it in parts.".into(),
            exit: 2,
            wait_ms: None,
        };
        let error = anyhow::Error::from(ClientError::Refused(refusal)).context("line 3");
        let said =
            (Exit::Usage, "line 3: the message is too long".into(), "Send it in parts.".into());
        assert_eq!(explain(&error), said);
    }

    #[test]
    fn a_node_that_is_not_running_is_told_from_every_other_error() {
        let error = anyhow::Error::from(ClientError::NotRunning).context("asking for the status");
        let (exit, _, hint) = explain(&error);
        assert_eq!((exit, hint.as_str()), (Exit::NotRunning, "start it with: wattle up"));
    }
}
