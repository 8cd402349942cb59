//! When nothing is heard of a client any more.
//!
//! > Who answers libp2p's pings is heard, and so is who answers Yamux's, as all have to: one goes out
//! > when this looks. So a client without the first has its place as long as it is there, and no longer,
//! > also where a proxy stands between.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::frames::Frames;

/// How often in a row nothing was heard.
pub(super) struct Silence {
    every: Duration,
    until: Pin<Box<Sleep>>,
    times: u32,
}

/// As often as it takes: libp2p forgives one ping that fails, too.
const TIMES: u32 = 2;

impl Silence {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, until: Box::pin(sleep(every)), times: 0 }
    }

    /// Waits until nothing has been heard for long.
    pub(super) fn poll(&mut self, frames: &Frames, cx: &mut Context<'_>) -> Poll<()> {
        while self.times < TIMES {
            if self.until.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.times = if frames.heard() { 0 } else { self.times + 1 };
            self.until.set(sleep(self.every));
        }
        Poll::Ready(())
    }
}
