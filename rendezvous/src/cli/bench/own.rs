//! A relay of its own: this program once more, on loopback, with a directory that goes with it.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use libp2p::Multiaddr;
use rendezvous::{Limits, Storage, settings::Settings};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

/// How long it may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it keeps an entry: long runs find the store at its size after as long.
const TTL: Duration = Duration::from_mins(2);

/// A relay that runs as a process of its own, so that what it takes can be told from what its clients do.
pub(super) struct OwnRelay {
    process: Child,
    /// It ends when this does, also where nobody could stop it.
    input: Option<ChildStdin>,
    pub(super) addrs: Vec<Multiaddr>,
    _dir: TempDir,
}

/// The line that it prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    addrs: Vec<String>,
}

impl OwnRelay {
    /// Starts one that lets so many clients of this machine have so many logs each, as fast as they can.
    /// It is on the disk on which `dir` is, or keeps entries in memory. It takes as many handshakes at once as
    /// any relay does.
    pub(super) async fn start(
        clients: u32,
        logs: u32,
        storage: Storage,
        dir: Option<&Path>,
        listen: Vec<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let mut named = tempfile::Builder::new();
        let named = named.prefix("wattle-bench-");
        let dir = dir.map_or_else(|| named.tempdir(), |dir| named.tempdir_in(dir));
        let dir = dir.context("no directory can be made for a relay; name a place with --dir")?;
        let file = dir.path().join("relay.toml");
        let mut settings = settings(clients, logs, storage, dir.path());
        settings.listen = listen;
        fs::write(&file, settings.written())
            .with_context(|| format!("{} can't be written", file.display()))?;
        let mut command = Command::new(env::current_exe().context("where this program is")?);
        // Nobody's settings but these, and no cluster.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("WATTLE_") {
                command.env_remove(name);
            }
        }
        command.env("WATTLE_LOG", "warn").args(["run", "--json", "--until-input-ends", "--config"]);
        command.arg(&file).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C is for this process: the relay has to hear its clients out.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = command.spawn().context("a relay can't be started")?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let mut relay = Self { process, input, addrs: Vec::new(), _dir: dir };
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            if let Some(output) = output {
                BufReader::new(output).read_line(&mut line)?;
            }
            Ok::<_, io::Error>(line)
        });
        let line = timeout(PATIENCE, line).await.context("the relay does not start")???;
        let ready: Ready = serde_json::from_str(&line).context("the relay did not start")?;
        relay.addrs = ready.addrs.iter().map(|addr| addr.parse()).collect::<Result<_, _>>()?;
        Ok(relay)
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends it as SIGTERM would.
    pub(super) async fn stop(mut self) {
        self.input = None;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && matches!(self.process.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for OwnRelay {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// As it ships, but for what one machine with many clients would run into.
fn settings(clients: u32, logs: u32, storage: Storage, dir: &Path) -> Settings {
    let shipped = Settings::shipped(storage);
    let limits =
        Limits { ttl: TTL, ..shipped.limits.clone().lifted(clients.saturating_add(1000), logs) };
    let mut settings = Settings { limits, data_dir: dir.join("data"), ..shipped };
    settings.watch.listen = String::new();
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_that_are_written_are_those_that_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("relay.toml");
        for storage in [Storage::Durable, Storage::Live] {
            let settings = settings(7, 1000, storage, dir.path());
            fs::write(&file, settings.written()).unwrap();
            assert_eq!(Settings::read(&file, None).unwrap(), settings);
        }
    }
}
