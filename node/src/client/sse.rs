//! Reads server-sent events out of bytes as they come, in chunks of any size.
//!
//! > Nothing is kept past [`FRAME_MAX`] bytes.

use thiserror::Error;

/// The longest event, in bytes.
pub(super) const FRAME_MAX: usize = 1 << 20;

/// One event, or an id on its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// The place to resume after.
    pub id: Option<u64>,
    /// What happened; none where only the place was told.
    pub data: Option<String>,
}

/// The events in a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Parser {
    buffer: Vec<u8>,
    scanned: usize,
    frame: Frame,
}

/// The stream is not what a node sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum SseError {
    /// An event is longer than [`FRAME_MAX`].
    #[error("an event is longer than {FRAME_MAX} bytes")]
    TooLong,
    /// A line that is not UTF-8.
    #[error("an event is not text")]
    NotText,
}

impl Parser {
    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), SseError> {
        if self.buffer.len() + bytes.len() > 2 * FRAME_MAX {
            return Err(SseError::TooLong);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole event, if it has come.
    pub fn poll(&mut self) -> Result<Option<Frame>, SseError> {
        while let Some(line) = self.line()? {
            if let Some(frame) = self.take(&line)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> Result<Option<String>, SseError> {
        let Some(end) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.buffer.len();
            return if self.scanned > FRAME_MAX { Err(SseError::TooLong) } else { Ok(None) };
        };
        let mut line: Vec<u8> = self.buffer.drain(..=self.scanned + end).collect();
        self.scanned = 0;
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).map(Some).map_err(|_| SseError::NotText)
    }

    fn take(&mut self, line: &str) -> Result<Option<Frame>, SseError> {
        if line.is_empty() {
            let frame = std::mem::take(&mut self.frame);
            return Ok((frame != Frame::default()).then_some(frame));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.frame.id = value.parse().ok(),
            "data" => match &mut self.frame.data {
                None => self.frame.data = Some(value.into()),
                Some(data) if data.len() + value.len() > FRAME_MAX => {
                    return Err(SseError::TooLong);
                }
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            },
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\nid: 6\n\n: keep-alive\n\nid: 7\r\nevent: message\r\n\
                          data: {\"text\":\"grün\"}\r\n\r\ndata: a\ndata:b\nretry: 5\n\n";

    fn frames(chunk: usize) -> Vec<Frame> {
        let (mut parser, mut frames) = (Parser::default(), Vec::new());
        for bytes in STREAM.as_bytes().chunks(chunk) {
            parser.feed(bytes).unwrap();
            while let Some(frame) = parser.poll().unwrap() {
                frames.push(frame);
            }
        }
        frames
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let expected = vec![
            Frame { id: Some(6), data: None },
            Frame { id: Some(7), data: Some("{\"text\":\"grün\"}".into()) },
            Frame { id: None, data: Some("a\nb".into()) },
        ];
        for chunk in 1..=STREAM.len() {
            assert_eq!(frames(chunk), expected, "in chunks of {chunk}");
        }
    }

    #[test]
    fn an_unfinished_event_is_not_shown() {
        let mut parser = Parser::default();
        parser.feed(b"id: 7\ndata: half").unwrap();
        assert_eq!(parser.poll(), Ok(None));
        parser.feed(b"\n").unwrap();
        assert_eq!(parser.poll(), Ok(None));
        parser.feed(b"\n").unwrap();
        assert_eq!(parser.poll(), Ok(Some(Frame { id: Some(7), data: Some("half".into()) })));
    }

    #[test]
    fn a_line_without_end_is_refused_at_its_bound() {
        let mut parser = Parser::default();
        let refused = (0..40).any(|_| {
            let full = parser.feed(&[b'x'; FRAME_MAX / 16]).is_err();
            full || parser.poll() == Err(SseError::TooLong)
        });
        assert!(refused && parser.buffer.len() <= 2 * FRAME_MAX);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let mut parser = Parser::default();
        parser.feed(&[b'd', 0xff, b'\n']).unwrap();
        assert_eq!(parser.poll(), Err(SseError::NotText));
    }
}
