//! What a search was asked to do, checked before anything is read.

use std::path::Path;

use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use ignore::overrides::{Override, OverrideBuilder};
use ignore::types::{Types, TypesBuilder};
use serde::Deserialize;
use serde_json::json;

use super::NAME;
use crate::{Concurrency, Definition, Kind};

const DEFAULT_LIMIT: u64 = 250;
const MOST_CONTEXT: u64 = 1000;
/// What a pattern may compile to.
const COMPILED_BYTES: usize = 32 << 20;

#[derive(Deserialize)]
pub(crate) struct Input {
    pattern: String,
    pub(super) path: Option<String>,
    glob: Option<String>,
    output_mode: Option<Mode>,
    #[serde(rename = "-A")]
    after: Option<u64>,
    #[serde(rename = "-B")]
    before: Option<u64>,
    #[serde(rename = "-C")]
    around: Option<u64>,
    context: Option<u64>,
    #[serde(rename = "-n")]
    numbers: Option<bool>,
    #[serde(rename = "-i", default)]
    ignore_case: bool,
    #[serde(rename = "-o", default)]
    only_matching: bool,
    #[serde(rename = "type")]
    kind: Option<String>,
    head_limit: Option<u64>,
    offset: Option<u64>,
    #[serde(default)]
    multiline: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    Content,
    FilesWithMatches,
    Count,
}

pub(super) struct Options {
    pub(super) matcher: RegexMatcher,
    pub(super) mode: Mode,
    pub(super) types: Types,
    pub(super) overrides: Override,
    pub(super) before: usize,
    pub(super) after: usize,
    pub(super) numbers: bool,
    pub(super) only_matching: bool,
    pub(super) multiline: bool,
    pub(super) limit: usize,
    pub(super) offset: usize,
}

pub(crate) fn definition() -> Definition {
    let count = |text: &str| json!({"type": "integer", "minimum": 0, "description": text});
    let choice = |text: &str| json!({"type": "boolean", "description": text});
    Definition {
        name: NAME,
        description: "Searches the contents of files with a regular expression in Rust's syntax (literal braces and \
                      parentheses need a backslash). Ignore files are heeded, binary files skipped. output_mode says \
                      what comes back: files_with_matches, the default, names files, the newest first; content gives \
                      lines; count gives numbers."
            .to_owned(),
        input_schema: json!({
            "type": "object",
            "properties": {
                "pattern": {"type": "string", "description": "The regular expression"},
                "path": {"type": "string", "description": "File or directory; the current directory by default"},
                "glob": {"type": "string", "description": "Only files like this, such as *.ts or !*.min.js"},
                "output_mode": {
                    "type": "string",
                    "enum": ["content", "files_with_matches", "count"],
                    "description": "What to give back",
                },
                "-A": count("Lines to show after each match"),
                "-B": count("Lines to show before each match"),
                "-C": count("Lines to show before and after each match"),
                "context": count("The same as -C"),
                "-n": choice("Show line numbers (default true)"),
                "-i": choice("Ignore case"),
                "-o": choice("Show only what matched, not the whole line"),
                "type": {"type": "string", "description": "Only files of a kind, such as rust, py or js"},
                "head_limit": count("Entries to show at most (default 250); 0 for no limit"),
                "offset": count("Entries to skip first"),
                "multiline": choice("Let a match span lines, and `.` match line ends"),
            },
            "required": ["pattern"],
            "additionalProperties": false,
        }),
        concurrency: Concurrency::Safe,
        kind: Kind::Read,
    }
}

impl Options {
    pub(super) fn new(input: &Input, root: &Path) -> Result<Self, String> {
        let around = input.context.or(input.around);
        let lines = |own: Option<u64>| own.or(around).unwrap_or(0).min(MOST_CONTEXT) as usize;
        let limit = match input.head_limit.unwrap_or(DEFAULT_LIMIT) {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        Ok(Self {
            matcher: matcher(input)?,
            mode: input.output_mode.unwrap_or(Mode::FilesWithMatches),
            types: types(input.kind.as_deref())?,
            overrides: overrides(input.glob.as_deref(), root)?,
            before: lines(input.before),
            after: lines(input.after),
            numbers: input.numbers.unwrap_or(true),
            only_matching: input.only_matching,
            multiline: input.multiline,
            limit,
            offset: usize::try_from(input.offset.unwrap_or(0)).unwrap_or(usize::MAX),
        })
    }

    pub(super) fn has_context(&self) -> bool {
        self.before > 0 || self.after > 0
    }

    /// Lines of one file that can be shown at most.
    pub(super) fn lines_wanted(&self) -> usize {
        self.limit.saturating_add(self.offset).saturating_add(1)
    }
}

fn matcher(input: &Input) -> Result<RegexMatcher, String> {
    let mut builder = RegexMatcherBuilder::new();
    builder
        .case_insensitive(input.ignore_case)
        .multi_line(true)
        .size_limit(COMPILED_BYTES);
    if input.multiline {
        builder.dot_matches_new_line(true);
    } else {
        builder.line_terminator(Some(b'\n'));
    }
    builder.build(&input.pattern).map_err(|error| {
        let hint = if input.multiline || !input.pattern.contains("\\n") {
            ""
        } else {
            "\nA match over lines needs multiline"
        };
        format!("The pattern is not a valid regular expression: {error}{hint}")
    })
}

fn types(kind: Option<&str>) -> Result<Types, String> {
    let mut builder = TypesBuilder::new();
    builder.add_defaults();
    if let Some(kind) = kind {
        builder.select(kind);
    }
    builder
        .build()
        .map_err(|error| format!("`type` is not known: {error}"))
}

fn overrides(glob: Option<&str>, root: &Path) -> Result<Override, String> {
    let mut builder = OverrideBuilder::new(if root.is_dir() {
        root
    } else {
        root.parent().unwrap_or(root)
    });
    for pattern in glob.map(split_patterns).unwrap_or_default() {
        builder
            .add(&pattern)
            .map_err(|error| format!("`glob` is not valid: {error}"))?;
    }
    builder
        .build()
        .map_err(|error| format!("`glob` is not valid: {error}"))
}

/// Several patterns may come with commas or blanks between them; commas in braces belong to their pattern.
fn split_patterns(glob: &str) -> Vec<String> {
    let mut patterns = vec![String::new()];
    let mut depth = 0_usize;
    for character in glob.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (character == ',' || character.is_whitespace()) {
            patterns.push(String::new());
        } else if let Some(last) = patterns.last_mut() {
            last.push(character);
        }
    }
    patterns.retain(|pattern| !pattern.is_empty());
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_split_outside_braces() {
        for (glob, expected) in [
            ("*.rs", vec!["*.rs"]),
            ("*.{a,b}", vec!["*.{a,b}"]),
            ("*.a, *.{b,c} !d", vec!["*.a", "*.{b,c}", "!d"]),
            ("", vec![]),
            ("}x,{", vec!["}x", "{"]),
        ] {
            assert_eq!(split_patterns(glob), expected, "{glob}");
        }
    }
}
