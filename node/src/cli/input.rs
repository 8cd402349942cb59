//! Lines and codes from standard input, bounded.

use std::{
    io::{self, BufRead, IsTerminal, Read},
    mem,
    path::Path,
    time::Duration,
};

use anyhow::Context;
use protocol::invite::{CodeError, InviteCode};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use zeroize::Zeroizing;

use super::{
    exit::{Exit, Failure},
    show,
};

/// The longest line that is read, in bytes: a longer one is no message anyway.
const LINE_MAX: u64 = 128 * 1024;

/// The most that is read of a code, in bytes, with whatever stands around it.
const CODE_MAX: u64 = 16 * 1024;

/// All of standard input as one text, without the end of its last line.
pub fn whole(most: usize) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(3);
    io::stdin().lock().take(limit).read_to_end(&mut bytes).context("can't read standard input")?;
    Ok(without_end(&String::from_utf8_lossy(&bytes)).into())
}

/// The lines of standard input as they come, without their ends; bytes that are no UTF-8 are
/// replaced.
pub fn lines() -> mpsc::Receiver<io::Result<String>> {
    pieces(|piece| without_end(&piece).into())
}

fn pieces(take: impl Fn(String) -> String + Send + 'static) -> mpsc::Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::channel(16);
    // A thread of its own: a read of a terminal can't be called off.
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        while let Some(line) = line(&mut input).transpose() {
            if sender.blocking_send(line.map(&take)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Standard input in blocks of lines: what comes until a pause, and no block of more than so many bytes.
pub struct Blocks {
    pieces: mpsc::Receiver<io::Result<String>>,
    most: usize,
    pause: Duration,
    gathered: String,
    /// When the last of it came.
    last: Option<Instant>,
}

impl Blocks {
    /// Those of standard input.
    pub fn new(most: usize, pause: Duration) -> Self {
        Self::of(pieces(|piece| piece), most, pause)
    }

    fn of(pieces: mpsc::Receiver<io::Result<String>>, most: usize, pause: Duration) -> Self {
        Self { pieces, most, pause, gathered: String::new(), last: None }
    }

    /// The next block, without the end of its last line, never blank; `None` at the end. Where this is called
    /// off nothing is lost.
    pub async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(block) = self.full() {
                return Ok(Some(block));
            }
            let piece = match self.last {
                Some(last) => timeout_at(last + self.pause, self.pieces.recv()).await,
                None => Ok(self.pieces.recv().await),
            };
            match piece {
                Ok(Some(piece)) => {
                    self.gathered.push_str(&piece?);
                    self.last = Some(Instant::now());
                }
                Ok(None) => return Ok(block(&mem::take(&mut self.gathered))),
                Err(_) => {
                    self.last = None;
                    if let Some(block) = block(&mem::take(&mut self.gathered)) {
                        return Ok(Some(block));
                    }
                }
            }
        }
    }

    /// What of it fills a block: whole lines, or a part of one that is too long.
    fn full(&mut self) -> Option<String> {
        while without_end(&self.gathered).len() > self.most {
            // The end of a line may stand behind the last byte.
            let fits = &self.gathered.as_bytes()[..self.most + 1];
            let cut = match fits.iter().rposition(|byte| *byte == b'\n') {
                Some(end) => end + 1,
                None => self.gathered.floor_char_boundary(self.most),
            };
            let rest = self.gathered.split_off(cut);
            let full = mem::replace(&mut self.gathered, rest);
            if let Some(block) = block(&full) {
                return Some(block);
            }
        }
        None
    }
}

/// A block as it is sent; what is blank is none.
fn block(gathered: &str) -> Option<String> {
    let block = without_end(gathered);
    (!block.trim().is_empty()).then(|| block.to_owned())
}

fn without_end(piece: &str) -> &str {
    piece.trim_end_matches(['\r', '\n'])
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
                read.map_err(|error| {
                    let message = format!("reading {}: {error}", file.display());
                    let hint = "name the file that the code is in, or paste it to wattle join";
                    Failure::new(Exit::Unexpected, message, hint)
                })?
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

/// The next line with its end, or as much of it as is read.
fn line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if input.take(LINE_MAX).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    // No character is cut in two.
    for _ in 1..4 {
        let is_cut = std::str::from_utf8(&bytes).is_err_and(|error| error.error_len().is_none());
        if !is_cut || input.take(1).read_to_end(&mut bytes)? == 0 {
            break;
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
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
            lines.push(without_end(&next).to_owned());
        }
        assert_eq!(lines[..3], ["one", "", "two \u{fc}"]);
        assert_eq!(lines[3].len() + lines[4].len(), long.len());
        assert_eq!(lines[5], "end");
    }

    #[test]
    fn a_long_line_is_not_cut_within_a_character() {
        let long = ["x".repeat(LINE_MAX as usize - 1).as_str(), "\u{1f642}y"].concat();
        let mut input = long.as_bytes();
        let first = line(&mut input).unwrap().unwrap();
        assert!(first.ends_with("x\u{1f642}"));
        assert_eq!(line(&mut input).unwrap().as_deref(), Some("y"));
        // What never was one is replaced, and no more is read for it.
        let mut input = &b"a\xff\xf0\nb"[..];
        assert_eq!(line(&mut input).unwrap().as_deref(), Some("a\u{fffd}\u{fffd}\n"));
    }

    /// A pause longer than any test.
    const NEVER: Duration = Duration::from_secs(3600);

    async fn blocks(text: &str, most: usize) -> Vec<String> {
        let (sender, receiver) = mpsc::channel(100);
        for piece in text.split_inclusive('\n') {
            sender.try_send(Ok(piece.into())).unwrap();
        }
        drop(sender);
        let (mut blocks, mut all) = (Blocks::of(receiver, most, NEVER), Vec::new());
        while let Some(block) = blocks.next().await.unwrap() {
            all.push(block);
        }
        all
    }

    #[tokio::test]
    async fn blocks_are_cut_at_the_ends_of_lines_and_long_lines_between_characters() {
        assert_eq!(blocks("one\r\n\n two\n\n", 100).await, ["one\r\n\n two"]);
        assert_eq!(blocks("one\ntwo\nthree", 7).await, ["one\ntwo", "three"]);
        assert_eq!(blocks("one\ntwo\nthree\n", 8).await, ["one\ntwo", "three"]);
        assert_eq!(blocks("one\ntwo", 6).await, ["one", "two"]);
        assert_eq!(blocks("a\n\u{fc}\u{fc}\u{fc}\nb", 5).await, ["a", "\u{fc}\u{fc}", "\u{fc}\nb"]);
        assert!(blocks("\n  \n\n", 2).await.is_empty() && blocks("", 5).await.is_empty());
    }

    #[tokio::test]
    async fn a_pause_ends_a_block_and_what_comes_later_is_another() {
        let (sender, receiver) = mpsc::channel(100);
        let mut blocks = Blocks::of(receiver, 100, Duration::from_millis(1));
        for piece in ["one\n", "two\n"] {
            sender.try_send(Ok(piece.into())).unwrap();
        }
        assert_eq!(blocks.next().await.unwrap().as_deref(), Some("one\ntwo"));
        sender.try_send(Ok("three".into())).unwrap();
        drop(sender);
        assert_eq!(blocks.next().await.unwrap().as_deref(), Some("three"));
        assert_eq!(blocks.next().await.unwrap(), None);
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
