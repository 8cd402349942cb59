//! Which questions are answered on one network, and when: the clockwork of it.
//!
//! > Every question is answered, whoever asks, in its turn and up to a rate: that an answer comes tells
//! > nothing.

use std::{collections::VecDeque, time::Duration};

use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use tokio::time::Instant;

pub(super) struct Answering {
    /// Questions with the time of their answer, soonest first.
    waiting: VecDeque<(Instant, [u8; 32])>,
    /// Answers that may be given at once, and when that was so.
    free: u32,
    at: Instant,
}

/// Answers after a rest, and the time after which there is one more.
const BURST: u32 = 16;
/// See [`BURST`].
const EACH: Duration = Duration::from_millis(250);
/// Between these many milliseconds an answer waits, so that not all come at once (RFC 6762, 6).
const WAIT_MS: (u64, u64) = (20, 120);

impl Answering {
    pub(super) fn new(now: Instant) -> Self {
        Self { waiting: VecDeque::new(), free: BURST, at: now }
    }

    /// A question came.
    pub(super) fn take(&mut self, question: [u8; 32], now: Instant, rng: &mut ChaCha20Rng) {
        while self.free < BURST && now.duration_since(self.at) >= EACH {
            self.free += 1;
            self.at += EACH;
        }
        if self.free == BURST {
            self.at = now;
        }
        if self.free == 0 || self.waiting.iter().any(|(_, known)| *known == question) {
            return;
        }
        self.free -= 1;
        let (least, most) = WAIT_MS;
        let wait = Duration::from_millis(least + rng.next_u64() % (most - least));
        let place = self.waiting.partition_point(|(at, _)| *at <= now + wait);
        self.waiting.insert(place, (now + wait, question));
    }

    /// A question whose answer is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<[u8; 32]> {
        let (at, _) = self.waiting.front()?;
        if *at > now {
            return None;
        }
        self.waiting.pop_front().map(|(_, question)| question)
    }

    /// When the next answer is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.front().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn all_due(answering: &mut Answering, now: Instant) -> usize {
        std::iter::from_fn(|| answering.due(now)).count()
    }

    #[test]
    fn a_flood_of_questions_is_answered_to_its_bound_and_then_at_its_rate() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let start = Instant::now();
        let mut answering = Answering::new(start);
        for number in 0..=255 {
            answering.take([number; 32], start, &mut rng);
        }
        assert!(answering.waiting.len() <= BURST as usize);
        assert!(answering.next().is_some_and(|at| at >= start + Duration::from_millis(20)));
        let later = start + Duration::from_secs(1);
        assert_eq!(all_due(&mut answering, later), BURST as usize);
        for number in 0..=255 {
            answering.take([number; 32], later, &mut rng);
        }
        assert_eq!(all_due(&mut answering, later + EACH), 4);
        let rested = later + Duration::from_secs(3600);
        for number in 0..=255 {
            answering.take([number; 32], rested, &mut rng);
        }
        assert_eq!(all_due(&mut answering, rested + EACH), BURST as usize);
    }

    #[test]
    fn a_question_that_is_repeated_is_answered_once() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let now = Instant::now();
        let mut answering = Answering::new(now);
        answering.take([1; 32], now, &mut rng);
        answering.take([1; 32], now, &mut rng);
        assert_eq!(all_due(&mut answering, now + EACH), 1);
    }
}
