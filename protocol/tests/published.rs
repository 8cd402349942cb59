//! The primitives that this crate is built with, on the vectors that their specifications publish.
//! Those of Noise are in `src/noise/vectors.rs`.

#![cfg(feature = "endpoint")]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking")]

use blake2::{Blake2b512, Digest};
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{Aead, Payload},
};
use ed25519_dalek::{Signer, SigningKey};
use x25519_dalek::{PublicKey, StaticSecret};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn array<const N: usize>(hex: &str) -> [u8; N] {
    bytes(hex).try_into().unwrap()
}

fn x25519(scalar: [u8; 32], point: [u8; 32]) -> [u8; 32] {
    StaticSecret::from(scalar).diffie_hellman(&PublicKey::from(point)).to_bytes()
}

/// RFC 7748, section 5.2: the first vector, and the one of a thousand rounds.
#[test]
fn x25519_is_as_published() {
    let shared = x25519(
        array("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
        array("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"),
    );
    let published = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552";
    assert_eq!(shared, array(published));
    let mut nine = [0; 32];
    nine[0] = 9;
    let (mut scalar, mut point) = (nine, nine);
    for _ in 0..1000 {
        (scalar, point) = (x25519(scalar, point), scalar);
    }
    let published = "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51";
    assert_eq!(scalar, array(published));
}

/// RFC 8032, section 7.1: tests 1, 2 and 3.
#[test]
fn ed25519_is_as_published() {
    let tests = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (seed, public, message, signature) in tests {
        let key = SigningKey::from_bytes(&array(seed));
        assert_eq!(key.verifying_key().to_bytes(), array(public));
        let made = key.sign(&bytes(message));
        assert_eq!(made.to_bytes(), array(signature));
        assert!(key.verifying_key().verify_strict(&bytes(message), &made).is_ok());
    }
}

/// RFC 8439, section 2.8.2.
#[test]
fn chacha20_poly1305_is_as_published() {
    let key: Vec<u8> = (0x80..0xa0).collect();
    let nonce: [u8; 12] = array("070000004041424344454647");
    let aad = bytes("50515253c0c1c2c3c4c5c6c7");
    let msg = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for \
                the future, sunscreen would be it.";
    let cipher = ChaCha20Poly1305::new_from_slice(&key).unwrap();
    let sealed = cipher.encrypt(&nonce.into(), Payload { msg, aad: &aad }).unwrap();
    assert_eq!(sealed[..16], bytes("d31a8d34648e60db7b86afbc53ef7ec2"));
    assert_eq!(sealed[msg.len()..], bytes("1ae10b594f09e26a7e902ecbd0600691"));
}

/// RFC 7693, appendix A.
#[test]
fn blake2b_is_as_published() {
    let published = "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923";
    assert_eq!(Blake2b512::digest(b"abc")[..], bytes(published));
}
