//! Ids and times as text.

use protocol::ids::Timestamp;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// The bytes of a hexadecimal text of even length; `None` for any other text.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
        .collect();
    let (pairs, []) = digits.as_deref()?.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|[high, low]| (high << 4) | low).collect())
}

/// RFC 3339 in UTC; times past the year 9999 are shown as the epoch.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    let nanos = i128::from(at.0) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(&Rfc3339)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_goes_both_ways_and_nothing_else_is_read() {
        assert_eq!(hex(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(unhex("001Fff"), Some(vec![0, 0x1f, 0xff]));
        assert_eq!(unhex("001"), None);
        assert_eq!(unhex("0g"), None);
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(rfc3339(Timestamp(1_800_000_000_123)), "2027-01-15T08:00:00.123Z");
        assert_eq!(rfc3339(Timestamp(u64::MAX)), "1970-01-01T00:00:00Z");
    }
}
