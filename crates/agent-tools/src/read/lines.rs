//! Text by lines: numbered, a part at a time, in one pass and in bounded memory however long file or line are.

use std::io::{BufRead, BufReader};

use memchr::memchr;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Failure, Opened};
use crate::Outcome;
use crate::memory::{Digest, Digester};

pub(crate) const DEFAULT_LINES: u64 = 2000;
/// In characters.
pub(crate) const LONGEST_LINE: usize = 2000;
/// As much of a file as its kind is told from.
pub(crate) const HEAD_BYTES: u64 = 8192;

const LONGEST_ANSWER: u64 = 256 << 10;
const LONGEST_LARGE_ANSWER: u64 = 1 << 20;
const BUFFER_BYTES: usize = 64 << 10;
const MARK: &[u8] = b"\xef\xbb\xbf";

#[derive(Debug, Clone, Copy)]
pub(super) struct Selection {
    pub(super) offset: Option<u64>,
    pub(super) limit: Option<u64>,
    pub(super) allow_large: bool,
}

/// The selected lines, numbered and as they are.
struct Lines {
    first: u64,
    last: u64,
    limit: u64,
    numbered: String,
    content: String,
    shown: u64,
    total: u64,
}

pub(super) fn read(
    opened: Opened,
    selection: Selection,
    cancel: &CancellationToken,
) -> Result<(Outcome, Digest), Failure> {
    let limit = if selection.allow_large {
        LONGEST_LARGE_ANSWER
    } else {
        LONGEST_ANSWER
    };
    if memchr(0, &opened.head).is_some() {
        return Err(Failure::Binary {
            path: opened.path,
            size: opened.size,
        });
    }
    if selection.offset.is_none() && selection.limit.is_none() && opened.size > limit {
        return Err(Failure::TooLong {
            size: opened.size,
            limit,
        });
    }
    let first = selection.offset.unwrap_or(1).max(1);
    let last = first.saturating_add(selection.limit.unwrap_or(DEFAULT_LINES) - 1);
    let mut lines = Lines {
        first,
        last,
        limit,
        numbered: String::new(),
        content: String::new(),
        shown: 0,
        total: 0,
    };
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, opened.file);
    let digest = scan(&mut reader, &mut lines, cancel).map_err(|failure| match failure {
        Scan::Interrupted => Failure::Interrupted,
        Scan::TooLong(size) => Failure::TooLong { size, limit },
        Scan::Io(source) => Failure::Io {
            path: opened.path.clone(),
            source,
        },
    })?;
    let result = json!({
        "type": "text",
        "file": {
            "filePath": opened.path,
            "content": lines.content,
            "numLines": lines.shown,
            "startLine": first,
            "totalLines": lines.total,
        },
    });
    Ok((Outcome::text(lines.text(), result), digest))
}

impl Lines {
    fn text(self) -> String {
        if self.total == 0 {
            return "(The file is empty)".to_owned();
        }
        if self.shown == 0 {
            return format!(
                "(The file has {} lines; line {} is beyond its end)",
                self.total, self.first
            );
        }
        if self.total > self.last {
            let next = self.last.saturating_add(1);
            return format!(
                "{}\n(The file has {} lines; read on with offset {next})",
                self.numbered, self.total
            );
        }
        self.numbered
    }

    /// Takes the line after those so far. `kept` is its beginning, `length` all its bytes.
    fn accept(&mut self, kept: &[u8], length: u64) -> Result<(), Scan> {
        self.total += 1;
        if self.total < self.first || self.total > self.last {
            return Ok(());
        }
        let kept = kept.strip_suffix(b"\r").unwrap_or(kept);
        let kept = if self.total == 1 {
            kept.strip_prefix(MARK).unwrap_or(kept)
        } else {
            kept
        };
        let text = String::from_utf8_lossy(kept);
        if self.shown > 0 {
            self.numbered.push('\n');
            self.content.push('\n');
        }
        self.shown += 1;
        self.numbered.push_str(&self.total.to_string());
        self.numbered.push('\t');
        match text.char_indices().nth(LONGEST_LINE) {
            None => self.push(&text),
            Some((end, _)) => {
                self.push(&text[..end]);
                let rest = length.saturating_sub(end as u64);
                let note = format!("… [line cut: {rest} more bytes]");
                self.numbered.push_str(&note);
            }
        }
        let size = self.numbered.len() as u64;
        if size > self.limit {
            Err(Scan::TooLong(size))
        } else {
            Ok(())
        }
    }

    fn push(&mut self, text: &str) {
        self.numbered.push_str(text);
        self.content.push_str(text);
    }

    fn wants_next(&self) -> bool {
        (self.first..=self.last).contains(&(self.total + 1))
    }
}

enum Scan {
    Interrupted,
    /// What was gathered when it became too much, in bytes.
    TooLong(u64),
    Io(std::io::Error),
}

/// Goes through the whole file, for the number of its lines and its digest.
fn scan(reader: &mut impl BufRead, lines: &mut Lines, cancel: &CancellationToken) -> Result<Digest, Scan> {
    let mut digester = Digester::default();
    let mut kept = Vec::new();
    let mut length = 0_u64;
    loop {
        if cancel.is_cancelled() {
            return Err(Scan::Interrupted);
        }
        let buffer = reader.fill_buf().map_err(Scan::Io)?;
        if buffer.is_empty() {
            break;
        }
        digester.add(buffer);
        let mut rest = buffer;
        while let Some(end) = memchr(b'\n', rest) {
            keep(&mut kept, &rest[..end], lines);
            lines.accept(&kept, length + end as u64)?;
            kept.clear();
            length = 0;
            rest = &rest[end + 1..];
        }
        keep(&mut kept, rest, lines);
        length += rest.len() as u64;
        let consumed = buffer.len();
        reader.consume(consumed);
    }
    if length > 0 {
        lines.accept(&kept, length)?;
    }
    Ok(digester.finish())
}

/// Enough of a line to show, whatever its characters; of lines that are not shown nothing.
fn keep(kept: &mut Vec<u8>, piece: &[u8], lines: &Lines) {
    const ENOUGH: usize = LONGEST_LINE * 4 + 8;
    if lines.wants_next() {
        let room = ENOUGH.saturating_sub(kept.len()).min(piece.len());
        kept.extend_from_slice(&piece[..room]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(content: &[u8], first: u64, count: u64, buffer: usize) -> String {
        let mut lines = Lines {
            first,
            last: first + count - 1,
            limit: LONGEST_ANSWER,
            numbered: String::new(),
            content: String::new(),
            shown: 0,
            total: 0,
        };
        let mut reader = BufReader::with_capacity(buffer, content);
        let digest = scan(&mut reader, &mut lines, &CancellationToken::new());
        assert!(digest.is_ok_and(|digest| digest == Digest::of(content)));
        lines.text()
    }

    #[test]
    fn lines_are_numbered_whatever_the_buffer() {
        let table: [(&[u8], u64, u64, &str); 9] = [
            (b"a\nb\n", 1, 9, "1\ta\n2\tb"),
            (b"a\nb", 1, 9, "1\ta\n2\tb"),
            (b"a\r\nb\r\n", 1, 9, "1\ta\n2\tb"),
            (b"\n\n", 1, 9, "1\t\n2\t"),
            (b"", 1, 9, "(The file is empty)"),
            (
                b"a\nb\nc",
                2,
                1,
                "2\tb\n(The file has 3 lines; read on with offset 3)",
            ),
            (b"a\nb\nc", 3, 5, "3\tc"),
            (
                b"a\nb\nc",
                4,
                5,
                "(The file has 3 lines; line 4 is beyond its end)",
            ),
            (b"\xef\xbb\xbfa\xff", 1, 9, "1\ta\u{FFFD}"),
        ];
        for (content, first, count, expected) in table {
            for buffer in [1, 2, 3, 100] {
                assert_eq!(
                    numbered(content, first, count, buffer),
                    expected,
                    "{content:?} by {buffer}"
                );
            }
        }
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = "é".repeat(LONGEST_LINE + 7);
        let shown = numbered(line.as_bytes(), 1, 1, 4096);
        assert_eq!(
            shown,
            format!("1\t{}… [line cut: 14 more bytes]", "é".repeat(LONGEST_LINE))
        );
    }
}
