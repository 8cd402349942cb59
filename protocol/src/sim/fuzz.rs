//! What a fuzzer feeds: each function takes any bytes, and panics where a law is broken.
//!
//! > Bytes from a peer never panic, and what is refused changes nothing.
//!
//! The targets in `fuzz/` are these functions, one each. The corpus beside them is run by the tests
//! of this crate too, which write what fuzzing begins with anew where `WATTLE_WRITE_CORPUS` is set.

mod channels;
mod decoders;
mod members;

pub use self::{
    channels::{handshake, join, letters, mailbox},
    decoders::{codes, decoders, relay, stored},
    members::{Stage, frames, group, seeds, statements},
};

/// Bytes as a row of choices. At its end it gives zeros.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    fn number(&mut self) -> u64 {
        self.bytes(8).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    /// The next `len` bytes, or what is left.
    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// As many bytes as the next two say.
    fn some(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()) << 8 | usize::from(self.byte());
        self.bytes(len)
    }

    fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, env, format, fs, path::Path, println, vec::Vec};

    use rand_chacha::{
        ChaCha20Rng,
        rand_core::{Rng, SeedableRng},
    };

    type Target = (&'static str, fn(&super::Stage, &[u8]));

    const TARGETS: &[Target] = &[
        ("codes", super::codes),
        ("decoders", super::decoders),
        ("frames", super::frames),
        ("group", super::group),
        ("handshake", super::handshake),
        ("join", super::join),
        ("letters", super::letters),
        ("mailbox", super::mailbox),
        ("relay", super::relay),
        ("statements", super::statements),
        ("stored", super::stored),
    ];

    /// Writes the inputs that fuzzing begins with.
    fn write(corpus: &Path) {
        let mut counts = BTreeMap::<_, usize>::new();
        for (target, input) in super::seeds() {
            let number = counts.entry(target).or_default();
            *number += 1;
            fs::create_dir_all(corpus.join(target)).unwrap();
            fs::write(corpus.join(target).join(format!("seed-{number:02}")), input).unwrap();
        }
    }

    #[test]
    fn the_corpus_and_a_little_noise_break_no_law() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        if env::var_os("WATTLE_WRITE_CORPUS").is_some() {
            write(&corpus);
        }
        let stage = super::Stage::default();
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        for (name, target) in TARGETS {
            let mut inputs = Vec::new();
            for file in fs::read_dir(corpus.join(name)).into_iter().flatten() {
                inputs.push(fs::read(file.unwrap().path()).unwrap());
            }
            println!("{name}: {} inputs", inputs.len());
            assert!(!inputs.is_empty(), "{name} has a corpus");
            for _ in 0..4 {
                let mut noise = std::vec![0; (rng.next_u64() % 300) as usize];
                rng.fill_bytes(&mut noise);
                inputs.push(noise);
            }
            inputs.iter().for_each(|input| target(&stage, input));
        }
    }
}
