//! The HTTP client: HTTP/1.1 over TCP or TLS, with a pool of idle connections.
//!
//! A request is sent once. The pool alone sends again, and only what was never written because an idle connection
//! turned out to be closed.

use crate::connector::Connector;
use crate::{Proxies, RequestError, Resolver};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::time::Duration;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The longest head of an answer.
const MAX_HEAD_BYTES: usize = 256 << 10;

#[derive(Debug, Clone)]
pub struct ClientConfig {
    pub resolver: Resolver,
    /// None unless told: most of what hostler connects to is not for a proxy.
    pub proxies: Proxies,
    /// For name, connection and TLS together.
    pub connect_timeout: Duration,
    /// From the request to the head of its answer, connecting included; `None` leaves it to the caller.
    pub response_timeout: Option<Duration>,
    pub idle_timeout: Duration,
    pub max_idle_per_host: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            resolver: Resolver::system(),
            proxies: Proxies::default(),
            connect_timeout: Duration::from_secs(10),
            response_timeout: None,
            idle_timeout: Duration::from_mins(1),
            max_idle_per_host: 32,
        }
    }
}

/// Cheap to clone; clones share the pool.
#[derive(Clone)]
pub struct Client {
    pool: Pool<Connector, Body>,
    response_timeout: Option<Duration>,
}

impl Client {
    pub fn new(config: ClientConfig) -> Self {
        let pool = Pool::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(config.idle_timeout)
            .pool_max_idle_per_host(config.max_idle_per_host)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(Connector::new(
                config.resolver,
                config.proxies,
                config.connect_timeout,
            ));
        Self {
            pool,
            response_timeout: config.response_timeout,
        }
    }

    /// The head of the answer, and its body as it arrives. The URL is absolute, `http` or `https`.
    pub async fn request<B>(
        &self,
        request: http::Request<B>,
    ) -> Result<http::Response<Incoming>, RequestError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Some(host) = request.uri().host().map(str::to_owned) else {
            return Err(RequestError::Url {
                reason: "it names no host",
            });
        };
        let answer = self
            .pool
            .request(request.map(|body| body.map_err(Into::into).boxed_unsync()));
        let result = match self.response_timeout {
            None => answer.await,
            Some(after) => match tokio::time::timeout(after, answer).await {
                Ok(result) => result,
                Err(_) => return Err(RequestError::ResponseTimeout { host, after }),
            },
        };
        result.map_err(|error| RequestError::from_hyper(&host, error))
    }
}
