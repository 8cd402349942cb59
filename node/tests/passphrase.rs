//! Where a passphrase comes from: the environment, a credential, a person at a terminal.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::Path,
    process::{Command, Output, Stdio},
};

const SECRET: &str = "six words that nobody guessed";

fn init(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle"));
    command.args(["init", "--name", "ana"]).env_clear().env("WATTLE_DATA_DIR", dir);
    command.env("WATTLE_CONFIG", "/dev/null").stdin(Stdio::null());
    command
}

/// Its exit code, and what it said.
fn said(output: Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_passphrase_that_is_no_text_makes_no_data_directory_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = init(dir.path());
    command.env("WATTLE_PASSPHRASE", OsStr::from_bytes(b"caf\xe9"));
    let (code, err) = said(command.output().unwrap());
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("WATTLE_PASSPHRASE: that passphrase is no text"), "{err}");
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "it left something behind");
}

#[test]
fn a_credential_of_the_service_manager_locks_and_opens() {
    let (dir, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(credentials.path().join("wattle.passphrase"), format!("{SECRET}\n")).unwrap();
    let mut with = init(dir.path());
    with.env("CREDENTIALS_DIRECTORY", credentials.path());
    assert_eq!(said(with.output().unwrap()).0, Some(0));
    assert!(dir.path().join("key.argon2").exists() && !dir.path().join("key").exists());
    // It opens: what is refused is the second identity. The environment says the same.
    assert_eq!(said(with.output().unwrap()).0, Some(5));
    let mut by_name = init(dir.path());
    assert_eq!(said(by_name.env("WATTLE_PASSPHRASE", SECRET).output().unwrap()).0, Some(5));
    // What is given goes before the credential.
    let (code, err) = said(with.env("WATTLE_PASSPHRASE", "another").output().unwrap());
    assert!(code == Some(5) && err.contains("does not open"), "{err}");
    // One that can't be read is none that is not there: no directory is made without it.
    let other = tempfile::tempdir().unwrap();
    let link = credentials.path().join("wattle.passphrase");
    fs::rename(&link, credentials.path().join("away")).unwrap();
    symlink("nowhere", &link).unwrap();
    let mut without = init(other.path());
    without.env("CREDENTIALS_DIRECTORY", credentials.path());
    assert_eq!(said(without.output().unwrap()).0, Some(1));
    assert!(fs::read_dir(other.path()).unwrap().next().is_none(), "it left something behind");
    // Nobody is asked where nobody is.
    let (code, err) = said(init(dir.path()).output().unwrap());
    assert!(code == Some(2) && err.contains("needs its passphrase"), "{err}");
}

/// Runs a line of shell at a terminal of its own, where each question is answered with the next of `typed`;
/// all that the terminal showed.
fn at_a_terminal(dir: &Path, line: &str, typed: &[&str]) -> String {
    let mut child = Command::new("script")
        .args(["--quiet", "--flush", "--command", line, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("WATTLE_DATA_DIR", dir)
        .env("WATTLE_CONFIG", "/dev/null")
        .env("WATTLE", env!("CARGO_BIN_EXE_wattle"))
        .env_remove("WATTLE_PASSPHRASE")
        .env_remove("WATTLE_PASSPHRASE_FILE")
        .env_remove("CREDENTIALS_DIRECTORY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut answers) = (Vec::new(), typed.iter());
    let mut piece = [0; 512];
    loop {
        let read = screen.read(&mut piece).unwrap();
        shown.extend_from_slice(&piece[..read]);
        if read == 0 {
            break;
        }
        if shown.ends_with(b"passphrase: ") || shown.ends_with(b"again: ") {
            keys.write_all(answers.next().unwrap().as_bytes()).unwrap();
        }
    }
    child.wait().unwrap();
    let shown = String::from_utf8(shown).unwrap();
    assert!(answers.next().is_none(), "not asked often enough: {shown}");
    shown
}

#[test]
fn a_person_is_asked_at_the_terminal_and_nothing_typed_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let line = format!("{SECRET}\n");
    let asks = r#""$WATTLE" init --name ana --ask-passphrase; echo "ended with $?""#;
    let shown = at_a_terminal(dir.path(), asks, &[&line, "another\n"]);
    assert!(shown.contains("the two are not the same"), "{shown}");
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "it left something behind");
    let shown = at_a_terminal(dir.path(), asks, &[&line, &line]);
    assert!(shown.contains("ended with 0") && !shown.contains(SECRET), "{shown}");
    assert!(dir.path().join("key.argon2").exists());
    // A locked directory asks by itself, once.
    let plain = r#""$WATTLE" init --name ana; echo "ended with $?""#;
    let shown = at_a_terminal(dir.path(), plain, &[&line]);
    assert!(shown.contains("ended with 5") && !shown.contains(SECRET), "{shown}");
    let shown = at_a_terminal(dir.path(), plain, &["wrong\n"]);
    assert!(shown.contains("does not open"), "{shown}");
}

#[test]
fn a_terminal_shows_again_what_is_typed_after_a_question_was_called_off() {
    let dir = tempfile::tempdir().unwrap();
    let line = r#"trap : INT; "$WATTLE" init --ask-passphrase; echo "ended with $?"; stty -a"#;
    let shown = at_a_terminal(dir.path(), line, &["\x03"]);
    assert!(shown.contains("ended with 130"), "{shown}");
    assert!(shown.contains(" echo ") && !shown.contains(" -echo "), "{shown}");
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "it left something behind");
}

#[test]
fn a_file_that_others_can_read_is_taken_and_said_to_be_so() {
    let (dir, secrets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = secrets.path().join("passphrase");
    fs::write(&file, SECRET).unwrap();
    let mut warned = Vec::new();
    for mode in [0o644, 0o600] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let mut command = init(&dir.path().join(mode.to_string()));
        command.arg("--passphrase-file").arg(&file);
        let (code, err) = said(command.output().unwrap());
        assert_eq!(code, Some(0), "{err}");
        warned.push(err.contains("chmod 600"));
    }
    assert_eq!(warned, [true, false]);
}
