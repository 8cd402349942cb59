//! Strict CBOR: definite-length arrays, shortest integers, nothing trailing (RFC 8949, 4.2.1).
//!
//! Ids and signatures are over the received bytes, so two encodings of one value must not exist:
//! [`decode`] accepts only what encodes to itself.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

/// Bytes that are no canonical encoding of the type expected. A peer is told nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a canonical encoding")]
pub struct Malformed;

/// Encodes a value; the same value always gives the same bytes.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    match minicbor::encode(value, &mut bytes) {
        Ok(()) => bytes,
        // Writing to a `Vec` is infallible and no type here has an encoder that fails.
        Err(_) => Vec::new(),
    }
}

/// Decodes a value that must be the whole of `bytes` and encode to them again.
pub fn decode<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8]) -> Result<T, Malformed> {
    let value = minicbor::decode::<T>(bytes).map_err(|_| Malformed)?;
    if encode(&value) == bytes { Ok(value) } else { Err(Malformed) }
}

/// Whether bytes of which no type is known here are one item, in the only encoding that it has
/// (docs/spec/conventions.md).
#[must_use]
pub fn is_canonical(mut bytes: &[u8]) -> bool {
    // Arrays are counted, not entered: no depth is too great.
    let mut left = 1_u64;
    while left > 0 {
        let Some((rest, inside)) = canonical_item(bytes) else { return false };
        // Each takes a byte at least.
        if inside > rest.len() as u64 {
            return false;
        }
        (bytes, left) = (rest, left - 1 + inside);
    }
    bytes.is_empty()
}

/// What follows the first item or the head of an array, and how many items are in that.
fn canonical_item(bytes: &[u8]) -> Option<(&[u8], u64)> {
    let (first, rest) = bytes.split_first()?;
    let (major, minor) = (first >> 5, first & 31);
    if major == 7 {
        return matches!(minor, 20..=22).then_some((rest, 0));
    }
    let (number, rest) = match minor {
        0..=23 => (u64::from(minor), rest),
        24..=27 => {
            let (long, rest) = rest.split_at_checked(1 << (minor - 24))?;
            let number = long.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
            let shorter = if minor == 24 { 24 } else { 1 << (4 << (minor - 24)) };
            (number >= shorter).then_some((number, rest))?
        }
        _ => return None,
    };
    match major {
        0 | 1 => Some((rest, 0)),
        2 | 3 => {
            let (text, rest) = rest.split_at_checked(usize::try_from(number).ok()?)?;
            (major == 2 || core::str::from_utf8(text).is_ok()).then_some((rest, 0))
        }
        4 => Some((rest, number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_type_is_known_of_has_one_encoding() {
        let good: [&[u8]; 14] = [
            &[0x00],
            &[0x17],
            &[0x18, 0x18],
            &[0x19, 0x01, 0x00],
            &[0x1a, 0, 1, 0, 0],
            &[0x1b, 0, 0, 0, 1, 0, 0, 0, 0],
            &[0x20],
            &[0x38, 0xff],
            &[0x42, 1, 2],
            &[0x62, 0xc3, 0xa4],
            &[0x80],
            &[0x82, 0x81, 0xf6, 0x83, 0xf4, 0xf5, 0x40],
            &[0xf6],
            &[0x60],
        ];
        for bytes in good {
            assert!(is_canonical(bytes), "{bytes:02x?}");
            assert!(!is_canonical(&[bytes, &[0]].concat()), "trailing: {bytes:02x?}");
            assert!(!is_canonical(&bytes[..bytes.len() - 1]), "cut off: {bytes:02x?}");
        }
        let bad: [&[u8]; 16] = [
            &[0x18, 0x17],
            &[0x19, 0x00, 0xff],
            &[0x1a, 0, 0, 0xff, 0xff],
            &[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            &[0x1c],
            &[0x58, 0x01, 0x00],
            &[0x5f, 0x40, 0xff],
            &[0x9f, 0xff],
            &[0x98, 0x01, 0x00],
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xa0],
            &[0xc0, 0x00],
            &[0xf7],
            &[0xf8, 0x20],
            &[0xf9, 0, 0],
            &[0x62, 0xff, 0xff],
        ];
        for bytes in bad {
            assert!(!is_canonical(bytes), "{bytes:02x?}");
        }
        let mut deep = alloc::vec![0x81; 100_000];
        assert!(!is_canonical(&deep));
        deep.push(0);
        assert!(is_canonical(&deep));
    }

    #[test]
    fn a_longer_form_of_a_number_is_refused() {
        assert_eq!(decode::<u64>(&[0x01]), Ok(1));
        assert_eq!(decode::<u64>(&[0x18, 0x01]), Err(Malformed));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert_eq!(decode::<u64>(&[0x01, 0x01]), Err(Malformed));
    }

    #[test]
    fn an_array_of_indefinite_length_is_refused() {
        assert_eq!(decode::<Vec<u8>>(&[0x9f, 0x01, 0xff]), Err(Malformed));
    }
}
