//! The endpoints that a sandbox sees. What the model API has beyond them is not for agents.

use crate::api_error::{ApiError, Reply, whole};
use crate::call::{self, Call};
use crate::gateway::Shared;
use crate::request_head::RequestHead;
use crate::send::Outgoing;
use crate::session::Session;
use crate::{admission, headers};
use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// What of a body that is too large is read and dropped, so that the client gets to read the refusal.
const DISCARDED_BYTES: usize = 64 << 20;
const DISCARD_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    pub(crate) session: Arc<Session>,
    /// Ends the connection, for a client that does not take its answer.
    pub(crate) connection: CancellationToken,
}

pub(crate) async fn answer(context: Context, request: Request<Incoming>) -> Reply {
    let received = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let answered = match (&method, path.as_str()) {
        (&Method::HEAD, "/api/hello") => Ok(whole(StatusCode::OK, Bytes::new())),
        (&Method::POST, "/v1/messages") => message(context, request, received).await,
        (&Method::POST, "/v1/messages/count_tokens") | (&Method::GET, "/v1/models") => {
            uncounted(context, request).await
        }
        _ => Err(ApiError::not_found(format!(
            "there is no {method} {path} at this gateway"
        ))),
    };
    answered.unwrap_or_else(|error| {
        tracing::debug!(status = %error.status, message = %error.message, "a request was refused");
        error.into_reply()
    })
}

async fn message(context: Context, request: Request<Incoming>, received: Instant) -> Result<Reply, ApiError> {
    let Context {
        shared,
        session,
        connection,
    } = context;
    let (outgoing, permit) = read(&shared, &session, request).await?;
    let head = RequestHead::parse(&outgoing.body)?;
    check_reach(&session, &outgoing.body)?;
    admission::admit(
        &session,
        &shared.config.prices,
        shared.config.models.as_deref(),
        &head.model,
    )?;
    let turn = session.trace.context();
    let span = tracing::info_span!(
        "model_call",
        session = %session.id,
        model = %head.model,
        stream = head.stream,
        trace_id = turn.map(|turn| tracing::field::display(turn.trace_id())),
    );
    let tasks = session.tasks.clone();
    let call = Call {
        shared,
        session,
        connection,
        outgoing,
        head,
        received,
        permit,
    };
    let (reply, answer) = oneshot::channel();
    // The call outlives a client that leaves: what it used is still counted.
    tasks.spawn(call::run(call, reply).instrument(span));
    answer
        .await
        .map_err(|_| ApiError::internal("the call ended without an answer; try again"))
}

/// Requests that cost nothing and are in no ledger.
async fn uncounted(context: Context, request: Request<Incoming>) -> Result<Reply, ApiError> {
    let (outgoing, permit) = read(&context.shared, &context.session, request).await?;
    if outgoing.method == Method::POST {
        RequestHead::parse(&outgoing.body)?;
        check_reach(&context.session, &outgoing.body)?;
    }
    let answered = call::uncounted(&context.shared, outgoing).await;
    drop(permit);
    answered
}

fn check_reach(session: &Session, body: &[u8]) -> Result<(), ApiError> {
    match session.reach().refuse(body) {
        None => Ok(()),
        Some(why) => Err(ApiError::invalid_request(why)),
    }
}

/// Checks the token, waits for nothing, and reads the body within its limits.
async fn read(
    shared: &Shared,
    session: &Session,
    request: Request<Incoming>,
) -> Result<(Outgoing, tokio::sync::OwnedSemaphorePermit), ApiError> {
    admission::authenticate(session, request.headers())?;
    let headers = headers::to_upstream(request.headers(), shared.config.limits.head_bytes)?;
    let busy = |_| {
        let most = shared.config.limits.concurrent_calls;
        ApiError::rate_limit(format!(
            "the session has {most} model calls running: wait until one ends"
        ))
    };
    let permit = Arc::clone(&session.calls).try_acquire_owned().map_err(busy)?;
    let (parts, body) = request.into_parts();
    let path = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    let deadline = shared.config.limits.body_deadline;
    let body = tokio::time::timeout(deadline, read_body(body, shared.config.limits.request_bytes))
        .await
        .map_err(|_| {
            ApiError::request_timeout(format!("the request's body did not arrive within {deadline:?}"))
        })??;
    Ok((
        Outgoing {
            method: parts.method,
            path,
            headers,
            body,
        },
        permit,
    ))
}

async fn read_body(mut body: Incoming, limit: usize) -> Result<Bytes, ApiError> {
    let announced = body.size_hint().lower();
    let mut whole = BytesMut::with_capacity(announced.min(limit as u64) as usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::invalid_request("the request's body ended early"))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limit || announced > limit as u64 {
            drop(whole);
            discard(body).await;
            let message = format!("the request is larger than {limit} bytes");
            return Err(ApiError::too_large(message));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

async fn discard(mut body: Incoming) {
    let reading = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARDED_BYTES {
                return;
            }
        }
    };
    // Whoever is still sending after this does not get to read the answer.
    let _ = tokio::time::timeout(DISCARD_DEADLINE, reading).await;
}
