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
    fn before(&self, lines: Range<usize>) -> impl Iterator<Item = &'a [u8]> {
        self.input.before[lines]
            .iter()
            .map(|token| self.input.interner[*token])
    }

    fn after(&self, lines: Range<usize>) -> impl Iterator<Item = &'a [u8]> {
        self.input.after[lines]
            .iter()
            .map(|token| self.input.interner[*token])
    }

    /// One hunk of changes that are near each other.
    fn hunk(&self, changes: &[Change]) -> Option<Hunk<'a>> {
        let (first, last) = (changes.first()?, changes.last()?);
        let above = first.old.start.min(CONTEXT);
        let below = (self.input.before.len() - last.old.end).min(CONTEXT);
        let old = first.old.start - above..last.old.end + below;
        let new = first.new.start - above..last.new.end + below;
        let (mut lines, mut at) = (Vec::new(), old.start);
        for change in changes {
            lines.extend(self.before(at..change.old.start).map(|line| (Sign::Same, line)));
            lines.extend(self.before(change.old.clone()).map(|line| (Sign::Removed, line)));
            lines.extend(self.after(change.new.clone()).map(|line| (Sign::Added, line)));
            at = change.old.end;
        }
        lines.extend(self.before(at..old.end).map(|line| (Sign::Same, line)));
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
        let mut text = String::new();
        for (sign, line) in &hunk.lines {
            text.push(sign.as_char());
            text.push_str(&String::from_utf8_lossy(line));
        }
        text
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
        let cases = [
            ("", "a\n", "+a\n", 0, 1),
            ("a\n", "", "-a\n", 1, 0),
            ("a\nb", "a\nb\n", " a\n-b+b\n", 1, 1),
        ];
        for (old, new, text, old_start, new_start) in cases {
            let found = hunks(old.as_bytes(), new.as_bytes());
            assert_eq!(found.iter().map(shown).collect::<String>(), text);
            let starts = (Hunk::start(&found[0].old), Hunk::start(&found[0].new));
            assert_eq!(starts, (old_start, new_start));
        }
        assert_eq!(shown(&hunks(b"caf\xe9\n", b"cafe\n")[0]), "-caf\u{fffd}\n+cafe\n");
        assert_eq!(hunks(b"a\n", b"a\n"), []);
    }
}
