//! Server-sent events, as a stream of bytes becomes records: in pieces of any size, bounded.

/// Of one record: the largest event, and what stands around it.
pub(crate) const MAX_RECORD: usize = 64 << 20;

/// A record without an `event:` line is a `message`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) id: Option<String>,
    pub(crate) event: String,
    pub(crate) data: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SseError {
    #[error("an event of it has more than {MAX_RECORD} bytes")]
    TooLarge,
    #[error("it is not UTF-8")]
    Encoding,
}

#[derive(Debug)]
pub(crate) struct Parser {
    /// The line that has not ended yet.
    line: Vec<u8>,
    record: Raw,
    has_data: bool,
    /// The last line ended with a carriage return: a line feed after it ends nothing.
    after_return: bool,
    begun: bool,
    limit: usize,
}

impl Default for Parser {
    fn default() -> Self {
        Self::bounded(MAX_RECORD)
    }
}

impl Parser {
    fn bounded(limit: usize) -> Self {
        Self {
            line: Vec::new(),
            record: Raw::default(),
            has_data: false,
            after_return: false,
            begun: false,
            limit,
        }
    }

    /// The records that these bytes complete.
    pub(crate) fn take(&mut self, mut bytes: &[u8], records: &mut impl Extend<Raw>) -> Result<(), SseError> {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + self.record.data.len() + piece.len() > self.limit {
                return Err(SseError::TooLarge);
            }
            self.line.extend_from_slice(piece);
            let Some(end) = end else { break };
            self.after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            records.extend(self.end_of_line(&line)?);
        }
        Ok(())
    }

    fn end_of_line(&mut self, line: &[u8]) -> Result<Option<Raw>, SseError> {
        let mut line = std::str::from_utf8(line).map_err(|_| SseError::Encoding)?;
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            let record = std::mem::take(&mut self.record);
            let is_one = std::mem::take(&mut self.has_data);
            return Ok(is_one.then(|| Raw {
                event: if record.event.is_empty() {
                    "message".to_owned()
                } else {
                    record.event
                },
                ..record
            }));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.record.event),
            "id" if !value.contains('\0') => self.record.id = Some(value.to_owned()),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.record.data.push('\n');
                }
                self.record.data.push_str(value);
            }
            // A comment, how soon to come back, or something that is not known.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The same in whatever pieces it comes.
    fn parsed(text: &[u8]) -> Vec<(Option<String>, String, String)> {
        let in_pieces_of = |size: usize| {
            let (mut parser, mut records) = (Parser::default(), Vec::new());
            for piece in text.chunks(size) {
                parser.take(piece, &mut records).unwrap();
            }
            records
        };
        let whole = in_pieces_of(text.len());
        for size in 1..5 {
            assert_eq!(in_pieces_of(size), whole, "in pieces of {size}");
        }
        whole
            .into_iter()
            .map(|record| (record.id, record.event, record.data))
            .collect()
    }

    fn record(id: Option<&str>, event: &str, data: &str) -> (Option<String>, String, String) {
        (id.map(str::to_owned), event.to_owned(), data.to_owned())
    }

    #[test]
    fn records_are_told_apart_by_empty_lines_of_any_ending() {
        for end in ["\n", "\r\n", "\r"] {
            let lines = [
                "id: 1",
                "event: a",
                "data: {}",
                "",
                ": comment",
                "retry: 5",
                "",
                "data:x",
                "data",
                "data:  y",
                "",
                "event: b",
                "",
                "data: cut",
            ];
            let text = lines.join(end);
            assert_eq!(
                parsed(text.as_bytes()),
                [record(Some("1"), "a", "{}"), record(None, "message", "x\n\n y")],
                "{end:?}"
            );
        }
    }

    #[test]
    fn a_mark_of_byte_order_is_left_out_and_an_id_with_a_nul_too() {
        assert_eq!(
            parsed("\u{feff}data: \u{e4}\nid: a\0b\n\n".as_bytes()),
            [record(None, "message", "\u{e4}")]
        );
    }

    #[test]
    fn what_never_ends_is_given_up() {
        for text in [
            "data: 123456789012345",
            "data: 1234567890\ndata: 12345",
            &":".repeat(100),
        ] {
            let mut parser = Parser::bounded(16);
            let taken = parser.take(text.as_bytes(), &mut Vec::new());
            assert_eq!(taken, Err(SseError::TooLarge), "{text}");
        }
        let taken = Parser::default().take(b"data: \xff\n", &mut Vec::new());
        assert_eq!(taken, Err(SseError::Encoding));
    }
}
