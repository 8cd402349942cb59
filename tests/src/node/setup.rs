//! How a node is to be started.

use std::{path::PathBuf, process::Command, sync::Arc};

use super::Node;
use crate::{Link, Machine, Relay, binaries, cli::NO_SETTINGS, world::Shared};

/// A node to be started.
pub struct NodeSetup {
    pub(crate) shared: Arc<Shared>,
    pub(super) name: String,
    pub(crate) data_dir: PathBuf,
    pub(super) args: Vec<String>,
    relays: Vec<String>,
    machine: Option<Machine>,
}

impl NodeSetup {
    pub(crate) fn new(shared: Arc<Shared>, name: &str) -> Self {
        let data_dir = shared.data_dir(name);
        Self {
            shared,
            name: name.into(),
            data_dir,
            args: Vec::new(),
            relays: Vec::new(),
            machine: None,
        }
    }

    /// Uses `relay`.
    #[must_use]
    pub fn relay(self, relay: &Relay) -> Self {
        self.relay_at(relay.address())
    }

    /// Uses a relay by way of `link`.
    #[must_use]
    pub fn relay_over(self, link: &Link) -> Self {
        self.relay_at(link.address())
    }

    /// Uses the relay at this multiaddr.
    #[must_use]
    pub fn relay_at(mut self, address: &str) -> Self {
        self.relays.push(address.into());
        self
    }

    /// Neither makes nor takes direct connections.
    #[must_use]
    pub fn no_direct(self) -> Self {
        self.arg(NO_DIRECT)
    }

    /// Uses no relay and runs none.
    #[must_use]
    pub fn no_relay(self) -> Self {
        self.arg("--no-relay")
    }

    /// Runs on a machine of its own, and listens wherever that is.
    #[must_use]
    pub fn on(mut self, machine: &Machine) -> Self {
        self.machine = Some(machine.clone());
        self
    }

    /// One more argument of `wattle up`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Lives in `data_dir` rather than in one of its own.
    #[must_use]
    pub fn living_in(mut self, data_dir: PathBuf) -> Self {
        self.data_dir = data_dir;
        self
    }

    /// Starts it; returns when it is ready.
    #[must_use]
    pub fn start(self) -> Node {
        Node::first_start(self)
    }

    /// `wattle up` with these settings.
    pub(super) fn command(&self) -> Command {
        let program = binaries::wattle();
        let mut command = match &self.machine {
            Some(machine) => machine.command(program),
            None => Command::new(program),
        };
        command.arg("--data-dir").arg(&self.data_dir).args(["--json", "up", "--name", &self.name]);
        if self.machine.is_none() && !self.args.iter().any(|arg| arg == NO_DIRECT) {
            command.args(["--listen", "/ip4/127.0.0.1/tcp/0"]);
        }
        command.args(&self.args);
        for relay in &self.relays {
            command.arg("--relay").arg(relay);
        }
        command.env("RUST_BACKTRACE", "1").env("WATTLE_CONFIG", NO_SETTINGS);
        command
    }
}

const NO_DIRECT: &str = "--no-direct";
