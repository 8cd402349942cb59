//! How many connections are closed where memory stays above its mark.
//!
//! > A part in proportion to what is too much, and then it is waited: what a connection held comes back late, or
//! > stays with the process for the next. Where closing some changed nothing no more are closed, unless
//! > memory grows or is about to run out.

/// What one connection holds at most (`limits.rs`): who are too few to be the cause stay.
const WORST: u64 = 15 << 20;
/// Looks above the mark before the first are closed, and then between one time and the next.
const FIRST: u32 = 2;
/// See [`FIRST`].
const NEXT: u32 = 10;
/// The same above the second mark.
const SOON: [u32; 2] = [1, 2];
/// What part of memory has to come or go for it to be a change.
const CHANGE: u64 = 64;

/// What was done about it.
#[derive(Default)]
pub(super) struct Shed {
    looks: u32,
    /// What was used when some were closed.
    last: Option<u64>,
}

/// What is seen in one look, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) used: u64,
    /// To where it is to fall.
    pub(super) low: u64,
    /// Where it is about to run out.
    pub(super) second: u64,
    /// Connections that stand.
    pub(super) standing: u64,
}

impl Shed {
    /// Memory is above the mark, or was and has not fallen far enough: answers how many connections are
    /// to be closed.
    pub(super) fn turn(&mut self, seen: Seen) -> u64 {
        let Seen { used, low, second, standing } = seen;
        let is_urgent = used > second;
        let [first, next] = if is_urgent { SOON } else { [FIRST, NEXT] };
        self.looks = self.looks.saturating_add(1);
        if self.looks < self.last.map_or(first, |_| next) {
            return 0;
        }
        let too_much = used.saturating_sub(low);
        let is_cause = standing.saturating_mul(WORST) >= too_much;
        let is_same = self.last.is_some_and(|last| used.abs_diff(last) < last / CHANGE);
        if too_much == 0 || !is_cause || is_same && !is_urgent {
            return 0;
        }
        (self.looks, self.last) = (0, Some(used));
        // In KiB: both are far below what overflows.
        ((standing * (too_much >> 10)) / (used >> 10).max(1)).clamp(1, standing.max(1))
    }

    /// Whether some were closed since memory went above the mark.
    pub(super) fn has_begun(&self) -> bool {
        self.last.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn seen(used: u64, standing: u64) -> Seen {
        Seen { used: used * MIB, low: 1500 * MIB, second: 1800 * MIB, standing }
    }

    /// What is closed in each of so many looks.
    fn turns(shed: &mut Shed, looks: usize, seen: Seen) -> Vec<u64> {
        (0..looks).map(|_| shed.turn(seen)).collect()
    }

    #[test]
    fn a_part_is_closed_and_no_more_while_that_changes_nothing() {
        let mut shed = Shed::default();
        assert!(!shed.has_begun());
        assert_eq!(turns(&mut shed, 2, seen(1600, 1600)), [0, 100]);
        assert!(shed.has_begun());
        assert_eq!(turns(&mut shed, 99, seen(1590, 1500)).iter().sum::<u64>(), 0);
        assert_eq!(shed.turn(seen(1680, 1500)), 160, "it grows");
        assert_eq!(turns(&mut shed, 10, seen(1560, 1340)), [0, 0, 0, 0, 0, 0, 0, 0, 0, 51]);
    }

    #[test]
    fn about_to_run_out_it_goes_on_and_on() {
        let mut shed = Shed::default();
        let closed = turns(&mut shed, 7, seen(2000, 1000));
        assert_eq!(closed, [250, 0, 250, 0, 250, 0, 250]);
    }

    #[test]
    fn those_who_can_not_be_the_cause_stay() {
        let mut shed = Shed::default();
        assert_eq!(turns(&mut shed, 99, seen(1900, 26)).iter().sum::<u64>(), 0);
        assert_eq!(shed.turn(seen(1900, 34)), 7);
        assert_eq!(turns(&mut Shed::default(), 9, seen(1501, 1)), [0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(turns(&mut Shed::default(), 9, seen(1400, 100)), [0; 9]);
    }
}
