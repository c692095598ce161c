//! Where one record ends and the next begins. No record has more than [`MAX_DATA_BYTES`] of data.

use guest_protocol::MAX_DATA_BYTES;

/// Cuts a byte stream into records.
pub(super) enum Framer {
    /// Whatever a read returned.
    Chunks,
    Lines(Lines),
}

/// The line that has begun. Of a longer line than is allowed the rest is only counted.
#[derive(Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    cut_bytes: u64,
}

impl Framer {
    /// Gives each record that `bytes` complete to `emit`, with the number of bytes that were cut off it.
    pub(super) fn feed(&mut self, bytes: &[u8], mut emit: impl FnMut(&[u8], u64)) {
        let Self::Lines(lines) = self else {
            return emit(bytes, 0);
        };
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if lines.is_empty() {
                emit(&rest[..end], 0);
            } else {
                lines.push(&rest[..end]);
                lines.end(&mut emit);
            }
            rest = &rest[end + 1..];
        }
        lines.push(rest);
    }

    /// The end of the stream: what has begun is the last record.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(&[u8], u64)) {
        if let Self::Lines(lines) = self
            && !lines.is_empty()
        {
            lines.end(&mut emit);
        }
    }
}

impl Lines {
    fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }

    fn push(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(MAX_DATA_BYTES - self.begun.len());
        self.begun.extend_from_slice(&bytes[..kept]);
        self.cut_bytes += (bytes.len() - kept) as u64;
    }

    fn end(&mut self, emit: &mut impl FnMut(&[u8], u64)) {
        let line = std::mem::take(self);
        emit(&line.begun, line.cut_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<(Vec<u8>, u64)> {
        let mut framer = Framer::Lines(Lines::default());
        let mut found = Vec::new();
        for piece in pieces {
            framer.feed(piece, |line, cut| found.push((line.to_vec(), cut)));
        }
        framer.finish(|line, cut| found.push((line.to_vec(), cut)));
        found
    }

    #[test]
    fn lines_are_found_wherever_the_pieces_are_cut() {
        let whole = b"one\n\ntwo\r\n\xff\nlast";
        let expected: Vec<(Vec<u8>, u64)> = [&b"one"[..], b"", b"two\r", b"\xff", b"last"]
            .iter()
            .map(|line| (line.to_vec(), 0))
            .collect();
        for cut in 0..=whole.len() {
            let (left, right) = whole.split_at(cut);
            assert_eq!(lines(&[left, right]), expected, "cut at {cut}");
        }
        let single: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(lines(&single), expected);
    }

    #[test]
    fn an_over_long_line_is_cut_and_the_next_is_whole() {
        let long = vec![b'x'; MAX_DATA_BYTES];
        let found = lines(&[&long, b"yy", b"yyy\nnext\n"]);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].0.len(), found[0].1), (MAX_DATA_BYTES, 5));
        assert_eq!(found[1], (b"next".to_vec(), 0));
    }

    #[test]
    fn chunks_stay_as_they_are() {
        let mut found = Vec::new();
        Framer::Chunks.feed(b"a\nb", |chunk, _| found.push(chunk.to_vec()));
        Framer::Chunks.finish(|_, _| panic!("nothing is left"));
        assert_eq!(found, [b"a\nb"]);
    }
}
