//! The Read tool: a file as the model can take it in, by what the file is.
//!
//! Whatever the file holds, the answer is bounded, and nothing waits for a device or a pipe.

mod image;
mod lines;
mod missing;
mod notebook;
mod pdf;

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

pub(crate) use missing::missing;

use crate::memory::Digest;
use crate::toolbox::Files;
use crate::{Concurrency, Definition, Kind, Outcome, replace};

pub(crate) const NAME: &str = "Read";

#[derive(Deserialize)]
pub(crate) struct Input {
    file_path: String,
    offset: Option<u64>,
    limit: Option<u64>,
    pages: Option<String>,
    #[serde(default)]
    allow_large: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Missing(String),
    #[error("{path} is {kind} and cannot be read as a file{hint}")]
    NotAFile {
        path: PathBuf,
        kind: &'static str,
        hint: &'static str,
    },
    #[error("{path} cannot be read: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "File content ({size} bytes) exceeds the maximum of {limit} bytes. Use offset and limit to read a part of it, \
         or Grep to search in it"
    )]
    TooLong { size: u64, limit: u64 },
    #[error("{path} is a binary file ({size} bytes); look at it with commands such as `file` or `xxd`")]
    Binary { path: PathBuf, size: u64 },
    #[error("The {kind} has {size} bytes; at most {limit} can be shown{hint}")]
    TooLarge {
        kind: &'static str,
        size: u64,
        limit: u64,
        hint: &'static str,
    },
    #[error("{path} is not a valid {kind}: {problem}")]
    Broken {
        path: PathBuf,
        kind: &'static str,
        problem: String,
    },
    #[error("`pages` is for PDF files; {path} is not one")]
    NotPages { path: PathBuf },
    #[error("{0}")]
    Pages(String),
    #[error("The tool call was interrupted before it was done")]
    Interrupted,
}

pub(crate) fn definition() -> Definition {
    Definition {
        name: NAME,
        description: format!(
            "Reads a file. Text comes with line numbers, `number<tab>line`: by default the first {} lines, other parts \
             with offset and limit; lines longer than {} characters are cut. Images (PNG, JPEG, GIF, WebP), PDF files \
             and Jupyter notebooks are shown as what they are. A directory is listed with `ls` or Glob instead.",
            lines::DEFAULT_LINES,
            lines::LONGEST_LINE
        ),
        input_schema: json!({
            "type": "object",
            "properties": {
                "file_path": {"type": "string", "description": "The path of the file, absolute if in doubt"},
                "offset": {"type": "integer", "minimum": 0, "description": "The first line to read, counted from 1"},
                "limit": {"type": "integer", "minimum": 1, "description": "How many lines to read"},
                "pages": {"type": "string", "description": "Pages of a PDF, such as \"3\", \"1-5\" or \"10-\""},
                "allow_large": {"type": "boolean", "description": "Allow a longer answer than usual"},
            },
            "required": ["file_path"],
            "additionalProperties": false,
        }),
        concurrency: Concurrency::Safe,
        kind: Kind::Read,
    }
}

pub(crate) fn call(files: &Files, input: &Input, cancel: &CancellationToken) -> Outcome {
    match read(files, input, cancel) {
        Ok(outcome) => outcome,
        Err(Failure::Interrupted) => Outcome::interrupted(),
        Err(failure) => Outcome::refused(failure.to_string()),
    }
}

fn read(files: &Files, input: &Input, cancel: &CancellationToken) -> Result<Outcome, Failure> {
    let path = files.place.resolve(&input.file_path).map_err(Failure::Missing)?;
    let (mut file, metadata) = open(files, &path)?;
    let failed = |source| Failure::Io {
        path: path.clone(),
        source,
    };
    let mut head = Vec::new();
    (&mut file)
        .take(lines::HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let opened = Opened {
        path,
        file,
        size: metadata.len(),
        head,
    };
    if pdf::is_pdf(&opened.head) {
        return pdf::read(opened, input.pages.as_deref());
    }
    if input.pages.is_some() {
        return Err(Failure::NotPages { path: opened.path });
    }
    if let Some(media_type) = image::media_type(&opened.head) {
        return image::read(opened, media_type);
    }
    if opened
        .path
        .extension()
        .is_some_and(|extension| extension == "ipynb")
    {
        let path = opened.path.clone();
        let (outcome, content) = notebook::read(opened)?;
        files.memory.remember(&path, Digest::of(&content));
        return Ok(outcome);
    }
    let path = opened.path.clone();
    let selection = lines::Selection {
        offset: input.offset,
        limit: input.limit,
        allow_large: input.allow_large,
    };
    let (outcome, digest) = lines::read(opened, selection, cancel)?;
    files.memory.remember(&path, digest);
    Ok(outcome)
}

/// A regular file at its beginning.
struct Opened {
    path: PathBuf,
    file: File,
    size: u64,
    head: Vec<u8>,
}

impl Opened {
    /// All of it, if it is not larger than what can be shown.
    fn whole(
        mut self,
        kind: &'static str,
        limit: u64,
        hint: &'static str,
    ) -> Result<(PathBuf, Vec<u8>), Failure> {
        let mut content = Vec::new();
        let read = (&mut self.file).take(limit + 1).read_to_end(&mut content);
        read.map_err(|source| Failure::Io {
            path: self.path.clone(),
            source,
        })?;
        if content.len() as u64 > limit {
            return Err(Failure::TooLarge {
                kind,
                size: self.size.max(content.len() as u64),
                limit,
                hint,
            });
        }
        Ok((self.path, content))
    }
}

fn open(files: &Files, path: &Path) -> Result<(File, Metadata), Failure> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Failure::Missing(missing(files, path)),
        _ => Failure::Io {
            path: path.to_owned(),
            source,
        },
    };
    // Looked at before it is opened: to open a device may do something.
    regular(path, &std::fs::metadata(path).map_err(failed)?)?;
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options()
        .read(true)
        .custom_flags(nonblock)
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    regular(path, &metadata)?;
    Ok((file, metadata))
}

fn regular(path: &Path, metadata: &Metadata) -> Result<(), Failure> {
    if metadata.is_file() {
        return Ok(());
    }
    let hint = if metadata.is_dir() {
        "; list it with `ls` or Glob"
    } else {
        ""
    };
    Err(Failure::NotAFile {
        path: path.to_owned(),
        kind: replace::kind(metadata.file_type()),
        hint,
    })
}
