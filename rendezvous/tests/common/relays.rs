//! Several processes of one relay: the same key, the same cluster, a directory for each.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use libp2p::Multiaddr;

use super::load::Addrs;

/// The processes; they end when this is dropped.
pub struct Relays {
    dir: tempfile::TempDir,
    /// What each process is started with, its program first.
    commands: Vec<Vec<String>>,
    processes: Vec<Option<Child>>,
    pub addrs: Addrs,
}

impl Relays {
    /// Starts a process for each of these: a command to run it by, which may be empty, and where it listens.
    pub fn start(urls: &[String], monitors: &[String], places: &[(Vec<String>, String)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = dir.path().join("relay.toml");
        let quota = "[limits.quota]\nlog_entries = 10000000\nlog_bytes = \"1 GiB\"\ntotal_bytes = \"1 GiB\"\n";
        fs::write(&settings, quota).unwrap();
        let mut commands = Vec::new();
        for (number, (by, listen)) in places.iter().enumerate() {
            let data = dir.path().join(format!("r{number}"));
            fs::create_dir(&data).unwrap();
            fs::write(data.join("key"), [9; 32]).unwrap();
            let mut command = by.clone();
            let text = |path: &Path| path.to_str().unwrap().to_owned();
            command.extend([
                env!("CARGO_BIN_EXE_wattle-rendezvous").to_owned(),
                "run".into(),
                "--json".into(),
                format!("--listen={listen}"),
                format!("--config={}", text(&settings)),
                format!("--data-dir={}", text(&data)),
                format!("--cluster={}", urls.join(",")),
                format!("--cluster-monitor={}", monitors.join(",")),
            ]);
            commands.push(command);
        }
        let processes = places.iter().map(|_| None).collect();
        let addrs = Arc::new(Mutex::new(vec![Multiaddr::empty(); places.len()]));
        let mut relays = Self { dir, commands, processes, addrs };
        let started: Vec<_> = (0..places.len()).map(|number| relays.spawn(number)).collect();
        for (number, child) in started.into_iter().enumerate() {
            relays.ready(number, child);
        }
        relays
    }

    /// Starts a process again, and waits until it serves.
    pub fn start_again(&mut self, number: usize) {
        let child = self.spawn(number);
        self.ready(number, child);
    }

    /// Ends a process by SIGKILL.
    pub fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.processes[number].take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn log(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("r{number}.log"))
    }

    fn spawn(&self, number: usize) -> Child {
        let log = fs::File::options().create(true).append(true).open(self.log(number)).unwrap();
        let command = &self.commands[number];
        let mut child = Command::new(&command[0]);
        child.args(&command[1..]).stdout(Stdio::piped()).stderr(log).spawn().unwrap()
    }

    fn ready(&mut self, number: usize, mut child: Child) {
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Result<serde_json::Value, _> = serde_json::from_str(&line);
        let Ok(ready) = ready else {
            panic!("relay {number}: {}", fs::read_to_string(self.log(number)).unwrap());
        };
        let addr = ready["addrs"][0].as_str().unwrap().parse().unwrap();
        self.addrs.lock().unwrap()[number] = addr;
        self.processes[number] = Some(child);
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        (0..self.processes.len()).for_each(|number| self.kill(number));
    }
}
