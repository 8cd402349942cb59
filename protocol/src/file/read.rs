//! A pass over a file's bytes, from which its tree comes: to offer it, or to see that it is the one.

use alloc::vec::Vec;

use rand_core::CryptoRng;

use super::{
    FileKey, FileName, Layout, Offer,
    seal::Sealer,
    serve::NoAnswer,
    tree::{self, Hash, Tree},
    wire::Answer,
};
use crate::codec::{self, Malformed};

/// A file that is being read from its beginning, chunk by chunk.
pub struct Reading {
    name: FileName,
    key: FileKey,
    layout: Layout,
    sealer: Sealer,
    leaves: Vec<Hash>,
    expected: Option<Offer>,
}

/// A file that can be given: its offer, and its tree.
#[derive(Clone)]
pub struct Source {
    offer: Offer,
    sealer: Sealer,
    tree: Tree,
}

/// What was read is not the file that was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is shorter or longer than it was at the beginning.
    #[error("the file's length has changed while it was read")]
    Length,
    /// It is another one than the offer says.
    #[error("the file is not the one that was offered")]
    Another,
}

impl Reading {
    /// Begins to read a file of this layout, to offer it under a new key.
    pub fn new(name: FileName, layout: Layout, rng: &mut impl CryptoRng) -> Self {
        Self::under(name, FileKey::generate(rng), layout)
    }

    /// Begins to read a file that should be the one of an offer.
    #[must_use]
    pub fn again(offer: &Offer) -> Self {
        let reading = Self::under(offer.name.clone(), offer.key.clone(), offer.layout);
        Self { expected: Some(offer.clone()), ..reading }
    }

    fn under(name: FileName, key: FileKey, layout: Layout) -> Self {
        let sealer = Sealer::new(&key, layout);
        Self { name, key, layout, sealer, leaves: Vec::new(), expected: None }
    }

    /// How many bytes the next chunk has; `None` where all were taken.
    #[must_use]
    pub fn wants(&self) -> Option<usize> {
        self.layout.len(self.taken())
    }

    /// Takes the next chunk, of as many bytes as [`Self::wants`] says.
    pub fn take(&mut self, chunk: &[u8]) -> Result<(), ReadError> {
        if self.wants() != Some(chunk.len()) {
            return Err(ReadError::Length);
        }
        let index = self.taken();
        self.leaves.push(tree::leaf(index, &self.sealer.seal(index, chunk)));
        Ok(())
    }

    /// All chunks were taken.
    pub fn finish(self) -> Result<Source, ReadError> {
        if self.wants().is_some() {
            return Err(ReadError::Length);
        }
        let Self { name, key, layout, sealer, leaves, expected } = self;
        let tree = Tree::new(leaves);
        let root = tree.root(layout);
        let offer = match expected {
            Some(offer) if offer.root != root => return Err(ReadError::Another),
            Some(offer) => offer,
            None => Offer { name, layout, key, root, image: None },
        };
        Ok(Source { offer, sealer, tree })
    }

    /// How many chunks were taken.
    #[must_use]
    pub fn taken(&self) -> u32 {
        u32::try_from(self.leaves.len()).unwrap_or(u32::MAX)
    }
}

impl Source {
    /// Reads what [`Self::leaves`] gave, so that the file need not be read again.
    pub fn load(offer: Offer, leaves: &[u8]) -> Result<Self, Malformed> {
        let (leaves, rest) = leaves.as_chunks::<32>();
        let is_whole = rest.is_empty() && leaves.len() == offer.layout.chunks() as usize;
        let tree = Some(leaves).filter(|_| is_whole).map(|leaves| Tree::new(leaves.to_vec()));
        let tree = tree.filter(|tree| tree.root(offer.layout) == offer.root).ok_or(Malformed)?;
        Ok(Self { sealer: Sealer::new(&offer.key, offer.layout), offer, tree })
    }

    /// The leaves of its tree, joined: 32 bytes for each chunk, to be stored.
    #[must_use]
    pub fn leaves(&self) -> Vec<u8> {
        self.tree.leaves().as_flattened().to_vec()
    }

    /// What a message says of it.
    #[must_use]
    pub const fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The frame that gives one chunk, which was read from the file just now. Where it is no longer what
    /// was offered nothing is given: two contents are never sealed under one key.
    pub fn answer(&self, index: u32, chunk: &[u8]) -> Result<Vec<u8>, NoAnswer> {
        let named = self.tree.leaves().get(index as usize).ok_or(NoAnswer::NoSuchChunk)?;
        let sealed = self.sealer.seal(index, chunk);
        if tree::leaf(index, &sealed) != *named {
            return Err(NoAnswer::Changed);
        }
        let proof = self.tree.proof(index).as_flattened().to_vec();
        Ok(codec::encode(&Answer::Chunk { index, proof, sealed }))
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;
    use crate::limits::FILE_CHUNK;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n % 251) as u8).collect()
    }

    fn read(mut reading: Reading, bytes: &[u8]) -> Result<Source, ReadError> {
        bytes.chunks(FILE_CHUNK).try_for_each(|chunk| reading.take(chunk))?;
        reading.finish()
    }

    fn source(bytes: &[u8], seed: u64) -> Source {
        let name = FileName::new("a").unwrap();
        let layout = Layout::new(bytes.len() as u64).unwrap();
        read(Reading::new(name, layout, &mut ChaCha20Rng::seed_from_u64(seed)), bytes).unwrap()
    }

    #[test]
    fn the_same_file_is_known_again_and_another_is_not() {
        let file = bytes(3 * FILE_CHUNK + 17);
        let source = source(&file, 1);
        let again = read(Reading::again(source.offer()), &file).unwrap();
        assert_eq!(again.offer(), source.offer());
        let mut other = file.clone();
        other[2 * FILE_CHUNK] ^= 1;
        let again = |bytes: &[u8]| read(Reading::again(source.offer()), bytes).err();
        assert_eq!(again(&other), Some(ReadError::Another));
        assert_eq!(again(&file[..file.len() - 1]), Some(ReadError::Length));
        assert_eq!(again(&[&file[..], &[0]].concat()), Some(ReadError::Length));
        assert_eq!(again(&file[..FILE_CHUNK]), Some(ReadError::Length));
    }

    #[test]
    fn one_file_offered_twice_has_nothing_in_common_to_others() {
        let file = bytes(2 * FILE_CHUNK);
        let (once, again) = (source(&file, 1), source(&file, 2));
        assert_ne!(once.offer().id(), again.offer().id());
        assert!(once.tree.leaves().iter().all(|leaf| !again.tree.leaves().contains(leaf)));
    }

    #[test]
    fn stored_leaves_are_taken_up_and_changed_ones_refused() {
        let file = bytes(2 * FILE_CHUNK + 1);
        let source = source(&file, 1);
        let leaves = source.leaves();
        let loaded = Source::load(source.offer().clone(), &leaves).unwrap();
        assert_eq!(
            loaded.answer(2, &file[2 * FILE_CHUNK..]),
            source.answer(2, &[file[2 * FILE_CHUNK]])
        );
        for at in 0..leaves.len() {
            let mut changed = leaves.clone();
            changed[at] ^= 1;
            assert!(Source::load(source.offer().clone(), &changed).is_err());
        }
        for length in [0, 32, 64, 95, 97, 128] {
            let mut other = leaves.clone();
            other.resize(length, 0);
            assert!(Source::load(source.offer().clone(), &other).is_err(), "{length}");
        }
    }

    #[test]
    fn what_has_changed_since_is_not_given() {
        let file = bytes(FILE_CHUNK + 5);
        let source = source(&file, 1);
        assert!(source.answer(1, &file[FILE_CHUNK..]).is_ok());
        assert_eq!(source.answer(1, &[9; 5]), Err(NoAnswer::Changed));
        assert_eq!(source.answer(1, &file[FILE_CHUNK..][..4]), Err(NoAnswer::Changed));
        assert_eq!(source.answer(0, &file[FILE_CHUNK..]), Err(NoAnswer::Changed));
        assert_eq!(source.answer(2, &[]), Err(NoAnswer::NoSuchChunk));
    }

    #[test]
    fn an_empty_file_has_one_chunk() {
        let mut reading = Reading::again(source_of_nothing().offer());
        assert_eq!(reading.wants(), Some(0));
        reading.take(&[]).unwrap();
        assert_eq!(reading.wants(), None);
        assert_eq!(reading.take(&[]), Err(ReadError::Length));
        assert!(reading.finish().is_ok());
    }

    fn source_of_nothing() -> Source {
        let layout = Layout::new(0).unwrap();
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let mut reading = Reading::new(FileName::new("a").unwrap(), layout, rng);
        reading.take(&[]).unwrap();
        reading.finish().unwrap()
    }
}
