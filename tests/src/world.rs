//! One temporary directory and everything that runs in it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{Liar, Link, Machine, Node, NodeSetup, Relay, Said, cli, left, relay::ANYWHERE};

/// A story's world. Its processes end with their own values; its directory ends with it.
pub struct World {
    pub(crate) shared: Arc<Shared>,
}

/// What every process of a world holds on to.
pub(crate) struct Shared {
    dir: TempDir,
    pub(crate) runtime: Runtime,
    logs: Mutex<Vec<PathBuf>>,
}

/// Starts a relay and nodes that are down again, so many days after the beginning by their clocks.
pub fn on_day(day: u32, relay: &mut Relay, nodes: &mut [&mut Node]) {
    relay.set_ahead(day);
    relay.restart();
    for node in nodes {
        node.set_ahead(day);
        node.start_again();
    }
}

impl World {
    /// An empty world.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a directory and threads")]
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        left::sweep();
        let prefix = format!("{}{}", left::WORLD, left::maker());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir().expect("a directory");
        Self { shared: Arc::new(Shared { dir, runtime, logs: Mutex::default() }) }
    }

    /// A relay on a port of its own, ready.
    #[must_use]
    pub fn relay(&self) -> Relay {
        self.relay_named("relay")
    }

    /// A relay with a name of its own, for worlds with several.
    #[must_use]
    pub fn relay_named(&self, name: &str) -> Relay {
        Relay::start(self.shared.clone(), name, ANYWHERE, "", None)
    }

    /// A relay with these settings.
    #[must_use]
    pub fn relay_with(&self, settings: &'static str) -> Relay {
        Relay::start(self.shared.clone(), "relay", ANYWHERE, settings, None)
    }

    /// A relay that serves holders of its operator's tokens only.
    #[must_use]
    pub fn closed_relay(&self) -> Relay {
        self.relay_with("access = \"token\"\n")
    }

    /// A relay at this IP:PORT, of the 127 network, with what its data directory holds already.
    #[must_use]
    pub fn relay_at(&self, name: &str, listen: &str) -> Relay {
        Relay::start(self.shared.clone(), name, listen, "", None)
    }

    /// A relay on a machine of its own, at this IP and a port of its choice.
    #[must_use]
    pub fn relay_on(&self, machine: &Machine, ip: &str) -> Relay {
        self.relay_on_with(machine, ip, "")
    }

    /// The same with these settings.
    #[must_use]
    pub fn relay_on_with(&self, machine: &Machine, ip: &str, settings: &'static str) -> Relay {
        let listen = format!("{ip}:0");
        Relay::start(self.shared.clone(), "relay", &listen, settings, Some(machine))
    }

    /// A relay that can be told to withhold.
    #[must_use]
    pub fn liar(&self) -> Liar {
        Liar::start(self.shared.clone())
    }

    /// A node to be set up and started.
    #[must_use]
    pub fn node(&self, name: &str) -> NodeSetup {
        NodeSetup::new(self.shared.clone(), name)
    }

    /// Ana and Ben, who use `relay`, in the group `tea` that she made.
    #[must_use]
    pub fn pair(&self, relay: &Relay) -> (Node, Node) {
        let [ana, ben] = ["ana", "ben"].map(|name| self.node(name).relay(relay).start());
        ana.create_group("tea");
        ben.join(&ana.invite("tea"));
        (ana, ben)
    }

    /// Runs `wattle` on the data directory `name`, where no node need be.
    #[must_use]
    pub fn cli(&self, name: &str, args: &[&str]) -> Said {
        cli::run(&self.shared.data_dir(name), args, "")
    }

    /// Runs a line of shell in which `wattle` works on the data directory `name`.
    #[must_use]
    pub fn shell(&self, name: &str, line: &str) -> Said {
        cli::shell(&self.shared.data_dir(name), line)
    }

    /// A proxy in front of `relay`.
    #[must_use]
    pub fn link(&self, relay: &Relay) -> Link {
        Link::to(relay.address())
    }

    /// A log file for the process `name`; printed when the story fails.
    pub(crate) fn log_file(&self, name: &str) -> PathBuf {
        self.shared.log_file(name)
    }

    /// The world's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.shared.dir.path()
    }
}

impl Shared {
    /// The world's directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The data directory of the process `name`.
    pub(crate) fn data_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The settings file of the process `name`.
    pub(crate) fn settings_file(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.toml"))
    }

    /// A log file for the process `name`; printed when the story fails.
    pub(crate) fn log_file(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(format!("{name}.log"));
        let mut logs = self.logs.lock().expect("logs");
        if !logs.contains(&path) {
            logs.push(path.clone());
        }
        path
    }
}

/// Lines of each log that a failed story prints.
const LOG_LINES: usize = 80;

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for path in self.shared.logs.lock().iter().flat_map(|logs| logs.iter()) {
            let text = fs::read(path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let start = lines.len().saturating_sub(LOG_LINES);
            eprintln!("---- {} (last {} lines)", path.display(), lines.len() - start);
            for line in &lines[start..] {
                eprintln!("{line}");
            }
        }
    }
}
