//! What is said in the log once in a while, however often it happens.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::limits::FAILURES_SAID;

/// When something was said last.
#[derive(Default)]
pub(super) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether it may be said now; then it is taken for said.
    pub(super) fn may(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| now.saturating_duration_since(last) >= FAILURES_SAID);
        if may {
            *last = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_again_at_once_is_said_once() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        assert!(seldom.may(start));
        assert!(!seldom.may(start + FAILURES_SAID / 2));
        assert!(seldom.may(start + FAILURES_SAID));
    }
}
