//! Server-sent events from bytes. Lines, events and the whole stream are bounded; what is not data is skipped.

/// The longest line, and the longest event of several data lines. The largest honest event is one block's start.
const MAX_EVENT: usize = 8 << 20;

/// The whole reply: far above 128,000 tokens with an envelope for each.
pub(super) const MAX_STREAM: usize = 256 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SseError {
    EventTooLong,
    StreamTooLong,
}

#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    total: usize,
    after_return: bool,
}

impl Parser {
    /// Takes bytes as they arrive and adds the data of each event that is complete.
    pub(super) fn push(&mut self, bytes: &[u8], events: &mut Vec<Vec<u8>>) -> Result<(), SseError> {
        self.total = self.total.saturating_add(bytes.len());
        if self.total > MAX_STREAM {
            return Err(SseError::StreamTooLong);
        }
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let skipped = self.after_return && at == 0 && rest[0] == b'\n';
            self.after_return = rest[at] == b'\r';
            if !skipped {
                self.extend_line(&rest[..at])?;
                self.end_line(events)?;
            }
            rest = &rest[at + 1..];
        }
        if !rest.is_empty() {
            self.after_return = false;
        }
        self.extend_line(rest)
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), SseError> {
        if self.line.len() + bytes.len() > MAX_EVENT {
            return Err(SseError::EventTooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<Vec<u8>>) -> Result<(), SseError> {
        if self.line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                events.push(std::mem::take(&mut self.data));
            }
            return Ok(());
        }
        if let Some(value) = self.line.strip_prefix(b"data:") {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            if self.data.len() + value.len() > MAX_EVENT {
                return Err(SseError::EventTooLong);
            }
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
            self.has_data = true;
        }
        self.line.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(bytes: &[u8], step: usize) -> Vec<String> {
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        for part in bytes.chunks(step) {
            parser.push(part, &mut events).unwrap();
        }
        events
            .into_iter()
            .map(|event| String::from_utf8(event).unwrap())
            .collect()
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let text = b": hello\nevent: a\ndata: {\"x\":1}\n\r\ndata:one\r\ndata: two\r\n\r\nid: 7\n\ndata:\n\nevent: cut\ndata: off";
        for step in [1, 2, 3, 7, 1000] {
            assert_eq!(events(text, step), ["{\"x\":1}", "one\ntwo", ""], "step {step}");
        }
    }

    #[test]
    fn a_line_without_end_and_an_event_without_end_are_errors() {
        let mut parser = Parser::default();
        assert_eq!(
            parser.push(&vec![b'x'; MAX_EVENT + 1], &mut Vec::new()),
            Err(SseError::EventTooLong)
        );
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        let line = [b"data: ", &vec![b'x'; MAX_EVENT / 2][..], b"\n"].concat();
        parser.push(&line, &mut events).unwrap();
        parser.push(&line, &mut events).unwrap();
        assert_eq!(parser.push(&line, &mut events), Err(SseError::EventTooLong));
    }

    #[test]
    fn a_stream_without_end_is_an_error() {
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        let chunk = [&vec![b':'; 1 << 20][..], b"\ndata: x\n\n"].concat();
        let error = (0..1000).find_map(|_| {
            events.clear();
            parser.push(&chunk, &mut events).err()
        });
        assert_eq!(error, Some(SseError::StreamTooLong));
    }
}
