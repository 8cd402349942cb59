//! Which of a cluster's streams answer, as those found who waited for them.
//!
//! > Each stream speaks for itself: one without a leader keeps nobody from what the others have, and one
//! > that answers hides no other that doesn't. That nothing is taken is said once all have been asked.

use std::{
    sync::{
        Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tokio::sync::Notify;

use super::{Shared, cluster::Stream};

/// How often it is looked for streams that did not answer.
const LOOK: Duration = Duration::from_secs(5);

/// All streams of a cluster, by shard.
pub(super) struct Reach {
    streams: Vec<Heard>,
    /// An append has waited in vain: it is to be known of all streams whether they answer.
    look: Notify,
}

/// What is known of one.
#[derive(Default)]
struct Heard {
    /// Whether the last append has waited in vain. One that answers all else may still take nothing.
    is_away: AtomicBool,
    /// Whether whoever asked it last waited in vain, for whatever.
    is_silent: AtomicBool,
}

impl Heard {
    fn misses(&self) -> bool {
        self.is_silent.load(Ordering::Acquire)
    }
}

impl Reach {
    /// All of so many answer, as far as is known.
    pub(super) fn of(shards: u8) -> Self {
        let streams = (0..shards).map(|_| Heard::default()).collect();
        Self { streams, look: Notify::new() }
    }

    /// Notes that a stream has taken an append.
    pub(super) fn takes(&self, shard: u8) {
        if let Some(heard) = self.heard(shard) {
            heard.is_away.store(false, Ordering::Release);
        }
        self.answers(shard);
    }

    /// Notes that a stream answers.
    pub(super) fn answers(&self, shard: u8) {
        if let Some(heard) = self.heard(shard) {
            heard.is_silent.store(false, Ordering::Release);
        }
    }

    /// Notes that an append has waited in vain.
    pub(super) fn append_misses(&self, shard: u8) {
        let is_new = |heard: &Heard| {
            heard.is_away.store(true, Ordering::Release);
            !heard.is_silent.swap(true, Ordering::AcqRel)
        };
        if self.heard(shard).is_some_and(is_new) {
            self.look.notify_one();
        }
    }

    /// Notes that somebody else has waited in vain. Appends wait all the same: a leader may be on its way.
    pub(super) fn reader_misses(&self, shard: u8) {
        if let Some(heard) = self.heard(shard) {
            heard.is_silent.store(true, Ordering::Release);
        }
    }

    /// Whether the last append to a stream has waited in vain: the next ones wait less for it.
    pub(super) fn is_away(&self, shard: u8) -> bool {
        self.heard(shard).is_some_and(|heard| heard.is_away.load(Ordering::Acquire))
    }

    /// Whether whoever asked a stream last has waited in vain.
    pub(super) fn misses(&self, shard: u8) -> bool {
        self.heard(shard).is_some_and(Heard::misses)
    }

    /// Whether an append has waited in vain, and no stream answers.
    pub(super) fn takes_nothing(&self) -> bool {
        let is_away = |heard: &Heard| heard.is_away.load(Ordering::Acquire);
        self.streams.iter().any(is_away) && self.streams.iter().all(Heard::misses)
    }

    /// How that is, in a sentence.
    pub(super) fn said(&self) -> String {
        let (missed, all) = (self.missed(), self.streams.len());
        if self.takes_nothing() {
            "A cluster keeps the entries, and it did not answer: nothing is taken until it does."
                .into()
        } else if missed > 0 {
            format!(
                "A cluster keeps the entries, and {missed} of its {all} streams did not answer: what \
                 is for them waits or is refused until they do."
            )
        } else {
            "A cluster keeps the entries, and it answers.".into()
        }
    }

    fn missed(&self) -> usize {
        self.streams.iter().filter(|heard| heard.misses()).count()
    }

    fn heard(&self, shard: u8) -> Option<&Heard> {
        self.streams.get(usize::from(shard))
    }
}

/// Looks for streams that did not answer, until they do: who doesn't append would never know. `streams`
/// are all, by shard.
pub(super) async fn look_for(streams: Vec<Stream>, shared: Weak<Shared>) {
    loop {
        let Some(reach) = shared.upgrade().map(|shared| shared.reach.clone()) else { return };
        let _ = tokio::time::timeout(LOOK, reach.look.notified()).await;
        if reach.missed() == 0 {
            continue;
        }
        let looks = streams.iter().zip(0..).map(|(stream, shard)| {
            let reach = &reach;
            async move {
                if stream.answers().await {
                    reach.answers(shard);
                } else {
                    reach.reader_misses(shard);
                }
            }
        });
        join_all(looks).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_answers_says_nothing_of_another() {
        let reach = Reach::of(2);
        reach.append_misses(0);
        reach.reader_misses(1);
        reach.answers(1);
        assert!(reach.is_away(0) && reach.misses(0) && !reach.misses(1));
        assert!(!reach.takes_nothing(), "the other one takes what is for it");
        assert!(reach.said().contains("1 of its 2 streams"), "{}", reach.said());
        reach.answers(0);
        assert!(!reach.misses(0) && reach.said().ends_with("it answers."));
        assert!(reach.is_away(0), "who answers has not taken anything");
        reach.takes(0);
        assert!(!reach.is_away(0));
    }

    #[test]
    fn that_nothing_is_taken_is_said_once_no_stream_answers() {
        let reach = Reach::of(2);
        reach.reader_misses(0);
        reach.reader_misses(1);
        assert!(!reach.takes_nothing(), "appends find out for themselves");
        assert!(!reach.is_away(0));
        reach.append_misses(1);
        assert!(reach.takes_nothing() && reach.said().contains("nothing is taken"));
        reach.answers(0);
        assert!(!reach.takes_nothing());
    }
}
