//! A server gives what it listens on, and then its data directory, to the next one on the same machine.
//!
//! ```text
//! successor                                    predecessor, at DATA/server.sock
//!     | -- Take ------------------------------------> |
//!     | <------------ Listeners, with descriptors --- |  takes no more connections, answers what it was asked,
//!     |                                               |  lets go of sessions and of the data directory
//!     | <------------------------------- Released --- |
//!     |  starts; new connections wait at the listeners|
//!     | -- Serving ---------------------------------> |  shows its streams what is new in the log, and ends
//! ```
//!
//! A predecessor whose successor is gone before it serves starts again. A successor whose predecessor is gone goes on: the
//! data directory is free then, too.

mod post;
mod predecessor;
mod protocol;
mod successor;

pub use post::Post;
pub use predecessor::Predecessor;
pub use successor::Successor;

use channel::ChannelError;

#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error("the server that is there does not hand over: {reason}")]
    Refused { reason: String },
    #[error("the server that is there does not say what the protocol does")]
    Protocol,
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("there are no threads to wait in")]
    Threads,
}

/// Messages go over a channel that blocks, in a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ChannelError> + Send + 'static,
) -> Result<T, HandoverError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| HandoverError::Threads)??)
}
