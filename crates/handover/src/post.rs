//! Where a server waits for its successor.

use crate::protocol::{ANSWER, SOCKET, Take, Told, VERSION};
use crate::{Successor, blocking};
use rustix::fd::OwnedFd;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixListener;

const BACKLOG: i32 = 4;

#[derive(Debug)]
pub struct Post {
    listener: UnixListener,
}

impl Post {
    /// In a data directory that is locked and that only its owner may enter.
    pub fn open(data: &Path) -> io::Result<Self> {
        let path = data.join(SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        bind(&listener, &SocketAddrUnix::new(&path)?)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        listen(&listener, BACKLOG)?;
        // Only bytes make it a stream; who comes is the same.
        let listener = UnixListener::from_std(listener.into())?;
        Ok(Self { listener })
    }

    /// The next one who wants to take over. May be dropped while it waits.
    pub async fn next(&self) -> Successor {
        loop {
            match self.accept().await {
                Ok(channel) if is_admitted(&channel) => {
                    if let Some(successor) = greet(channel).await {
                        return successor;
                    }
                }
                Ok(_) => tracing::warn!("somebody else's process asked to take over"),
                Err(error) => {
                    tracing::warn!(%error, "a successor was not let in");
                    tokio::time::sleep(ANSWER).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<OwnedFd> {
        let (accepted, _) = self.listener.accept().await?;
        let accepted = accepted.into_std()?;
        accepted.set_nonblocking(false)?;
        Ok(accepted.into())
    }
}

fn is_admitted(channel: &OwnedFd) -> bool {
    let own = rustix::process::geteuid();
    sockopt::socket_peercred(channel).is_ok_and(|peer| peer.uid == own || peer.uid.is_root())
        && sockopt::set_socket_timeout(channel, Timeout::Send, Some(ANSWER)).is_ok()
        && channel::set_patience(channel, Some(ANSWER)).is_ok()
}

async fn greet(channel: OwnedFd) -> Option<Successor> {
    let channel = Arc::new(channel);
    let asked = Arc::clone(&channel);
    let take = blocking(move || channel::receive::<Take>(&*asked)).await;
    match take {
        Ok((Take { version: VERSION }, _)) => Some(Successor::new(channel)),
        Ok((Take { version }, _)) => {
            let reason = format!("it speaks version {VERSION} of the protocol, and not {version}");
            let refused = blocking(move || channel::send(&*channel, &Told::Refused { reason }, &[])).await;
            // One that left meanwhile does not hear it.
            refused.ok();
            None
        }
        Err(error) => {
            tracing::warn!(%error, "a successor did not say what it wants");
            None
        }
    }
}
