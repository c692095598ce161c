//! The side of the server that goes.

use crate::protocol::{CHANGE, Serving, Told};
use crate::{HandoverError, blocking};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::net::TcpListener;
use std::sync::Arc;

/// Who comes after this server.
#[derive(Debug)]
pub struct Successor {
    channel: Arc<OwnedFd>,
}

impl Successor {
    pub(crate) fn new(channel: Arc<OwnedFd>) -> Self {
        Self { channel }
    }

    /// Gives it what this server listens on. Connections that nobody has taken yet go with it.
    pub async fn give(&self, listeners: Vec<TcpListener>) -> Result<(), HandoverError> {
        let channel = Arc::clone(&self.channel);
        blocking(move || {
            let descriptors: Vec<BorrowedFd<'_>> =
                listeners.iter().map(|listener| listener.as_fd()).collect();
            channel::send(&*channel, &Told::Listeners, &descriptors)
        })
        .await
    }

    /// Tells it that the data directory is free, and waits until it serves.
    pub async fn release(self) -> Result<(), HandoverError> {
        blocking(move || {
            channel::send(&*self.channel, &Told::Released, &[])?;
            channel::set_patience(&*self.channel, Some(CHANGE))
                .map_err(|source| channel::ChannelError::Socket { source })?;
            channel::receive::<Serving>(&*self.channel).map(drop)
        })
        .await
    }
}
