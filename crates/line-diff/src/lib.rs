//! The difference of two texts by lines, as unified diffs show it. Lines are bytes, with their line ends; also a pair of
//! texts made to be slow is compared in a time about linear in their size.

mod hunk;

pub use hunk::{Hunk, Sign, hunks};
use imara_diff::sources::byte_lines;
use imara_diff::{Algorithm, Diff, InternedInput};

/// How many lines came and went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub added: usize,
    pub removed: usize,
}

pub fn count(old: &[u8], new: &[u8]) -> Count {
    let (_, diff) = compare(old, new);
    Count {
        added: diff.count_additions() as usize,
        removed: diff.count_removals() as usize,
    }
}

fn compare<'a>(old: &'a [u8], new: &'a [u8]) -> (InternedInput<&'a [u8]>, Diff) {
    let input = InternedInput::new(byte_lines(old), byte_lines(new));
    let diff = Diff::compute(Algorithm::Histogram, &input);
    (input, diff)
}
