//! What is left of files that nobody wants any more, and goes from the disk beside all else.
//!
//! > While what there is of a file is being removed, none of it is fetched: nothing new is taken for what is old.

use std::{collections::BTreeSet, path::PathBuf};

use tokio::task::JoinSet;

use super::part;

/// Removes what is left.
pub(super) struct Sweep {
    parts: PathBuf,
    /// Files of which there may be something on the disk.
    known: BTreeSet<u64>,
    /// Those that are being removed, by one task at most.
    going: BTreeSet<u64>,
    task: JoinSet<()>,
}

impl Sweep {
    /// `known` are those of which there may be something in `parts`.
    pub(super) fn new(parts: PathBuf, known: BTreeSet<u64>) -> Self {
        Self { parts, known, going: BTreeSet::new(), task: JoinSet::new() }
    }

    /// Removes what is not `wanted`, once nobody is at it, `fetched`, any more; says what is forgotten so. Must be called inside a
    /// tokio runtime.
    pub(super) fn begin(
        &mut self,
        wanted: &BTreeSet<u64>,
        fetched: impl Fn(u64) -> bool,
    ) -> BTreeSet<u64> {
        self.known.extend(wanted);
        if !self.going.is_empty() {
            return BTreeSet::new();
        }
        let is_gone = |seq: &u64| !wanted.contains(seq) && !fetched(*seq);
        let gone: BTreeSet<u64> = self.known.extract_if(.., is_gone).collect();
        if !gone.is_empty() {
            self.going.clone_from(&gone);
            let (parts, seqs) = (self.parts.clone(), gone.clone());
            self.task
                .spawn_blocking(move || seqs.iter().for_each(|seq| part::forget(&parts, *seq)));
        }
        gone
    }

    /// Whether what there was of a file is being removed.
    pub(super) fn is_at(&self, seq: u64) -> bool {
        self.going.contains(&seq)
    }

    /// Returns once that is over; never, where nothing is being removed.
    pub(super) async fn over(&mut self) {
        if self.task.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
        self.going.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn what_nobody_wants_goes_beside_all_else_and_is_not_fetched_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["7", "7.state", "8", "9"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let parts = dir.path().to_owned();
        let mut sweep = Sweep::new(parts.clone(), part::left(&parts));
        let wanted = BTreeSet::from([9, 10]);
        assert_eq!(sweep.begin(&wanted, |seq| seq == 8), BTreeSet::from([7]));
        assert!(sweep.is_at(7) && !sweep.is_at(8) && !sweep.is_at(9));
        // It is not waited for, and nothing else begins before it is over.
        assert!(sweep.begin(&BTreeSet::from([7, 9]), |_| false).is_empty());
        sweep.over().await;
        assert!(!sweep.is_at(7));
        assert_eq!(part::left(&parts), BTreeSet::from([8, 9]));
        assert_eq!(sweep.begin(&BTreeSet::from([7, 9]), |_| false), BTreeSet::from([8, 10]));
        sweep.over().await;
        assert_eq!(part::left(&parts), BTreeSet::from([9]));
    }
}
