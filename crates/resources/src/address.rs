//! Where the server of a data directory listens, for commands of the same user on the same machine.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const FILE: &str = "server.url";
const MOST_BYTES: usize = 1024;

/// The note is there as long as this is; a note of a server that was killed is overwritten by the next one.
#[derive(Debug)]
pub struct ServerAddress {
    path: PathBuf,
}

impl ServerAddress {
    /// `directory` is locked by the server.
    pub fn note(directory: &Path, url: &str) -> std::io::Result<Self> {
        let path = directory.join(FILE);
        let staged = path.with_extension("new");
        std::fs::write(&staged, url)?;
        std::fs::rename(&staged, &path)?;
        Ok(Self { path })
    }

    /// Lets the note stay, for the server that comes next.
    pub fn leave(self) {
        std::mem::forget(self);
    }

    /// What is noted; it means something only while the directory is locked.
    pub fn read(directory: &Path) -> std::io::Result<Option<String>> {
        match std::fs::read_to_string(directory.join(FILE)) {
            Ok(url) if url.len() <= MOST_BYTES => Ok(Some(url)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for ServerAddress {
    fn drop(&mut self) {
        // A note that stays says where a server was; nobody asks while the directory is free.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_is_there_as_long_as_the_server() {
        let directory = tempfile::tempdir().unwrap();
        let read = || ServerAddress::read(directory.path()).unwrap();
        assert_eq!(read(), None);
        let noted = ServerAddress::note(directory.path(), "http://127.0.0.1:1").unwrap();
        assert_eq!(read().as_deref(), Some("http://127.0.0.1:1"));
        drop(noted);
        assert_eq!(read(), None);
    }
}
