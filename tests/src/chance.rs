//! Chance from a seed: the same seed gives the same moments and choices.

use std::{env, time::Duration};

/// A source of chance, as SplitMix64 makes it.
pub struct Chance(u64);

impl Chance {
    /// The chance that goes with `seed`.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A number from `from` to `to`.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// A span of that many milliseconds.
    pub fn span(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(self.within(from_ms, to_ms))
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).expect("an index")]
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

/// The number in the environment variable `name`, or another where there is none.
#[must_use]
pub fn asked(name: &str, otherwise: u64) -> u64 {
    let Some(text) = env::var_os(name) else { return otherwise };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| panic!("{name} is to be a number, not {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_splitmix64_as_published() {
        let mut chance = Chance::of(1_234_567);
        let first = [chance.next(), chance.next(), chance.next()];
        let published =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(first, published);
    }
}
