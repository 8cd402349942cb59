//! What messages say: text, alone or with a reply, mentions and a time to be kept; and what changes an
//! earlier message (docs/spec/said.md).
//!
//! ```text
//! payload  text            UTF-8                                            kind 0
//!          edit            CBOR [1, target, text]                           kind 1
//!          delete          CBOR [1, target]                                 kind 2
//!          reaction        CBOR [1, target, text, on bool]                  kind 3
//!          text with more  CBOR [1, text, target | null, [ik32…], expires_s | null]   kind 7
//!          pin             CBOR [1, target, on bool]                        kind 8
//! target   [chain16, idx, id16]
//! ```
//!
//! > A change is a message like any other: signed, sealed, ordered, delivered. What a message shows is a function
//! > of it and of the changes that came, in whichever order they did: whoever has the same messages sees the same.
//!
//! [`Said`] reads and writes payloads; [`Shown::of`] is that function.

mod shown;

use alloc::{string::String, vec::Vec};

use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

pub use shown::{Change, Shown};

use crate::{
    chain::HeadRef,
    codec,
    hidden::is_hidden,
    ids::MemberId,
    limits::{CHAIN_MESSAGES, EXPIRES_MAX_S, EXPIRES_MIN_S, MENTIONS, REACTION_BYTES},
};

/// What a message says, of the kinds that are said here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// Something new.
    Text(Text),
    /// Another text for an earlier message of one's own.
    Edit {
        /// Which.
        target: HeadRef,
        /// What it says now; not empty.
        text: String,
    },
    /// An earlier message is to be gone.
    Delete {
        /// Which.
        target: HeadRef,
    },
    /// A sign put at a message, or taken from it.
    Reaction {
        /// Which.
        target: HeadRef,
        /// An emoji, or a word: see [`is_reaction`].
        text: String,
        /// Whether it stands from now on.
        on: bool,
    },
    /// A message is kept in sight, or no more.
    Pin {
        /// Which.
        target: HeadRef,
        /// Whether it stands from now on.
        on: bool,
    },
}

/// A text, and what is said with it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Text {
    /// The text.
    pub text: String,
    /// Which message it answers.
    pub reply: Option<HeadRef>,
    /// Whom it is for in particular: in order, none twice, at most [`MENTIONS`].
    pub mentions: Vec<MemberId>,
    /// In seconds: how long whoever receives it is asked to keep it. See [`EXPIRES_MIN_S`] and [`EXPIRES_MAX_S`].
    pub expires_s: Option<u32>,
}

/// The kind of a message that is its text.
pub const TEXT: u8 = 0;
/// The kind of an edit.
pub const EDIT: u8 = 1;
/// The kind of a deletion.
pub const DELETE: u8 = 2;
/// The kind of a reaction.
pub const REACTION: u8 = 3;
/// The kind of a text with more.
pub const RICH: u8 = 7;
/// The kind of a pin.
pub const PIN: u8 = 8;

const VERSION: u8 = 1;

#[derive(Encode, Decode)]
#[cbor(array)]
struct Edited {
    #[n(0)]
    version: u8,
    #[n(1)]
    target: HeadRef,
    #[n(2)]
    text: String,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Deleted {
    #[n(0)]
    version: u8,
    #[n(1)]
    target: HeadRef,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Reacted {
    #[n(0)]
    version: u8,
    #[n(1)]
    target: HeadRef,
    #[n(2)]
    text: String,
    #[n(3)]
    on: bool,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Pinned {
    #[n(0)]
    version: u8,
    #[n(1)]
    target: HeadRef,
    #[n(2)]
    on: bool,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Rich {
    #[n(0)]
    version: u8,
    #[n(1)]
    text: String,
    #[n(2)]
    reply: Option<HeadRef>,
    #[n(3)]
    mentions: Vec<MemberId>,
    #[n(4)]
    expires_s: Written,
}

/// A number or null at the end of an array, where a derived codec leaves null out.
#[derive(Clone, Copy)]
struct Written(Option<u32>);

impl<C> Encode<C> for Written {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match self.0 {
            Some(seconds) => e.u32(seconds)?.ok(),
            None => e.null()?.ok(),
        }
    }
}

impl<'b, C> Decode<'b, C> for Written {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.decode().map(Self)
    }
}

impl Said {
    /// Reads a payload of this kind. `None`: it is of another kind, or none that an honest node writes; it is shown as
    /// a message of a kind that is not known.
    #[must_use]
    pub fn read(kind: u8, payload: &[u8]) -> Option<Self> {
        let said = match kind {
            TEXT => Self::Text(Text { text: utf8(payload)?, ..Text::default() }),
            EDIT => {
                let Edited { version, target, text } = codec::decode(payload).ok()?;
                (version == VERSION).then_some(Self::Edit { target, text })?
            }
            DELETE => {
                let Deleted { version, target } = codec::decode(payload).ok()?;
                (version == VERSION).then_some(Self::Delete { target })?
            }
            REACTION => {
                let Reacted { version, target, text, on } = codec::decode(payload).ok()?;
                (version == VERSION).then_some(Self::Reaction { target, text, on })?
            }
            RICH => {
                let Rich { version, text, reply, mentions, expires_s } =
                    codec::decode(payload).ok()?;
                let text = Text { text, reply, mentions, expires_s: expires_s.0 };
                // Without more it is a plain text, which has one form.
                (version == VERSION && !text.is_plain()).then_some(Self::Text(text))?
            }
            PIN => {
                let Pinned { version, target, on } = codec::decode(payload).ok()?;
                (version == VERSION).then_some(Self::Pin { target, on })?
            }
            _ => return None,
        };
        said.is_good().then_some(said)
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Text(text) if text.is_plain() => TEXT,
            Self::Text(_) => RICH,
            Self::Edit { .. } => EDIT,
            Self::Delete { .. } => DELETE,
            Self::Reaction { .. } => REACTION,
            Self::Pin { .. } => PIN,
        }
    }

    /// Its payload, to be read by [`Self::read`] where [`Self::is_good`].
    #[must_use]
    pub fn payload(&self) -> Zeroizing<Vec<u8>> {
        let version = VERSION;
        Zeroizing::new(match self.clone() {
            Self::Text(text) if text.is_plain() => text.text.into_bytes(),
            Self::Text(Text { text, reply, mentions, expires_s }) => {
                let expires_s = Written(expires_s);
                codec::encode(&Rich { version, text, reply, mentions, expires_s })
            }
            Self::Edit { target, text } => codec::encode(&Edited { version, target, text }),
            Self::Delete { target } => codec::encode(&Deleted { version, target }),
            Self::Reaction { target, text, on } => {
                codec::encode(&Reacted { version, target, text, on })
            }
            Self::Pin { target, on } => codec::encode(&Pinned { version, target, on }),
        })
    }

    /// Whether it is within its bounds: what is not is refused by who says it, and is nothing to who reads it.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.target().is_none_or(|target| target.index < CHAIN_MESSAGES)
            && match self {
                Self::Text(text) => text.is_good(),
                Self::Edit { text, .. } => !text.is_empty(),
                Self::Reaction { text, .. } => is_reaction(text),
                Self::Delete { .. } | Self::Pin { .. } => true,
            }
    }

    /// Which message it changes, if it does.
    #[must_use]
    pub const fn changes(&self) -> Option<&HeadRef> {
        match self {
            Self::Text(_) => None,
            Self::Edit { target, .. }
            | Self::Delete { target }
            | Self::Reaction { target, .. }
            | Self::Pin { target, .. } => Some(target),
        }
    }

    /// Which message it names.
    #[must_use]
    pub const fn target(&self) -> Option<&HeadRef> {
        match self {
            Self::Text(text) => text.reply.as_ref(),
            _ => self.changes(),
        }
    }
}

impl Text {
    /// Whether it is its text alone.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.reply.is_none() && self.mentions.is_empty() && self.expires_s.is_none()
    }

    fn is_good(&self) -> bool {
        self.is_plain()
            || !self.text.is_empty()
                && self.mentions.len() <= MENTIONS
                && self.mentions.is_sorted_by(|one, next| one < next)
                && self.expires_s.is_none_or(|it| (EXPIRES_MIN_S..=EXPIRES_MAX_S).contains(&it))
    }
}

/// Whether a text may stand as a reaction: 1 to [`REACTION_BYTES`] bytes, no spaces, nothing that is not seen but
/// what joins and varies emoji.
#[must_use]
pub fn is_reaction(text: &str) -> bool {
    let is_seen = |c: char| {
        let is_plain = !c.is_control() && !c.is_whitespace();
        is_plain && (c == '\u{200d}' || !is_hidden(c))
    };
    (1..=REACTION_BYTES).contains(&text.len())
        && text.chars().all(is_seen)
        && text.chars().any(|c| !matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}'))
}

/// Whether messages of this kind count by who is an admin. No group lets its admins delete what others said yet.
#[must_use]
pub const fn is_for_admins(kind: u8) -> bool {
    matches!(kind, PIN)
}

/// Whether a message of this kind and payload may be shared as history: text, and what changes it, but for what is to
/// be kept for some time only.
#[must_use]
pub fn is_shared(kind: u8, payload: &[u8]) -> bool {
    match kind {
        TEXT..=REACTION | PIN => true,
        RICH => {
            matches!(Said::read(kind, payload), Some(Said::Text(text)) if text.expires_s.is_none())
        }
        _ => false,
    }
}

fn utf8(payload: &[u8]) -> Option<String> {
    core::str::from_utf8(payload).ok().map(Into::into)
}

#[cfg(test)]
mod tests;
