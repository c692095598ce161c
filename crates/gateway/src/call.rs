//! One model call, from the ledger's opening to its closing, in a task of its own.
//!
//! ```text
//! open in the ledger ─> send, with retries ─┬─> whole answer: read, count, close, reply
//!                                           └─> stream: reply at once; the relay counts as it passes,
//!                                               reports at the end, and holds the end back until it is closed
//! ```
//!
//! Every way out goes through `close`, exactly once.

use crate::api_error::{ApiError, Reply, whole};
use crate::gateway::Shared;
use crate::headers;
use crate::ledger::{CallId, CallOutcome, Ended, NewCall};
use crate::meter;
use crate::relay::{Finished, Relay, Report};
use crate::request_head::RequestHead;
use crate::scrub::Scrubber;
use crate::send::{self, Outgoing, SendError, Sent};
use crate::session::{Charge, Session};
use bytes::{Bytes, BytesMut};
use domain::Usage;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;
use traces::{ModelCall, ModelCallEnd};

/// For a connection that was told to end.
const CUT_DEADLINE: Duration = Duration::from_secs(2);

/// For an answer about models: whoever asks can be told something else.
const DESCRIBE_DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) session: Arc<Session>,
    pub(crate) connection: CancellationToken,
    pub(crate) outgoing: Outgoing,
    pub(crate) head: RequestHead,
    pub(crate) received: Instant,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// What is known of a call before its end.
struct Progress {
    id: CallId,
    attempts: u32,
    status: Option<u16>,
    request_id: Option<String>,
    trace: ModelCall,
}

pub(crate) async fn run(call: Call, mut reply: oneshot::Sender<Reply>) {
    let Some(id) = open(&call).await else {
        let error = ApiError::internal("hostler could not record this call, so it was not sent; try again");
        let _ = reply.send(error.into_reply());
        return;
    };
    let mut progress = Progress {
        id,
        attempts: 0,
        status: None,
        request_id: None,
        trace: trace(&call),
    };
    let limits = &call.shared.config.limits;
    let head_deadline = if call.head.stream {
        limits.stream_head
    } else {
        limits.whole_head
    };
    let sent = tokio::select! {
        biased;
        () = call.session.stop.cancelled() => Err(Ended::Stopped),
        // One that is not streamed is worked on by the upstream whether or not anybody waits for it.
        () = reply.closed(), if call.head.stream => Err(Ended::CutByClient),
        sent = send::send(&call.shared, &call.outgoing, head_deadline) => Ok(sent),
    };
    let Sent { attempts, result } = match sent {
        Ok(sent) => sent,
        Err(ended) => {
            close(&call, &mut progress, &Report::without_use(ended)).await;
            return;
        }
    };
    progress.attempts = attempts;
    match result {
        Err(error) => unreachable(&call, &mut progress, &error, reply).await,
        Ok(response) => {
            progress.status = Some(response.status().as_u16());
            progress.request_id = text(response.headers(), "request-id");
            if is_stream(&response) {
                stream(call, &mut progress, response, reply).await;
            } else {
                complete(&call, &mut progress, response, reply).await;
            }
        }
    }
}

/// A request that is in no ledger.
pub(crate) async fn uncounted(shared: &Shared, outgoing: Outgoing) -> Result<Reply, ApiError> {
    let sent = send::send(shared, &outgoing, shared.config.limits.whole_head).await;
    let response = sent.result.map_err(|error| error.to_api_error())?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = read_whole(shared, response).await?;
    Ok(to_client(shared, status, &headers, body))
}

/// What the upstream says of itself, asked by hostler and not by a sandbox.
pub(crate) async fn describe(shared: &Shared, path: PathAndQuery) -> Option<Bytes> {
    let mut headers = HeaderMap::new();
    headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    let outgoing = Outgoing {
        method: Method::GET,
        path,
        headers,
        body: Bytes::new(),
    };
    let asking = async {
        let sent = send::send(shared, &outgoing, DESCRIBE_DEADLINE).await;
        let response = sent.result.map_err(|error| error.to_string())?;
        match response.status() {
            StatusCode::OK => read_whole(shared, response).await.map_err(|error| error.message),
            status => Err(format!("it answers {status}")),
        }
    };
    let asked = tokio::time::timeout(DESCRIBE_DEADLINE, asking).await;
    match asked.unwrap_or_else(|_| Err(format!("it says nothing for {DESCRIBE_DEADLINE:?}"))) {
        Ok(body) => Some(Scrubber::whole(shared.config.upstream.secret(), body)),
        Err(reason) => {
            tracing::debug!(reason, "the upstream does not say what its models are");
            None
        }
    }
}

async fn open(call: &Call) -> Option<CallId> {
    let new = NewCall {
        session_id: call.session.id.clone(),
        model: call.head.model.clone(),
        stream: call.head.stream,
        request_bytes: call.outgoing.body.len() as u64,
        started_at: (call.shared.config.clock)(),
        waited: call.session.waited(),
    };
    let deadline = call.shared.config.limits.ledger_deadline;
    match tokio::time::timeout(deadline, call.shared.ledger.open(&new)).await {
        Ok(Ok(id)) => Some(id),
        Ok(Err(error)) => {
            tracing::error!(%error, "a call was not sent");
            None
        }
        Err(_) => {
            tracing::error!(?deadline, "a call was not sent: the ledger does not answer");
            None
        }
    }
}

fn trace(call: &Call) -> ModelCall {
    let upstream = call.shared.config.upstream.host();
    let trace = &call.session.trace;
    trace.model_call(
        &call.head.model,
        call.head.stream,
        upstream,
        call.received.elapsed(),
    )
}

async fn close(call: &Call, progress: &mut Progress, report: &Report) {
    let outcome = CallOutcome {
        ended: report.ended,
        status: progress.status,
        model: report.model.clone(),
        usage: report.usage,
        estimated: report.estimated,
        cost: report.cost,
        attempts: progress.attempts,
        request_id: progress.request_id.clone(),
        first_byte: report.first_byte,
        duration: call.received.elapsed(),
    };
    tracing::info!(
        ended = outcome.ended.as_str(),
        status = outcome.status,
        attempts = outcome.attempts,
        input_tokens = outcome.usage.input_tokens,
        output_tokens = outcome.usage.output_tokens,
        duration_ms = outcome.duration.as_millis() as u64,
        "a model call ended"
    );
    progress.trace.ended(&ModelCallEnd {
        ended: outcome.ended.as_str(),
        is_completed: outcome.ended == Ended::Completed,
        status: outcome.status,
        model: outcome.model.as_deref(),
        usage: &outcome.usage,
        attempts: outcome.attempts,
        first_byte: outcome.first_byte,
    });
    let deadline = call.shared.config.limits.ledger_deadline;
    match tokio::time::timeout(deadline, call.shared.ledger.close(progress.id, &outcome)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "a call's entry stays open"),
        Err(_) => tracing::error!(?deadline, "a call's entry stays open: the ledger does not answer"),
    }
}

async fn unreachable(call: &Call, progress: &mut Progress, error: &SendError, reply: oneshot::Sender<Reply>) {
    tracing::warn!(%error, upstream = call.shared.config.upstream.host(), "no answer from the model API");
    close(call, progress, &Report::without_use(Ended::Unreachable)).await;
    let _ = reply.send(error.to_api_error().into_reply());
}

/// An answer in one piece: an error, or a reply that is not streamed.
async fn complete(
    call: &Call,
    progress: &mut Progress,
    response: Response<Incoming>,
    reply: oneshot::Sender<Reply>,
) {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = tokio::select! {
        () = call.session.stop.cancelled() => {
            close(call, progress, &Report::without_use(Ended::Stopped)).await;
            return;
        }
        body = read_whole(&call.shared, response) => body,
    };
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            close(call, progress, &Report::without_use(Ended::CutByUpstream)).await;
            let _ = reply.send(error.into_reply());
            return;
        }
    };
    let (model, usage) = meter::of_message(&body).unwrap_or((None, Usage::default()));
    let ended = match status.is_success() {
        true if reply.is_closed() => Ended::CutByClient,
        true => Ended::Completed,
        false => Ended::Refused,
    };
    let cost = charge(call).update(model.as_deref(), usage);
    let first_byte = Some(call.received.elapsed());
    close(
        call,
        progress,
        &Report {
            ended,
            model,
            usage,
            estimated: false,
            cost,
            first_byte,
        },
    )
    .await;
    let _ = reply.send(to_client(&call.shared, status, &headers, body));
}

async fn stream(
    call: Call,
    progress: &mut Progress,
    response: Response<Incoming>,
    reply: oneshot::Sender<Reply>,
) {
    let (parts, body) = response.into_parts();
    let secret = call.shared.config.upstream.secret();
    let (finished, mut report) = oneshot::channel();
    let relay = Relay::new(body, charge(&call), &call.shared.config, call.received, finished);
    let mut answer = Response::new(relay.boxed_unsync());
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = headers::to_client(&parts.headers, secret);
    // If nobody waits any more the relay is dropped here, and reports that.
    drop(reply.send(answer));

    let limit = call.shared.config.limits.stream_duration;
    let mut forced = None;
    let mut received = tokio::select! {
        finished = &mut report => finished.ok(),
        () = call.session.stop.cancelled() => { forced = Some(Ended::Stopped); None }
        () = tokio::time::sleep(limit) => { forced = Some(Ended::CutByUpstream); None }
    };
    if forced.is_some() {
        call.connection.cancel();
        received = tokio::time::timeout(CUT_DEADLINE, report)
            .await
            .ok()
            .and_then(Result::ok);
    }
    let (mut last, closed) = match received {
        Some(Finished { report, closed }) => (report, Some(closed)),
        None => (Report::without_use(Ended::CutByClient), None),
    };
    last.ended = forced.unwrap_or(last.ended);
    close(&call, progress, &last).await;
    if let Some(closed) = closed {
        // A relay that was dropped does not wait for this.
        let _ = closed.send(());
    }
    drop(call.permit);
}

fn charge(call: &Call) -> Charge {
    let prices = Arc::clone(&call.shared.config.prices);
    Charge::new(Arc::clone(&call.session), prices, call.head.model.clone())
}

async fn read_whole(shared: &Shared, response: Response<Incoming>) -> Result<Bytes, ApiError> {
    let limits = &shared.config.limits;
    if response
        .headers()
        .get("content-encoding")
        .is_some_and(|encoding| encoding != "identity")
    {
        return Err(ApiError::bad_gateway(
            "the model API sent a compressed answer that was not asked for",
        ));
    }
    let mut body = response.into_body();
    let mut whole = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(limits.upstream_idle, body.frame())
            .await
            .map_err(|_| {
                ApiError::upstream_timeout(format!(
                    "the model API was silent for {:?}; try again",
                    limits.upstream_idle
                ))
            })?;
        let Some(frame) = frame else {
            return Ok(whole.freeze());
        };
        let frame = frame.map_err(|_| ApiError::bad_gateway("the model API cut its answer; try again"))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limits.reply_bytes {
            let most = limits.reply_bytes;
            return Err(ApiError::bad_gateway(format!(
                "the model API's answer is larger than {most} bytes"
            )));
        }
        whole.extend_from_slice(&data);
    }
}

fn to_client(shared: &Shared, status: StatusCode, headers: &HeaderMap, body: Bytes) -> Reply {
    let secret = shared.config.upstream.secret();
    let mut reply = whole(status, Scrubber::whole(secret, body));
    *reply.headers_mut() = headers::to_client(headers, secret);
    reply
}

fn is_stream(response: &Response<Incoming>) -> bool {
    let event_stream = text(response.headers(), "content-type")
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/event-stream"));
    let plain = response
        .headers()
        .get("content-encoding")
        .is_none_or(|encoding| encoding == "identity");
    event_stream && plain && response.status().is_success()
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}
