//! What two signed statements of one member show that don't go together.
//!
//! > Whoever has the public keys can check it: a notice holds hashes and signatures, never what a
//! > message says, and [`Notice::verify`] asks nobody.
//!
//! ```text
//! Notice       = [0, [EquivocationProof]] | [1, [CloneSuspicion]]
//! Equivocation = [0, [op bstr, op bstr]]                one author, run and number; two ops
//!              | [1, [head bstr, [record, record]]]     one chain and index; two contents
//!              | [2, [head bstr, head bstr]]            one bundle; two sets of pages
//! Clone        = [0, [head bstr, head bstr]]            two chains after one and the same
//!              | [1, [head bstr, record, head bstr]]    a message beyond what the next chain counts
//!              | [2, [[head bstr…]]]                    a run goes on after another had followed it
//!              | [3, [op bstr, op bstr]]                one number in two runs
//! record       = [chain16, index, H(content)32, sig64]
//! ```
//!
//! A process that only stores its state before it sends makes none of the first kind, whatever is
//! restored: each run has an incarnation of its own, which chains and ops name. A restored backup
//! makes the second kind, and so does a copied device. docs/spec/consistency.md.

use alloc::{boxed::Box, vec::Vec};

use minicbor::{Decode, Encode, bytes::ByteVec};

use crate::{
    bundle::SignedHead,
    chain::statement,
    codec,
    hash::{Label, kdf16},
    ids::{ChainId, GroupId, MemberId},
    limits::{CHAIN_MESSAGES, NOTICE_BYTES},
    membership::{Kind, Op},
    sign::{Context, Signature, verify},
};

/// Heads in the path that shows a run going on after another.
pub const PATH: usize = 8;

/// A message as evidence: its place, the hash of its content, the signature by its chain's key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Record {
    /// Its chain.
    #[n(0)]
    pub chain: ChainId,
    /// Its index.
    #[n(1)]
    pub index: u32,
    /// The hash of its content.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub content: [u8; 32],
    /// The chain key's signature over group, context, index and that hash.
    #[n(3)]
    pub signature: Signature,
}

/// Two statements that no honest process makes: whoever signed both lies.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum EquivocationProof {
    /// Two ops of one author and run with one number.
    #[n(0)]
    Ops(#[n(0)] ByteVec, #[n(1)] ByteVec),
    /// Two contents at one index of one chain: the bundle's head, and both records.
    #[n(1)]
    Contents(#[n(0)] ByteVec, #[n(1)] Box<[Record; 2]>),
    /// Two heads of one bundle that name different pages.
    #[n(2)]
    Pages(#[n(0)] ByteVec, #[n(1)] ByteVec),
}

/// Two statements that a restored backup, or a copied device, makes. They accuse nobody of a lie.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum CloneSuspicion {
    /// Two bundles that name one chain as the one before them.
    #[n(0)]
    Successors(#[n(0)] ByteVec, #[n(1)] ByteVec),
    /// A message at or beyond the count with which its sender's next bundle closes the chain: the
    /// chain's head, the message, the next head.
    #[n(1)]
    Beyond(#[n(0)] ByteVec, #[n(1)] Record, #[n(2)] ByteVec),
    /// Heads of which each follows the one before; the first and the last are of one run, and one
    /// between them of another.
    #[n(2)]
    Returned(#[n(0)] Vec<ByteVec>),
    /// Two ops of one author with one number, not both of one known run.
    #[n(3)]
    Ops(#[n(0)] ByteVec, #[n(1)] ByteVec),
}

/// What members tell one another of such statements.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Notice {
    /// A proof.
    #[n(0)]
    Equivocation(#[n(0)] EquivocationProof),
    /// A suspicion.
    #[n(1)]
    Clone(#[n(0)] CloneSuspicion),
}

/// What a notice shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Whose statements they are.
    pub accused: MemberId,
    /// Whether they prove a lie, or let a clone be suspected.
    pub verdict: Verdict,
    /// What they are about: notices about the same are told once.
    pub subject: Subject,
}

/// How grave a notice is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Proven: the member signed what no honest process signs.
    Equivocation,
    /// Suspected: a backup was restored, or the device copied.
    Clone,
}

/// What a notice is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Subject(pub [u8; 16]);

/// A notice that shows nothing. Nobody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the notice shows nothing")]
pub struct ShowsNothing;

impl Record {
    /// Whether the key of this bundle's chain signed it.
    #[must_use]
    pub fn is_of(&self, group: &GroupId, head: &SignedHead) -> bool {
        let signed = statement(group, head.context(), self.index, &self.content);
        let key = &head.head().chain_key;
        self.chain == head.chain()
            && self.index < CHAIN_MESSAGES
            && verify(key, Context::Message, &[&signed], &self.signature).is_ok()
    }
}

impl Notice {
    /// Two ops with one number, in whatever order.
    #[must_use]
    pub fn ops(a: &Op, b: &Op) -> Self {
        let (a, b) = if a.id() <= b.id() { (a, b) } else { (b, a) };
        let run = a.body().incarnation;
        let same = run.is_some() && run == b.body().incarnation;
        let (a, b) = (bytes(a.as_bytes()), bytes(b.as_bytes()));
        if same {
            Self::Equivocation(EquivocationProof::Ops(a, b))
        } else {
            Self::Clone(CloneSuspicion::Ops(a, b))
        }
    }

    /// Two contents at one place of a bundle's chain, in whatever order.
    #[must_use]
    pub fn contents(head: &SignedHead, a: Record, b: Record) -> Self {
        let (a, b) = if a.content <= b.content { (a, b) } else { (b, a) };
        Self::Equivocation(EquivocationProof::Contents(bytes(head.as_bytes()), Box::new([a, b])))
    }

    /// Two heads of one bundle, in whatever order.
    #[must_use]
    pub fn pages(a: &SignedHead, b: &SignedHead) -> Self {
        let (a, b) = sorted(a, b);
        Self::Equivocation(EquivocationProof::Pages(a, b))
    }

    /// Two bundles after one and the same chain, in whatever order.
    #[must_use]
    pub fn successors(a: &SignedHead, b: &SignedHead) -> Self {
        let (a, b) = sorted(a, b);
        Self::Clone(CloneSuspicion::Successors(a, b))
    }

    /// A message of `head`'s chain that `next` does not count.
    #[must_use]
    pub fn beyond(head: &SignedHead, record: Record, next: &SignedHead) -> Self {
        let (head, next) = (bytes(head.as_bytes()), bytes(next.as_bytes()));
        Self::Clone(CloneSuspicion::Beyond(head, record, next))
    }

    /// Bundles of which each follows the one before.
    #[must_use]
    pub fn returned<'a>(path: impl IntoIterator<Item = &'a SignedHead>) -> Self {
        let path = path.into_iter().map(|head| bytes(head.as_bytes())).collect();
        Self::Clone(CloneSuspicion::Returned(path))
    }

    /// Its bytes: at most [`NOTICE_BYTES`] of what is taken.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads one; what it shows is for [`Self::verify`] to say.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ShowsNothing> {
        if bytes.len() > NOTICE_BYTES {
            return Err(ShowsNothing);
        }
        codec::decode(bytes).map_err(|_| ShowsNothing)
    }

    /// What it shows, by the group's id and the signatures in it alone.
    pub fn verify(&self, group: &GroupId) -> Result<Finding, ShowsNothing> {
        match self {
            Self::Equivocation(proof) => proof.verify(group),
            Self::Clone(suspicion) => suspicion.verify(group),
        }
    }
}

impl EquivocationProof {
    /// See [`Notice::verify`].
    pub fn verify(&self, group: &GroupId) -> Result<Finding, ShowsNothing> {
        let (kind, accused, detail) = match self {
            Self::Ops(a, b) => {
                let (a, b) = (op(group, a)?, op(group, b)?);
                let run = a.body().incarnation.ok_or(ShowsNothing)?;
                let twins = a.author() == b.author() && a.body().seq == b.body().seq;
                check(twins && a.id() < b.id() && b.body().incarnation == Some(run))?;
                (0, a.author(), [run.0.as_slice(), &a.body().seq.to_be_bytes()].concat())
            }
            Self::Contents(head, both) => {
                let (head, [a, b]) = (head, &**both);
                let head = read(group, head)?;
                check(a.index == b.index && a.content < b.content)?;
                check(a.is_of(group, &head) && b.is_of(group, &head))?;
                let place = [a.chain.0.as_slice(), &a.index.to_be_bytes()].concat();
                (1, head.head().sender, place)
            }
            Self::Pages(a, b) => {
                check(a.as_slice() < b.as_slice())?;
                let (a, b) = (read(group, a)?, read(group, b)?);
                check(a.context() == b.context() && a.pages_hash() != b.pages_hash())?;
                (2, a.head().sender, a.chain().0.into())
            }
        };
        Ok(Finding::new(group, Verdict::Equivocation, accused, kind, &detail))
    }
}

impl CloneSuspicion {
    /// See [`Notice::verify`].
    pub fn verify(&self, group: &GroupId) -> Result<Finding, ShowsNothing> {
        let (kind, accused, detail) = match self {
            Self::Successors(a, b) => {
                check(a.as_slice() < b.as_slice())?;
                let (a, b) = (read(group, a)?, read(group, b)?);
                let before = follows(&a).ok_or(ShowsNothing)?;
                let same = a.head().sender == b.head().sender && a.chain() != b.chain();
                check(same && follows(&b) == Some(before))?;
                (0, a.head().sender, before.0.into())
            }
            Self::Beyond(head, record, next) => {
                let (head, next) = (read(group, head)?, read(group, next)?);
                let closing = next.head().closing.ok_or(ShowsNothing)?;
                check(head.head().sender == next.head().sender && closing.chain == head.chain())?;
                check(record.is_of(group, &head) && record.index >= closing.count)?;
                (1, head.head().sender, head.chain().0.into())
            }
            Self::Returned(path) => {
                check((3..=PATH).contains(&path.len()))?;
                let path =
                    path.iter().map(|head| read(group, head)).collect::<Result<Vec<_>, _>>()?;
                check(is_return(&path))?;
                let (first, last) = (&path[0], &path[path.len() - 1]);
                let runs = [first.head().incarnation.0.as_slice(), &last.chain().0].concat();
                (2, first.head().sender, runs)
            }
            Self::Ops(a, b) => {
                let (a, b) = (op(group, a)?, op(group, b)?);
                let (run, other) = (a.body().incarnation, b.body().incarnation);
                let twins = a.author() == b.author() && a.body().seq == b.body().seq;
                check(twins && a.id() < b.id() && (run.is_none() || run != other))?;
                (3, a.author(), a.body().seq.to_be_bytes().into())
            }
        };
        Ok(Finding::new(group, Verdict::Clone, accused, kind, &detail))
    }
}

impl Finding {
    fn new(group: &GroupId, verdict: Verdict, accused: MemberId, kind: u8, detail: &[u8]) -> Self {
        let grade = u8::from(verdict == Verdict::Clone);
        let parts: [&[u8]; 4] = [&group.0, &accused.0, &[grade, kind], detail];
        Self { accused, verdict, subject: Subject(kdf16(&[], Label::Evidence, &parts)) }
    }
}

/// Whether each of these follows the one before, and the last is of the run of the first with
/// another one between.
pub(crate) fn is_return(path: &[SignedHead]) -> bool {
    let [first, between @ .., last] = path else { return false };
    let run = first.head().incarnation;
    path.windows(2).all(|pair| {
        follows(&pair[1]) == Some(pair[0].chain()) && pair[0].head().sender == pair[1].head().sender
    }) && last.head().incarnation == run
        && between.iter().any(|head| head.head().incarnation != run)
}

/// The chain before this one, as its sender says.
pub(crate) fn follows(head: &SignedHead) -> Option<ChainId> {
    head.head().closing.map(|closing| closing.chain)
}

fn read(group: &GroupId, head: &ByteVec) -> Result<SignedHead, ShowsNothing> {
    SignedHead::from_bytes(head).ok().filter(|head| head.head().group == *group).ok_or(ShowsNothing)
}

/// An op by its author's own machine. A Retire is none: whoever makes one up signs it by a key that it
/// names itself, in anybody's name.
fn op(group: &GroupId, op: &ByteVec) -> Result<Op, ShowsNothing> {
    let own = |op: &Op| op.group() == *group && !matches!(op.body().kind, Kind::Retire { .. });
    Op::from_bytes(op).ok().filter(own).ok_or(ShowsNothing)
}

fn check(holds: bool) -> Result<(), ShowsNothing> {
    if holds { Ok(()) } else { Err(ShowsNothing) }
}

fn sorted(a: &SignedHead, b: &SignedHead) -> (ByteVec, ByteVec) {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a <= b { (bytes(a), bytes(b)) } else { (bytes(b), bytes(a)) }
}

fn bytes(bytes: &[u8]) -> ByteVec {
    Vec::from(bytes).into()
}

#[cfg(test)]
mod tests;
