//! One run of the command line, as a person or a script would run it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

use crate::{PATIENCE, beside, binaries, process::ended_within};

/// What a command said, and how it ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Its output, where it ended well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// Checks that it ended with `code`, with a sentence for a person and without a panic.
    #[track_caller]
    pub fn refused(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.err.trim().is_empty(), "it said nothing: {self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
        self.err
    }
}

/// A command that goes on, whose lines are read as they come; killed, by its own id, when this value ends.
pub struct Talk {
    child: Child,
    lines: Receiver<String>,
    input: Option<ChildStdin>,
}

/// How many of its lines wait to be read, at most.
const LINES: usize = 4096;

impl Talk {
    pub(crate) fn start(data_dir: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(binaries::wattle())
            .arg("--data-dir")
            .arg(data_dir)
            .args(args)
            .env("WATTLE_CONFIG", NO_SETTINGS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command starts");
        let mut out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let input = child.stdin.take();
        let (sender, lines) = sync_channel(LINES);
        thread::spawn(move || {
            let mut line = String::new();
            // What was cut off is no line.
            while out.read_line(&mut line).is_ok_and(|bytes| bytes > 0) && line.ends_with('\n') {
                if sender.send(std::mem::take(&mut line)).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, input }
    }

    /// The next line; none where it has ended.
    pub fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("waited for a line"),
        }
    }

    /// Gives it a line; nothing where it has ended.
    pub fn say(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{line}");
        }
    }

    /// Ends it without a word (SIGKILL); the lines that it had written and were not read.
    pub fn kill9(mut self) -> Vec<String> {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Ends its standard input, and waits until it has ended by itself; its exit code.
    pub fn ended(mut self) -> Option<i32> {
        drop(self.input.take());
        ended_within(&mut self.child, PATIENCE).expect("it ends").code()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A settings file that says nothing: that of whoever runs the tests is none of theirs.
pub(crate) const NO_SETTINGS: &str = "/dev/null";

/// Runs `wattle --data-dir DIR ARGS…` with `input` on standard input, to its end.
pub(crate) fn run(data_dir: &Path, args: &[&str], input: &str) -> Said {
    let mut command = Command::new(binaries::wattle());
    command.arg("--data-dir").arg(data_dir).args(args);
    to_its_end(command, input)
}

/// Runs a line of shell, in which `wattle` is the program that this workspace builds and its data
/// directory is `data_dir`.
pub(crate) fn shell(data_dir: &Path, line: &str) -> Said {
    to_its_end(sh(data_dir, line), "")
}

/// Such a line, not yet started; examples are commands there, too.
pub(crate) fn sh(data_dir: &Path, line: &str) -> Command {
    let system = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside::folders().into_iter().chain(std::env::split_paths(&system));
    let path = std::env::join_paths(folders).expect("no folder has a colon in its name");
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("PATH", path).env("WATTLE_DATA_DIR", data_dir);
    command.env_remove("WATTLE_INVITE").env_remove("WATTLE_RELAY_TOKEN");
    command.env("WATTLE_CONFIG", NO_SETTINGS);
    command
}

fn to_its_end(mut command: Command, input: &str) -> Said {
    let mut child = command
        .env_remove("WATTLE_INVITE")
        .env_remove("WATTLE_RELAY_TOKEN")
        .env("WATTLE_CONFIG", NO_SETTINGS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_owned();
    // A command that does not read its input closes it: not this function's concern.
    thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let out = collect(child.stdout.take().expect("stdout is piped"));
    let err = collect(child.stderr.take().expect("stderr is piped"));
    let status = ended_within(&mut child, PATIENCE).unwrap_or_else(|| {
        let _ = child.kill();
        let _ = child.wait();
        panic!("waited for the end of {command:?}")
    });
    Said { code: status.code(), out: out.join().expect("stdout"), err: err.join().expect("stderr") }
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
