//! What people write in arguments, read once.

use std::time::Duration;

/// A span of time: a number and `s`, `m`, `h`, `d` or `w`.
pub fn duration(text: &str) -> Result<Duration, String> {
    const WHAT: &str = "a number with s, m, h, d or w, as in 30s, 48h or 7d";
    let unit = text.chars().last().ok_or(WHAT)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(WHAT.into()),
    };
    let number = text.strip_suffix(unit).ok_or(WHAT)?;
    let number: u64 = number.parse().map_err(|_| WHAT)?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "too long".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_unit() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("48h"), Ok(Duration::from_secs(172_800)));
        assert_eq!(duration("2w"), Ok(Duration::from_secs(1_209_600)));
    }

    #[test]
    fn spans_without_unit_or_sense_are_refused() {
        for text in
            ["", "30", "s", "-1h", "1.5h", "1y", "99999999999999999999w", "9999999999999999w"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
