//! One file that is being fetched, of several members at once.
//!
//! The order in which to call it: a verb, a handler or a deadline, then [`Fetch::poll`] until it gives
//! nothing. What [`Fetch::on_frame`] gives is written to the file at its place; [`Fetch::save`] says what
//! was given, and is stored when all of that is on the disk: after a crash [`Fetch::load`] goes on there.
//!
//! > A chunk that is not of the file is never given to the caller, and whoever sent one is not asked again.
//! > Each chunk is asked of one source; the last ones of two, so that no slow one has the end to itself.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use minicbor::{Decode, Encode};

use super::{
    Offer, Range, Refusal,
    held::Held,
    seal::Sealer,
    tree,
    wire::{self, Answer, Request},
};
use crate::{
    codec::{self, Malformed},
    ids::{FileId, MemberId, Timestamp},
    limits::{FILE_CHUNK, FILE_SILENCE_MS, FILE_SOURCES, FILE_WINDOW},
};

/// A file that is being fetched.
pub struct Fetch {
    offer: Offer,
    sealer: Sealer,
    held: Held,
    sources: BTreeMap<MemberId, Asking>,
    /// Members who gave what is not of the file, or broke the rules.
    shut_out: BTreeSet<MemberId>,
    steps: VecDeque<Step>,
}

/// A member that is asked.
struct Asking {
    /// What it was asked for and has not given: at most [`FILE_WINDOW`] chunks.
    open: BTreeSet<u32>,
    /// When it gave something, or was asked while it owed nothing.
    heard: Timestamp,
}

/// Work for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send a frame on the stream of this source.
    Send {
        /// To whom.
        to: MemberId,
        /// The frame.
        frame: Vec<u8>,
    },
    /// End the stream of this source: it is none any more.
    Drop {
        /// Whose.
        source: MemberId,
        /// Why.
        fault: Fault,
    },
}

/// Why somebody is no source any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It sent what is not of the file. It is not taken again.
    #[error("it sent what is not of the file")]
    Lied,
    /// It broke the protocol. It is not taken again.
    #[error("it broke the protocol")]
    Broke,
    /// It was silent for [`FILE_SILENCE_MS`] with something asked of it.
    #[error("it gave nothing for too long")]
    Silent,
    /// It said why it gives nothing.
    #[error(transparent)]
    Refused(Refusal),
}

/// Why somebody is not taken as a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is one.
    #[error("it is asked already")]
    Known,
    /// It lied, or broke the protocol.
    #[error("it gave what is not of the file, or broke the protocol")]
    ShutOut,
    /// There are [`FILE_SOURCES`].
    #[error("as many are asked as may be")]
    Full,
}

/// A part of the file, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// The part.
    pub bytes: Vec<u8>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are there.
    pub bytes: u64,
    /// Of how many.
    pub size: u64,
    /// Members that are asked.
    pub sources: usize,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Stored {
    #[n(0)]
    version: u8,
    #[n(1)]
    file: FileId,
    #[cbor(n(2), with = "minicbor::bytes")]
    held: Vec<u8>,
}

const VERSION: u8 = 1;

/// Chunks that are asked of a second source, when all that are missing have been asked of a first one.
const TAIL: usize = 8;

impl Fetch {
    /// Nothing of it is there.
    #[must_use]
    pub fn new(offer: Offer) -> Self {
        let held = Held::none(offer.layout().chunks());
        Self::with(offer, held)
    }

    /// Goes on where [`Self::save`] was called.
    pub fn load(offer: Offer, stored: &[u8]) -> Result<Self, Malformed> {
        let Stored { version, file, held } = codec::decode(stored)?;
        let held = Held::from_bytes(&held, offer.layout().chunks())
            .filter(|_| version == VERSION && file == offer.id())
            .ok_or(Malformed)?;
        Ok(Self::with(offer, held))
    }

    fn with(offer: Offer, held: Held) -> Self {
        Self {
            sealer: Sealer::new(&offer.key, offer.layout),
            offer,
            held,
            sources: BTreeMap::new(),
            shut_out: BTreeSet::new(),
            steps: VecDeque::new(),
        }
    }

    /// What was given so far, to be stored once it is on the disk.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let held = self.held.as_bytes().to_vec();
        codec::encode(&Stored { version: VERSION, file: self.offer.id(), held })
    }

    /// A stream with a member who may have the file is open.
    pub fn add(&mut self, source: MemberId, now: Timestamp) -> Result<(), NotTaken> {
        if self.shut_out.contains(&source) {
            return Err(NotTaken::ShutOut);
        }
        if self.sources.contains_key(&source) {
            return Err(NotTaken::Known);
        }
        if self.sources.len() == FILE_SOURCES {
            return Err(NotTaken::Full);
        }
        self.sources.insert(source, Asking { open: BTreeSet::new(), heard: now });
        self.ask(now);
        Ok(())
    }

    /// The stream with a source is gone: others are asked for what it owes.
    pub fn remove(&mut self, source: &MemberId, now: Timestamp) {
        if self.sources.remove(source).is_some() {
            self.ask(now);
        }
    }

    /// Takes a frame of a source; gives the part of the file that was in it, if it was not there.
    pub fn on_frame(&mut self, from: &MemberId, frame: &[u8], now: Timestamp) -> Option<Piece> {
        let asking = self.sources.get_mut(from)?;
        let taken = match Answer::read(frame) {
            Ok(Answer::Chunk { index, proof, sealed }) if asking.open.remove(&index) => {
                asking.heard = now;
                self.take(index, &proof, sealed)
            }
            Ok(Answer::Refused { reason }) => Err(Fault::Refused(reason)),
            Ok(Answer::Chunk { .. }) | Err(Malformed) => Err(Fault::Broke),
        };
        let piece = taken.unwrap_or_else(|fault| {
            self.end(*from, fault);
            None
        });
        self.ask(now);
        piece
    }

    /// Ends who was silent for too long.
    pub fn on_time(&mut self, now: Timestamp) {
        let late =
            self.sources.iter().filter(|(_, asking)| asking.until().is_some_and(|at| at <= now));
        let late: Vec<MemberId> = late.map(|(source, _)| *source).collect();
        if !late.is_empty() {
            late.into_iter().for_each(|source| self.end(source, Fault::Silent));
            self.ask(now);
        }
    }

    /// When to call [`Self::on_time`].
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.sources.values().filter_map(Asking::until).min()
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// Which file it is.
    #[must_use]
    pub const fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Whether all of it was given.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.held.is_whole()
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let layout = self.offer.layout;
        let last = layout.chunks() - 1;
        let short = FILE_CHUNK - layout.len(last).unwrap_or(FILE_CHUNK);
        let short = if self.held.has(last) { short as u64 } else { 0 };
        let bytes = u64::from(self.held.count()) * FILE_CHUNK as u64 - short;
        Progress { bytes, size: layout.size(), sources: self.sources.len() }
    }

    /// A chunk that was asked for; `None` where another source gave it before.
    fn take(&mut self, index: u32, proof: &[u8], sealed: Vec<u8>) -> Result<Option<Piece>, Fault> {
        if self.held.has(index) {
            return Ok(None);
        }
        let (root, layout) = (&self.offer.root, self.offer.layout);
        let proof = wire::hashes(proof).ok_or(Fault::Broke)?;
        if !tree::holds(root, layout, index, tree::leaf(index, &sealed), &proof) {
            return Err(Fault::Lied);
        }
        // What the tree names and does not open was made so by whoever offered it.
        let bytes = self.sealer.open(index, sealed).ok_or(Fault::Lied)?;
        self.held.add(index);
        Ok(Some(Piece { offset: layout.offset(index), bytes }))
    }

    fn end(&mut self, source: MemberId, fault: Fault) {
        self.sources.remove(&source);
        if matches!(fault, Fault::Lied | Fault::Broke) {
            self.shut_out.insert(source);
        }
        self.steps.push_back(Step::Drop { source, fault });
    }

    /// Asks those who owe little for more.
    fn ask(&mut self, now: Timestamp) {
        let owes_little = |asking: &Asking| asking.open.len() <= FILE_WINDOW as usize / 2;
        let few: Vec<MemberId> = self
            .sources
            .iter()
            .filter(|(_, asking)| owes_little(asking))
            .map(|(id, _)| *id)
            .collect();
        if few.is_empty() || self.is_whole() {
            return;
        }
        let mut asked: BTreeMap<u32, usize> = BTreeMap::new();
        for index in self.sources.values().flat_map(|asking| &asking.open) {
            *asked.entry(*index).or_default() += 1;
        }
        for source in few {
            let Some(asking) = self.sources.get_mut(&source) else { continue };
            let room = FILE_WINDOW as usize - asking.open.len();
            let of_none = |index: &u32| !asked.contains_key(index);
            let mut ranges = Range::of(self.held.missing().filter(of_none).take(room));
            if ranges.is_empty() && asking.open.is_empty() {
                let of_one = |index: &u32| asked.get(index) == Some(&1);
                ranges = Range::of(self.held.missing().filter(of_one).take(TAIL));
            }
            if ranges.is_empty() {
                continue;
            }
            if asking.open.is_empty() {
                asking.heard = now;
            }
            for index in ranges.iter().flat_map(|range| range.indexes()) {
                asking.open.insert(index);
                *asked.entry(index).or_default() += 1;
            }
            let frame = codec::encode(&Request::Want { file: self.offer.id(), ranges });
            self.steps.push_back(Step::Send { to: source, frame });
        }
    }
}

impl Asking {
    /// Until when something must come, where something was asked for.
    fn until(&self) -> Option<Timestamp> {
        (!self.open.is_empty()).then(|| self.heard.plus_ms(FILE_SILENCE_MS))
    }
}
