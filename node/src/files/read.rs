//! Reading a file to offer it.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use protocol::file::{FileName, Layout, Offer, ReadError, Reading, Source, TooLarge};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::open;
use crate::core::Made;

/// Why a file can't be offered.
#[derive(Debug, thiserror::Error)]
pub enum ReadFileError {
    /// It is no file: a directory, or something that has no size.
    #[error("this is no file that could be sent")]
    NoFile,
    /// It is too large.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// It was written to meanwhile.
    #[error(transparent)]
    Changed(#[from] ReadError),
    /// It is the node's own: its keys, or what it keeps.
    #[error("this is in the node's own directory: copy it elsewhere to send it")]
    Own,
    /// The system refuses.
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads a file from its beginning to its end. It blocks, for long where the file is large.
pub(super) fn read(path: &Path) -> Result<Made, ReadFileError> {
    let path: PathBuf = path.canonicalize()?;
    let (mut file, size) = open(&path)?.ok_or(ReadFileError::NoFile)?;
    let layout = Layout::new(size)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let reading = Reading::new(FileName::nearest(&name), layout, &mut rng()?);
    let source = through(reading, &mut file)??;
    Ok(Made { offer: source.offer().clone(), leaves: source.leaves(), path })
}

/// Reads a file that should be the one of an offer.
pub(super) fn again(offer: &Offer, file: &mut File) -> io::Result<Result<Source, ReadError>> {
    through(Reading::again(offer), file)
}

/// What it reads, unless it is not what was meant, or the system refuses.
fn through(mut reading: Reading, file: &mut File) -> io::Result<Result<Source, ReadError>> {
    let mut chunk = Vec::new();
    while let Some(length) = reading.wants() {
        chunk.resize(length, 0);
        match file.read_exact(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(Err(ReadError::Length));
            }
            read => read?,
        }
        if let Err(error) = reading.take(&chunk) {
            return Ok(Err(error));
        }
    }
    if file.read(&mut [0])? > 0 {
        return Ok(Err(ReadError::Length));
    }
    Ok(reading.finish())
}

fn rng() -> io::Result<ChaCha20Rng> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(|_| io::Error::other("no randomness"))?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use protocol::limits::{FILE_BYTES, FILE_CHUNK};

    use super::*;

    #[test]
    fn a_file_is_offered_as_it_is_and_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.pdf");
        for length in [0, 5, FILE_CHUNK, 2 * FILE_CHUNK + 5] {
            fs::write(&path, vec![7; length]).unwrap();
            let made = read(&path).unwrap();
            assert_eq!(made.offer.name().as_str(), "plan.pdf");
            assert_eq!(made.offer.layout().size(), length as u64);
            assert!(again(&made.offer, &mut File::open(&path).unwrap()).unwrap().is_ok());
            fs::write(&path, vec![7; length + 1]).unwrap();
            let changed = again(&made.offer, &mut File::open(&path).unwrap()).unwrap();
            assert_eq!(changed.err(), Some(ReadError::Length));
        }
    }

    #[test]
    fn what_is_no_file_or_too_large_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read(dir.path()), Err(ReadFileError::NoFile)));
        assert!(matches!(read(Path::new("/dev/zero")), Err(ReadFileError::NoFile)));
        assert!(matches!(read(&dir.path().join("none")), Err(ReadFileError::Io(_))));
        let large = dir.path().join("large");
        File::create(&large).unwrap().set_len(FILE_BYTES + 1).unwrap();
        assert!(matches!(read(&large), Err(ReadFileError::TooLarge(_))));
    }
}
