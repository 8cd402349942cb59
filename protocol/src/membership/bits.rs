//! A set of small numbers, one bit each: ops of a set by the order of their arrival.

use alloc::vec::Vec;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// The numbers below `end`.
    pub(super) fn below(end: usize) -> Self {
        let mut bits = Self { words: Vec::new() };
        bits.words.resize(end / 64, u64::MAX);
        if !end.is_multiple_of(64) {
            bits.words.push((1 << (end % 64)) - 1);
        }
        bits
    }

    pub(super) fn insert(&mut self, number: usize) {
        if self.words.len() <= number / 64 {
            self.words.resize(number / 64 + 1, 0);
        }
        self.words[number / 64] |= 1 << (number % 64);
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.words.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    pub(super) fn union(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(word, more)| *word |= more);
    }

    pub(super) fn intersect(&mut self, other: &Self) {
        self.words.truncate(other.words.len());
        self.words.iter_mut().zip(&other.words).for_each(|(word, kept)| *word &= kept);
    }

    /// Whether some number is in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(word, others)| word & others != 0)
    }

    /// The numbers in it, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            core::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    at * 64 + bit
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[usize]) -> Bits {
        let mut bits = Bits::default();
        numbers.iter().for_each(|number| bits.insert(*number));
        bits
    }

    #[test]
    fn it_holds_what_was_put_in_in_order() {
        let bits = of(&[200, 3, 64, 63]);
        assert_eq!(bits.iter().collect::<Vec<_>>(), [3, 63, 64, 200]);
        assert!(bits.contains(64) && !bits.contains(65) && !bits.contains(100_000));
        for end in [0, 1, 63, 64, 65, 130] {
            assert_eq!(Bits::below(end).iter().count(), end);
            assert_eq!(of(&(0..end).rev().collect::<Vec<_>>()), Bits::below(end));
        }
    }

    #[test]
    fn union_and_intersection_work_over_different_lengths() {
        let mut bits = of(&[1, 70]);
        bits.union(&of(&[2, 300]));
        assert_eq!(bits.iter().collect::<Vec<_>>(), [1, 2, 70, 300]);
        assert!(bits.meets(&of(&[300])) && of(&[300]).meets(&bits));
        assert!(!bits.meets(&of(&[3, 299, 1000])) && !bits.meets(&Bits::default()));
        bits.intersect(&of(&[1, 2, 3]));
        assert_eq!(bits.iter().collect::<Vec<_>>(), [1, 2]);
    }
}
