//! The audit log: what a node did and saw in one group, in an order that can't be changed later.
//!
//! ```text
//! entry   = CBOR [seq, prev32, ts_ms, event, group4, args]
//! head    = BLAKE2b-256("wt1 audit", entry)              prev of the next entry
//! first   : prev = BLAKE2b-256("wt1 audit", group ‖ member)
//! every 256th entry (seq mod 256 = 255) is a checkpoint: event 0, args [sig64]
//! sig     = Ed25519(identity, "wt1/audit\0" ‖ group ‖ seq u64be ‖ prev32)
//! ```
//!
//! > An entry is written in the step that it tells of. The first 16 bytes of the head go into each
//! > own bundle, so the other members hold dated anchors: what was changed, left out or cut off
//! > before an anchor shows.
//!
//! It holds ids, numbers and reasons; never a key, a name or what anybody said.
//! docs/spec/storage.md.

mod fact;
mod verify;

use alloc::vec::Vec;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

pub use self::{
    fact::{Fact, RotationReason, VoidReason},
    verify::{AuditError, Report, Verifier},
};
use crate::{
    codec,
    hash::{Label, hash32},
    ids::{GroupId, MemberId, Timestamp},
    sign::{Context, Signature, SigningSecret},
};

/// Entries from one checkpoint to the next.
pub const SEGMENT: u64 = 256;

/// The newest entries that a node keeps, at least; older ones may go, whole segments at a time.
pub const KEPT: u64 = 256 * SEGMENT;

/// The longest entry, in bytes.
pub const ENTRY_BYTES: usize = 4096;

/// Where a log ends: all that has to be kept to go on with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct AuditLog {
    /// The number of the next entry.
    #[n(0)]
    seq: u64,
    /// What the next entry follows.
    #[cbor(n(1), with = "minicbor::bytes")]
    head: [u8; 32],
}

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its number, from 0.
    pub seq: u64,
    /// The hash of the entry before.
    pub prev: [u8; 32],
    /// When, by the clock of the node that writes. It may have been set back meanwhile.
    pub at: Timestamp,
    /// The first bytes of the group's id.
    pub group: [u8; 4],
    /// What happened.
    pub fact: Fact,
}

impl AuditLog {
    /// The beginning of a member's log of a group.
    #[must_use]
    pub fn new(group: &GroupId, member: &MemberId) -> Self {
        Self { seq: 0, head: hash32(Label::Audit, &[&group.0, &member.0]) }
    }

    /// Where the log ends whose last entry this is.
    #[must_use]
    pub fn after(last: &[u8]) -> Option<Self> {
        let entry = Entry::from_bytes(last)?;
        Some(Self { seq: entry.seq.checked_add(1)?, head: hash32(Label::Audit, &[last]) })
    }

    /// The number of the next entry.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.seq
    }

    /// What goes into a bundle.
    #[must_use]
    pub fn head16(&self) -> [u8; 16] {
        short(&self.head)
    }

    /// Writes what happened; answers the new entries with their numbers. Where a checkpoint is due
    /// it comes first.
    pub fn write(
        &mut self,
        fact: Fact,
        at: Timestamp,
        group: &GroupId,
        identity: &SigningSecret,
    ) -> Vec<(u64, Vec<u8>)> {
        let mut written = Vec::new();
        if is_checkpoint(self.seq) {
            let signed: [&[u8]; 3] = [&group.0, &self.seq.to_be_bytes(), &self.head];
            let signature = identity.sign(Context::Audit, &signed);
            written.push(self.append(Fact::Checkpoint(signature), at, group));
        }
        written.push(self.append(fact, at, group));
        written
    }

    fn append(&mut self, fact: Fact, at: Timestamp, group: &GroupId) -> (u64, Vec<u8>) {
        let [a, b, c, d, ..] = group.0;
        let entry = Entry { seq: self.seq, prev: self.head, at, group: [a, b, c, d], fact };
        let bytes = codec::encode(&entry);
        self.head = hash32(Label::Audit, &[&bytes]);
        self.seq += 1;
        (entry.seq, bytes)
    }
}

impl Entry {
    /// Reads an entry; whether it has its place in a log is the [`Verifier`]'s to say.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > ENTRY_BYTES {
            return None;
        }
        codec::decode(bytes).ok()
    }
}

impl<C> Encode<C> for Entry {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let (event, args) = self.fact.parts();
        e.array(6)?.u64(self.seq)?.bytes(&self.prev)?.u64(self.at.0)?.u8(event)?;
        e.bytes(&self.group)?.writer_mut().write_all(&args).map_err(encode::Error::write)
    }
}

impl<'b, C> Decode<'b, C> for Entry {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        if d.array()? != Some(6) {
            return Err(decode::Error::message("array"));
        }
        let (seq, prev) = (d.u64()?, fixed(d)?);
        let (at, event, group) = (Timestamp(d.u64()?), d.u8()?, fixed(d)?);
        let start = d.position();
        d.skip()?;
        let args = d.input().get(start..d.position()).unwrap_or_default();
        Ok(Self { seq, prev, at, group, fact: Fact::of(event, args) })
    }
}

fn fixed<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], decode::Error> {
    d.bytes()?.try_into().map_err(|_| decode::Error::message("bytes"))
}

fn is_checkpoint(seq: u64) -> bool {
    seq % SEGMENT == SEGMENT - 1
}

fn short(head: &[u8; 32]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&head[..16]);
    short
}

/// The number up to which entries may go, so that [`KEPT`] stay and a checkpoint comes first:
/// itself not included. 0 where none may.
#[must_use]
pub fn prunable(next: u64) -> u64 {
    let whole = next.saturating_sub(KEPT) / SEGMENT * SEGMENT;
    whole.saturating_sub(1)
}

/// The signature of a checkpoint, as [`AuditLog::write`] makes it, holds.
fn holds(group: &GroupId, member: &MemberId, entry: &Entry, signature: &Signature) -> bool {
    let signed: [&[u8]; 3] = [&group.0, &entry.seq.to_be_bytes(), &entry.prev];
    crate::sign::verify(&member.0, Context::Audit, &signed, signature).is_ok()
}

#[cfg(test)]
mod tests;
