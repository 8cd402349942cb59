//! Identifiers: fixed-size byte strings, each with a type of its own.

use core::fmt;

use minicbor::{Decoder, Encoder, decode, encode};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Its length in bytes.
            pub const LEN: usize = $len;

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Reads it from a slice of exactly [`Self::LEN`] bytes.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "("))?;
                for byte in self.0.iter().take(4) {
                    write!(f, "{byte:02x}")?;
                }
                f.write_str("…)")
            }
        }

        /// All of it, in lower-case hexadecimal.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl<C> encode::Encode<C> for $name {
            fn encode<W: encode::Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> decode::Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                Self::from_slice(d.bytes()?).ok_or_else(|| decode::Error::message("id length"))
            }
        }
    };
}

id! {
    /// A group: the id of its Genesis op.
    GroupId, 32
}
id! {
    /// A signed membership op: BLAKE2b-256 over its body.
    OpId, 32
}
id! {
    /// A member's identity: the public half of an Ed25519 identity key, as bytes.
    MemberId, 32
}
id! {
    /// A sender chain: the first 16 bytes of its bundle's context hash.
    ChainId, 16
}
id! {
    /// A message: BLAKE2b-128 over group, chain, index and content.
    MessageId, 16
}
id! {
    /// A relay log, self-certifying: BLAKE2b-160 over its three public capability keys.
    LogId, 20
}
id! {
    /// One run of a member's node: random at each process start.
    Incarnation, 8
}
id! {
    /// An invite, derived from its secret.
    InviteId, 16
}
id! {
    /// A recipient prekey of a member.
    PrekeyId, 4
}
id! {
    /// A relay, as whoever runs a group tells relays apart.
    RelayTag, 32
}
id! {
    /// The set of identities that a chain is sealed to.
    RosterHash, 32
}
id! {
    /// An envelope: BLAKE2b-256 over its bytes. Duplicates are dropped by it.
    EnvelopeId, 32
}
id! {
    /// A file, derived from its key, its size and the root over its chunks.
    FileId, 16
}

/// Milliseconds since the Unix epoch, UTC. Always an argument, never read here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This instant, `ms` milliseconds later; it saturates.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`; zero where the clock went backwards.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl<C> encode::Encode<C> for Timestamp {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.u64(self.0)?.ok()
    }
}

impl<'b, C> decode::Decode<'b, C> for Timestamp {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        d.u64().map(Self)
    }
}
