//! What a service manager is told by the program, over its socket.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::ErrorKind,
    net::TcpListener,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Longer than any start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program under a manager, and what the manager hears.
struct Managed {
    process: Child,
    socket: UnixDatagram,
}

impl Managed {
    fn start(dir: &Path, watchdog: Option<Duration>) -> Self {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-rendezvous"));
        command.args(["run", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.join("relay"));
        command.env("NOTIFY_SOCKET", &path).env_remove("WATCHDOG_PID").env_remove("WATCHDOG_USEC");
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { process, socket }
    }

    fn hears(&self) -> String {
        let mut said = [0; 512];
        // A process that was stopped for a while is told so.
        let len = loop {
            match self.socket.recv(&mut said) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                heard => break heard.unwrap(),
            }
        };
        String::from_utf8(said[..len].to_vec()).unwrap().trim_end().to_owned()
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_manager_hears_that_the_relay_is_ready_lives_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut managed = Managed::start(dir.path(), Some(Duration::from_millis(100)));
    assert_eq!(managed.hears(), "READY=1");
    assert_eq!([managed.hears(), managed.hears()], ["WATCHDOG=1", "WATCHDOG=1"]);
    managed.signal("-TERM");
    loop {
        match managed.hears().as_str() {
            "WATCHDOG=1" => {}
            said => break assert_eq!(said, "STOPPING=1"),
        }
    }
    assert_eq!(managed.process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_start_that_waits_ends_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    for signal in ["-TERM", "-INT"] {
        // A cluster that takes connections and says nothing; one for each, who may try it more than once.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("nats://{}", silent.local_addr().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-rendezvous"));
        command.args([
            "run",
            "--watch",
            "",
            "--listen",
            "127.0.0.1:0",
            "--cluster",
            &url,
            "--data-dir",
        ]);
        command.arg(dir.path().join("relay")).env_remove("WATTLE_LOG");
        let process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let _waits = silent.accept().unwrap();
        let pid = process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let ended = process.wait_with_output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{said}");
        assert!(said.contains("before it was ready"), "{said}");
    }
}

#[test]
fn without_a_watchdog_nobody_is_fed() {
    let dir = tempfile::tempdir().unwrap();
    let managed = Managed::start(dir.path(), None);
    assert_eq!(managed.hears(), "READY=1");
    managed.signal("-TERM");
    assert_eq!(managed.hears(), "STOPPING=1");
}
