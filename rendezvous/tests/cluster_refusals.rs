//! What a relay says of a cluster that it doesn't take, and by which name it takes it all the same.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use async_nats::jetstream;
use nats::{Nats, Place, Sync};

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "common/nats.rs"]
mod nats;

/// A relay's directory and settings.
struct Relay {
    dir: tempfile::TempDir,
    settings: String,
}

/// How a relay came out.
enum End {
    /// It served; then it was ended.
    Served,
    Ended(i32),
}

impl Relay {
    fn new(nats: &Nats) -> Self {
        let (urls, monitors) = (nats.urls(), nats.monitors());
        let settings = format!(
            "[limits.quota]\ntotal_bytes = \"64 MiB\"\n\
             [cluster]\nurls = {urls:?}\nmonitors = {monitors:?}\nreplicas = 1\nshards = 1\n"
        );
        Self { dir: tempfile::tempdir().unwrap(), settings }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str], login: Option<&str>) -> (End, String) {
        fs::write(self.file("relay.toml"), &self.settings).unwrap();
        let mut relay = Command::new(env!("CARGO_BIN_EXE_wattle-rendezvous"));
        relay
            .args(["run", "--json", "--listen=127.0.0.1:0", "--config"])
            .arg(self.file("relay.toml"));
        relay.arg("--data-dir").arg(self.file("data")).args(args);
        if let Some(login) = login {
            relay.env("WATTLE_RENDEZVOUS_CLUSTER_LOGIN", login);
        }
        let mut relay = relay.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(relay.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let served = line.contains("ready");
        if served {
            relay.kill().unwrap();
        }
        let mut said = String::new();
        relay.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = relay.wait().unwrap();
        (if served { End::Served } else { End::Ended(status.code().unwrap()) }, said)
    }

    #[track_caller]
    fn refused(&self, args: &[&str], words: &[&str]) {
        let (end, said) = self.run(args, None);
        assert!(matches!(end, End::Ended(1 | 2)), "{said}");
        for words in words {
            assert!(said.contains(words), "{words:?} is not in: {said}");
        }
    }

    #[track_caller]
    fn served(&self, args: &[&str]) -> String {
        let (end, said) = self.run(args, None);
        assert!(matches!(end, End::Served), "{said}");
        said
    }
}

#[test]
fn a_cluster_that_could_lose_entries_is_taken_by_name_only() {
    let Some(nats) = Nats::start(1, Sync::Shipped) else { return };
    let mut relay = Relay::new(&nats);
    relay.refused(
        &[],
        &["each entry is kept by 1 of the servers, and not by 3", "--cluster-allow replicas"],
    );
    relay.refused(
        &["--cluster-allow=replicas"],
        &["server n0 acknowledges before it has synced", "sync_interval: always"],
    );
    let said = relay.served(&["--cluster-allow=replicas,unsynced"]);
    assert_eq!(said.matches("THE CLUSTER IS NOT SAFE").count(), 2, "{said}");
    relay.refused(&["--cluster-allow=synced"], &["expected unsynced, replicas or version"]);

    let monitors = relay.settings.find("monitors").unwrap();
    let end = monitors + relay.settings[monitors..].find('\n').unwrap();
    relay.settings.replace_range(monitors..end, "");
    let monitor = "--cluster-monitor http://HOST:8222";
    relay.refused(&["--cluster-allow=replicas"], &["its monitoring is not named", monitor]);
    let nobody = format!("http://127.0.0.1:{}", nats::free_ports(1)[0]);
    relay.refused(
        &["--cluster-allow=replicas", "--cluster-monitor", &nobody],
        &["no server's monitoring answers at http://127.0.0.1:"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_not_the_relays_own_or_set_up_otherwise_are_refused() {
    let Some(nats) = Nats::start(1, Sync::Always) else { return };
    let allow = ["--cluster-allow=replicas"];
    let mut relay = Relay::new(&nats);
    relay.served(&allow);
    relay.served(&allow);

    let other = Relay::new(&nats);
    other.refused(&allow, &["belong to a relay with another key", "copy the file \"key\""]);
    other.served(&[&allow[..], &["--cluster-name=other"]].concat());

    relay.settings = relay.settings.replace("shards = 1", "shards = 2");
    relay.refused(&allow, &["the stream wattle-0", "another number of shards"]);
    relay.settings = relay.settings.replace("shards = 2", "shards = 1");

    let client = async_nats::connect(nats.urls()).await.unwrap();
    let jet = jetstream::new(client);
    let held = jet.get_stream("wattle-0").await.unwrap().cached_info().config.clone();
    let aging = jetstream::stream::Config { max_age: Duration::from_secs(3600), ..held };
    jet.update_stream(aging).await.unwrap();
    relay.refused(&allow, &["it has max_age: entries would be lost early"]);
}

#[test]
fn a_login_stands_in_a_file_or_in_the_environment_and_in_no_address() {
    let more = "authorization { user: relay, password: secret }";
    let Some(nats) = Nats::start_at(&[Place::here()], Sync::Always, more) else { return };
    let allow = ["--cluster-allow=replicas"];
    let mut relay = Relay::new(&nats);
    relay.refused(&allow, &["no NATS server of the cluster can be reached", "authorization"]);
    let (end, said) = relay.run(&allow, Some("relay:secret"));
    assert!(matches!(end, End::Served) && !said.contains("secret"), "{said}");
    let login = relay.file("login");
    relay.settings.push_str(&format!("login_file = {login:?}\n"));
    relay.refused(&allow, &["a file for the cluster can't be used"]);
    fs::write(&login, "relay").unwrap();
    relay.refused(&allow, &["the cluster's login is no USER:PASSWORD"]);
    fs::write(&login, "relay:secret\n").unwrap();
    relay.served(&allow);
    let url = nats.urls()[0].replace("//", "//relay:secret@");
    relay.refused(&["--cluster", &url], &["cluster.urls", "secrets stand in a file"]);
    relay.refused(&["--no-store"], &["a cluster keeps entries on disks"]);
}

/// Certificates for a server at an address, and for a relay, made as the page for operators says; `None`: skipped.
fn certificates(dir: &Path, server: &str) -> Option<()> {
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(env::var_os("WATTLE_REQUIRE_ALL").is_none_or(|it| it != "1"), "no openssl");
        println!("skipped: no openssl");
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations/cluster-certificates.sh");
    let made = Command::new(script).arg(dir).arg(server).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(())
}

#[test]
fn servers_with_tls_are_taken_where_both_sides_certificates_are_trusted() {
    let (place, dir) = (Place::here(), tempfile::tempdir().unwrap());
    let [ours, others] = ["ours", "others"].map(|name| dir.path().join(name));
    for dir in [&ours, &others] {
        let Some(()) = certificates(dir, &place.ip) else { return };
    }
    let (ours, others) = (ours.as_path(), others.as_path());
    let (server, key) = (format!("{}.pem", place.ip), format!("{}-key.pem", place.ip));
    let (server, key, ca) = (ours.join(server), ours.join(key), ours.join("ca.pem"));
    let tls = format!(
        "tls {{ cert_file: {server:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}"
    );
    let Some(nats) = Nats::start_at(&[place], Sync::Always, &tls) else { return };
    let Some(bare) = Nats::start(1, Sync::Always) else { return };
    let allow = ["--cluster-allow=replicas"];
    let mut relay = Relay::new(&nats);
    let settings = relay.settings.clone();
    let with = |ca: &Path, own: Option<&Path>| {
        let ca = format!("{settings}ca = {:?}\n", ca.join("ca.pem"));
        let (certificate, key) = ("relay.pem", "relay-key.pem");
        own.map_or(ca.clone(), |own| {
            let (certificate, key) = (own.join(certificate), own.join(key));
            format!("{ca}certificate = {certificate:?}\nkey = {key:?}\n")
        })
    };

    let untrusted =
        ["TLS with the NATS servers fails", "invalid peer certificate", "ca is the authority"];
    relay.refused(&allow, &untrusted);
    relay.settings = with(others, Some(ours));
    relay.refused(&allow, &untrusted);
    for own in [None, Some(others)] {
        relay.settings = with(ours, own);
        relay.refused(&allow, &["NATS servers", "certificate and key"]);
    }
    relay.settings = with(ours, Some(ours)).replace("relay.pem", "nobody.pem");
    relay.refused(&allow, &["a file for the cluster can't be used"]);
    relay.settings = with(ours, Some(ours));
    let by_tls = nats.urls()[0].replace("nats://", "tls://");
    for args in [&allow[..], &[allow[0], "--cluster", &by_tls]] {
        let said = relay.served(args);
        assert!(!said.contains("PRIVATE KEY"), "{said}");
    }
    relay.refused(&[allow[0], "--cluster", &bare.urls()[0]], &["NATS servers", "verify: true"]);
}
