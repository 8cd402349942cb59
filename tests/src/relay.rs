//! A relay: `wattle-rendezvous run` as a process.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    process::{self, Command},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{Machine, PATIENCE, binaries, memory, process::Process, stored, world::Shared};

/// A relay of this world. Its address stays the same over restarts.
pub struct Relay {
    name: String,
    shared: Arc<Shared>,
    process: Option<Process>,
    address: String,
    days_ahead: u32,
    settings: &'static str,
    machine: Option<Machine>,
}

/// A token that a relay's operator has made.
pub struct Token {
    /// How the operator names it.
    pub id: String,
    /// What is passed on.
    pub text: String,
}

impl Relay {
    pub(crate) fn start(
        shared: Arc<Shared>,
        name: &str,
        listen: &str,
        settings: &'static str,
        machine: Option<&Machine>,
    ) -> Self {
        // Where it comes back to is to be free then. On a machine of its own nobody else asks for ports.
        let listen = match listen {
            ANYWHERE => &kept().to_string(),
            _ => listen,
        };
        let mut relay = Self {
            name: name.into(),
            shared,
            process: None,
            address: String::new(),
            days_ahead: 0,
            settings,
            machine: machine.cloned(),
        };
        relay.run(listen);
        relay
    }

    /// Makes a token, as its operator does.
    #[must_use]
    pub fn token(&self, label: &str) -> Token {
        let made = self.operator(&["token", "new", "--json", "--label", label]);
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        Token { id: text(&made["issued"]["id"]), text: text(&made["token"]) }
    }

    /// Takes a token back.
    pub fn revoke(&self, token: &Token) {
        self.operator(&["token", "revoke", "--json", &token.id]);
    }

    /// Waits until it refuses a token: it looks now and then for what its operator has changed.
    pub fn until_refuses(&self, token: &Token) {
        let file = self.shared.settings_file("token-to-check");
        fs::write(&file, &token.text).expect("a file");
        let start = Instant::now();
        loop {
            let mut check = Command::new(binaries::rendezvous());
            check.args(["check", "--token-file"]).arg(&file).arg(self.address());
            let said = check.output().expect("the check starts");
            if String::from_utf8_lossy(&said.stdout).contains("not valid, or no longer") {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "waited for the token to be refused: {said:?}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn operator(&self, args: &[&str]) -> serde_json::Value {
        let mut command = Command::new(binaries::rendezvous());
        command.args(args).arg("--data-dir").arg(self.data_dir());
        let output = command.output().expect("the operator's command starts");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("a line of JSON")
    }

    /// The TCP multiaddr that nodes are given, with the relay's `/p2p`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        port_of(&self.address)
    }

    /// Where it keeps its key and its entries.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.shared.data_dir(&self.name)
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.shared.log_file(&self.name)
    }

    /// Its process id.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("the relay runs").id()
    }

    /// Everything that its process holds in memory that can be written to.
    #[must_use]
    pub fn memory(&self) -> Vec<u8> {
        memory::of(self.process_id())
    }

    /// Every entry in its store. Only after [`Relay::kill9`]: the store is one process's.
    #[must_use]
    pub fn stored(&self) -> Vec<Vec<u8>> {
        assert!(self.process.is_none(), "the relay still has its store");
        stored::entries(&self.data_dir())
    }

    /// The numbers of the entries of each log in its store. Only after [`Relay::kill9`], as above.
    #[must_use]
    pub fn numbers(&self) -> BTreeMap<Vec<u8>, BTreeSet<u64>> {
        assert!(self.process.is_none(), "the relay still has its store");
        stored::numbers(&self.data_dir())
    }

    /// Ends it without a word.
    pub fn kill9(&mut self) {
        self.process.take().expect("the relay runs").kill9();
    }

    /// Whether its process is still there.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Has its store mended, as its operator does; what that found. It must not run.
    pub fn repair(&self) -> serde_json::Value {
        assert!(self.process.is_none(), "the relay still has its store");
        self.operator(&["repair", "--json"])
    }

    /// Sets its clock ahead, from the next start on, by this many days.
    pub fn set_ahead(&mut self, days: u32) {
        self.days_ahead = days;
    }

    /// Starts it again with the same data, key and port.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "kill it first");
        let before = self.address.clone();
        let ip = before.split('/').nth(2).expect("an address");
        let ip = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        self.run(&format!("{ip}:{}", self.port()));
        assert_eq!(self.address, before, "a relay keeps its key and its port");
    }

    fn run(&mut self, listen: &str) {
        let program = binaries::rendezvous();
        let mut command = match &self.machine {
            Some(machine) => machine.command(program),
            None => Command::new(program),
        };
        command.arg("run").arg("--data-dir").arg(self.data_dir()).arg("--listen").arg(listen);
        command.args(["--watch", ""]);
        if !self.settings.is_empty() {
            let file = self.shared.settings_file(&self.name);
            fs::write(&file, self.settings).expect("the relay's settings");
            command.arg("--config").arg(file);
        }
        command.arg(format!("--clock-offset={}", self.days_ahead));
        let process = Process::start(&self.name, &mut command, &self.log_file());
        self.address = process.line("the relay's address", tcp_address);
        self.process = Some(process);
    }
}

/// A port of the system's choice, on this machine.
pub(crate) const ANYWHERE: &str = "127.0.0.1:0";

/// A free port that the system gives nobody who asks for any.
fn kept() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Each process begins elsewhere.
        let number =
            process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + u16::try_from(number % 20_000).expect("a small number");
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
            return at;
        }
    }
}

/// The first TCP multiaddr with a PeerId in `line`.
fn tcp_address(line: &str) -> Option<String> {
    let rest = &line[line.find("/ip4/").or_else(|| line.find("/ip6/"))?..];
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '/' | '.' | '-' | ':'))
        .unwrap_or(rest.len());
    let address = &rest[..end];
    (address.contains("/tcp/") && address.contains("/p2p/")).then(|| address.to_owned())
}

/// The TCP port in a multiaddr.
#[must_use]
pub fn port_of(address: &str) -> u16 {
    address
        .split('/')
        .skip_while(|part| *part != "tcp")
        .nth(1)
        .and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("no TCP port in {address}"))
}
