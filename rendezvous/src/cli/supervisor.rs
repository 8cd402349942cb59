//! What whoever started the relay is told, if that is a service manager: sd_notify(3).
//!
//! > Ready means that the relay can be reached. A watchdog is fed only while the loop that serves
//! > turns: one that hangs is started again.

use std::{convert::Infallible, time::Duration};

use rendezvous::Pulse;
use sd_notify::NotifyState;

/// Of the time that a watchdog allows, after how much it is fed: sd_watchdog_enabled(3) advises half.
const PART: u32 = 2;

/// The relay can be reached.
pub(super) fn ready() {
    say(&[NotifyState::Ready]);
}

/// The settings are being read again, until [`reloaded`].
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => say(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "there is no clock for the service manager"),
    }
}

/// They were read, and this came of it.
pub(super) fn reloaded(what: &str) {
    say(&[NotifyState::Ready, NotifyState::Status(what)]);
}

/// The relay ends, by itself and in its own time.
pub(super) fn stopping() {
    say(&[NotifyState::Stopping]);
}

/// Feeds the watchdog, if there is one, as long as the relay turns.
pub(super) async fn watched(relay: Pulse) -> Infallible {
    let Some(allowed) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let every = (allowed / PART).max(Duration::from_millis(1));
    let mut turn = tokio::time::interval(every);
    loop {
        turn.tick().await;
        relay.beat().await;
        say(&[NotifyState::Watchdog]);
    }
}

/// Nobody listens where the relay was started by hand; a manager that can't be told is no reason to
/// serve nobody.
fn say(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}
