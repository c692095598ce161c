//! The Edit tool: one exact piece of a file replaced by another, or all its occurrences.
//!
//! Works on bytes: what is not replaced stays as it is, whatever its encoding, line endings or byte order mark.

use std::path::{Path, PathBuf};

use memchr::memmem;
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::memory::Digest;
use crate::toolbox::Files;
use crate::{Concurrency, Definition, Kind, Outcome, patch, read, replace};

pub(crate) const NAME: &str = "Edit";

const LARGEST_FILE: u64 = 64 << 20;
/// As much of a string as an error repeats.
const REPEATED_CHARS: usize = 400;

#[derive(Deserialize)]
pub(crate) struct Input {
    file_path: String,
    old_string: String,
    new_string: String,
    #[serde(default)]
    replace_all: bool,
}

pub(crate) fn definition() -> Definition {
    Definition {
        name: NAME,
        description: "Replaces old_string in a file by new_string. The file must have been read first. old_string must \
                      be exactly what the file holds, without the line numbers that Read shows, and must occur once: \
                      take in enough of its surroundings. With replace_all every occurrence is replaced. An empty \
                      old_string makes a new file."
            .to_owned(),
        input_schema: json!({
            "type": "object",
            "properties": {
                "file_path": {"type": "string", "description": "The path of the file, absolute if in doubt"},
                "old_string": {"type": "string", "description": "What to replace"},
                "new_string": {"type": "string", "description": "What to put in its place"},
                "replace_all": {"type": "boolean", "description": "Replace every occurrence (default false)"},
            },
            "required": ["file_path", "old_string", "new_string"],
            "additionalProperties": false,
        }),
        concurrency: Concurrency::Exclusive,
        kind: Kind::Edit,
    }
}

pub(crate) fn call(files: &Files, input: &Input, _cancel: &CancellationToken) -> Outcome {
    match edit(files, input) {
        Ok(outcome) => outcome,
        Err(refusal) => Outcome::refused(refusal),
    }
}

fn edit(files: &Files, input: &Input) -> Result<Outcome, String> {
    if input.old_string == input.new_string {
        return Err("No changes to make: old_string and new_string are exactly the same".to_owned());
    }
    let path = files.place.resolve(&input.file_path)?;
    let target = replace::target(&path).map_err(|failure| failure.to_string())?;
    let original = original(files, &path, &target, input)?;
    let changed = match &original {
        None => input.new_string.as_bytes().to_vec(),
        Some(content) => replaced(content, input)?,
    };
    replace::replace(&target, &changed).map_err(|failure| failure.to_string())?;
    files.memory.remember(&target, Digest::of(&changed));
    Ok(outcome(&path, original.as_deref(), &changed, input))
}

fn outcome(path: &Path, original: Option<&[u8]>, changed: &[u8], input: &Input) -> Outcome {
    let old = original.map(String::from_utf8_lossy).unwrap_or_default();
    let shown = path.display();
    let text = match original {
        None => format!("File created successfully at: {shown}"),
        Some(_) if input.replace_all => {
            format!("The file {shown} has been updated: every occurrence is replaced.")
        }
        Some(_) => format!("The file {shown} has been updated."),
    };
    let result = json!({
        "filePath": path,
        "oldString": input.old_string,
        "newString": input.new_string,
        "originalFile": old,
        "structuredPatch": patch::structured(&old, &String::from_utf8_lossy(changed)),
        "userModified": false,
        "replaceAll": input.replace_all,
    });
    Outcome::text(text, result)
}

/// The content to change; `None` makes a new file.
fn original(files: &Files, path: &Path, target: &PathBuf, input: &Input) -> Result<Option<Vec<u8>>, String> {
    let metadata = match std::fs::metadata(target) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let makes_new = input.old_string.is_empty();
            return if makes_new {
                Ok(None)
            } else {
                Err(read::missing(files, path))
            };
        }
        Err(error) => return Err(format!("{}: {error}", path.display())),
        Ok(metadata) => metadata,
    };
    if !metadata.is_file() {
        return Err(format!(
            "{} is {}, not a regular file",
            path.display(),
            replace::kind(metadata.file_type())
        ));
    }
    if input.old_string.is_empty() {
        return Err("Cannot create a new file: it already exists. Give the old_string to replace".to_owned());
    }
    if metadata.len() > LARGEST_FILE {
        let (size, path) = (metadata.len(), path.display());
        return Err(format!(
            "{path} has {size} bytes; files of more than {LARGEST_FILE} bytes cannot be edited"
        ));
    }
    let content = std::fs::read(target).map_err(|error| format!("{}: {error}", path.display()))?;
    files
        .memory
        .check(target, Digest::of(&content))
        .map_err(|unseen| unseen.to_string())?;
    Ok(Some(content))
}

fn replaced(content: &[u8], input: &Input) -> Result<Vec<u8>, String> {
    let (mut old, mut new) = (input.old_string.clone(), input.new_string.clone());
    // Read shows lines without their endings, so the model writes `\n`; the file's own ending goes in.
    if ends_lines_with_crlf(content) {
        let crlf = (with_crlf(&old), with_crlf(&new));
        if memmem::find(content, crlf.0.as_bytes()).is_some() {
            (old, new) = crlf;
        }
    }
    let found: Vec<usize> = memmem::find_iter(content, old.as_bytes()).collect();
    let shown: String = input.old_string.chars().take(REPEATED_CHARS).collect();
    match found.len() {
        0 => return Err(format!("String to replace not found in file.\nString: {shown}")),
        1 => {}
        _ if input.replace_all => {}
        count => {
            return Err(format!(
                "Found {count} matches of the string to replace, but replace_all is false. To replace them all set \
                 replace_all; to replace one, give more of what surrounds it.\nString: {shown}"
            ));
        }
    }
    let mut changed = Vec::with_capacity(content.len() + found.len() * new.len());
    let mut from = 0;
    for at in found {
        changed.extend_from_slice(&content[from..at]);
        changed.extend_from_slice(new.as_bytes());
        from = at + old.len();
    }
    changed.extend_from_slice(&content[from..]);
    Ok(changed)
}

fn ends_lines_with_crlf(content: &[u8]) -> bool {
    memchr::memchr(b'\n', content).is_some_and(|at| at > 0 && content[at - 1] == b'\r')
}

fn with_crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_not_replaced_stays_as_it_is() {
        type Row = (&'static [u8], &'static str, &'static str, bool, &'static [u8]);
        let table: [Row; 9] = [
            (b"a b c", "b", "B", false, b"a B c"),
            (b"a a", "a", "b", true, b"b b"),
            (b"aaa", "aa", "b", true, b"ba"),
            (
                b"one\r\ntwo\r\n",
                "one\ntwo",
                "1\n2\n3",
                false,
                b"1\r\n2\r\n3\r\n",
            ),
            (b"one\r\ntwo\r\n", "two", "a\nb", false, b"one\r\na\r\nb\r\n"),
            (b"one\r\ntwo\nthree", "two\nthree", "2\n3", false, b"one\r\n2\n3"),
            (b"\xef\xbb\xbfone\ntwo", "one", "1", false, b"\xef\xbb\xbf1\ntwo"),
            (
                b"caf\xe9 one \xff",
                "one",
                "\u{e9}",
                false,
                b"caf\xe9 \xc3\xa9 \xff",
            ),
            (b"no final newline", "final", "last", false, b"no last newline"),
        ];
        for (content, old, new, replace_all, expected) in table {
            let input = Input {
                file_path: String::new(),
                old_string: old.into(),
                new_string: new.into(),
                replace_all,
            };
            assert_eq!(replaced(content, &input).unwrap(), expected, "{old:?}");
        }
    }
}
