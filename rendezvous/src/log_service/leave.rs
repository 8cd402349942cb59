//! How a relay that is about to end says so: once, to all sessions.
//!
//! > Clients are told to come back over a span that grows with their number, so that whoever takes
//! > over, be it this relay a moment later, is not run down.

use std::{sync::OnceLock, time::Duration};

use futures::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;

/// Handshakes a second that a small machine makes without being busy with them alone.
const COMING_BACK_PER_S: u64 = 500;
/// The shortest span, in milliseconds: a restart takes no less.
const SHORTEST_MS: u64 = 500;
/// The longest span that clients heed, in milliseconds.
const LONGEST_MS: u64 = 60_000;
/// How long a client that was told all has to close its stream, before its connection is closed.
const LINGER: Duration = Duration::from_secs(1);

/// Whether the relay leaves, and when clients are to come back.
#[derive(Default)]
pub(super) struct Leave {
    retry_ms: OnceLock<u64>,
    told: CancellationToken,
}

impl Leave {
    /// Tells all; the first time counts.
    pub(super) fn tell(&self, sessions: usize) {
        self.retry_ms.get_or_init(|| span(sessions as u64));
        self.told.cancel();
    }

    /// Waits until the relay leaves; answers within which time clients are to come back, in
    /// milliseconds.
    pub(super) async fn told(&self) -> u64 {
        self.told.cancelled().await;
        self.retry_ms.get().copied().unwrap_or(SHORTEST_MS)
    }
}

/// Lets a client that was told all close its stream first: QUIC throws away what is still on its way once the
/// connection is closed.
pub(super) async fn client_goes_first<T, E>(mut rest: impl Stream<Item = Result<T, E>> + Unpin) {
    let gone = async { while let Some(Ok(_)) = rest.next().await {} };
    // Who stays hears no more.
    let _ = tokio::time::timeout(LINGER, gone).await;
}

fn span(sessions: u64) -> u64 {
    (sessions.saturating_mul(1000) / COMING_BACK_PER_S).clamp(SHORTEST_MS, LONGEST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_span_has_room_for_all_within_a_minute() {
        assert_eq!([0, 1, 5_000, u64::MAX].map(span), [500, 500, 10_000, 60_000]);
    }
}
