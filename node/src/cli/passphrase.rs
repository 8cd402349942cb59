//! Passphrases, and where they come from: a file, the environment, a credential of systemd's, a person at a terminal.
//!
//! > One reader for all of them. What a file holds is taken as it is, but for the ends of lines behind it; what is
//! > too long, empty or no text is refused, never cut. What is typed is not shown, and a terminal is left as it was.

use std::{
    env,
    fs::File,
    io::{self, IsTerminal, Read, Write},
    os::{fd::AsFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};

use node::store::{Unlock, is_locked};
use rustix::{
    process::getpgrp,
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr},
};
use zeroize::Zeroizing;

use super::{
    Place,
    exit::{Exit, Failure},
    show,
};

/// How the data directory is locked.
#[derive(clap::Args, Default)]
pub struct Lock {
    /// Lock the data directory with the passphrase in this file; `-` for standard input
    ///
    /// Where no file is named it is taken from WATTLE_PASSPHRASE, else from the settings' passphrase_file, else from
    /// systemd's credential wattle.passphrase. Who has none of them is asked at the terminal, if the directory is locked;
    /// a new one then keeps its key in a file.
    #[arg(long, value_name = "FILE", env = "WATTLE_PASSPHRASE_FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Ask for the passphrase at the terminal, also to lock a new data directory
    #[arg(long)]
    ask_passphrase: bool,
}

/// The longest passphrase, in bytes.
const MAX: usize = 4096;

/// What is read of a file at most: as much is too long, wherever its last character is cut.
const READ: usize = MAX + 8;

/// What systemd calls the passphrase among a service's credentials (systemd.exec(5), `LoadCredential=`).
pub const CREDENTIAL: &str = "wattle.passphrase";

/// How often somebody is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Once,
    /// Twice, for what is to be remembered.
    Twice,
}

impl Lock {
    /// How this data directory's key is had; asks a person, where it is locked and nothing else says.
    pub async fn unlock(&self, place: &Place) -> anyhow::Result<Unlock> {
        let dir = &place.data_dir;
        match self.given(place).await? {
            Unlock::KeyFile if is_locked(dir) && is_somebody_here() => {
                typed(QUESTION, Asked::Once).await.map(Unlock::Passphrase)
            }
            unlock => Ok(unlock),
        }
    }

    /// The same as it was given: nobody is asked who has not asked for that.
    pub async fn given(&self, place: &Place) -> anyhow::Result<Unlock> {
        if self.ask_passphrase {
            let asked = if is_locked(&place.data_dir) { Asked::Once } else { Asked::Twice };
            return typed(QUESTION, asked).await.map(Unlock::Passphrase);
        }
        let of_settings = Some(place.settings.passphrase_file.clone());
        let of_settings = of_settings.filter(|file| !file.as_os_str().is_empty());
        let by_name = env::var_os("WATTLE_PASSPHRASE");
        let text = match (&self.passphrase_file, by_name, of_settings.or_else(credential)) {
            (Some(file), ..) => of_lock(file).await?,
            (None, Some(text), _) => {
                let text = text.into_string().map_err(|_| no_text("WATTLE_PASSPHRASE"))?;
                checked(Zeroizing::new(text), "WATTLE_PASSPHRASE")?
            }
            (None, None, Some(file)) => of_lock(&file).await?,
            (None, None, None) => return Ok(Unlock::KeyFile),
        };
        Ok(Unlock::Passphrase(text))
    }
}

const QUESTION: &str = "the data directory's passphrase: ";

/// The passphrase in a file. One that others can read is said to be so, and taken: containers are given secrets like that.
async fn of_lock(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = of_file(file, QUESTION, Asked::Once).await?;
    if is_open_to_others(file) {
        let shown = show::word(&file.display().to_string());
        show::words(format_args!(
            "others on this machine can read the passphrase: chmod 600 {shown}"
        ));
    }
    Ok(text)
}

/// The credential that a service manager gives, if it does.
fn credential() -> Option<PathBuf> {
    let file = PathBuf::from(env::var_os("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    // One that can't be looked at is read, and refused: without it a new directory would not be locked.
    let is_gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    (!file.symlink_metadata().is_err_and(is_gone)).then_some(file)
}

/// The passphrase in a file; `-` is standard input, where a person is asked if that is a terminal.
pub async fn of_file(
    path: &Path,
    question: &str,
    asked: Asked,
) -> anyhow::Result<Zeroizing<String>> {
    let is_input = path == Path::new("-");
    if is_input && io::stdin().is_terminal() {
        return typed(question, asked).await;
    }
    let file = path.to_owned();
    // A pipe may take its time. Standard input is read past its buffer, which nobody wipes.
    let text = tokio::task::spawn_blocking(move || match is_input {
        true => io::stdin().as_fd().try_clone_to_owned().and_then(|input| read(File::from(input))),
        false => File::open(file).and_then(read),
    });
    let shown = if is_input { "standard input".into() } else { path.display().to_string() };
    checked(text.await?.map_err(|error| unread(&shown, &error))?, &shown)
}

/// Whether others than its owner may read a file, where it is one.
pub fn is_open_to_others(path: &Path) -> bool {
    let meta = (path != Path::new("-")).then(|| path.metadata().ok()).flatten();
    meta.is_some_and(|meta| meta.is_file() && meta.permissions().mode() & 0o077 != 0)
}

/// What is to be read, without the ends of lines behind it.
fn read(input: impl Read) -> io::Result<Zeroizing<String>> {
    // Never moved while it grows, so that no copy stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * READ));
    input.take(READ as u64).read_to_end(&mut bytes)?;
    text(&bytes)
}

fn text(bytes: &[u8]) -> io::Result<Zeroizing<String>> {
    let text = std::str::from_utf8(bytes).or_else(|error| {
        let is_cut = bytes.len() == READ && error.error_len().is_none();
        let whole = &bytes[..error.valid_up_to()];
        if is_cut { std::str::from_utf8(whole) } else { Err(error) }
    });
    let text = text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    // Of one that goes on nobody knows where it ends.
    let text = if bytes.len() < READ { text.trim_end_matches(['\r', '\n']) } else { text };
    Ok(Zeroizing::new(text.into()))
}

/// A passphrase that can be one.
fn checked(text: Zeroizing<String>, of: &str) -> anyhow::Result<Zeroizing<String>> {
    if text.is_empty() {
        return Err(empty("give one, such as six words by chance, or leave the option out").into());
    }
    if text.len() > MAX {
        let message = format!("{of}: a passphrase has {MAX} bytes at most");
        return Err(Failure::new(Exit::Usage, message, "is it the file that you meant?").into());
    }
    Ok(text)
}

fn empty(hint: &str) -> Failure {
    Failure::new(Exit::Usage, "the passphrase is empty", hint)
}

fn unread(of: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::InvalidData => no_text(of),
        _ => {
            let hint = "name the file that the passphrase is in, or - for standard input";
            Failure::new(Exit::Unexpected, format!("{of}: {error}"), hint)
        }
    }
}

fn no_text(of: &str) -> Failure {
    let hint = "take letters and digits, in UTF-8: what is cut or changed opens nothing";
    Failure::new(Exit::Usage, format!("{of}: that passphrase is no text"), hint)
}

/// Whether there is somebody to ask: a terminal, with this program in front.
pub fn is_somebody_here() -> bool {
    (io::stdin().is_terminal() || io::stderr().is_terminal())
        && terminal().is_ok_and(|terminal| tcgetpgrp(&terminal).is_ok_and(|it| it == getpgrp()))
}

fn terminal() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/tty")
}

/// Asks at the terminal, without showing what is typed.
pub async fn typed(question: &str, asked: Asked) -> anyhow::Result<Zeroizing<String>> {
    let passphrase = silently(question).await?;
    if asked == Asked::Twice && *silently("again: ").await? != *passphrase {
        let hint = "begin again; nothing was written";
        return Err(Failure::new(Exit::Usage, "the two are not the same", hint).into());
    }
    if passphrase.is_empty() {
        return Err(empty("type it and press Enter; nothing was changed").into());
    }
    checked(passphrase, "what was typed")
}

async fn silently(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let silent = Silent::new(question).map_err(|error| {
        let message = format!("there is no terminal to ask for a passphrase at: {error}");
        Failure::new(Exit::Usage, message, "give it in a file; --help says how")
    })?;
    let typing = silent.terminal.try_clone()?;
    // Where this is called off the terminal shows again what is typed; the thread ends with the program.
    let line = tokio::task::spawn_blocking(move || line(typing)).await?;
    drop(silent);
    Ok(line.map_err(|error| unread("what was typed", &error))?)
}

/// One line of a terminal, which gives no more than that at a time.
fn line(mut terminal: impl Read) -> io::Result<Zeroizing<String>> {
    let (mut bytes, mut length) = (Zeroizing::new([0; READ]), 0);
    while length < READ {
        match terminal.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if bytes[..length].ends_with(b"\n") {
            break;
        }
    }
    text(&bytes[..length])
}

/// A terminal that doesn't show what is typed, for as long as this is there.
struct Silent {
    terminal: File,
    before: Termios,
}

impl Silent {
    fn new(question: &str) -> io::Result<Self> {
        let mut terminal = terminal()?;
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        // What was typed before the question answers another one.
        tcsetattr(terminal.as_fd(), OptionalActions::Flush, &silent)?;
        let silent = Self { terminal: terminal.try_clone()?, before };
        terminal.write_all(question.as_bytes())?;
        Ok(silent)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // Nothing more can be done about a terminal that is gone.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
        let _ = self.terminal.write_all(b"\n");
    }
}

/// Refuses a file of several lines, where one is all that is meant.
pub fn one_line(text: Zeroizing<String>, path: &Path) -> anyhow::Result<Zeroizing<String>> {
    if !text.contains(['\n', '\r']) {
        return Ok(text);
    }
    let message = format!("{}: more than one line", show::safe(&path.display().to_string()));
    let hint = "write the passphrase alone into the file: nothing of it is left out";
    Err(Failure::new(Exit::Usage, message, hint).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[u8]) -> Result<String, String> {
        let text = read(text).map_err(|error| unread("f", &error).to_string())?;
        checked(text, "f").map(|it| it.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_file_holds_is_taken_whole_but_for_the_ends_of_its_lines() {
        for (bytes, text) in [("six words", "six words"), (" a \r\n", " a "), ("a\nb\n\n", "a\nb")]
        {
            assert_eq!(words(bytes.as_bytes()).as_deref(), Ok(text));
        }
        assert!(one_line(Zeroizing::new("a\nb".into()), Path::new("f")).is_err());
        assert!(one_line(Zeroizing::new("a b".into()), Path::new("f")).is_ok());
    }

    #[test]
    fn what_is_too_long_empty_or_no_text_is_refused_and_never_cut() {
        let longest = "ü".repeat(MAX / 2);
        assert_eq!(words(format!("{longest}\r\n").as_bytes()).as_deref(), Ok(longest.as_str()));
        for more in ["x", "ü", "\u{1f642}", "xx\n", &longest, "\n\n\n\n\n\n\n\nx"] {
            let said = words(format!("{longest}{more}").as_bytes()).unwrap_err();
            assert_eq!(said, "f: a passphrase has 4096 bytes at most");
        }
        assert_eq!(words(b"\n").unwrap_err(), "the passphrase is empty");
        for bytes in [&b"\xff"[..], b"a\xc3", b"a\xc3\n"] {
            assert_eq!(words(bytes).unwrap_err(), "f: that passphrase is no text");
        }
    }

    #[test]
    fn a_line_of_a_terminal_ends_with_its_end() {
        assert_eq!(line(&b"a b\n"[..]).unwrap().as_str(), "a b");
        assert_eq!(line(&b"a b"[..]).unwrap().as_str(), "a b");
        let long = vec![b'x'; 2 * READ];
        assert_eq!(line(&long[..]).unwrap().len(), READ, "which is too long");
    }
}
