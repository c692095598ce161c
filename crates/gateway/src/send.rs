//! A request on its way to the upstream: with the real key, and again where that is safe.

use crate::api_error::ApiError;
use crate::gateway::Shared;
use crate::retry::{self, Advice};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use outbound::RequestError;
use std::time::{Duration, Instant};

/// A request as the upstream shall see it, but for the key.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) path: PathAndQuery,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What became of it, after so many tries.
pub(crate) struct Sent {
    pub(crate) attempts: u32,
    pub(crate) result: Result<Response<Incoming>, SendError>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the request cannot be built")]
    Build(#[from] http::Error),
    #[error(transparent)]
    Request(RequestError),
    #[error("the model API did not answer within {0:?}")]
    Timeout(Duration),
}

/// `head_deadline` is for each try.
pub(crate) async fn send(shared: &Shared, outgoing: &Outgoing, head_deadline: Duration) -> Sent {
    let started = Instant::now();
    let retries = &shared.config.retries;
    let mut attempts = 1;
    loop {
        let result = once(shared, outgoing, head_deadline).await;
        let advice = match &result {
            Ok(response) => retry::advice(response.status(), response.headers()),
            Err(SendError::Request(error)) if error.nothing_was_sent() && error.may_pass() => Advice::Yes,
            Err(_) => Advice::No,
        };
        let Some(delay) = retries.delay(advice, attempts, started.elapsed()) else {
            return Sent { attempts, result };
        };
        match result {
            Ok(response) => tracing::info!(status = %response.status(), ?delay, "the upstream wants a retry"),
            Err(error) => tracing::info!(%error, ?delay, "the upstream was not reached, trying again"),
        }
        tokio::time::sleep(delay).await;
        attempts += 1;
    }
}

async fn once(
    shared: &Shared,
    outgoing: &Outgoing,
    head_deadline: Duration,
) -> Result<Response<Incoming>, SendError> {
    let mut request = Request::new(Full::new(outgoing.body.clone()));
    *request.method_mut() = outgoing.method.clone();
    *request.uri_mut() = shared.config.upstream.uri(&outgoing.path)?;
    *request.headers_mut() = outgoing.headers.clone();
    shared.config.upstream.authorize(request.headers_mut());
    match tokio::time::timeout(head_deadline, shared.client.request(request)).await {
        Ok(answered) => answered.map_err(SendError::Request),
        Err(_) => Err(SendError::Timeout(head_deadline)),
    }
}

impl SendError {
    /// What the sandbox is told.
    pub(crate) fn to_api_error(&self) -> ApiError {
        match self {
            Self::Timeout(_) => ApiError::upstream_timeout(format!("{self}; try again")),
            Self::Build(_) => ApiError::invalid_request("the request's path cannot be forwarded"),
            Self::Request(error) => {
                ApiError::bad_gateway(format!("hostler could not reach the model API: {error}"))
            }
        }
    }
}
