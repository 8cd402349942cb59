//! What is given: each file is opened once, however many streams it goes by, and nobody has it opened without end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use protocol::{
    file::Refusal,
    ids::{FileId, MemberId},
};
use tokio::time::Instant;

/// What is open, by its id; cheap to clone.
pub(super) struct Sources<T>(Arc<Mutex<BTreeMap<FileId, Slot<T>>>>);

/// Who holds the lock opens the file; others wait for it.
type Slot<T> = Arc<tokio::sync::Mutex<Weak<T>>>;

/// How many streams each member has opened of late.
#[derive(Default)]
pub(super) struct Opens(BTreeMap<MemberId, Opened>);

/// What one member has opened.
struct Opened {
    since: Instant,
    all: u32,
    /// Those on which it was given nothing, or not yet.
    empty: u32,
}

/// Streams that one member may open in [`MINUTE`].
const OPENS: u32 = 600;
/// Of these, such on which it is given nothing.
const EMPTY: u32 = 60;
/// See [`OPENS`].
const MINUTE: Duration = Duration::from_secs(60);

impl<T> Sources<T> {
    /// The file with this id, opened by `open` where no stream has it.
    pub(super) async fn get(
        &self,
        file: FileId,
        open: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<Arc<T>, Refusal> {
        let slot = self.slot(file);
        let mut held = slot.lock().await;
        if let Some(source) = held.upgrade() {
            return Ok(source);
        }
        let source = Arc::new(open.await?);
        *held = Arc::downgrade(&source);
        Ok(source)
    }

    /// What is open is not the file any more: whoever comes next has it opened anew.
    pub(super) fn forget(&self, file: FileId) {
        self.slots().remove(&file);
    }

    fn slot(&self, file: FileId) -> Slot<T> {
        let mut slots = self.slots();
        // Nobody opens it, and nobody has it.
        slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1
                || slot.try_lock().map_or(true, |held| held.strong_count() > 0)
        });
        Arc::clone(
            slots.entry(file).or_insert_with(|| Arc::new(tokio::sync::Mutex::new(Weak::new()))),
        )
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, BTreeMap<FileId, Slot<T>>> {
        // Each change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Sources<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Sources<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl Opens {
    /// Whether a stream that a member opened is one of those that it may. Then it counts.
    pub(super) fn may(&mut self, member: MemberId, now: Instant) -> bool {
        self.0.retain(|_, opened| now.saturating_duration_since(opened.since) < MINUTE);
        let opened = self.0.entry(member).or_insert(Opened { since: now, all: 0, empty: 0 });
        let may = opened.all < OPENS && opened.empty < EMPTY;
        if may {
            opened.all += 1;
            opened.empty += 1;
        }
        may
    }

    /// On one of them the member was given something.
    pub(super) fn gave(&mut self, member: &MemberId) {
        if let Some(opened) = self.0.get_mut(member) {
            opened.empty = opened.empty.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const PLAN: FileId = FileId([1; 16]);

    #[tokio::test]
    async fn a_file_that_goes_by_several_streams_is_opened_once() {
        let (sources, opened) = (Sources::<u32>::default(), AtomicU32::new(0));
        let open = || async {
            tokio::task::yield_now().await;
            Ok(opened.fetch_add(1, Ordering::Relaxed))
        };
        let both = tokio::join!(sources.get(PLAN, open()), sources.get(PLAN, open()));
        assert_eq!((*both.0.unwrap(), *both.1.unwrap()), (0, 0));
        assert_eq!(opened.load(Ordering::Relaxed), 1);
        // Nobody has it any more.
        let again = sources.get(PLAN, open()).await.unwrap();
        assert_eq!(*again, 1);
        sources.forget(PLAN);
        assert_eq!(*sources.get(PLAN, open()).await.unwrap(), 2, "it has changed");
        drop(again);
        assert!(sources.get(FileId([2; 16]), async { Err(Refusal::Changed) }).await.is_err());
        sources.slot(PLAN);
        assert_eq!(sources.slots().len(), 1, "what was refused leaves nothing");
    }

    #[test]
    fn a_member_opens_so_many_streams_in_a_minute_and_no_other_has_fewer_for_it() {
        let (mut opens, start) = (Opens::default(), Instant::now());
        let (ana, ben) = (MemberId([1; 32]), MemberId([2; 32]));
        assert!((0..EMPTY).all(|_| opens.may(ana, start)));
        assert!(!opens.may(ana, start + MINUTE / 2));
        assert!(opens.may(ben, start + MINUTE / 2));
        assert!(opens.may(ana, start + MINUTE));
        assert!(opens.may(ben, start + 3 * MINUTE));
        assert_eq!(opens.0.len(), 1, "who has gone is not counted");
    }

    #[test]
    fn who_is_given_many_small_files_is_not_cut_off_before_ten_a_second() {
        let (mut opens, start) = (Opens::default(), Instant::now());
        let ana = MemberId([1; 32]);
        for _ in 0..OPENS {
            assert!(opens.may(ana, start));
            opens.gave(&ana);
        }
        assert!(!opens.may(ana, start));
        assert!(opens.may(ana, start + MINUTE));
    }
}
