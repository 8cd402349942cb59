//! The node as a service: its file, what the service manager is told, and what it tells it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

/// A person's home, with a systemctl that writes down what it is told.
struct Home(TempDir);

impl Home {
    fn new(systemctl: &str) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let program = home.0.path().join("systemctl");
        let log = home.0.path().join("told");
        fs::write(&program, format!("#!/bin/sh\necho \"$*\" >> {}\n{systemctl}\n", log.display()))
            .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        home
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wattle"));
        let path = env::join_paths([self.0.path(), "/usr/bin".as_ref(), "/bin".as_ref()]).unwrap();
        command.args(args).env_clear().env("PATH", path).env("HOME", self.0.path());
        command.env("XDG_CONFIG_HOME", self.0.path().join("my config")).stdin(Stdio::null());
        command
    }

    /// Its exit code, and what it said.
    fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let output = self.command(args).output().unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        (output.status.code(), out, err)
    }

    fn unit(&self) -> PathBuf {
        self.0.path().join("my config/systemd/user/wattle.service")
    }

    fn told(&self) -> String {
        fs::read_to_string(self.0.path().join("told")).unwrap_or_default()
    }
}

#[test]
fn a_service_is_written_started_told_and_taken_away() {
    let home = Home::new("echo active");
    assert_eq!(home.run(&["service", "status"]).0, Some(3));
    let data = home.0.path().join("data of 50%");
    let install = ["service", "install", "--data-dir", data.to_str().unwrap()];
    let (code, out, err) = home.run(&install);
    assert_eq!((code, out.trim()), (Some(0), home.unit().to_str().unwrap()), "{err}");
    let all = "--user daemon-reload\n--user enable wattle.service\n--user restart wattle.service\n";
    assert_eq!(home.told(), all);
    let unit = fs::read_to_string(home.unit()).unwrap();
    let data = data.display().to_string().replace('%', "%%");
    assert!(unit.contains(&format!("\" \"--data-dir\" \"{data}\" \"up\"\n")), "{unit}");
    // Again, by other settings, is an update.
    let (code, _, err) = home.run(&["service", "install", "--no-start"]);
    assert!(code == Some(0) && err.contains("systemctl --user restart wattle.service"), "{err}");
    assert!(!fs::read_to_string(home.unit()).unwrap().contains("--data-dir"));
    assert_eq!(home.told(), all, "nobody was told");
    let (_, out, _) = home.run(&["--json", "service", "status"]);
    assert!(out.contains(r#""installed":true"#) && out.contains(r#""state":"active""#), "{out}");
    assert_eq!(home.run(&["service", "uninstall"]).0, Some(0));
    assert!(home.told().contains("disable --now wattle.service") && !home.unit().exists());
    assert_eq!(home.run(&["service", "uninstall"]).0, Some(0));
    // What somebody else wrote stays.
    fs::write(home.unit(), "[Service]\n").unwrap();
    assert_eq!(home.run(&["service", "install"]).0, Some(5));
    assert_eq!(home.run(&["service", "uninstall"]).0, Some(5));
    assert_eq!(fs::read_to_string(home.unit()).unwrap(), "[Service]\n");
}

#[test]
fn a_manager_that_refuses_is_named_and_what_a_service_does_not_hear_is_said() {
    let home = Home::new("exit 1");
    let (code, out, err) = home.run(&["service", "install"]);
    assert!(code == Some(1) && out.contains("wattle.service"), "{err}");
    assert!(err.contains("systemctl --user daemon-reload did not do it"), "{err}");
    let mut install = home.command(&["service", "install", "--no-start"]);
    let output = install.env("WATTLE_RELAY_PROXY", "socks5://127.0.0.1:9").output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("the service does not hear WATTLE_RELAY_PROXY"), "{err}");
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let home = Home::new("");
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped: no systemd-analyze here");
        return;
    }
    assert_eq!(home.run(&["service", "install", "--no-start"]).0, Some(0));
    let mut verify = Command::new("systemd-analyze");
    verify.args(["--user", "--man=no", "verify"]).arg(home.unit());
    let output = verify.env("XDG_RUNTIME_DIR", home.0.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("wattle.service"), "{said}");
}

#[test]
fn the_service_manager_is_told_when_the_node_is_ready_and_when_it_ends() {
    let home = Home::new("");
    let path = home.0.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let heard = || {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let mut up = home.command(&["up", "--name", "ana", "--no-relay", "--listen", "127.0.0.1:0"]);
    up.env("NOTIFY_SOCKET", &path).stdout(Stdio::null()).stderr(Stdio::null());
    let mut up = up.spawn().unwrap();
    assert!(heard().contains("READY=1"));
    assert_eq!(home.run(&["status"]).0, Some(0), "it answers by then");
    assert_eq!(home.run(&["down"]).0, Some(0));
    assert!(heard().contains("STOPPING=1"));
    assert!(up.wait().unwrap().success());
}
