//! A record as it lies in the log: a head of fixed size and its bytes; and as it goes to the host: a line of JSON.

use base64::Engine as _;
use guest_protocol::{Data, Exit, OutputRecord, Payload, Stream};
use std::io;

/// Tag, length, cut bytes.
pub(super) const HEAD_BYTES: usize = 1 + 4 + 8;

const STDOUT: u8 = 0;
const STDERR: u8 = 1;
const EXIT_CODE: u8 = 2;
const EXIT_SIGNAL: u8 = 3;

/// What is appended to a log.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entry<'a> {
    Output {
        stream: Stream,
        bytes: &'a [u8],
        cut_bytes: u64,
    },
    Exit(Exit),
}

impl Entry<'_> {
    pub(super) fn stored_bytes(&self) -> usize {
        match self {
            Self::Output { bytes, .. } => HEAD_BYTES + bytes.len(),
            Self::Exit(_) => HEAD_BYTES + size_of::<i32>(),
        }
    }

    pub(super) fn store(&self, into: &mut Vec<u8>) {
        let number;
        let (tag, cut, bytes) = match self {
            Self::Output {
                stream: Stream::Stdout,
                bytes,
                cut_bytes,
            } => (STDOUT, *cut_bytes, *bytes),
            Self::Output {
                stream: Stream::Stderr,
                bytes,
                cut_bytes,
            } => (STDERR, *cut_bytes, *bytes),
            Self::Exit(Exit::Code(code)) => {
                number = code.to_le_bytes();
                (EXIT_CODE, 0, &number[..])
            }
            Self::Exit(Exit::Signal(signal)) => {
                number = signal.to_le_bytes();
                (EXIT_SIGNAL, 0, &number[..])
            }
        };
        into.push(tag);
        into.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        into.extend_from_slice(&cut.to_le_bytes());
        into.extend_from_slice(bytes);
    }
}

/// One stored record at the start of `stored`, and how many bytes it takes there.
pub(super) fn load(stored: &[u8]) -> io::Result<(Entry<'_>, usize)> {
    let damaged = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the outbox does not hold what was put there",
        )
    };
    let (head, rest) = stored.split_first_chunk::<HEAD_BYTES>().ok_or_else(damaged)?;
    let [tag, l0, l1, l2, l3, cut @ ..] = *head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let bytes = rest.get(..length).ok_or_else(damaged)?;
    let number = || {
        bytes
            .first_chunk()
            .copied()
            .map(i32::from_le_bytes)
            .ok_or_else(damaged)
    };
    let cut_bytes = u64::from_le_bytes(cut);
    let entry = match tag {
        STDOUT => Entry::Output {
            stream: Stream::Stdout,
            bytes,
            cut_bytes,
        },
        STDERR => Entry::Output {
            stream: Stream::Stderr,
            bytes,
            cut_bytes,
        },
        EXIT_CODE => Entry::Exit(Exit::Code(number()?)),
        EXIT_SIGNAL => Entry::Exit(Exit::Signal(number()?)),
        _ => return Err(damaged()),
    };
    Ok((entry, HEAD_BYTES + length))
}

/// Appends the record as one line.
pub(super) fn write_line(seq: u64, entry: Entry<'_>, into: &mut Vec<u8>) -> io::Result<()> {
    let payload = match entry {
        Entry::Output {
            stream,
            bytes,
            cut_bytes,
        } => Payload::Output(data(stream, bytes, cut_bytes)),
        Entry::Exit(exit) => Payload::Exit(exit),
    };
    serde_json::to_writer(&mut *into, &OutputRecord { seq, payload })?;
    into.push(b'\n');
    Ok(())
}

/// As text, unless it is none or would grow more by escapes than in base 64.
fn data(stream: Stream, bytes: &[u8], cut_bytes: u64) -> Data {
    let controls = bytes
        .iter()
        .filter(|byte| byte.is_ascii_control() && **byte != b'\n')
        .count();
    if controls > bytes.len() / 8 + 8 {
        let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
        return Data {
            stream,
            text: None,
            base64: Some(encoded),
            cut_bytes,
        };
    }
    Data::new(stream, bytes.to_vec(), cut_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use super::*;
    use guest_protocol::{MAX_DATA_BYTES, MAX_RECORD_BYTES};

    #[test]
    fn a_record_survives_being_stored() {
        let entries = [
            Entry::Output {
                stream: Stream::Stdout,
                bytes: b"",
                cut_bytes: 0,
            },
            Entry::Output {
                stream: Stream::Stderr,
                bytes: b"\xff\0",
                cut_bytes: u64::MAX,
            },
            Entry::Exit(Exit::Code(255)),
            Entry::Exit(Exit::Signal(9)),
        ];
        let mut stored = Vec::new();
        for entry in &entries {
            entry.store(&mut stored);
        }
        assert_eq!(
            stored.len(),
            entries.iter().map(Entry::stored_bytes).sum::<usize>()
        );
        let mut at = 0;
        for entry in entries {
            let (found, length) = load(&stored[at..]).unwrap();
            assert_eq!(format!("{found:?}"), format!("{entry:?}"));
            at += length;
        }
        assert!(load(&stored[at..]).is_err());
        assert!(load(&[9; HEAD_BYTES]).is_err());
    }

    #[test]
    fn the_longest_record_stays_under_the_limit_of_a_line() {
        for byte in [b'a', b'"', b'\n', 0, 0x1b, 0x7f, 0xff] {
            let bytes = vec![byte; MAX_DATA_BYTES];
            let mut line = Vec::new();
            let entry = Entry::Output {
                stream: Stream::Stdout,
                bytes: &bytes,
                cut_bytes: 1,
            };
            write_line(u64::MAX, entry, &mut line).unwrap();
            assert!(line.len() < MAX_RECORD_BYTES / 3, "{byte}: {}", line.len());
            let record: OutputRecord = serde_json::from_slice(&line).unwrap();
            let Payload::Output(data) = record.payload else {
                panic!("output stays output")
            };
            assert_eq!(data.into_bytes(), bytes);
        }
    }
}
