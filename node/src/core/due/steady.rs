//! Whether the wall's clock goes as the machine's does, or was set.
//!
//! > The machine's clock counts from any beginning and nobody sets it; the wall's says what time it is, as far as it knows.

use protocol::ids::Timestamp;

/// Further apart than this, one of them was set: what is less is how exactly the two are read.
const APART_MS: u64 = 1_000;

/// So long a clock has to go on, by the machine's, before it is believed.
const SURE_MS: u64 = 60_000;

/// The wall's clock beside the machine's.
#[derive(Debug, Default)]
pub(super) struct Steady {
    /// Since when the wall's goes on as it does: by both.
    since: Option<(Timestamp, u64)>,
    /// Both, as they were told last.
    last: (Timestamp, u64),
    /// The machine's, as it was told first.
    first: Option<u64>,
}

impl Steady {
    /// What both say now; by how much the wall's was set since, in milliseconds.
    pub(super) fn told(&mut self, wall: Timestamp, ran: u64) -> Option<i64> {
        self.last = (wall, ran);
        self.first.get_or_insert(ran);
        let (began, at) = *self.since.get_or_insert((wall, ran));
        let expected = began.plus_ms(ran.saturating_sub(at));
        if wall.0.abs_diff(expected.0) <= APART_MS {
            return None;
        }
        self.since = Some((wall, ran));
        let by = i128::from(wall.0) - i128::from(expected.0);
        Some(i64::try_from(by).unwrap_or(if by < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Whether it has gone on for long enough.
    pub(super) fn is_sure(&self) -> bool {
        self.since.is_some_and(|(_, at)| self.last.1.saturating_sub(at) >= SURE_MS)
    }

    /// For how long it was told, in milliseconds.
    pub(super) fn lasted(&self) -> u64 {
        self.first.map_or(0, |first| self.last.1.saturating_sub(first))
    }

    /// When that is so much, by the wall's. `None`: it was never told.
    pub(super) fn lasts_for(&self, ms: u64) -> Option<Timestamp> {
        self.first.map(|_| self.last.0.plus_ms(ms.saturating_sub(self.lasted())))
    }

    /// When it has, by the wall's: late rather than early. `None`: it was never told.
    pub(super) fn sure_at(&self) -> Option<Timestamp> {
        self.since.map(|(began, _)| began.plus_ms(SURE_MS + APART_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(1_800_000_000_000);
    const DAY: u64 = 86_400_000;

    #[test]
    fn a_clock_is_believed_once_it_has_gone_on_for_a_minute() {
        let mut clocks = Steady::default();
        assert!(!clocks.is_sure() && clocks.sure_at().is_none());
        for ran in [5, 30_005, 60_004] {
            assert_eq!(clocks.told(AT.plus_ms(ran - 5), ran), None);
            assert!(!clocks.is_sure());
        }
        assert_eq!(clocks.told(AT.plus_ms(61_000), 60_005), None, "a little apart");
        assert!(clocks.is_sure() && clocks.sure_at() == Some(AT.plus_ms(61_000)));
    }

    #[test]
    fn one_that_is_set_is_found_and_waited_for_anew() {
        let mut clocks = Steady::default();
        clocks.told(AT, 0);
        clocks.told(AT.plus_ms(DAY), DAY);
        assert!(clocks.is_sure());
        assert_eq!(clocks.told(AT.plus_ms(3 * DAY), 2 * DAY), Some(86_400_000));
        assert!(!clocks.is_sure());
        assert_eq!(clocks.told(AT.plus_ms(2 * DAY + 10), 2 * DAY + 10), Some(-86_400_000));
        assert_eq!(clocks.told(AT.plus_ms(2 * DAY + 60_009), 2 * DAY + 60_009), None);
        assert!(!clocks.is_sure());
        assert_eq!(clocks.told(AT.plus_ms(2 * DAY + 60_010), 2 * DAY + 60_010), None);
        assert!(clocks.is_sure());
    }

    #[test]
    fn no_number_is_too_large() {
        let mut clocks = Steady::default();
        clocks.told(Timestamp(0), 0);
        assert_eq!(clocks.told(Timestamp(u64::MAX), 1), Some(i64::MAX));
        assert_eq!(clocks.told(Timestamp(0), u64::MAX), Some(i64::MIN));
    }

    #[test]
    fn what_it_is_set_by_in_small_parts_adds_up() {
        let mut clocks = Steady::default();
        let mut set = 0;
        clocks.told(AT, 0);
        for minute in 1..=60 {
            set += clocks.told(AT.plus_ms(minute * 60_400), minute * 60_000).unwrap_or(0);
        }
        assert!((23_000..=24_000).contains(&set), "{set}");
    }
}
