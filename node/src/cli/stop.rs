//! How a process in the foreground is told to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Exit;

/// Whether a process ends with its standard input: one that another process started so.
#[derive(clap::Args, Clone, Copy, Default)]
pub struct Attached {
    /// End when standard input ends
    #[arg(long, hide = true)]
    attached: bool,
}

/// What ends a process in order: Ctrl-C, SIGTERM, or the end of standard input where it is attached
/// to that.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    attached: bool,
}

impl Stop {
    /// Listens from now on.
    pub fn new(attached: Attached) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            attached: attached.attached,
        })
    }

    /// Waits until the process is told to end. From then on, being interrupted ends it at once.
    pub async fn told(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = end_of_input(), if self.attached => {}
        }
        tokio::spawn(async move {
            self.interrupt.recv().await;
            // As it stands: nothing is taken down that other threads still use.
            signal_hook::low_level::exit(Exit::Interrupted as i32);
        });
    }
}

async fn end_of_input() {
    let drained = || std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    drop(tokio::task::spawn_blocking(drained).await);
}
