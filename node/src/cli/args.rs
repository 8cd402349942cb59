//! What people write in arguments, read once.

use std::time::Duration;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

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

/// A relay's address, of which no more is asked here than that there is something.
pub fn address(text: &str) -> Result<String, String> {
    match text {
        "" => Err("an address looks like /ip4/192.0.2.1/tcp/4407/p2p/12D3…".into()),
        address => Ok(address.into()),
    }
}

/// A span, or that it never is, which is as a span of nothing.
pub fn span_or_never(text: &str) -> Result<Duration, String> {
    match text {
        "never" => Ok(Duration::ZERO),
        span => duration(span).map_err(|why| format!("{why}, or never")),
    }
}

/// A time: a day, which is its beginning in UTC, RFC 3339, or how long ago.
pub fn moment(text: &str) -> Result<OffsetDateTime, String> {
    const WHAT: &str = "a day as 2026-01-31, a time as 2026-01-31T14:03:00Z, or how long ago as 7d";
    let read = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    if let Some(at) = read(text).or_else(|| read(&format!("{text}T00:00:00Z"))) {
        return Ok(at);
    }
    let ago = duration(text).map_err(|_| WHAT)?;
    let ago = time::Duration::try_from(ago).map_err(|_| WHAT)?;
    OffsetDateTime::now_utc().checked_sub(ago).ok_or_else(|| WHAT.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_days_moments_or_so_long_ago() {
        let at = |text| moment(text).unwrap().unix_timestamp();
        assert_eq!(at("2026-01-31"), 1_769_817_600);
        assert_eq!(at("2026-01-31T01:00:00+01:00"), at("2026-01-31"));
        assert!(OffsetDateTime::now_utc().unix_timestamp() - at("7d") >= 7 * 86_400);
        for text in ["", "yesterday", "2026-13-01", "2026-1-1", "99999999999999w"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_are_read_with_their_unit() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("48h"), Ok(Duration::from_secs(172_800)));
        assert_eq!(duration("2w"), Ok(Duration::from_secs(1_209_600)));
    }

    #[test]
    fn what_never_is_can_be_said_so() {
        assert_eq!(span_or_never("never"), Ok(Duration::ZERO));
        assert_eq!(span_or_never("30d"), duration("30d"));
        assert!(span_or_never("Never ever").unwrap_err().ends_with("or never"));
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
