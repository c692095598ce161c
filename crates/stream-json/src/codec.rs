//! Frames over a byte stream: one per line, each line limited, blank lines skipped.

use crate::{Frame, FrameError};
use bytes::{BufMut, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// What the Python SDK takes as one message by default is 1 MiB; prompts with images are larger.
pub const DEFAULT_MAX_LINE: usize = 32 * 1024 * 1024;

/// Newline-delimited JSON with a limit per line. After an error the stream is over.
#[derive(Debug, Clone)]
pub struct Codec {
    max_line: usize,
    /// Bytes at the front of the buffer known to hold no line end.
    scanned: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("a line is longer than {limit} bytes")]
    LineTooLong { limit: usize },
    #[error("bad line")]
    Frame {
        #[from]
        source: FrameError,
    },
    #[error("the stream failed")]
    Io {
        #[from]
        source: std::io::Error,
    },
}

impl Codec {
    pub fn new(max_line: usize) -> Self {
        Self { max_line, scanned: 0 }
    }
}

impl Default for Codec {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_LINE)
    }
}

fn without_blanks(line: &[u8]) -> &[u8] {
    line.trim_ascii()
}

impl Decoder for Codec {
    type Item = Frame;
    type Error = CodecError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        loop {
            let Some(offset) = buffer[self.scanned..].iter().position(|&byte| byte == b'\n') else {
                self.scanned = buffer.len();
                if self.scanned > self.max_line {
                    return Err(CodecError::LineTooLong { limit: self.max_line });
                }
                return Ok(None);
            };
            let end = self.scanned + offset;
            self.scanned = 0;
            if end > self.max_line {
                return Err(CodecError::LineTooLong { limit: self.max_line });
            }
            let line = buffer.split_to(end + 1);
            let line = without_blanks(&line);
            if !line.is_empty() {
                return Ok(Some(Frame::parse(line)?));
            }
        }
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        if let Some(frame) = self.decode(buffer)? {
            return Ok(Some(frame));
        }
        self.scanned = 0;
        let rest = buffer.split();
        let line = without_blanks(&rest);
        if line.is_empty() {
            Ok(None)
        } else {
            Ok(Some(Frame::parse(line)?))
        }
    }
}

impl Encoder<&Frame> for Codec {
    type Error = CodecError;

    fn encode(&mut self, frame: &Frame, buffer: &mut BytesMut) -> Result<(), CodecError> {
        let start = buffer.len();
        serde_json::to_writer(buffer.writer(), frame).map_err(|source| FrameError::Unwritable { source })?;
        if buffer.len() - start > self.max_line {
            buffer.truncate(start);
            return Err(CodecError::LineTooLong { limit: self.max_line });
        }
        buffer.put_u8(b'\n');
        Ok(())
    }
}

impl Encoder<Frame> for Codec {
    type Error = CodecError;

    fn encode(&mut self, frame: Frame, buffer: &mut BytesMut) -> Result<(), CodecError> {
        self.encode(&frame, buffer)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn decode_all(codec: &mut Codec, bytes: &[u8]) -> Result<Vec<Frame>, CodecError> {
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for byte in bytes {
            buffer.put_u8(*byte);
            while let Some(frame) = codec.decode(&mut buffer)? {
                frames.push(frame);
            }
        }
        while let Some(frame) = codec.decode_eof(&mut buffer)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn frames_arrive_whole_however_the_bytes_are_cut() {
        let text =
            b"\n  \r\n{\"type\":\"keep_alive\"}\r\n{\"type\":\"x\",\"a\":1}\n{\"type\":\"keep_alive\"}";
        let frames = decode_all(&mut Codec::default(), text).unwrap();
        assert!(
            matches!(
                frames.as_slice(),
                [Frame::KeepAlive, Frame::Unknown(_), Frame::KeepAlive]
            ),
            "{frames:?}"
        );
    }

    #[test]
    fn a_line_that_never_ends_is_cut_off_at_the_limit() {
        let mut buffer = BytesMut::from(&[b'x'; 65][..]);
        let error = Codec::new(64).decode(&mut buffer).unwrap_err();
        assert!(matches!(error, CodecError::LineTooLong { limit: 64 }));
        let long = format!("{{\"type\":\"{}\"}}\n", "x".repeat(64));
        assert!(decode_all(&mut Codec::new(64), long.as_bytes()).is_err());
    }

    #[test]
    fn what_is_encoded_is_one_line_and_a_frame_over_the_limit_leaves_nothing_behind() {
        let frame = Frame::parse(b"{\"type\":\"x\", \"text\":\"a\\nb\"}").unwrap();
        let mut buffer = BytesMut::new();
        Codec::default().encode(&frame, &mut buffer).unwrap();
        assert_eq!(&buffer[..], b"{\"type\":\"x\", \"text\":\"a\\nb\"}\n");
        buffer.clear();
        assert!(Codec::new(5).encode(&frame, &mut buffer).is_err());
        assert!(buffer.is_empty());
    }
}
