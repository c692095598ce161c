//! Which files the model has seen, and as what: a file it has not seen, or that changed since, is not overwritten.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The content of a file at one time, as a hash. It guards against mistakes, not against malice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(u64);

/// Computes a [`Digest`] piece by piece.
#[derive(Default)]
pub(crate) struct Digester(DefaultHasher);

#[derive(Debug, Default)]
pub(crate) struct Memory {
    seen: Mutex<HashMap<PathBuf, Digest>>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unseen {
    #[error("File has not been read yet. Read it before changing it")]
    NotRead,
    #[error("File has been modified since it was read. Read it again before changing it")]
    Changed,
}

impl Memory {
    pub(crate) fn remember(&self, path: &Path, digest: Digest) {
        self.seen().insert(key(path), digest);
    }

    /// For a file that cannot be read now, nothing is remembered.
    pub(crate) fn remember_as_it_is(&self, path: &Path) {
        match digest_of_file(path) {
            Ok(digest) => self.remember(path, digest),
            Err(error) => tracing::debug!(%error, path = %path.display(), "not remembered as read"),
        }
    }

    /// Whether the content is what the model last saw.
    pub(crate) fn check(&self, path: &Path, digest: Digest) -> Result<(), Unseen> {
        match self.seen().get(&key(path)) {
            None => Err(Unseen::NotRead),
            Some(seen) if *seen == digest => Ok(()),
            Some(_) => Err(Unseen::Changed),
        }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<PathBuf, Digest>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Digest {
    pub(crate) fn of(content: &[u8]) -> Self {
        let mut digester = Digester::default();
        digester.add(content);
        digester.finish()
    }
}

impl Digester {
    pub(crate) fn add(&mut self, piece: &[u8]) {
        self.0.write(piece);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finish())
    }
}

/// A file has one entry by whichever of its names it is reached.
fn key(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

pub(crate) fn digest_of_file(path: &Path) -> io::Result<Digest> {
    if !path.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut file = std::fs::File::open(path)?;
    let mut digester = Digester::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digester.finish()),
            length => digester.add(&buffer[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_content_that_was_seen_passes() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&path, "one").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let memory = Memory::default();
        assert_eq!(memory.check(&path, Digest::of(b"one")), Err(Unseen::NotRead));
        memory.remember_as_it_is(&link);
        assert_eq!(memory.check(&path, Digest::of(b"one")), Ok(()));
        assert_eq!(memory.check(&link, Digest::of(b"two")), Err(Unseen::Changed));
        memory.remember_as_it_is(&directory.path().join("none"));
        assert_eq!(
            memory.check(&directory.path().join("none"), Digest::of(b"")),
            Err(Unseen::NotRead)
        );
    }

    #[test]
    fn the_digest_does_not_depend_on_the_pieces() {
        let mut pieces = Digester::default();
        for piece in [&b"ab"[..], b"", b"cdefghijklm", b"n"] {
            pieces.add(piece);
        }
        assert_eq!(pieces.finish(), Digest::of(b"abcdefghijklmn"));
    }
}
