//! `wattle-rendezvous run`.

use std::{
    future,
    io::{self, IsTerminal as _},
    thread,
    time::Duration,
};

use clap::Args;
use rendezvous::{Relay, Storage};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use super::{
    announce::announce,
    given::{self, Given},
    reload::Running,
    supervisor,
};

/// The crates whose words are logged.
const OURS: [&str; 2] = ["rendezvous", "wattle_rendezvous"];

#[derive(Args)]
pub(super) struct Run {
    #[command(flatten)]
    given: Given,
    /// Print one JSON line when ready.
    #[arg(long)]
    json: bool,
    /// For tests: how many days the clock goes ahead of the system's.
    #[arg(long, hide = true, value_name = "DAYS", default_value_t = 0)]
    clock_offset: u32,
    /// For `bench`: ends when standard input does, so that it outlives nobody who started it.
    #[arg(long, hide = true)]
    until_input_ends: bool,
}

pub(super) fn run(asked: Run) -> anyhow::Result<()> {
    log();
    rendezvous::raise_open_files();
    let runtime = tokio::runtime::Runtime::new()?;
    let done = runtime.block_on(start(asked));
    // What has to be waited for has ended. A start that is broken off may leave a call that blocks, and
    // what it does on the disk may be broken off, too.
    runtime.shutdown_background();
    done
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

async fn start(asked: Run) -> anyhow::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    rendezvous::set_clock_ahead(Duration::from_hours(24) * asked.clock_offset);
    let mut settings = asked.given.clone().settings()?;
    if settings.data_dir.as_os_str().is_empty() {
        settings.data_dir = given::users_data()?;
    }
    let running = Running::new(asked.given, settings)?;
    let config = running.config().clone();
    let live = config.storage == Storage::Live;
    let ttl = humantime::format_duration(config.limits.ttl);
    // It may wait: for a cluster, or until a large store is looked through.
    let started = tokio::select! {
        started = Relay::start(config) => Some(started?),
        _ = interrupted.recv() => None,
        _ = terminated.recv() => None,
    };
    let Some(mut relay) = started else {
        tracing::info!("told to end before it was ready");
        return Ok(());
    };
    announce(&relay, asked.json)?;
    if live {
        eprintln!(
            "It keeps messages in memory only, for {ttl}, and forgets them when it ends: who is away \
             longer misses them. Nothing but its key is on the disk."
        );
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), live, "the relay is ready");
    supervisor::ready();
    let reloads = running.beside(relay.controls());
    let watched = supervisor::watched(relay.pulse());
    let until_input_ends = input_ended(asked.until_input_ends);
    tokio::pin!(watched, until_input_ends);
    loop {
        tokio::select! {
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
            () = &mut until_input_ends => break,
            // A terminal that is closed says the same as a manager that wants the settings read again.
            _ = hung_up.recv() => match io::stderr().is_terminal() {
                true => break,
                false => reloads.ask(),
            },
            never = &mut watched => match never {},
            () = relay.ended() => anyhow::bail!(
                "the relay could not go on; its log says why. Start it again. If its store is why, look \
                 at that first: wattle-rendezvous check --store"
            ),
        }
    }
    drop(reloads);
    tracing::info!("stopping: clients are told to go elsewhere or to come back");
    supervisor::stopping();
    tokio::select! {
        () = relay.stop() => Ok(()),
        _ = interrupted.recv() => anyhow::bail!("interrupted while stopping"),
    }
}

/// Waits until there is nothing more to read, if that is to be waited for.
async fn input_ended(is_wanted: bool) {
    if !is_wanted {
        return future::pending().await;
    }
    let (tell, told) = oneshot::channel::<()>();
    let reader = thread::Builder::new().name("input".into()).spawn(move || {
        let _ended = tell;
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    });
    if reader.is_err() {
        return future::pending().await;
    }
    let _ = told.await;
}
