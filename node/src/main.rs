//! `wattle`: the node and its command line.

mod cli;

use std::{process::ExitCode, time::Duration};

use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

/// How long the process waits for its threads at its end.
const ENDS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = cli::Cli::typed();
    log();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the system gives no threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(cli.run());
    // Threads are waited for: one that ends while the process is being taken down frees what OpenSSL
    // has just freed. One that still waits for standard input holds nobody up for longer than this.
    runtime.shutdown_timeout(ENDS);
    exit
}

/// Writes to standard error what `WATTLE_LOG` asks for, of Wattle's own words only: libraries write
/// addresses and PeerIds into theirs, and no setting may bring those out.
fn log() {
    let wanted = EnvFilter::try_from_env("WATTLE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let ours = filter_fn(|it| OURS.contains(&it.target().split("::").next().unwrap_or_default()));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_filter(ours);
    tracing_subscriber::registry().with(wanted).with(lines).init();
}

/// The crates whose words are logged.
const OURS: [&str; 3] = ["node", "rendezvous", "wattle"];
