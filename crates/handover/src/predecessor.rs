//! The side of the server that comes.

use crate::protocol::{ANSWER, CHANGE, SOCKET, Serving, Take, Told, VERSION};
use crate::{HandoverError, blocking};
use channel::ChannelError;
use rustix::fd::OwnedFd;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Who served before.
#[derive(Debug)]
pub struct Predecessor {
    channel: Arc<OwnedFd>,
}

impl Predecessor {
    /// Asks the server of a data directory to hand over; nothing where there is none. With what it listens on.
    pub async fn take(data: &Path) -> Result<Option<(Self, Vec<TcpListener>)>, HandoverError> {
        let path = data.join(SOCKET);
        let connected = blocking(move || match channel::connect_within(&path, Some(ANSWER)) {
            Err(error) if is_nobody(&error) => Ok(None),
            connected => Ok(Some(connected.map_err(socket)?)),
        });
        let Some(channel) = connected.await?.map(Arc::new) else {
            return Ok(None);
        };
        let predecessor = Self { channel };
        let asked = Arc::clone(&predecessor.channel);
        let sent = blocking(move || channel::send(&*asked, &Take { version: VERSION }, &[])).await;
        let told = match sent {
            Ok(()) => predecessor.hear(ANSWER).await,
            Err(error) => Err(error),
        };
        match told {
            Ok((Told::Listeners, descriptors)) => {
                let listeners = descriptors.into_iter().map(TcpListener::from).collect();
                Ok(Some((predecessor, listeners)))
            }
            Ok((Told::Refused { reason }, _)) => Err(HandoverError::Refused { reason }),
            Ok((Told::Released, _)) => Err(HandoverError::Protocol),
            // It was killed in between.
            Err(HandoverError::Channel(ChannelError::Closed)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until the data directory is free.
    pub async fn released(&self) -> Result<(), HandoverError> {
        match self.hear(CHANGE).await {
            Ok((Told::Released, _)) | Err(HandoverError::Channel(ChannelError::Closed)) => Ok(()),
            Ok(_) => Err(HandoverError::Protocol),
            Err(error) => Err(error),
        }
    }

    /// Tells it that it is not needed any more.
    pub async fn serving(self) {
        let said = blocking(move || channel::send(&*self.channel, &Serving {}, &[])).await;
        if let Err(error) = said {
            tracing::debug!(%error, "the server before this one is gone already");
        }
    }

    async fn hear(&self, patience: Duration) -> Result<(Told, Vec<OwnedFd>), HandoverError> {
        let channel = Arc::clone(&self.channel);
        blocking(move || {
            channel::set_patience(&*channel, Some(patience)).map_err(socket)?;
            channel::receive(&*channel)
        })
        .await
    }
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

fn socket(source: io::Error) -> ChannelError {
    ChannelError::Socket { source }
}
