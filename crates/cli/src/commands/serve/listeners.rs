//! What a server listens on: an address of its own, what a service manager gives it, or what the server before it had.

use crate::arguments::ServeArguments;
use crate::environment::Environment;
use crate::failure::Failure;
use handover::Predecessor;
use listenfd::ListenFd;
use std::io;
use std::net::TcpListener;
use std::path::Path;

const LISTEN: &str = "127.0.0.1:8700";

#[derive(Debug, thiserror::Error)]
enum ListenError {
    #[error("HOSTLER_LISTEN is not UTF-8")]
    Text,
    #[error("cannot listen on {address}")]
    Bind { address: String, source: io::Error },
    #[error("cannot listen on what the service manager gave")]
    Given(#[source] io::Error),
    #[error("cannot listen any more")]
    Lost(#[source] io::Error),
}

/// Open for as long as one of the servers that share them lives; who comes meanwhile waits in their backlog.
pub(super) struct Listeners(Vec<TcpListener>);

impl Listeners {
    pub(super) fn open(arguments: &ServeArguments, environment: &Environment) -> Result<Self, Failure> {
        let given = given().map_err(|error| Failure::failed("listen", ListenError::Given(error)))?;
        if !given.is_empty() {
            return Ok(Self(given));
        }
        let named = environment.listen.as_ref().map(|text| text.to_str());
        let named = named.map(|text| text.ok_or_else(|| Failure::usage(ListenError::Text)));
        let named = named.transpose()?;
        let address = arguments.listen.as_deref().or(named).unwrap_or(LISTEN).to_owned();
        let listener = TcpListener::bind(&address).map_err(|source| {
            Failure::failed("listen", ListenError::Bind { address, source })
                .hint("use another address: --listen 127.0.0.1:8701")
        })?;
        Ok(Self(vec![listener]))
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
        let address = address.map_err(|error| Failure::failed("listen", ListenError::Lost(error)))?;
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
