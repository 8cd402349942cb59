//! One run of the command line, as a person or a script would run it.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use crate::{PATIENCE, binaries, process::ended_within};

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

/// Runs `wattle --data-dir DIR ARGS…` with `input` on standard input, to its end.
pub(crate) fn run(data_dir: &Path, args: &[&str], input: &str) -> Said {
    let mut command = Command::new(binaries::wattle());
    command.arg("--data-dir").arg(data_dir).args(args);
    to_its_end(command, input)
}

/// Runs a line of shell, in which `wattle` is the program that this workspace builds and its data
/// directory is `data_dir`.
pub(crate) fn shell(data_dir: &Path, line: &str) -> Said {
    let programs = binaries::wattle();
    let mut path = programs.parent().expect("a folder").as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("PATH", path).env("WATTLE_DATA_DIR", data_dir);
    to_its_end(command, "")
}

fn to_its_end(mut command: Command, input: &str) -> Said {
    let mut child = command
        .env_remove("WATTLE_INVITE")
        .env_remove("WATTLE_RELAY_TOKEN")
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
