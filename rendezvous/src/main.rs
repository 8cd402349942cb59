//! `wattle-rendezvous`: a relay from the command line.
//!
//! Standard output is data: the addresses, or one JSON line. Words go to standard error. Exit
//! codes: 0 done, 1 unexpected, 2 usage, 4 can't listen.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use libp2p::Multiaddr;
use rendezvous::{
    Config, DataDirError, Limits, ListenError, Relay, StartError, Storage,
    config::{BadAddress, PORT, every_interface, external},
    store::StoreError,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// The crates whose words are logged.
const OURS: [&str; 2] = ["rendezvous", "wattle_rendezvous"];

/// Wattle's blind relay: keeps sealed messages for groups, and can read none of them.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a relay until interrupted.
    Run(Run),
}

#[derive(Args)]
struct Run {
    /// Where its key and its store live [default: the user's data directory].
    #[arg(long, value_name = "DIR", env = "WATTLE_RENDEZVOUS_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen, TCP and QUIC alike; port 0: the system chooses [default: port 4407 of every
    /// interface].
    #[arg(long, value_name = "IP:PORT", value_parser = parse_listen)]
    listen: Vec<SocketAddr>,
    /// Under which address others reach it, if it can't know: HOST:PORT or a multiaddr.
    #[arg(long, value_name = "ADDR", value_parser = parse_external)]
    external: Vec<External>,
    /// Keep messages in memory only and for two minutes.
    #[arg(long)]
    no_store: bool,
    /// Print one JSON line when ready.
    #[arg(long)]
    json: bool,
    /// For tests: how many days the clock goes ahead of the system's.
    #[arg(long, hide = true, value_name = "DAYS", default_value_t = 0)]
    clock_offset: u32,
}

#[derive(Clone)]
struct External(Vec<Multiaddr>);

fn main() -> ExitCode {
    let cli = Cli::parse();
    log();
    let Command::Run(run) = cli.command;
    match start(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let advice = error.downcast_ref().and_then(advice);
            eprintln!("error: {}", words(&error));
            if let Some(advice) = advice {
                eprintln!("{advice}");
            }
            match error.downcast_ref() {
                Some(StartError::Listen(_)) => ExitCode::from(4),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Logs to standard error what `WATTLE_LOG` asks for, of the relay's own words only: libraries
/// write addresses and PeerIds into theirs, and no setting may bring those out.
fn log() {
    let wanted = EnvFilter::try_from_env("WATTLE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let ours = filter_fn(|it| OURS.contains(&it.target().split("::").next().unwrap_or_default()));
    let lines =
        fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false).with_filter(ours);
    tracing_subscriber::registry().with(wanted).with(lines).init();
}

#[tokio::main]
async fn start(run: Run) -> anyhow::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let json = run.json;
    rendezvous::set_clock_ahead(Duration::from_hours(24) * run.clock_offset);
    let config = config(run)?;
    let live = config.storage == Storage::Live;
    let mut relay = Relay::start(config).await?;
    announce(&relay, json)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), live, "the relay is ready");
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
        () = relay.ended() => anyhow::bail!("the relay could not go on; its log says why. Start it again"),
    }
    tracing::info!("stopping");
    relay.stop().await;
    Ok(())
}

fn config(run: Run) -> anyhow::Result<Config> {
    let data_dir = match run.data_dir {
        Some(dir) => dir,
        None => directories::ProjectDirs::from("", "", "wattle-rendezvous")
            .context("no home directory; name one with --data-dir")?
            .data_dir()
            .to_path_buf(),
    };
    Ok(Config {
        data_dir: Some(data_dir),
        storage: if run.no_store { Storage::Live } else { Storage::Durable },
        listen: if run.listen.is_empty() { every_interface() } else { run.listen },
        external: run.external.into_iter().flat_map(|External(addrs)| addrs).collect(),
        limits: if run.no_store { Limits::live() } else { Limits::default() },
    })
}

/// Says where the relay is: the one line that programs wait for, or words and addresses.
fn announce(relay: &Relay, json: bool) -> io::Result<()> {
    let addrs: Vec<_> = relay.addrs().iter().map(ToString::to_string).collect();
    let mut out = io::stdout().lock();
    if json {
        let peer = relay.peer_id().to_string();
        let ready = serde_json::json!({"v": 1, "event": "ready", "peer": peer, "addrs": addrs});
        writeln!(out, "{ready}")?;
    } else {
        for addr in &addrs {
            writeln!(out, "{addr}")?;
        }
        eprintln!("The relay is ready. On each machine: wattle up --relay ADDRESS");
    }
    out.flush()
}

/// An error and its causes; what layers repeat is said once.
fn words(error: &anyhow::Error) -> String {
    let mut words: Vec<_> = error.chain().map(ToString::to_string).collect();
    words.dedup();
    words.join(": ")
}

fn advice(error: &StartError) -> Option<String> {
    Some(match error {
        StartError::Listen(ListenError::Bind { source, .. })
            if source.kind() == io::ErrorKind::AddrNotAvailable =>
        {
            format!("This machine has no such address; for all that it has: --listen 0.0.0.0:{PORT}")
        }
        StartError::Listen(_) => format!(
            "Is another relay running, or port {PORT} taken? Name another: --listen 0.0.0.0:PORT"
        ),
        StartError::DataDir(DataDirError::InUse) => {
            "Stop it, or name another directory with --data-dir.".into()
        }
        StartError::DataDir(DataDirError::Newer { .. }) => {
            "Use that version, or name another directory with --data-dir.".into()
        }
        StartError::DataDir(DataDirError::Damaged { .. }) => {
            "Restore the file from a backup; without the key the relay gets a new address.".into()
        }
        StartError::Store(StoreError::Disk(_)) => {
            "Is the disk full or read-only? If the files are damaged, move the directory \"store\" in \
             the data directory away: the relay starts empty, at the same address."
                .into()
        }
        _ => return None,
    })
}

fn parse_listen(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "expected IP:PORT, such as 0.0.0.0:4407 or [::]:4407")
}

fn parse_external(text: &str) -> Result<External, BadAddress> {
    external(text).map(External)
}
