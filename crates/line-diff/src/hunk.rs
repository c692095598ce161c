//! Hunks: changes that stand close together, with the lines around them.

use crate::compare;
use imara_diff::InternedInput;
use std::ops::Range;

/// Lines of context around a change.
const CONTEXT: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    Same,
    Removed,
    Added,
}

impl Sign {
    /// As it is written in front of a line.
    pub fn as_char(self) -> char {
        match self {
            Self::Same => ' ',
            Self::Removed => '-',
            Self::Added => '+',
        }
    }
}

/// Changes that stand close together, with the lines around them.
#[derive(Debug, PartialEq, Eq)]
pub struct Hunk<'a> {
    /// Lines of the old text, counted from 0.
    pub old: Range<usize>,
    pub new: Range<usize>,
    pub lines: Vec<(Sign, &'a [u8])>,
}

pub fn hunks<'a>(old: &'a [u8], new: &'a [u8]) -> Vec<Hunk<'a>> {
    let (input, mut diff) = compare(old, new);
    diff.postprocess_lines(&input);
    let text = Text { input: &input };
    let mut hunks = Vec::new();
    let mut near: Vec<Change> = Vec::new();
    for change in diff.hunks() {
        let change = Change {
            old: range(change.before),
            new: range(change.after),
        };
        if near
            .last()
            .is_some_and(|last| change.old.start - last.old.end > 2 * CONTEXT)
        {
            hunks.extend(text.hunk(&near));
            near.clear();
        }
        near.push(change);
    }
    hunks.extend(text.hunk(&near));
    hunks
}

fn range(range: Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// Lines of the old text that others took the place of.
struct Change {
    old: Range<usize>,
    new: Range<usize>,
}

struct Text<'i, 'a> {
    input: &'i InternedInput<&'a [u8]>,
}

impl<'a> Text<'_, 'a> {
    fn old(&self, lines: Range<usize>) -> impl Iterator<Item = &'a [u8]> {
        self.input.before[lines]
            .iter()
            .map(|token| self.input.interner[*token])
    }

    fn new(&self, lines: Range<usize>) -> impl Iterator<Item = &'a [u8]> {
        self.input.after[lines]
            .iter()
            .map(|token| self.input.interner[*token])
    }

    /// One hunk of changes that are near each other.
    fn hunk(&self, changes: &[Change]) -> Option<Hunk<'a>> {
        let (first, last) = (changes.first()?, changes.last()?);
        let before = first.old.start.min(CONTEXT);
        let after = (self.input.before.len() - last.old.end).min(CONTEXT);
        let old = first.old.start - before..last.old.end + after;
        let new = first.new.start - before..last.new.end + after;
        let (mut lines, mut at) = (Vec::new(), old.start);
        for change in changes {
            lines.extend(self.old(at..change.old.start).map(|line| (Sign::Same, line)));
            lines.extend(self.old(change.old.clone()).map(|line| (Sign::Removed, line)));
            lines.extend(self.new(change.new.clone()).map(|line| (Sign::Added, line)));
            at = change.old.end;
        }
        lines.extend(self.old(at..old.end).map(|line| (Sign::Same, line)));
        Some(Hunk { old, new, lines })
    }
}

impl Hunk<'_> {
    /// Where a hunk starts as unified diffs say it: counted from one, and an empty one by the line before it.
    pub fn start(range: &Range<usize>) -> usize {
        range.start + usize::from(!range.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Count, count};

    fn shown(hunk: &Hunk<'_>) -> String {
        let lines = hunk.lines.iter();
        lines
            .map(|(sign, line)| format!("{}{}", sign.as_char(), String::from_utf8_lossy(line)))
            .collect()
    }

    #[test]
    fn changes_that_stand_close_are_one_hunk() {
        let numbers: Vec<String> = (1..=30).map(|number| format!("{number}\n")).collect();
        let old = numbers.concat();
        let new = old.replacen("\n5\n", "\nfive\n", 1).replacen("\n12\n", "\n", 1);
        assert_eq!(
            count(old.as_bytes(), new.as_bytes()),
            Count { added: 1, removed: 2 }
        );
        let found = hunks(old.as_bytes(), new.as_bytes());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].old.clone(), found[0].new.clone()), (1..15, 1..14));
        assert_eq!(
            shown(&found[0]),
            " 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n 9\n 10\n 11\n-12\n 13\n 14\n 15\n"
        );
        let far = old.replacen("\n5\n", "\nfive\n", 1).replacen("\n13\n", "\n", 1);
        assert_eq!(hunks(old.as_bytes(), far.as_bytes()).len(), 2);
    }

    #[test]
    fn the_ends_of_texts_are_lines_too() {
        let table: [(&[u8], &[u8], &str, (usize, usize)); 4] = [
            (b"", b"a\n", "+a\n", (0, 1)),
            (b"a\n", b"", "-a\n", (1, 0)),
            (b"a\nb", b"a\nb\n", " a\n-b+b\n", (1, 1)),
            (b"caf\xe9\n", b"cafe\n", "-caf\u{fffd}\n+cafe\n", (1, 1)),
        ];
        for (old, new, text, starts) in table {
            let found = hunks(old, new);
            assert_eq!(found.iter().map(shown).collect::<String>(), text);
            assert_eq!((Hunk::start(&found[0].old), Hunk::start(&found[0].new)), starts);
        }
        assert_eq!(hunks(b"a\n", b"a\n"), []);
    }
}
