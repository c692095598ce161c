//! The difference of two texts as the protocol's `structuredPatch`: unified hunks with three lines of context.

use line_diff::Hunk;
use serde_json::{Value, json};

pub(crate) fn structured(old: &str, new: &str) -> Vec<Value> {
    line_diff::hunks(old.as_bytes(), new.as_bytes())
        .iter()
        .map(hunk)
        .collect()
}

fn hunk(hunk: &Hunk<'_>) -> Value {
    let mut lines = Vec::new();
    for (sign, line) in &hunk.lines {
        // Both texts are whole characters, and lines end only at line ends.
        let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line));
        lines.push(format!("{}{text}", sign.as_char()));
        if !line.ends_with(b"\n") {
            lines.push("\\ No newline at end of file".to_owned());
        }
    }
    json!({
        "oldStart": Hunk::start(&hunk.old),
        "oldLines": hunk.old.len(),
        "newStart": Hunk::start(&hunk.new),
        "newLines": hunk.new.len(),
        "lines": lines,
    })
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
