//! Where a report of changes and the new contents come from. Both are an agent's: every answer is checked against the
//! limits and against what the report said before.

use crate::limits::CHUNK_BYTES;
use crate::path::RelativePath;
use async_trait::async_trait;
use guest_protocol::{Change, Client, ClientError};
use std::ops::ControlFlow;
use std::path::Path;

/// Reads a workspace's upper directory.
#[async_trait]
pub trait Source: Send + Sync {
    /// Shows every entry to `visit`, parents before children, until it breaks.
    async fn entries(
        &self,
        visit: &mut (dyn FnMut(Change) -> ControlFlow<()> + Send),
    ) -> Result<(), SourceError>;

    /// At most `limit` bytes from `offset`; fewer only at the end of the file.
    async fn read(&self, path: &RelativePath, offset: u64, limit: usize) -> Result<Vec<u8>, SourceError>;
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("reading what the agent left failed")]
    Guest(#[source] Box<ClientError>),
    #[error("{path} was reported with {reported} bytes and has another size")]
    Size { path: RelativePath, reported: u64 },
    #[error("{path} is not what was reviewed")]
    Changed { path: RelativePath },
    #[error("reading {path} as the agent left it failed: {reason}")]
    Read { path: RelativePath, reason: String },
}

/// A reader of a dead sandbox's files, see `sandbox::ChangeReader`.
pub struct GuestSource {
    client: Client,
}

impl GuestSource {
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Of the reader that listens on `socket`. Connects at the first call.
    pub fn connect(socket: &Path) -> Self {
        Self::new(Client::new(socket))
    }
}

#[async_trait]
impl Source for GuestSource {
    async fn entries(
        &self,
        visit: &mut (dyn FnMut(Change) -> ControlFlow<()> + Send),
    ) -> Result<(), SourceError> {
        let failed = |error| SourceError::Guest(Box::new(error));
        let mut changes = self.client.changes().await.map_err(failed)?;
        while let Some(change) = changes.next().await.map_err(failed)? {
            if visit(change).is_break() {
                break;
            }
        }
        Ok(())
    }

    async fn read(&self, path: &RelativePath, offset: u64, limit: usize) -> Result<Vec<u8>, SourceError> {
        let bytes = self.client.read_file(path.as_bytes(), offset, limit as u64).await;
        bytes
            .map(|bytes| bytes.to_vec())
            .map_err(|error| SourceError::Guest(Box::new(error)))
    }
}

/// A file's content in pieces, whose sum must be the size that was reported.
pub(crate) struct Pieces<'a> {
    source: &'a dyn Source,
    path: &'a RelativePath,
    size: u64,
    offset: u64,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(source: &'a dyn Source, path: &'a RelativePath, size: u64) -> Self {
        Self {
            source,
            path,
            size,
            offset: 0,
        }
    }

    /// The next piece; nothing at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, SourceError> {
        let left = self.size - self.offset;
        // One byte more than is left, so that a file that goes on is noticed.
        let limit = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.saturating_add(1).min(CHUNK_BYTES));
        let piece = self.source.read(self.path, self.offset, limit).await?;
        if piece.len() as u64 > left || piece.len() > limit || (piece.is_empty() && left > 0) {
            return Err(SourceError::Size {
                path: self.path.clone(),
                reported: self.size,
            });
        }
        self.offset += piece.len() as u64;
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// The whole of a file that was reported to be small.
pub(crate) async fn whole(
    source: &dyn Source,
    path: &RelativePath,
    size: u64,
) -> Result<Vec<u8>, SourceError> {
    let mut pieces = Pieces::new(source, path, size);
    let mut content = Vec::new();
    while let Some(piece) = pieces.next().await? {
        content.extend_from_slice(&piece);
    }
    Ok(content)
}
