//! A relay and nodes as real processes of this program, in a directory that goes with them: what
//! the demo and the benchmark play on.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use node::{
    api::types::{self, Ready, RelayState},
    client::{Client, ClientError},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// How long anything may take before it counts as not happening, on a machine that is busy, too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where the processes keep their data.
pub struct Stage {
    dir: TempDir,
    program: PathBuf,
}

/// What `wattle relay --json` prints when it is ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RelayReady {
    /// [`types::VERSION`].
    pub v: u8,
    /// Always `ready`.
    pub event: String,
    /// Its addresses, with PeerId.
    pub addresses: Vec<String>,
}

/// A relay.
pub struct Relay {
    process: Option<Process>,
    /// The address that nodes are given.
    pub address: String,
    /// Where it keeps everything.
    pub dir: PathBuf,
}

/// A node.
pub struct Node {
    process: Option<Process>,
    name: &'static str,
    /// What it said when it was ready.
    pub ready: Ready,
    /// Speaks with it.
    pub client: Client,
    /// Its data directory.
    pub dir: PathBuf,
}

struct Process {
    child: Child,
}

impl Stage {
    /// An empty one, in the system's temporary directory.
    pub fn new() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("wattle-").tempdir()?;
        Ok(Self { dir, program: std::env::current_exe()? })
    }

    /// The place of one process's data.
    pub fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a relay at IP:PORT; with port 0 the system chooses.
    pub async fn relay(&self, listen: &str) -> anyhow::Result<Relay> {
        let (process, ready): (_, RelayReady) =
            self.start("relay", &["relay", "--listen", listen]).await?;
        let address = ready.addresses.into_iter().find(|address| address.contains("/tcp/"));
        let address = address.context("the relay listens nowhere")?;
        let dir = self.place("relay").join("relay");
        Ok(Relay { process: Some(process), address, dir })
    }

    /// Starts a node that listens on this machine only. `more` says which relay it uses, and
    /// whatever else `wattle up` is told.
    pub async fn node(
        &self,
        name: &'static str,
        card: &str,
        more: &[&str],
    ) -> anyhow::Result<Node> {
        let known = ["up", "--name", card, "--listen", "127.0.0.1:0"];
        let (process, ready): (_, Ready) = self.start(name, &[&known, more].concat()).await?;
        let dir = self.place(name);
        let client = Client::connect(&dir).await?;
        Ok(Node { process: Some(process), name, ready, client, dir })
    }

    /// The last lines that each process wrote to standard error.
    pub fn logs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten();
        let mut lines = Vec::new();
        for path in entries.map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "log") {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let last: Vec<&str> = text.lines().rev().take(12).collect();
                lines.extend(last.iter().rev().map(|line| format!("{name}: {line}")));
            }
        }
        lines
    }

    async fn start<T: DeserializeOwned>(
        &self,
        name: &str,
        args: &[&str],
    ) -> anyhow::Result<(Process, T)> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("{name}.log")))?;
        let mut command = Command::new(&self.program);
        for setting in SETTINGS {
            command.env_remove(setting);
        }
        let mut child = command
            // A person's own settings are none of these.
            .env("WATTLE_CONFIG", "/dev/null")
            .arg("--data-dir")
            .arg(self.place(name))
            .arg("--json")
            .args(args)
            .arg("--attached")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Interrupting this program is not to interrupt those: they end with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(output).lines();
        let line = timeout(PATIENCE, lines.next_line()).await;
        let Some(line) = line.with_context(|| format!("{name} is not ready"))?? else {
            bail!("{name} did not start");
        };
        Ok((Process { child }, serde_json::from_str(&line)?))
    }
}

const SETTINGS: [&str; 11] = [
    "WATTLE_DATA_DIR",
    "WATTLE_RELAY",
    "WATTLE_NAME",
    "WATTLE_INVITE",
    "WATTLE_LISTEN",
    "WATTLE_PASSPHRASE",
    "WATTLE_PASSPHRASE_FILE",
    "WATTLE_RELAY_PROXY",
    "WATTLE_MDNS",
    "WATTLE_PROGRAMS",
    "CREDENTIALS_DIRECTORY",
];

impl Relay {
    /// Ends it in order.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        ended("the relay", self.process.take()).await
    }
}

impl Node {
    /// Ends it in order.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.client.down().await?;
        ended(self.name, self.process.take()).await
    }

    /// Who it is.
    pub fn member(&self) -> &str {
        &self.ready.member
    }

    /// Waits until `check` finds something. It is asked again after each event of the node.
    pub async fn until<T>(
        &self,
        what: &str,
        mut check: impl AsyncFnMut(&Client) -> Result<Option<T>, ClientError>,
    ) -> anyhow::Result<T> {
        let found = async {
            let mut events = self.client.events_from_now().await?;
            loop {
                if let Some(found) = check(&self.client).await? {
                    return Ok(found);
                }
                events.next().await?;
            }
        };
        match timeout(PATIENCE, found).await {
            Ok(found) => found.map_err(|error: ClientError| anyhow!("{}: {error}", self.name)),
            Err(_) => bail!("{}: {what}: not within {} s", self.name, PATIENCE.as_secs()),
        }
    }

    /// Waits until a relay is connected.
    pub async fn on_relay(&self) -> anyhow::Result<()> {
        self.until("connected to the relay", async |client| {
            let relays = client.status().await?.relays;
            Ok(relays.iter().any(|relay| relay.state == RelayState::Up).then_some(()))
        })
        .await
    }

    /// Waits until a member is reached so.
    pub async fn reaches(&self, member: &Node, path: types::Path) -> anyhow::Result<()> {
        let what = format!("reaches {} ({path:?})", member.name);
        self.until(&what, async |client| {
            let paths = client.status().await?.paths;
            let here = |known: &&types::MemberPath| known.member.id == member.member();
            Ok(paths.iter().find(here).filter(|known| known.path == path).map(drop))
        })
        .await
    }

    /// Waits until all these texts are readable, and answers when that was seen.
    pub async fn reads(&self, group: &str, texts: &[&str]) -> anyhow::Result<Instant> {
        let what = format!("reads {texts:?}");
        self.until(&what, async |client| {
            let known = client.history(group, types::Page::default()).await?;
            let readable = |text: &&str| known.iter().any(|message| message.text == *text);
            Ok(texts.iter().all(readable).then(Instant::now))
        })
        .await
    }
}

/// Lets go of a process, and waits until it has ended.
async fn ended(name: &str, process: Option<Process>) -> anyhow::Result<()> {
    let Some(mut process) = process else { return Ok(()) };
    drop(process.child.stdin.take());
    let status = timeout(PATIENCE, process.child.wait()).await;
    let status = status.with_context(|| format!("{name} does not end"))??;
    if status.success() { Ok(()) } else { Err(anyhow!("{name} ended with {status}")) }
}

/// Copies a directory that nobody writes to.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
