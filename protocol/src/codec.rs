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

#[cfg(test)]
mod tests {
    use super::*;

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
