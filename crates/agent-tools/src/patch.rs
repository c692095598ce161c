//! The difference of two texts as the protocol's `structuredPatch`: unified hunks with three lines of context.

use std::time::Duration;

use serde_json::{Value, json};
use similar::{ChangeTag, DiffOp, TextDiff};

const CONTEXT_LINES: usize = 3;
/// After this long a coarser difference will do.
const SEARCH_FOR: Duration = Duration::from_millis(300);

pub(crate) fn structured(old: &str, new: &str) -> Vec<Value> {
    let diff = TextDiff::configure().timeout(SEARCH_FOR).diff_lines(old, new);
    diff.grouped_ops(CONTEXT_LINES)
        .iter()
        .filter_map(|group| hunk(&diff, group))
        .collect()
}

fn hunk(diff: &TextDiff<'_, '_, str>, group: &[DiffOp]) -> Option<Value> {
    let (first, last) = (group.first()?, group.last()?);
    let old = first.old_range().start..last.old_range().end;
    let new = first.new_range().start..last.new_range().end;
    let mut lines = Vec::new();
    for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
        let sign = match change.tag() {
            ChangeTag::Equal => ' ',
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
        };
        let line = change.value();
        lines.push(format!("{sign}{}", line.strip_suffix('\n').unwrap_or(line)));
        if !line.ends_with('\n') {
            lines.push("\\ No newline at end of file".to_owned());
        }
    }
    Some(json!({
        "oldStart": start(&old),
        "oldLines": old.len(),
        "newStart": start(&new),
        "newLines": new.len(),
        "lines": lines,
    }))
}

/// Counted from one; an empty range is told by the line before it.
fn start(range: &std::ops::Range<usize>) -> usize {
    if range.is_empty() {
        range.start
    } else {
        range.start + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hunks_are_those_of_a_unified_diff() {
        let numbers: Vec<String> = (1..=20).map(|number| number.to_string()).collect();
        let old = numbers.join("\n") + "\n";
        let new = old.replace("5\n", "five\n").replacen("18\n", "", 1);
        let table = [
            (
                "",
                "a\n",
                json!([{"oldStart": 0, "oldLines": 0, "newStart": 1, "newLines": 1, "lines": ["+a"]}]),
            ),
            (
                "a\n",
                "",
                json!([{"oldStart": 1, "oldLines": 1, "newStart": 0, "newLines": 0, "lines": ["-a"]}]),
            ),
            ("a\n", "a\n", json!([])),
            (
                "a\nb",
                "a\nb\n",
                json!([{"oldStart": 1, "oldLines": 2, "newStart": 1, "newLines": 2,
                    "lines": [" a", "-b", "\\ No newline at end of file", "+b"]}]),
            ),
        ];
        for (old, new, expected) in table {
            assert_eq!(Value::Array(structured(old, new)), expected);
        }
        let hunks = structured(&old, &new.replacen("1five\n", "15\n", 1));
        assert_eq!(hunks.len(), 2, "{hunks:?}");
        assert_eq!(
            hunks[0]["lines"],
            json!([" 2", " 3", " 4", "-5", "+five", " 6", " 7", " 8"])
        );
        assert_eq!(
            (hunks[1]["oldLines"].as_u64(), hunks[1]["newLines"].as_u64()),
            (Some(6), Some(5))
        );
    }
}
