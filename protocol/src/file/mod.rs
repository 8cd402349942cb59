//! Files: offered in a message, fetched in chunks over streams between members (docs/spec/files.md).
//!
//! ```text
//! sender   Reading ─► Source ─► Offer ── message of kind 5 ──▶ receiver
//!                       │                                        │
//!                    Serving ◀──── Want: which file, which chunks ─ Fetch
//!                            ───── Chunk: index, proof, sealed ───▶
//! ```
//!
//! > An offer is all that a receiver needs: with it each chunk is checked alone, as it comes, whoever
//! > it comes from. Who has no offer learns how long a file is, from what it carries, and nothing else.
//!
//! A file is cut by [`Layout`], each chunk sealed under a key of this file alone, and the sealed chunks
//! are the leaves of a hash tree whose root is in the offer. The offer travels as a message's payload,
//! signed and sealed with it, so that only those can fetch who were members when it was said, and the
//! root is the word of who said it: another member may carry the file and can't change it.
//!
//! [`Fetch`] and [`Serving`] hold both ends of the stream `/wattle/file/1` without input or output; frames
//! on it stand after their length, a `u32be`.

mod fetch;
mod held;
mod layout;
mod name;
mod offer;
mod read;
mod seal;
mod serve;
mod tree;
mod wire;

pub use fetch::{Fault, Fetch, NotTaken, Piece, Progress, Step};
pub use layout::{Layout, TooLarge};
pub use name::{BadName, FileName};
pub use offer::{FileKey, Image, Offer};
pub use read::{ReadError, Reading, Source};
pub use serve::{Asked, Broken, NoAnswer, Serving, refuse};
pub use wire::{Range, Refusal};

/// The kind of a message that offers a file.
pub const FILE: u8 = 5;

#[cfg(test)]
mod tests;
