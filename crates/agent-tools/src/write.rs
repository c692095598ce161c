//! The Write tool: a file's whole content, made or replaced.

use std::path::Path;
use std::{fs, io};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::memory::{Digest, digest_of_file};
use crate::toolbox::Files;
use crate::{Concurrency, Definition, Kind, Outcome, patch, replace};

pub(crate) const NAME: &str = "Write";

/// Of a larger file that is replaced, the old content is not shown.
const SHOW_ORIGINAL_UP_TO: u64 = 10 << 20;

/// The file that is there before.
enum Original {
    None,
    TooLarge,
    Content(Vec<u8>),
}

#[derive(Deserialize)]
pub(crate) struct Input {
    file_path: String,
    content: String,
}

pub(crate) fn definition() -> Definition {
    Definition {
        name: NAME,
        description: "Writes a file with the content given, and makes the directories above it where they are missing. \
                      A file that exists is replaced as a whole; it must have been read first, and not have changed \
                      since. To change a part of a file use Edit."
            .to_owned(),
        input_schema: json!({
            "type": "object",
            "properties": {
                "file_path": {"type": "string", "description": "The path of the file, absolute if in doubt"},
                "content": {"type": "string", "description": "Everything that the file will hold"},
            },
            "required": ["file_path", "content"],
            "additionalProperties": false,
        }),
        concurrency: Concurrency::Exclusive,
        kind: Kind::Edit,
    }
}

pub(crate) fn call(files: &Files, input: &Input, _cancel: &CancellationToken) -> Outcome {
    match write(files, input) {
        Ok(outcome) => outcome,
        Err(refusal) => Outcome::refused(refusal),
    }
}

fn write(files: &Files, input: &Input) -> Result<Outcome, String> {
    let path = files.place.resolve(&input.file_path)?;
    let target = replace::target(&path).map_err(|failure| failure.to_string())?;
    let original = existing(files, &target)?;
    replace::replace(&target, input.content.as_bytes()).map_err(|failure| failure.to_string())?;
    files
        .memory
        .remember(&target, Digest::of(input.content.as_bytes()));
    let shown = path.display();
    let (kind, text) = match original {
        Original::None => ("create", format!("File created successfully at: {shown}")),
        _ => (
            "update",
            format!("The file {shown} has been replaced with the new content."),
        ),
    };
    let original = match original {
        Original::Content(content) => Some(String::from_utf8_lossy(&content).into_owned()),
        Original::None | Original::TooLarge => None,
    };
    let hunks = original
        .as_deref()
        .map(|original| patch::structured(original, &input.content))
        .unwrap_or_default();
    let result = json!({
        "type": kind,
        "filePath": path,
        "content": input.content,
        "structuredPatch": hunks,
        "originalFile": original.map_or(Value::Null, Value::String),
        "userModified": false,
    });
    Ok(Outcome::text(text, result))
}

/// What will be replaced. An error if the model does not know it.
fn existing(files: &Files, target: &Path) -> Result<Original, String> {
    let failed = |error: io::Error| format!("{}: {error}", target.display());
    let metadata = match fs::metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Original::None),
        metadata => metadata.map_err(failed)?,
    };
    if !metadata.is_file() {
        let kind = replace::kind(metadata.file_type());
        return Err(format!("{} is {kind}, not a regular file", target.display()));
    }
    if metadata.len() > SHOW_ORIGINAL_UP_TO {
        let digest = digest_of_file(target).map_err(failed)?;
        files
            .memory
            .check(target, digest)
            .map_err(|unseen| unseen.to_string())?;
        return Ok(Original::TooLarge);
    }
    let content = fs::read(target).map_err(failed)?;
    files
        .memory
        .check(target, Digest::of(&content))
        .map_err(|unseen| unseen.to_string())?;
    Ok(Original::Content(content))
}
