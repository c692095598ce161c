//! What a server listens on: addresses of its own, what a service manager gives it, or what the server before it had.

use crate::settings::ServeSettings;
use handover::Predecessor;
use listenfd::ListenFd;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use terminal::Failure;

#[derive(Debug, thiserror::Error)]
enum ListenError {
    #[error("cannot listen on {address}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("cannot listen on what the service manager gave")]
    Given(#[source] io::Error),
    #[error("cannot listen any more")]
    Lost(#[source] io::Error),
}

/// Open for as long as one of the servers that share them lives; who comes meanwhile waits in their backlog.
pub(super) struct Listeners(Vec<TcpListener>);

impl Listeners {
    pub(super) fn open(settings: &ServeSettings) -> Result<Self, Failure> {
        let given = given().map_err(|error| Failure::failed("listen", ListenError::Given(error)))?;
        if !given.is_empty() {
            let given = Self(given);
            given.compare(settings, "the service manager's listeners are taken");
            return Ok(given);
        }
        let bind = |address: &SocketAddr| {
            TcpListener::bind(address).map_err(|source| {
                let address = *address;
                Failure::failed("listen", ListenError::Bind { address, source })
                    .hint("use another address: --listen 127.0.0.1:8701")
            })
        };
        Ok(Self(settings.listen.iter().map(bind).collect::<Result<_, _>>()?))
    }

    /// Says so where somebody wanted others.
    pub(super) fn compare(&self, settings: &ServeSettings, why: &str) {
        let is_here = |wanted: &SocketAddr| {
            let mut here = self.0.iter().filter_map(|listener| listener.local_addr().ok());
            // Port 0 is any.
            here.any(|here| here.ip() == wanted.ip() && (here.port() == wanted.port() || wanted.port() == 0))
        };
        if settings.is_told_to_listen && !settings.listen.iter().all(is_here) {
            tracing::warn!(wanted = ?settings.listen, "{why}, and not what is set: a restart without them changes it");
        }
    }

    /// Those of the server that is there, which from now on waits for this one. Nothing where there is none.
    pub(super) async fn take_over(data: &Path) -> Result<Option<(Predecessor, Self)>, Failure> {
        let taken = Predecessor::take(data).await;
        let taken = taken.map_err(|error| Failure::failed("handover", error))?;
        Ok(taken.map(|(predecessor, listeners)| (predecessor, Self(listeners))))
    }

    pub(super) fn url(&self) -> Result<String, Failure> {
        let first = self.0.first().map(TcpListener::local_addr);
        let address = first.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
        let mut address = address.map_err(|error| Failure::failed("listen", ListenError::Lost(error)))?;
        // What listens everywhere is reached here, too.
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        Ok(format!("http://{address}"))
    }

    pub(super) fn try_clone(&self) -> Result<Vec<TcpListener>, Failure> {
        let cloned: io::Result<Vec<_>> = self.0.iter().map(TcpListener::try_clone).collect();
        cloned.map_err(|error| Failure::failed("listen", ListenError::Lost(error)))
    }

    pub(super) fn to_serve(&self) -> Result<Vec<tokio::net::TcpListener>, Failure> {
        let ready = |listener: TcpListener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        };
        let listeners: io::Result<Vec<_>> = self.try_clone()?.into_iter().map(ready).collect();
        listeners.map_err(|error| Failure::failed("listen", ListenError::Lost(error)))
    }
}

/// By the protocol of `LISTEN_FDS`.
fn given() -> io::Result<Vec<TcpListener>> {
    let mut given = ListenFd::from_env();
    (0..given.len())
        .filter_map(|index| given.take_tcp_listener(index).transpose())
        .collect()
}
