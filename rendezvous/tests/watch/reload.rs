//! Settings that are read again while a relay runs, as a service manager has it done.

use std::{
    fs,
    io::ErrorKind,
    net::SocketAddr,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId};
use protocol::relay_log::{Answer, LogKeys, Refusal};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    TOKEN,
    client::Client,
    http::{PATIENCE, get, get_with, metric},
    process::{self, Process},
};

/// A relay with a settings file, under a manager that hears what it says.
pub struct Managed {
    dir: TempDir,
    pub process: Process,
    manager: UnixDatagram,
    peer: PeerId,
    addr: Multiaddr,
    pub watch: SocketAddr,
}

/// The program, by itself or by a command that starts it.
fn program(by: &[&str], dir: &Path) -> Command {
    let mut all = by.iter().chain(&[env!("CARGO_BIN_EXE_wattle-rendezvous")]);
    let mut command = Command::new(all.next().unwrap());
    command.args(all).args(["run", "--json", "--data-dir"]).arg(dir.join("data"));
    command.env_clear().env("HOME", dir).env("NOTIFY_SOCKET", dir.join("manager"));
    command
}

const PLACES: &str = "listen = [\"127.0.0.1:0\"]\nwatch.listen = \"127.0.0.1:0\"\n";

impl Managed {
    /// Starts it with these settings beside where it listens.
    pub fn start(more: &str) -> Self {
        Self::start_by(&[], more)
    }

    /// The same, started by a command.
    pub fn start_by(by: &[&str], more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("relay.toml"), format!("{PLACES}{more}")).unwrap();
        let mut command = program(by, dir.path());
        command.arg("--config").arg(dir.path().join("relay.toml"));
        Self::of(dir, command)
    }

    fn of(dir: TempDir, mut command: Command) -> Self {
        let manager = UnixDatagram::bind(dir.path().join("manager")).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let (process, ready) = process::start(command.stderr(log));
        let watch = ready["watch"].as_str().unwrap().strip_prefix("http://").unwrap();
        let watch = watch.trim_end_matches('/').parse().unwrap();
        let peer = ready["peer"].as_str().unwrap().parse().unwrap();
        let addr = ready["addrs"][0].as_str().unwrap().parse().unwrap();
        let managed = Self { dir, process, manager, peer, addr, watch };
        assert_eq!(managed.hears(), "READY=1");
        managed
    }

    fn hears(&self) -> String {
        let mut said = [0; 1024];
        // A process that was stopped for a while is told so.
        let len = loop {
            match self.manager.recv(&mut said) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                heard => break heard.unwrap(),
            }
        };
        String::from_utf8(said[..len].to_vec()).unwrap().trim_end().to_owned()
    }

    fn signal(&self, name: &str) {
        let pid = self.process.0.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Sends SIGHUP; answers what came of it.
    fn hang_up(&self) -> String {
        self.signal("-HUP");
        self.begins();
        self.done()
    }

    /// Waits until settings are being read again.
    fn begins(&self) {
        let begun = self.hears();
        let (first, since) = begun.split_once('\n').unwrap();
        assert_eq!(first, "RELOADING=1");
        let since = since.strip_prefix("MONOTONIC_USEC=").unwrap();
        assert!(since.parse::<u64>().is_ok_and(|it| it > 0), "{since}");
    }

    /// Waits until they were; answers what came of it.
    fn done(&self) -> String {
        let done = self.hears();
        done.strip_prefix("READY=1\nSTATUS=").unwrap().to_owned()
    }

    /// Sets these beside where it listens, and has them read.
    pub fn reload(&self, more: &str) -> String {
        fs::write(self.file(), format!("{PLACES}{more}")).unwrap();
        self.hang_up()
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("relay.toml")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub async fn client(&self) -> Client {
        Client::of(self.peer, self.addr.clone()).await
    }

    pub fn socket(&self) -> SocketAddr {
        let port = self.addr.to_string().split('/').nth(4).unwrap().parse().unwrap();
        ([127, 0, 0, 1], port).into()
    }

    /// Whether it answers the first words of somebody new.
    pub async fn answers(&self) -> bool {
        let mut stream = TcpStream::connect(self.socket()).await.unwrap();
        let _ = stream.write_all(b"\x13/multistream/1.0.0\n").await;
        stream.read_exact(&mut [0; 20]).await.is_ok()
    }
}

fn keys(seed: u8) -> LogKeys {
    LogKeys::from_seeds([seed; 32], [seed + 1; 32], None)
}

fn is_kept(answer: &Answer) -> bool {
    matches!(answer, Answer::Appended { .. })
}

fn is_refused(answer: &Answer, with: Refusal) -> bool {
    matches!(answer, Answer::AppendRefused { reason, .. } | Answer::OpenRefused { reason, .. } if *reason == with)
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_and_limits_are_raised_and_lowered_while_clients_are_connected() {
    let relay = Managed::start("[limits]\nlogs = 1\nquota.log_entries = 2\n");
    let mut early = relay.client().await;
    early.open(1, &keys(1)).await;
    for number in 0..2 {
        assert!(is_kept(&early.append(1, number, 512).await));
    }
    assert!(is_refused(&early.append(1, 2, 512).await, Refusal::LogFull));

    let more = "[limits]\nlogs = 2\nquota.log_entries = 3\nquota.total_bytes = \"1 GiB\"\n";
    assert_eq!(relay.reload(more), "3 settings changed");
    assert!(is_kept(&early.append(1, 2, 512).await));
    assert_eq!(metric(relay.watch, "quota_bytes").await, Some(f64::from(1 << 30)));
    let refused = early.open(2, &keys(3)).await;
    assert!(is_refused(&refused, Refusal::TooManyLogs), "a connection keeps what it was told");
    let mut late = relay.client().await;
    for handle in 1..3 {
        let keys = keys(u8::try_from(handle * 2).unwrap());
        assert_eq!(late.open(handle, &keys).await, Answer::Opened { handle });
    }

    let less = "[limits]\nconnections_per_address = 1\nquota.log_entries = 1\nttl = \"1h\"\n";
    relay.reload(less);
    assert!(is_refused(&early.append(1, 3, 512).await, Refusal::LogFull));
    assert!(!relay.answers().await, "those who are there are enough");
    assert_eq!(early.read(1).await, 3, "what is there stays, and so do they");
    assert!(get(relay.watch, "/").await.body.contains("for 1 hour<"));
    relay.reload("");
    assert!(relay.answers().await);
    assert!(is_kept(&early.append(1, 3, 512).await));
    assert!(relay.log().contains("limits.quota.log_entries"), "{}", relay.log());
    assert_eq!(relay.hang_up(), "the settings are as they were");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_followed_changes_nothing_and_what_needs_a_restart_is_named() {
    let relay = Managed::start("[limits.quota]\ntotal_bytes = \"1 GiB\"\n");
    for (text, said) in [
        ("[limits.quota]\ntotal_bytes = \"2 GiB\"\n[limits", "not written as it should be"),
        ("[limits.quota]\ntotal_bytes = \"2 GiB\"\nttl = 1", "did you mean limits.ttl?"),
        ("external = [\"a b\"]\n[limits.quota]\ntotal_bytes = \"2 GiB\"", "expected HOST:PORT"),
        ("[limits.quota]\ntotal_bytes = \"2 GiB\"\n[limits]\nlogs = 0", "with none of it"),
    ] {
        let status = relay.reload(text);
        assert!(status.contains("nothing has changed"), "{text}: {status}");
        assert!(relay.log().contains(said), "{said}: {}", relay.log());
    }
    fs::remove_file(relay.file()).unwrap();
    assert!(relay.hang_up().contains("nothing has changed"));
    assert!(relay.log().contains("relay.toml can't be read"), "{}", relay.log());
    assert_eq!(metric(relay.watch, "quota_bytes").await, Some(f64::from(1 << 30)));

    let text = "listen = [\"127.0.0.1:1\"]\nwatch.listen = \"127.0.0.1:0\"\nstore = \"memory\"\n";
    fs::write(relay.file(), text).unwrap();
    assert_eq!(relay.hang_up(), "1 settings changed, 2 need a restart");
    for key in ["listen", "store"] {
        assert!(relay.log().contains(&format!("needs a restart key=\"{key}\"")), "{}", relay.log());
    }
    assert!(relay.answers().await, "it listens where it did");
    let durable = f64::from(16 * (1 << 10)) * f64::from(1 << 20);
    assert_eq!(metric(relay.watch, "quota_bytes").await, Some(durable), "of the store that runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_takes_another_token_and_shows_another_address() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, TOKEN).unwrap();
    let by_file = format!("watch.token_file = {:?}\n", token.to_str().unwrap());
    let relay = Managed::start(&by_file);
    let asked = async |token: &str| {
        let bearer = format!("Authorization: Bearer {token}\r\n");
        get_with(relay.watch, "/", &bearer).await
    };
    assert_eq!(asked(TOKEN).await.status, 200);
    let other = "a-token-for-those-who-come-later";
    fs::write(&token, "too short").unwrap();
    assert!(relay.hang_up().contains("nothing has changed"));
    assert_eq!(asked(TOKEN).await.status, 200);
    fs::write(&token, other).unwrap();
    let external = "external = [\"relay.example:4407\"]\n";
    assert_eq!(relay.reload(&format!("{external}{by_file}")), "2 settings changed");
    assert_eq!(asked(TOKEN).await.status, 401);
    let page = asked(other).await;
    assert!(page.body.contains("/dns/relay.example/tcp/4407/p2p/"), "{}", page.body);
    assert!(!relay.log().contains(other) && !relay.log().contains("relay.example"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_there_is_nothing_to_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = program(&[], dir.path());
    command.args(["--listen", "127.0.0.1:0", "--watch", "127.0.0.1:0"]);
    let relay = Managed::of(dir, command);
    assert_eq!(relay.hang_up(), "there is no settings file to read again");
    assert!(relay.log().contains("without --config"), "{}", relay.log());
    assert!(relay.answers().await);
}

/// Has a relay's settings come from a pipe, whose reader waits for as long as nobody writes.
fn pipe(relay: &Managed) {
    fs::remove_file(relay.file()).unwrap();
    assert!(Command::new("mkfifo").arg(relay.file()).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_settings_can_not_be_read_to_their_end_serves_and_ends_when_it_is_told_to() {
    let mut relay = Managed::start("");
    pipe(&relay);
    relay.signal("-HUP");
    relay.begins();
    assert!(relay.answers().await);
    relay.signal("-TERM");
    assert_eq!(relay.hears(), "STOPPING=1");
    let end = Instant::now() + PATIENCE;
    let status = loop {
        match relay.process.0.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(Instant::now() < end, "it runs on: {}", relay.log()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(status.code(), Some(0), "{}", relay.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_read_once_at_a_time_and_once_more_for_all_who_asked_meanwhile() {
    let relay = Managed::start("");
    pipe(&relay);
    let end = Instant::now() + PATIENCE;
    for asked in 1..=4 {
        relay.signal("-HUP");
        if asked == 1 {
            relay.begins();
        }
        // Signals of one kind that come at once are one.
        while relay.log().matches("the settings are to be read again").count() < asked {
            assert!(Instant::now() < end, "{}", relay.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    fs::write(relay.file(), format!("{PLACES}[limits]\nlogs = 5\n")).unwrap();
    assert_eq!(relay.done(), "1 settings changed");
    relay.begins();
    fs::write(relay.file(), format!("{PLACES}[limits]\nlogs = 6\n")).unwrap();
    assert_eq!(relay.done(), "1 settings changed");
    relay.signal("-TERM");
    assert_eq!(relay.hears(), "STOPPING=1", "all who asked have been answered");
}
