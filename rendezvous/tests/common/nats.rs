//! A NATS cluster of a test's own: real servers on free ports of loopback, in a directory that goes with
//! them. `tests/nats/install.sh` brings the program.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Long enough for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a server may take until it says that it is healthy, before it is started again.
const SICK: Duration = Duration::from_secs(30);

/// How servers are set up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Each message is on the disk before it is acknowledged.
    Always,
    /// As NATS ships: every two minutes.
    Shipped,
}

/// Servers that know each other. They end when this is dropped.
pub struct Nats {
    program: PathBuf,
    dir: tempfile::TempDir,
    nodes: Vec<Node>,
}

/// One server.
struct Node {
    place: Place,
    client: u16,
    monitor: u16,
    process: Option<Child>,
}

/// Where a server runs.
#[derive(Clone)]
pub struct Place {
    /// The command that it is run by; may be empty.
    pub by: Vec<String>,
    /// The address at which it listens.
    pub ip: String,
}

impl Place {
    /// On this machine, at an address of loopback that no other server of a test has: what is free there
    /// stays free.
    pub fn here() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let (process, count) = (process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let ip = format!("127.{}.{}.{count}", 100 + (process >> 8) % 100, process % 256);
        Self { by: Vec::new(), ip }
    }
}

/// The program, where it is installed; otherwise says why the test is skipped, or fails where nothing may be.
pub fn program() -> Option<PathBuf> {
    let cache = || {
        let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
        let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
        Some(cache.join("wattle-ci/nats"))
    };
    let folder = env::var_os("WATTLE_NATS").map(PathBuf::from).or_else(cache);
    let program = folder.map(|folder| folder.join("usr/sbin/nats-server"));
    let found = program.filter(|program| program.exists());
    if found.is_none() {
        let why = "no nats-server; tests/nats/install.sh brings it";
        assert!(env::var_os("WATTLE_REQUIRE_ALL").is_none_or(|it| it != "1"), "{why}");
        println!("skipped: {why}");
    }
    found
}

/// Ports that are free now.
pub fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|it| it.local_addr().unwrap().port()).collect()
}

/// How long servers may take to meet, as many times longer as they have begun anew, and how often they may.
const MEETING: Duration = Duration::from_secs(15);
const ATTEMPTS: u32 = 5;

impl Nats {
    /// Starts so many servers with JetStream, and waits until they can be used. `None`: skipped.
    pub fn start(count: usize, sync: Sync) -> Option<Self> {
        let places: Vec<_> = (0..count).map(|_| Place::here()).collect();
        Self::start_at(&places, sync, "")
    }

    /// Starts a server at each of these places, with some lines more in its settings.
    pub fn start_at(places: &[Place], sync: Sync, more: &str) -> Option<Self> {
        let program = program()?;
        let dir = tempfile::tempdir().unwrap();
        let count = places.len();
        let ports = free_ports(count * 3);
        let route = |(place, port): (&Place, &u16)| format!("nats://{}:{port}", place.ip);
        let routes: Vec<_> = places.iter().zip(&ports).map(route).collect();
        let mut nodes = Vec::new();
        for (number, place) in places.iter().enumerate() {
            let (client, monitor) = (ports[count + number], ports[2 * count + number]);
            let sync = if sync == Sync::Always { "sync_interval: always" } else { "" };
            let ip = &place.ip;
            let cluster = if count > 1 {
                let (port, routes) = (ports[number], routes.join(", "));
                let name = format!("t{}x{}", process::id(), ports[0]);
                format!("cluster {{ name: {name}, listen: \"{ip}:{port}\", routes: [{routes}] }}")
            } else {
                String::new()
            };
            let store = dir.path().join(format!("n{number}"));
            let config = format!(
                "server_name: n{number}\nlisten: \"{ip}:{client}\"\nhttp: \"{ip}:{monitor}\"\n\
                 jetstream {{ store_dir: {store:?}, max_mem: 64MB, max_file: 8GB, {sync} }}\n{cluster}\n{more}\n"
            );
            fs::write(dir.path().join(format!("n{number}.conf")), config).unwrap();
            nodes.push(Node { place: place.clone(), client, monitor, process: None });
        }
        let mut nats = Self { program, dir, nodes };
        for attempt in 1_u32.. {
            (0..count).for_each(|number| nats.start_node(number));
            if nats.meet(MEETING * attempt) {
                break;
            }
            // Servers that start at the same moment may each drop the other's route as the double of
            // their own, and then never elect anybody: they begin anew.
            assert!(attempt < ATTEMPTS, "the servers don't meet: {}", nats.logs());
            for number in 0..count {
                nats.kill(number);
                let _ = fs::remove_dir_all(nats.dir.path().join(format!("n{number}")));
            }
        }
        nats.wait();
        Some(nats)
    }

    /// Starts a server again.
    pub fn start_node(&mut self, number: usize) {
        let log = self.dir.path().join(format!("n{number}.log"));
        let log = fs::File::options().create(true).append(true).open(log).unwrap();
        let program = self.program.to_str().unwrap().to_owned();
        let words = [&self.nodes[number].place.by[..], &[program]].concat();
        let process = Command::new(&words[0])
            .args(&words[1..])
            .arg("-c")
            .arg(self.dir.path().join(format!("n{number}.conf")))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.nodes[number].process = Some(process);
    }

    /// Ends a server and starts it again.
    pub fn again(&mut self, number: usize) {
        self.kill(number);
        self.start_node(number);
    }

    /// Ends a server by SIGKILL.
    pub fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.nodes[number].process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Waits until all servers that run say that they are healthy. One that doesn't for long is started
    /// again, as who watches a server would: where two servers of 2.10.27 dial each other at the same
    /// moment, each can drop the other's route as the double of its own, and one of the routes between
    /// them is not made again; then what goes over it waits, and the server is not current for minutes.
    pub fn wait(&mut self) {
        let (start, mut since) = (Instant::now(), Instant::now());
        loop {
            let state =
                |node: &Node| (node.process.is_some(), health(&node.place.ip, node.monitor));
            let states: Vec<_> = self.nodes.iter().map(state).collect();
            let sick = |(runs, health): &(bool, String)| *runs && !health.contains("200 OK");
            let Some(number) = states.iter().position(sick) else { return };
            assert!(start.elapsed() < PATIENCE, "not healthy: {states:?}\n{}", self.logs());
            if since.elapsed() > SICK {
                println!("n{number} is started again: {states:?}\n{}", self.logs());
                self.again(number);
                since = Instant::now();
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the servers have a leader who knows each of them as one that it may place streams on;
    /// answers whether they do.
    fn meet(&self, patience: Duration) -> bool {
        let start = Instant::now();
        let leads = |node: &Node| leads(&node.place.ip, node.monitor, self.nodes.len());
        while self.nodes.len() > 1 && !self.nodes.iter().any(leads) {
            if start.elapsed() > patience {
                return false;
            }
            thread::sleep(Duration::from_millis(50));
        }
        true
    }

    /// Where clients reach the servers.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|it| format!("nats://{}:{}", it.place.ip, it.client)).collect()
    }

    /// Where the servers' monitoring answers.
    pub fn monitors(&self) -> Vec<String> {
        self.nodes.iter().map(|it| format!("http://{}:{}", it.place.ip, it.monitor)).collect()
    }

    /// How many servers there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Where the servers keep their files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The last lines of each server's log.
    fn logs(&self) -> String {
        let read = |number| {
            let log = fs::read_to_string(self.dir.path().join(format!("n{number}.log"))).ok()?;
            let from = log.char_indices().rev().filter(|(_, it)| *it == '\n').nth(25);
            Some(format!("n{number}:{}\n", &log[from.map_or(0, |(at, _)| at)..]))
        };
        (0..self.nodes.len()).filter_map(read).collect()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        (0..self.nodes.len()).for_each(|number| self.kill(number));
    }
}

/// What a server says of its health; empty where it doesn't answer.
fn health(ip: &str, port: u16) -> String {
    get(ip, port, "/healthz?js-server-only=true").unwrap_or_default()
}

/// Whether a server leads so many, of whom all are there and up to date.
fn leads(ip: &str, port: u16, count: usize) -> bool {
    let answer = get(ip, port, "/jsz").unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let state: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let replicas = state["meta_cluster"]["replicas"].as_array().map_or(&[][..], Vec::as_slice);
    let is_there = |it: &serde_json::Value| it["current"] == true && it["offline"] != true;
    replicas.len() + 1 == count && replicas.iter().all(is_there)
}

/// What a server's monitoring answers.
fn get(ip: &str, port: u16, path: &str) -> Option<String> {
    let addr = format!("{ip}:{port}").parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
