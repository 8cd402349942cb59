//! Which of the last nonces were seen: a sliding window, as in RFC 6479.

/// How far behind the greatest nonce one may be and still be told from one that was seen.
pub(super) const WINDOW: u64 = 1024;

/// The nonces seen, of the last [`WINDOW`] up to the greatest; all before count as seen.
#[derive(Default)]
pub(super) struct Window {
    /// The least nonce that is greater than all seen.
    next: u64,
    /// Nonce n is bit n mod [`WINDOW`].
    seen: [u64; WORDS],
}

const WORDS: usize = (WINDOW / 64) as usize;

impl Window {
    /// Whether this nonce may still come.
    pub(super) fn is_new(&self, nonce: u64) -> bool {
        let (word, bit) = place(nonce);
        nonce >= self.next || self.next - nonce <= WINDOW && self.seen[word] & bit == 0
    }

    /// Marks it as seen.
    pub(super) fn mark(&mut self, nonce: u64) {
        if nonce >= self.next {
            // The places of those in between were theirs who are now too old.
            for passed in (self.next..=nonce).rev().take(WORDS * 64) {
                let (word, bit) = place(passed);
                self.seen[word] &= !bit;
            }
            self.next = nonce.saturating_add(1);
        }
        let (word, bit) = place(nonce);
        self.seen[word] |= bit;
    }
}

fn place(nonce: u64) -> (usize, u64) {
    (usize::try_from(nonce % WINDOW / 64).unwrap_or(0), 1 << (nonce % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn it_knows_what_a_full_memory_knows(
            steps in collection::vec((0..2_000_u64, any::<bool>()), 1..300)
        ) {
            let (mut window, mut seen) = (Window::default(), BTreeSet::new());
            let mut greatest = 0_u64;
            for (step, ahead) in steps {
                let nonce =
                    if ahead { greatest + step } else { greatest.saturating_sub(step) };
                let fresh = !seen.contains(&nonce)
                    && seen.last().is_none_or(|last| nonce + WINDOW > *last);
                prop_assert_eq!(window.is_new(nonce), fresh, "{}", nonce);
                if fresh {
                    window.mark(nonce);
                    seen.insert(nonce);
                    greatest = greatest.max(nonce);
                }
            }
        }
    }
}
