//! The last hour in steps of ten seconds.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::counts::Counts;

/// How long a step is.
const STEP: Duration = Duration::from_secs(10);
/// Steps in an hour.
pub(super) const STEPS: usize = 360;

/// Rates of the last hour.
#[derive(Default)]
pub(super) struct History(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    hour: Hour,
    last: (u64, u64),
}

/// Entries in one second, on the average of each step; the oldest step first.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub(super) struct Hour {
    pub appends: VecDeque<f64>,
    pub deliveries: VecDeque<f64>,
}

impl History {
    /// Ends a step that took so long.
    fn step(&self, counts: &Counts, took: Duration) {
        let now = (counts.appends.get(), counts.deliveries.get());
        let mut kept = self.lock();
        let last = std::mem::replace(&mut kept.last, now);
        push(&mut kept.hour.appends, now.0 - last.0, took);
        push(&mut kept.hour.deliveries, now.1 - last.1, took);
    }

    /// The steps that there are.
    pub(super) fn hour(&self) -> Hour {
        self.lock().hour.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a rate, in tenths, and forgets the oldest if there are too many.
fn push(rates: &mut VecDeque<f64>, count: u64, took: Duration) {
    if rates.len() == STEPS {
        rates.pop_front();
    }
    let rate = count as f64 / took.as_secs_f64().max(0.001);
    rates.push_back((rate * 10.0).round() / 10.0);
}

/// Ends a step every ten seconds, for ever.
pub(super) async fn keep(history: Arc<History>, counts: Arc<Counts>) {
    let mut last = Instant::now();
    let mut steps = interval_at(last + STEP, STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        steps.tick().await;
        let now = Instant::now();
        history.step(&counts, now - last);
        last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let (history, counts) = (History::default(), Counts::default());
        for _ in 0..STEPS + 5 {
            counts.appends.inc_by(20);
            history.step(&counts, STEP);
        }
        let hour = history.hour();
        assert_eq!((hour.appends.len(), hour.deliveries.len()), (STEPS, STEPS));
        assert!(hour.appends.iter().all(|it| *it == 2.0));
        assert!(hour.deliveries.iter().all(|it| *it == 0.0));
    }

    #[test]
    fn a_step_that_came_late_is_reckoned_by_its_length() {
        let (history, counts) = (History::default(), Counts::default());
        counts.deliveries.inc_by(25);
        history.step(&counts, STEP);
        counts.deliveries.inc_by(90);
        history.step(&counts, STEP * 3);
        assert_eq!(history.hour().deliveries, [2.5, 3.0]);
    }
}
