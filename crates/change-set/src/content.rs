//! Contents of files: whether they are the same, and how many lines came and went. Everything read is bounded, and an
//! adversarial pair of files costs a bounded time.

use crate::change_set::Lines;
use crate::limits::{CHUNK_BYTES, DIFF_TIME_TOTAL, MAX_COUNTED_BYTES, MAX_TEXT_BYTES};
use crate::path::RelativePath;
use crate::source::{Pieces, Source, SourceError};
use line_diff::Count;
use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// How much a whole change set may still read and compare for its line counts.
pub(crate) struct Budget {
    bytes: u64,
    time: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: MAX_COUNTED_BYTES,
            time: DIFF_TIME_TOTAL,
        }
    }
}

impl Budget {
    /// Whether files of these sizes may be read for their lines.
    pub(crate) fn admit(&mut self, sizes: &[u64]) -> bool {
        let sum = sizes.iter().fold(0_u64, |sum, size| sum.saturating_add(*size));
        if sizes.iter().any(|size| *size > MAX_TEXT_BYTES) || sum > self.bytes || self.time.is_zero() {
            return false;
        }
        self.bytes -= sum;
        true
    }

    /// Lines added and removed between two contents.
    pub(crate) fn count(&mut self, old: &[u8], new: &[u8]) -> Lines {
        if is_binary(old) || is_binary(new) {
            return Lines::Binary;
        }
        let began = Instant::now();
        let Count { added, removed } = line_diff::count(old, new);
        self.time = self.time.saturating_sub(began.elapsed());
        Lines::Counted { added, removed }
    }
}

/// As Git judges it: a NUL byte near the beginning.
pub(crate) fn is_binary(content: &[u8]) -> bool {
    content[..content.len().min(8000)].contains(&0)
}

/// A file of the workspace, of at most `size` bytes; a file that grew meanwhile is cut there, and found out by its
/// stamp.
pub(crate) fn read_live(file: &mut File, size: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(size).read_to_end(&mut content)?;
    Ok(content)
}

/// Whether a large file of the workspace has the content that the agent left. Both have `size` bytes.
pub(crate) async fn same(
    source: &dyn Source,
    path: &RelativePath,
    size: u64,
    live: &mut File,
) -> Result<bool, SourceError> {
    let mut pieces = Pieces::new(source, path, size);
    let mut here = vec![0; CHUNK_BYTES];
    while let Some(piece) = pieces.next().await? {
        let here = &mut here[..piece.len()];
        if live.read_exact(here).is_err() || *here != piece[..] {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_as_a_reader_counts_them() {
        let table: [(&[u8], &[u8], Lines); 6] = [
            (b"a\nb\n", b"a\nc\nd\n", Lines::Counted { added: 2, removed: 1 }),
            (b"", b"x", Lines::Counted { added: 1, removed: 0 }),
            (b"x\ny\n", b"", Lines::Counted { added: 0, removed: 2 }),
            (b"x", b"x\n", Lines::Counted { added: 1, removed: 1 }),
            (b"caf\xe9\n", b"cafe\n", Lines::Counted { added: 1, removed: 1 }),
            (b"\0", b"x", Lines::Binary),
        ];
        for (old, new, lines) in table {
            assert_eq!(Budget::default().count(old, new), lines, "{old:?} to {new:?}");
        }
    }

    #[test]
    fn a_pair_of_files_made_to_be_slow_is_counted_coarsely_in_time() {
        let lines = |step: u32| {
            let numbers = (0..200_000_u32).map(|n| (n.wrapping_mul(step) % 997).to_string());
            numbers.collect::<Vec<_>>().join("\n")
        };
        let mut budget = Budget::default();
        let (old, new) = (lines(31), lines(977));
        assert!(matches!(
            budget.count(old.as_bytes(), new.as_bytes()),
            Lines::Counted { .. }
        ));
        assert!(
            budget.time > Duration::ZERO,
            "one file does not use up the time of all"
        );
    }

    #[test]
    fn what_is_over_the_budget_is_not_read() {
        let mut budget = Budget::default();
        assert!(!budget.admit(&[MAX_TEXT_BYTES + 1]));
        assert!(!budget.admit(&[u64::MAX, u64::MAX]));
        let mut admitted = 0;
        while budget.admit(&[MAX_TEXT_BYTES]) {
            admitted += 1;
        }
        assert_eq!(admitted, MAX_COUNTED_BYTES / MAX_TEXT_BYTES);
    }
}
