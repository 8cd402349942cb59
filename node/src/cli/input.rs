//! Lines and codes from standard input, bounded.

use std::{
    io::{self, BufRead, IsTerminal, Read},
    path::Path,
};

use anyhow::Context;
use protocol::invite::{CodeError, InviteCode};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::{
    exit::{Exit, Failure},
    show,
};

/// The longest line that is read, in bytes: a longer one is no message anyway.
const LINE_MAX: u64 = 128 * 1024;

/// The most that is read of a code, in bytes, with whatever stands around it.
const CODE_MAX: u64 = 16 * 1024;

/// The lines of standard input as they come, without their ends; bytes that are no UTF-8 are
/// replaced.
pub fn lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::channel(16);
    // A thread of its own: a read of a terminal can't be called off.
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        while let Some(line) = line(&mut input).transpose() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Where an invite code comes from.
pub enum Source<'a> {
    /// A file that was named.
    File(&'a Path),
    /// `WATTLE_INVITE`.
    Environment(Zeroizing<String>),
    /// A person at a terminal, who is asked for it.
    Person,
    /// Standard input.
    Pipe,
}

impl<'a> Source<'a> {
    /// The first of them that there is.
    pub fn of(file: Option<&'a Path>) -> Self {
        match (file, std::env::var("WATTLE_INVITE")) {
            (Some(file), _) => Self::File(file),
            (None, Ok(code)) => Self::Environment(Zeroizing::new(code)),
            (None, Err(_)) if io::stdin().is_terminal() => Self::Person,
            (None, Err(_)) => Self::Pipe,
        }
    }

    /// The code, well formed.
    pub async fn code(self) -> anyhow::Result<Zeroizing<String>> {
        let text = match self {
            Self::File(file) => {
                let read = std::fs::File::open(file).and_then(read_code);
                read.with_context(|| format!("reading {}", file.display()))?
            }
            Self::Environment(code) => code,
            Self::Person => typed_code().await?,
            Self::Pipe => tokio::task::spawn_blocking(|| read_code(io::stdin())).await??,
        };
        check(&text)?;
        Ok(text)
    }
}

/// A code from a terminal, where a pasted one may come in several lines.
async fn typed_code() -> io::Result<Zeroizing<String>> {
    show::words("paste the invite code, then press Enter:");
    let (mut lines, mut text) = (lines(), Zeroizing::new(String::new()));
    while let Some(line) = lines.recv().await {
        let line = Zeroizing::new(line?);
        text.push_str(&line);
        match InviteCode::parse(&text) {
            Ok(_) => return Ok(text),
            Err(CodeError::Truncated { .. }) if !line.trim().is_empty() => {}
            Err(CodeError::NotACode) if text.trim().is_empty() => {}
            Err(_) => break,
        }
    }
    Ok(text)
}

fn read_code(input: impl Read) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    input.take(CODE_MAX).read_to_end(&mut bytes)?;
    Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
}

fn check(text: &str) -> Result<(), Failure> {
    let Err(error) = InviteCode::parse(text) else { return Ok(()) };
    let hint = match error {
        CodeError::NotACode if text.trim().is_empty() => {
            let hint = "wattle join, and paste the code; or wattle join --code-file FILE";
            return Err(Failure::new(Exit::Usage, "no invite code was given", hint));
        }
        CodeError::NotACode => "paste the line that `wattle invite` printed, and only that",
        CodeError::Truncated { .. } => {
            "copy all of it: it may have been wrapped into several lines"
        }
        CodeError::Newer { .. } => "update this program",
        _ => "copy it again from where it came, rather than typing it",
    };
    Err(Failure::new(Exit::Usage, error.to_string(), hint))
}

fn line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if input.take(LINE_MAX).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text.trim_end_matches(['\r', '\n']).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_without_their_ends_and_long_ones_in_parts() {
        let long = "x".repeat(LINE_MAX as usize + 3);
        let text = format!("one\r\n\ntwo \u{fc}\n{long}\nend");
        let mut input = text.as_bytes();
        let mut lines = Vec::new();
        while let Some(next) = line(&mut input).unwrap() {
            lines.push(next);
        }
        assert_eq!(lines[..3], ["one", "", "two \u{fc}"]);
        assert_eq!(lines[3].len() + lines[4].len(), long.len());
        assert_eq!(lines[5], "end");
    }

    #[test]
    fn damaged_codes_are_told_apart() {
        let words = |text: &str| check(text).unwrap_err().to_string();
        let code = "wattle1qyqqq2z6tfd95kj6tfd95kj6tfd95kj6tfd95knnd9u8get9dcsxy7t5v4ejqmmtkt3f54";
        assert!(check(code).is_ok());
        let mistyped = words(&code.replace('5', "4"));
        let cut = words(&code[..60]);
        let (other, none) = (words("hello"), words(" \n"));
        let all = [mistyped, cut, other, none];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{one}");
        }
    }
}
