//! One connection: resolve, connect, and for `https` a TLS handshake, each within the connect deadline and each
//! with an error of its own. Where a proxy leads there, the proxy is connected to instead.

use crate::proxy::{Proxies, TunnelError, tunnel};
use crate::stream::Stream;
use crate::{ResolveError, Resolver, TrustError, trust};
use http::Uri;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tower_service::Service;

type Pending<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Why there is no connection. Nothing of a request was sent.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the URL is not one to connect to: {reason}")]
    Url { reason: &'static str },
    #[error(transparent)]
    Resolve(ResolveError),
    #[error("not connected")]
    Tcp(Arc<dyn StdError + Send + Sync>),
    #[error("no TLS")]
    Tls(Arc<io::Error>),
    #[error(transparent)]
    Trust(TrustError),
    #[error("not connected within {0:?}")]
    Timeout(Duration),
    #[error("no way through the proxy")]
    Proxy { proxy: String, source: TunnelError },
}

#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector<Lookup>,
    tls: Arc<OnceCell<Arc<rustls::ClientConfig>>>,
    proxies: Arc<Proxies>,
    deadline: Duration,
}

impl Connector {
    pub(crate) fn new(resolver: Resolver, proxies: Proxies, deadline: Duration) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Lookup { resolver });
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_mins(1)));
        tcp.set_connect_timeout(Some(deadline));
        Self {
            tcp,
            tls: Arc::new(OnceCell::new()),
            proxies: Arc::new(proxies),
            deadline,
        }
    }

    async fn connect(mut self, uri: Uri) -> Result<Stream, ConnectError> {
        let host = uri
            .host()
            .ok_or(ConnectError::Url {
                reason: "it names no host",
            })?
            .to_owned();
        let proxy = self.proxies.of(&uri).cloned();
        match (uri.scheme_str(), proxy) {
            (Some("http"), None) => Ok(Stream::new(MaybeHttpsStream::Http(self.tcp(uri).await?))),
            (Some("http"), Some(proxy)) => Ok(Stream::forwarded(self.reach(proxy).await?)),
            (Some("https"), proxy) => {
                let tls = self.tls_config().await?;
                let tcp = match proxy {
                    None => self.tcp(uri).await?,
                    Some(proxy) => self.through(proxy, &host, uri.port_u16()).await?,
                };
                handshake(tls, &host, tcp).await
            }
            _ => Err(ConnectError::Url {
                reason: "it is neither http nor https",
            }),
        }
    }

    async fn tcp(&mut self, uri: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        self.tcp
            .call(uri)
            .await
            .map_err(|error| match find::<ResolveError>(&error) {
                Some(resolve) => ConnectError::Resolve(resolve.clone()),
                None => ConnectError::Tcp(Arc::new(error)),
            })
    }

    async fn reach(&mut self, proxy: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let name = authority(&proxy);
        self.tcp(proxy).await.map_err(|error| {
            let reason = match &error {
                ConnectError::Tcp(source) => innermost(&**source),
                other => other.to_string(),
            };
            ConnectError::Proxy {
                proxy: name,
                source: TunnelError::Broken { reason },
            }
        })
    }

    async fn through(
        &mut self,
        proxy: Uri,
        host: &str,
        port: Option<u16>,
    ) -> Result<TokioIo<TcpStream>, ConnectError> {
        let name = authority(&proxy);
        let stream = self.reach(proxy).await?;
        let target = format!("{host}:{}", port.unwrap_or(443));
        tunnel(stream, &target)
            .await
            .map_err(|source| ConnectError::Proxy { proxy: name, source })
    }

    async fn tls_config(&self) -> Result<Arc<rustls::ClientConfig>, ConnectError> {
        let load = || async {
            match tokio::task::spawn_blocking(trust::load).await {
                Ok(loaded) => loaded.map_err(ConnectError::Trust),
                Err(error) => Err(ConnectError::Tls(Arc::new(io::Error::other(error)))),
            }
        };
        self.tls.get_or_try_init(load).await.cloned()
    }
}

fn authority(url: &Uri) -> String {
    url.authority().map(ToString::to_string).unwrap_or_default()
}

async fn handshake(
    config: Arc<rustls::ClientConfig>,
    host: &str,
    tcp: TokioIo<TcpStream>,
) -> Result<Stream, ConnectError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(|_| ConnectError::Url {
        reason: "its host fits no certificate",
    })?;
    let stream = TlsConnector::from(config)
        .connect(name, TokioIo::new(tcp))
        .await
        .map_err(|error| ConnectError::Tls(Arc::new(error)))?;
    Ok(Stream::new(MaybeHttpsStream::Https(TokioIo::new(stream))))
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pending<Stream, ConnectError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let deadline = connector.deadline;
            tokio::time::timeout(deadline, connector.connect(uri))
                .await
                .unwrap_or(Err(ConnectError::Timeout(deadline)))
        })
    }
}

/// The resolver as hyper asks it.
#[derive(Clone)]
struct Lookup {
    resolver: Resolver,
}

impl Service<Name> for Lookup {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = Pending<Self::Response, ResolveError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.resolver.clone();
        Box::pin(async move {
            let found = resolver.resolve(name.as_str()).await?;
            // The port is the URL's: hyper sets it.
            let addresses: Vec<_> = found
                .into_iter()
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            Ok(addresses.into_iter())
        })
    }
}

/// The text of the last source, which is the one that says what happened.
pub(crate) fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}

/// The first error of this type among an error and its sources.
pub(crate) fn find<'error, T: StdError + 'static>(
    error: &'error (dyn StdError + 'static),
) -> Option<&'error T> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<T>() {
            return Some(found);
        }
        next = current.source();
    }
    None
}
