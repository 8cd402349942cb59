//! `wattle`: the node and its command line.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    log();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the system gives no threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(cli.run());
    // A thread that still waits for standard input holds nobody up.
    runtime.shutdown_background();
    exit
}

/// Writes to standard error what `WATTLE_LOG` asks for. By default nothing of libraries: they may
/// name addresses.
fn log() {
    let filter = EnvFilter::try_from_env("WATTLE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("off,node=warn,rendezvous=warn,wattle=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}
