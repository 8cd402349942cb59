//! What waits to be written on one stream: bounded in frames and in bytes.
//!
//! > A peer that stops reading costs this much and no more; then its stream is closed, and sync
//! > makes good what was lost.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc;

/// Frames that may wait.
const FRAMES: usize = 1024;
/// Bytes that may wait.
const BYTES: usize = 16 * 1024 * 1024;

pub(super) struct Sender {
    frames: mpsc::Sender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

pub(super) struct Receiver {
    frames: mpsc::Receiver<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

/// The frame was not taken: too many wait, or nobody writes any more.
#[derive(Debug, thiserror::Error)]
#[error("the stream takes no more")]
pub(super) struct Full;

pub(super) fn queue() -> (Sender, Receiver) {
    let (frames, taken) = mpsc::channel(FRAMES);
    let waiting = Arc::new(AtomicUsize::new(0));
    (Sender { frames, waiting: Arc::clone(&waiting) }, Receiver { frames: taken, waiting })
}

impl Sender {
    pub(super) fn push(&self, frame: Vec<u8>) -> Result<(), Full> {
        let bytes = frame.len();
        if self.waiting.load(Ordering::Relaxed) + bytes > BYTES {
            return Err(Full);
        }
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.frames.try_send(frame).map_err(|_| {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            Full
        })
    }
}

impl Receiver {
    /// The next frame; none once the sender is gone and everything is taken.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        let frame = self.frames.recv().await?;
        self.waiting.fetch_sub(frame.len(), Ordering::Relaxed);
        Some(frame)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn it_takes_so_many_bytes_and_so_many_frames() {
        let (sender, mut receiver) = queue();
        for _ in 0..BYTES / 65_536 {
            sender.push(vec![0; 65_536]).unwrap();
        }
        assert!(sender.push(vec![0]).is_err());
        assert_eq!(block_on(receiver.next()).unwrap().len(), 65_536);
        sender.push(vec![0]).unwrap();

        let (sender, _receiver) = queue();
        for _ in 0..FRAMES {
            sender.push(Vec::new()).unwrap();
        }
        assert!(sender.push(Vec::new()).is_err());
    }

    #[test]
    fn what_was_taken_is_given_after_the_sender_is_gone() {
        let (sender, mut receiver) = queue();
        sender.push(b"last".to_vec()).unwrap();
        drop(sender);
        assert_eq!(block_on(receiver.next()).unwrap(), b"last");
        assert!(block_on(receiver.next()).is_none());
    }
}
