//! One request to its upstream and its response back, on a connection of its own. Headers that belong to one
//! connection stay on it (RFC 9110, 7.6.1); bodies stream, with the slower side setting the pace.

use super::refusal::Refusal;
use super::{MAX_HEADERS, Request, Response};
use crate::dial::{Upstream, describe_io};
use crate::sandbox::{Account, Sandbox};
use http_body::{Body, Frame, SizeHint};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER};
use hyper::header::{PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TRANSFER_ENCODING, UPGRADE};
use hyper::http::uri::{PathAndQuery, Uri};
use hyper::{StatusCode, Version};
use hyper_util::rt::TokioIo;
use policy::Destination;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio_util::task::AbortOnDropHandle;

const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    // The proxy asks for the body itself.
    EXPECT,
];

pub(super) async fn forward(
    sandbox: &Sandbox,
    request: Request<Incoming>,
    destination: &Destination,
    upstream: Upstream,
) -> Result<Response<ForwardBody>, Refusal> {
    let Upstream { stream, mut account } = upstream;
    let meter = stream.meter();
    let started = Builder::new()
        .max_headers(MAX_HEADERS)
        .max_buf_size(sandbox.config.max_head_bytes)
        .max_header_size(sandbox.config.max_head_bytes)
        .handshake(TokioIo::new(stream))
        .await;
    let (mut sender, connection): (SendRequest<Incoming>, _) = started.map_err(|error| {
        account.end(describe_http(&error));
        Refusal::upstream(format!(
            "{destination} was not reached: {}",
            describe_http(&error)
        ))
    })?;
    let driver = sandbox.tasks.start_owned("exchange", async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream's HTTP ended early");
        }
    });
    let limit = sandbox.config.response_timeout;
    let answered = tokio::select! {
        answered = sender.send_request(outgoing(request, destination)) => answered,
        () = meter.idle(limit) => {
            account.end(format!("no response within {limit:?}"));
            return Err(Refusal::timeout(format!("{destination} did not respond within {limit:?}")));
        }
    };
    let response = answered.map_err(|error| {
        account.end(describe_http(&error));
        Refusal::upstream(format!(
            "{destination} did not respond: {}",
            describe_http(&error)
        ))
    })?;
    let response = incoming(response);
    if response.body().is_end_stream() {
        account.end("closed");
    }
    Ok(response.map(|body| ForwardBody {
        body,
        account,
        _driver: driver,
    }))
}

fn outgoing(mut request: Request<Incoming>, destination: &Destination) -> Request<Incoming> {
    let path = request
        .uri()
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = Version::HTTP_11;
    remove_hop_by_hop(request.headers_mut());
    if !request.headers().contains_key(HOST) {
        let host = match destination.port {
            80 => destination.host.to_string(),
            _ => destination.to_string(),
        };
        if let Ok(value) = HeaderValue::try_from(host) {
            request.headers_mut().insert(HOST, value);
        }
    }
    request
}

fn incoming(mut response: Response<Incoming>) -> Response<Incoming> {
    remove_hop_by_hop(response.headers_mut());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked for it: the request's Upgrade stayed here.
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
    response
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Whoever names these wants to confuse somebody.
        .filter(|name| name != HOST && name != "content-length")
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn describe_http(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error);
    match cause.and_then(|cause| cause.downcast_ref::<io::Error>()) {
        Some(io) => describe_io(io),
        None => error.to_string(),
    }
}

/// The response's body; the upstream connection lives as long as it.
pub(crate) struct ForwardBody {
    body: Incoming,
    account: Account,
    _driver: AbortOnDropHandle<()>,
}

impl Body for ForwardBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Err(error)) => self.account.end(describe_http(error)),
            None => self.account.end("closed"),
            Some(Ok(_)) if self.body.is_end_stream() => self.account.end("closed"),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_one_connection_stay_on_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "a.example"),
            ("connection", "close, X-Mine , host, Content-Length"),
            ("x-mine", "1"),
            ("content-length", "5"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic secret"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("accept", "*/*"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host"]);
    }
}
