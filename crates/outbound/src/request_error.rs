//! Why a request has no answer, told apart by what was being done.

use crate::connector::{ConnectError, find, innermost};
use crate::proxy::TunnelError;
use crate::{ResolveError, TrustError};
use hyper_util::client::legacy::Error as HyperError;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("the URL is not one to connect to: {reason}")]
    Url { reason: &'static str },
    #[error(transparent)]
    Resolve(ResolveError),
    #[error("{host} cannot be connected to: {}", innermost(&**source))]
    Connect {
        host: String,
        source: Arc<dyn StdError + Send + Sync>,
    },
    #[error("no TLS connection to {host}: {}", innermost(&**source))]
    Tls { host: String, source: Arc<io::Error> },
    #[error(transparent)]
    Trust(TrustError),
    #[error("{host} was not connected to within {after:?}")]
    ConnectTimeout { host: String, after: Duration },
    /// A policy, most likely: the reason is the proxy's own.
    #[error("the proxy refused the way to {host} ({status}): {reason}")]
    ProxyRefused {
        host: String,
        status: u16,
        reason: String,
    },
    #[error("the proxy {proxy} cannot be used: {reason}")]
    Proxy { proxy: String, reason: String },
    #[error("{host} did not answer within {after:?}")]
    ResponseTimeout { host: String, after: Duration },
    /// The connection ended before the head of an answer; the request may have been read.
    #[error("{host} closed the connection without an answer")]
    Closed { host: String, source: HyperError },
    /// What came back is not HTTP, or the request's own body failed.
    #[error("the exchange with {host} broke: {}", innermost(source))]
    Protocol { host: String, source: HyperError },
}

impl RequestError {
    pub(crate) fn from_hyper(host: &str, error: HyperError) -> Self {
        let host = host.to_owned();
        if let Some(connect) = find::<ConnectError>(&error) {
            return match connect.clone() {
                ConnectError::Url { reason } => Self::Url { reason },
                ConnectError::Resolve(source) => Self::Resolve(source),
                ConnectError::Tcp(source) => Self::Connect { host, source },
                ConnectError::Tls(source) => Self::Tls { host, source },
                ConnectError::Trust(source) => Self::Trust(source),
                ConnectError::Timeout(after) => Self::ConnectTimeout { host, after },
                ConnectError::Proxy {
                    source: TunnelError::Refused { status, reason },
                    ..
                } => Self::ProxyRefused { host, status, reason },
                ConnectError::Proxy {
                    proxy,
                    source: TunnelError::Broken { reason },
                } => Self::Proxy { proxy, reason },
            };
        }
        let incomplete = was_cut(&error);
        let reset = find::<io::Error>(&error).is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            )
        });
        if incomplete || reset {
            Self::Closed { host, source: error }
        } else {
            Self::Protocol { host, source: error }
        }
    }

    /// Whether no byte of the request can have reached the other side, so that sending it again is safe.
    pub fn nothing_was_sent(&self) -> bool {
        match self {
            Self::Url { .. }
            | Self::Resolve(_)
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Trust(_)
            | Self::ProxyRefused { .. }
            | Self::Proxy { .. }
            | Self::ConnectTimeout { .. } => true,
            Self::ResponseTimeout { .. } | Self::Closed { .. } | Self::Protocol { .. } => false,
        }
    }

    /// Whether the same request may succeed a little later: not where names, trust or certificates are wrong.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Resolve(error) => {
                matches!(error, ResolveError::Timeout { .. } | ResolveError::Failed { .. })
            }
            Self::Connect { .. }
            | Self::Proxy { .. }
            | Self::ConnectTimeout { .. }
            | Self::ResponseTimeout { .. }
            | Self::Closed { .. } => true,
            Self::Url { .. }
            | Self::Trust(_)
            | Self::Tls { .. }
            | Self::ProxyRefused { .. }
            | Self::Protocol { .. } => false,
        }
    }
}

/// Whether the connection ended before an answer. A request that was still waiting for its turn on it is told as
/// cancelled, and only within that why.
fn was_cut(error: &HyperError) -> bool {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = next {
        let of_hyper = current.downcast_ref::<hyper::Error>();
        if of_hyper.is_some_and(|error| error.is_incomplete_message() || error.is_canceled()) {
            return true;
        }
        next = current.source();
    }
    false
}
