//! Server-sent events, read as they pass and in pieces of any size.
//!
//! Nothing of the stream is changed or kept beyond one event, and of an event no more than a limit: a stream that
//! never ends a line costs no more memory than one that does.

/// The most that is kept of one event's data; usage fits many times.
pub(crate) const MAX_EVENT_BYTES: usize = 1 << 20;

/// What an empty buffer may keep of its memory.
const KEPT_CAPACITY: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event<'data> {
    Data(&'data [u8]),
    /// An event that was too long to be read, by its length.
    TooLong(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Reader {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// Bytes of this event that were not kept.
    dropped: u64,
    /// The last byte was a carriage return, so a line feed belongs to it.
    after_return: bool,
}

impl Reader {
    pub(crate) fn push(&mut self, mut bytes: &[u8], on_event: &mut dyn FnMut(Event<'_>)) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.keep(bytes);
                return;
            };
            self.keep(&bytes[..end]);
            self.after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line(on_event);
        }
    }

    /// Whether the stream stands between two events, so that another one may be put in.
    pub(crate) fn between_events(&self) -> bool {
        self.line.is_empty() && !self.has_data && self.dropped == 0
    }

    fn keep(&mut self, part: &[u8]) {
        let room = MAX_EVENT_BYTES.saturating_sub(self.line.len() + self.data.len());
        let kept = part.len().min(room);
        self.line.extend_from_slice(&part[..kept]);
        self.dropped += (part.len() - kept) as u64;
    }

    fn end_line(&mut self, on_event: &mut dyn FnMut(Event<'_>)) {
        if self.line.is_empty() {
            // A line of which nothing was kept is not an empty one, but its event is lost either way.
            self.end_event(on_event);
            return;
        }
        if let Some(value) = self.line.strip_prefix(b"data:") {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data
                .extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
            self.has_data = true;
        }
        self.line.clear();
        self.line.shrink_to(KEPT_CAPACITY);
    }

    fn end_event(&mut self, on_event: &mut dyn FnMut(Event<'_>)) {
        if self.dropped > 0 {
            on_event(Event::TooLong(self.data.len() as u64 + self.dropped));
        } else if self.has_data {
            on_event(Event::Data(&self.data));
        }
        self.data.clear();
        self.data.shrink_to(KEPT_CAPACITY);
        self.has_data = false;
        self.dropped = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parts: &[&[u8]]) -> Vec<String> {
        let mut reader = Reader::default();
        let mut seen = Vec::new();
        for part in parts {
            reader.push(part, &mut |event| {
                seen.push(match event {
                    Event::Data(data) => String::from_utf8(data.to_vec()).unwrap(),
                    Event::TooLong(length) => format!("too long: {length}"),
                });
            });
        }
        seen
    }

    #[test]
    fn events_are_the_same_wherever_the_stream_is_cut() {
        let stream = b"event: a\r\ndata: one\r\n\r\n: comment\ndata:two\ndata: more\n\n\n\nevent: none\n\rdata: three\r\r";
        let expected = ["one", "two\nmore", "three"];
        assert_eq!(read(&[stream]), expected);
        for cut in 0..stream.len() {
            assert_eq!(read(&[&stream[..cut], &stream[cut..]]), expected, "{cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(&bytes), expected);
    }

    #[test]
    fn an_endless_line_is_counted_and_not_kept() {
        let mut reader = Reader::default();
        let piece = vec![b'x'; 1 << 16];
        reader.push(b"data: ", &mut |_| panic!("there is no event"));
        for _ in 0..100 {
            reader.push(&piece, &mut |_| panic!("there is no event"));
        }
        assert!(reader.line.capacity() <= 2 * MAX_EVENT_BYTES);
        assert!(!reader.between_events());
        let mut seen = Vec::new();
        reader.push(b"\n\ndata: next\n\n", &mut |event| {
            seen.push(format!("{event:?}"));
        });
        assert_eq!(seen.len(), 2);
        assert!(seen[0].starts_with("TooLong"));
        assert!(reader.between_events());
    }

    #[test]
    fn an_event_that_is_cut_is_not_seen() {
        assert!(read(&[b"data: {\"type\":\"message_st"]).is_empty());
    }
}
