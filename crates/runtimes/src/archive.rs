//! An npm archive: the one executable is taken out of it, and nothing else is written.
//!
//! No path of the archive is used: names are only compared. Extensions of the format (long names, attributes, sparse
//! files) are not interpreted, so that nothing in an archive decides how much memory reading it takes.

use crate::file::FileError;
use crate::release::PACKAGE;
use crate::version::Version;
use flate2::read::GzDecoder;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use tar::{Archive, Entry, EntryType};

const EXECUTABLE: &[u8] = b"claude";
const MANIFEST: &[u8] = b"package.json";
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// What else may lie in an archive: texts, and what fills blocks up.
const MAX_OTHER_BYTES: u64 = 64 << 20;
const BUFFER_BYTES: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} is no archive of npm: {reason}; take another version or file")]
    Damaged { path: String, reason: String },
    #[error("{path} holds more than {limit} bytes, so it was not unpacked")]
    TooLarge { path: String, limit: u64 },
    #[error(
        "{path} holds no executable `claude`: the archive that does is that of {PACKAGE}-linux-x64, -linux-arm64 or one of \
         them with -musl"
    )]
    NoExecutable { path: String },
    #[error("{path} holds `claude` twice, so it is not clear which is meant")]
    Twice { path: String },
}

/// What an archive says of itself.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct About {
    pub(crate) version: Option<Version>,
}

/// Writes the executable of `archive` to `target`, and tells what the archive says it is.
pub(crate) fn unpack(archive: &Path, target: (&File, &Path), limit: u64) -> Result<About, ArchiveError> {
    let path = archive.display().to_string();
    let damaged = |error: &io::Error| ArchiveError::Damaged {
        path: path.clone(),
        reason: error.to_string(),
    };
    let file = File::open(archive).map_err(FileError::reading(archive))?;
    let packed = BufReader::with_capacity(BUFFER_BYTES, file);
    let all = limit.saturating_add(MAX_OTHER_BYTES);
    let mut reader = Archive::new(GzDecoder::new(packed).take(all));
    let (mut about, mut found) = (None, false);
    let entries = reader.entries().map_err(|error| damaged(&error))?;
    for entry in entries.raw(true) {
        let mut entry = entry.map_err(|error| damaged(&error))?;
        if !matches!(
            entry.header().entry_type(),
            EntryType::Regular | EntryType::Continuous
        ) {
            continue;
        }
        let size = entry.size();
        if is_named(&entry, EXECUTABLE) {
            if found {
                return Err(ArchiveError::Twice { path });
            }
            if size > limit {
                return Err(ArchiveError::TooLarge { path, limit });
            }
            found = true;
            if copy(&mut entry, target, &damaged)? != size {
                let reason = "it ends in the middle of `claude`".to_owned();
                return Err(ArchiveError::Damaged { path, reason });
            }
        } else if is_named(&entry, MANIFEST) && size <= MAX_MANIFEST_BYTES && about.is_none() {
            let mut text = Vec::new();
            entry.read_to_end(&mut text).map_err(|error| damaged(&error))?;
            about = serde_json::from_slice(&text).ok();
        }
    }
    if found {
        Ok(about.unwrap_or_default())
    } else {
        Err(ArchiveError::NoExecutable { path })
    }
}

/// Whether this is the file at the top of the package: `package/NAME`, whatever the first directory is called.
fn is_named<R: Read>(entry: &Entry<'_, R>, name: &[u8]) -> bool {
    let path = entry.path_bytes();
    let mut parts = path.split(|byte| *byte == b'/');
    let (_, second, rest) = (parts.next(), parts.next(), parts.next());
    second == Some(name) && rest.is_none()
}

/// What cannot be written is not the archive's fault, so the two are told apart.
fn copy(
    from: &mut impl Read,
    (to, target): (&File, &Path),
    damaged: &dyn Fn(&io::Error) -> ArchiveError,
) -> Result<u64, ArchiveError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut copied = 0;
    let mut to = to;
    loop {
        let count = from.read(&mut buffer).map_err(|error| damaged(&error))?;
        if count == 0 {
            return Ok(copied);
        }
        to.write_all(&buffer[..count])
            .map_err(FileError::writing(target))?;
        copied += count as u64;
    }
}
