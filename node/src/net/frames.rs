//! Frames on a stream: a length, four bytes big-endian, and that many bytes.
//!
//! > The length is checked before anything is allocated for it.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest frame: a whole Noise message, behind the two clear bytes of a first one.
pub(super) const FRAME_MAX: usize = 65_535 + 2;

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The stream has ended or broke.
    #[error("the stream ended")]
    Ended,
    /// The other side announced more than may be.
    #[error("a frame of {bytes} bytes was announced")]
    TooLong { bytes: u32 },
}

impl From<io::Error> for ReadError {
    fn from(_: io::Error) -> Self {
        Self::Ended
    }
}

/// Reads the next frame, of at most [`FRAME_MAX`] bytes.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ReadError> {
    read_at_most(stream, FRAME_MAX).await
}

/// Reads the next frame, of at most so many bytes.
pub(super) async fn read_at_most(
    stream: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> Result<Vec<u8>, ReadError> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await?;
    let bytes = u32::from_be_bytes(prefix);
    let len = usize::try_from(bytes).unwrap_or(usize::MAX);
    if len > most {
        return Err(ReadError::TooLong { bytes });
    }
    let mut frame = vec![0; len];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

/// Writes one frame of at most [`FRAME_MAX`] bytes, without flushing.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    write_at_most(stream, frame, FRAME_MAX).await
}

/// Writes one frame of at most so many bytes, without flushing.
pub(super) async fn write_at_most(
    stream: &mut (impl AsyncWrite + Unpin),
    frame: &[u8],
    most: usize,
) -> io::Result<()> {
    let len = u32::try_from(frame.len())
        .ok()
        .filter(|_| frame.len() <= most)
        .ok_or(io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&len.to_be_bytes(), frame].concat()).await
}

#[cfg(test)]
mod tests {
    use futures::{executor::block_on, io::Cursor};

    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let mut wire = Vec::new();
        for frame in [&b""[..], b"one", &[7; FRAME_MAX]] {
            block_on(write(&mut wire, frame)).unwrap();
        }
        let mut wire = Cursor::new(wire);
        for frame in [&b""[..], b"one", &[7; FRAME_MAX]] {
            assert_eq!(block_on(read(&mut wire)).unwrap(), frame);
        }
        assert!(matches!(block_on(read(&mut wire)), Err(ReadError::Ended)));
    }

    #[test]
    fn a_length_past_the_limit_is_refused_on_both_sides() {
        let too_long = vec![0; FRAME_MAX + 1];
        assert!(block_on(write(&mut Vec::new(), &too_long)).is_err());
        for bytes in [FRAME_MAX as u32 + 1, u32::MAX] {
            let mut wire = Cursor::new(bytes.to_be_bytes());
            let refused = block_on(read(&mut wire));
            assert!(matches!(refused, Err(ReadError::TooLong { bytes: b }) if b == bytes));
        }
    }

    #[test]
    fn a_frame_that_is_cut_is_no_frame() {
        let mut wire = Vec::new();
        block_on(write(&mut wire, b"whole")).unwrap();
        for len in 0..wire.len() {
            let mut cut = Cursor::new(&wire[..len]);
            assert!(matches!(block_on(read(&mut cut)), Err(ReadError::Ended)), "{len} bytes");
        }
    }
}
