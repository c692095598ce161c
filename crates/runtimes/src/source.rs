//! A file that somebody already has: an archive of npm, or the bare executable. What version it is is read from it and
//! never asked of it: nothing that is installed is started on the host.

use crate::archive::{self, ArchiveError};
use crate::file::FileError;
use crate::version::Version;
use memchr::memmem;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

const GZIP: &[u8] = b"\x1f\x8b";
const BUFFER_BYTES: usize = 1 << 20;
/// How the executable writes its own version down, beside its package's name.
const BEFORE_VERSION: &[u8] = b"VERSION:\"";
const PACKAGE: &[u8] = b"claude-code";
/// How far before the version the package's name may stand, and how long a version may be.
const NEIGHBOURHOOD: usize = 256;
const MAX_VERSION_BYTES: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("{path} does not say which version it is: say it, as in --version 2.1.330")]
    NoVersion { path: String },
    #[error(
        "{path} says it is {found}, and {given} was said: leave the version away, or take the other file"
    )]
    OtherVersion {
        path: String,
        found: Version,
        given: Version,
    },
    #[error("{path} is larger than {limit} bytes, so it was not taken")]
    TooLarge { path: String, limit: u64 },
}

/// Writes the executable of `source` to `target`, and tells which version it is.
pub(crate) fn take(
    source: &Path,
    target: (&File, &Path),
    given: Option<&Version>,
    limit: u64,
) -> Result<Version, SourceError> {
    let path = || source.display().to_string();
    let mut head = Vec::new();
    let opened = File::open(source).map_err(FileError::reading(source))?;
    opened
        .take(GZIP.len() as u64)
        .read_to_end(&mut head)
        .map_err(FileError::reading(source))?;
    let found = if head == GZIP {
        archive::unpack(source, target, limit)?.version
    } else {
        copy(source, target, limit)?
    };
    match (given, found) {
        (Some(given), Some(found)) if *given != found => Err(SourceError::OtherVersion {
            path: path(),
            found,
            given: given.clone(),
        }),
        (Some(given), _) => Ok(given.clone()),
        (None, Some(found)) => Ok(found),
        (None, None) => Err(SourceError::NoVersion { path: path() }),
    }
}

/// The version is looked for while the bytes pass by.
fn copy(source: &Path, (mut to, target): (&File, &Path), limit: u64) -> Result<Option<Version>, SourceError> {
    let mut from = File::open(source).map_err(FileError::reading(source))?;
    let mut window: Vec<u8> = Vec::new();
    let (mut copied, mut found) = (0_u64, None);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(FileError::reading(source)(error).into()),
        };
        copied += count as u64;
        if copied > limit {
            return Err(SourceError::TooLarge {
                path: source.display().to_string(),
                limit,
            });
        }
        to.write_all(&buffer[..count])
            .map_err(FileError::writing(target))?;
        if found.is_none() {
            window.extend_from_slice(&buffer[..count]);
            found = version_in(&window);
            let kept = window.len().min(2 * NEIGHBOURHOOD + MAX_VERSION_BYTES);
            window.drain(..window.len() - kept);
        }
    }
    Ok(found)
}

fn version_in(bytes: &[u8]) -> Option<Version> {
    memmem::find_iter(bytes, BEFORE_VERSION).find_map(|at| {
        let before = &bytes[at.saturating_sub(NEIGHBOURHOOD)..at];
        memmem::rfind(before, PACKAGE)?;
        let after = &bytes[at + BEFORE_VERSION.len()..];
        // Without its end, the rest of it is still to come.
        let length = after
            .iter()
            .take(MAX_VERSION_BYTES)
            .position(|byte| *byte == b'"')?;
        std::str::from_utf8(&after[..length]).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(content: &[u8]) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        let (source, target) = (directory.path().join("source"), directory.path().join("target"));
        std::fs::write(&source, content).unwrap();
        let file = File::create(&target).unwrap();
        let version = copy(&source, (&file, &target), 8 << 20).unwrap();
        assert!(std::fs::read(&target).unwrap() == content);
        version.map(|version| version.to_string())
    }

    #[test]
    fn a_version_is_found_where_ever_it_stands() {
        let text = b"{URL:\"a/claude-code\",README:\"x\",VERSION:\"2.1.330\",TIME:1}";
        for before in [
            0,
            1,
            BUFFER_BYTES - 60,
            BUFFER_BYTES - 45,
            BUFFER_BYTES - 40,
            BUFFER_BYTES,
        ] {
            let mut content = vec![b'.'; before];
            content.extend(text);
            content.extend(vec![b'.'; 1000]);
            assert_eq!(found(&content).as_deref(), Some("2.1.330"), "{before}");
        }
    }

    #[test]
    fn what_is_of_something_else_is_no_version() {
        for text in [
            &b"VERSION:\"1.2.3\""[..],
            b"claude-code VERSION:\"newest\"",
            b"claude-code VERSION:\"2.1.3",
            b"",
        ] {
            assert_eq!(found(text), None);
        }
    }
}
