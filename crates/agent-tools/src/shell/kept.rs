//! Output that is too long to show, kept in a file as the bytes it was.
//!
//! A file never grows beyond its limit: the rest is counted and dropped, so a command that writes for ever goes on
//! and the disk does not fill.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::File;
use tokio::io::AsyncWriteExt;

/// What was kept of an output.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) path: PathBuf,
    /// Bytes in the file.
    pub(crate) size: u64,
    /// Bytes of the output that are not in it.
    pub(crate) dropped: u64,
}

pub(crate) struct KeptFile {
    file: File,
    limit: u64,
    kept: Kept,
}

impl KeptFile {
    /// Makes the directory when it is first needed.
    pub(crate) async fn create(path: &Path, limit: u64) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            tokio::fs::create_dir_all(directory).await?;
        }
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .await?;
        Ok(Self {
            file,
            limit,
            kept: Kept {
                path: path.to_owned(),
                size: 0,
                dropped: 0,
            },
        })
    }

    /// Keeps what fits. An error means that from here on nothing more can be kept.
    pub(crate) async fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = usize::try_from(self.limit - self.kept.size).unwrap_or(usize::MAX);
        let fitting = &bytes[..bytes.len().min(room)];
        self.kept.dropped += (bytes.len() - fitting.len()) as u64;
        if fitting.is_empty() {
            return Ok(());
        }
        self.file.write_all(fitting).await?;
        self.kept.size += fitting.len() as u64;
        Ok(())
    }

    /// Adds what another kept file holds, and removes that file.
    pub(crate) async fn append_file(&mut self, other: Kept) -> io::Result<()> {
        let room = self.limit - self.kept.size;
        let mut source = tokio::io::AsyncReadExt::take(File::open(&other.path).await?, room);
        let copied = tokio::io::copy(&mut source, &mut self.file).await?;
        self.kept.size += copied;
        self.kept.dropped += other.dropped + other.size.saturating_sub(copied);
        tokio::fs::remove_file(&other.path).await
    }

    pub(crate) async fn finish(mut self) -> io::Result<Kept> {
        self.file.flush().await?;
        Ok(self.kept)
    }
}
