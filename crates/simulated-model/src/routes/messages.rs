//! `POST /v1/messages` and `/v1/messages/count_tokens`: read, check, choose the turn, play it.

use super::{Closed, Reply, State, error_reply, json_reply, refuse_key, request_id, set_header};
use crate::answer::Answer;
use crate::body::{PlayedBody, Source, raw};
use crate::choice::{Choice, choose};
use crate::events::Events;
use crate::ledger::{Entry, Outcome, Sent, Ticket};
use crate::request::MessagesRequest;
use crate::script::{Fault, Order, Turn};
use crate::server::Arrival;
use crate::tokens;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::json;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the real API takes in one request.
const MAX_REQUEST_BYTES: usize = 32 << 20;
const BODY_DEADLINE: Duration = Duration::from_mins(1);
const SHOWN_TEXT_CHARACTERS: usize = 200;

pub(super) async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Reply, Closed> {
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let mut ticket = state.ledger.open(new_entry(&parts));
    let body = match read(body).await {
        Ok(body) => body,
        Err((status, error_type, message)) => return Ok(refuse(&mut ticket, status, error_type, message)),
    };
    ticket.note(|entry| entry.request_bytes = body.len() as u64);
    if let Some(refusal) = refuse_key(&state, &parts.headers) {
        ticket.note(|entry| entry.status = Some(401));
        ticket.close(Outcome::Refused);
        return Ok(refusal);
    }
    if !parts.headers.contains_key("anthropic-version") {
        let message = "anthropic-version: header is required";
        return Ok(refuse(
            &mut ticket,
            StatusCode::BAD_REQUEST,
            "invalid_request_error",
            message,
        ));
    }
    let counts_only = parts.uri.path().ends_with("/count_tokens");
    let request = match MessagesRequest::parse(&body, !counts_only) {
        Ok(request) => request,
        Err(message) => {
            return Ok(refuse(
                &mut ticket,
                StatusCode::BAD_REQUEST,
                "invalid_request_error",
                &message,
            ));
        }
    };
    ticket.note(|entry| describe(entry, &request));
    if let Some(arrivals) = &state.options.arrivals {
        let last_user_text = request.last_user_text();
        // Whoever stopped listening has seen enough.
        arrivals.send(Arrival { at, last_user_text }).ok();
    }
    let known = &state.script.models;
    if !known.is_empty() && !known.contains(&request.model) {
        let message = format!("model: {}", request.model);
        return Ok(refuse(
            &mut ticket,
            StatusCode::NOT_FOUND,
            "not_found_error",
            &message,
        ));
    }
    if counts_only {
        let reply = json_reply(
            StatusCode::OK,
            &json!({"input_tokens": tokens::count(&request)}),
            ticket.id(),
        );
        ticket.note(|entry| entry.status = Some(200));
        ticket.close(Outcome::Completed);
        return Ok(reply);
    }
    let seed = seed(&parts.headers, &body);
    play(&state, &request, seed, ticket).await
}

async fn read(body: Incoming) -> Result<Bytes, (StatusCode, &'static str, &'static str)> {
    match tokio::time::timeout(BODY_DEADLINE, Limited::new(body, MAX_REQUEST_BYTES).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = "Request exceeds the maximum allowed number of bytes.";
            Err((StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message))
        }
        Ok(Err(_)) => Err((
            StatusCode::BAD_REQUEST,
            "invalid_request_error",
            "the request's body ended early",
        )),
        Err(_) => Err((
            StatusCode::REQUEST_TIMEOUT,
            "timeout_error",
            "the request's body did not arrive in time",
        )),
    }
}

/// Plays the turn that is next, or says that there is none.
async fn play(
    state: &State,
    request: &MessagesRequest,
    seed: u64,
    mut ticket: Ticket,
) -> Result<Reply, Closed> {
    let position = match state.script.order {
        Order::Conversation => request.position(),
        Order::Global => state.global_position.load(Ordering::Relaxed),
    };
    let name = &state.script.name;
    let (label, turn) = match choose(&state.script, position, request) {
        Choice::Turn { label, turn } => (label, turn),
        Choice::Ended { position } => {
            let text = format!(
                "The simulated model's script {name:?} has ended: it has {} turns, and this would be turn {}. This is \
                 not a model's reply.",
                state.script.turns.len(),
                position + 1
            );
            return Ok(reply(
                Answer::of_text(text, request, seed),
                None,
                request.stream,
                ticket,
            ));
        }
        Choice::NoMatch { position } => {
            let text = format!(
                "The simulated model's script {name:?} has no reply at turn {} that matches this request. This is \
                 not a model's reply.",
                position + 1
            );
            return Ok(reply(
                Answer::of_text(text, request, seed),
                None,
                request.stream,
                ticket,
            ));
        }
    };
    let fault = active_fault(state, turn, &label, seed, &ticket);
    ticket.note(|entry| entry.turn = Some(label));
    if turn.first_byte_delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(turn.first_byte_delay_ms)).await;
    }
    if fault.is_none() || turn.fault.as_ref().is_some_and(|fault| fault.times().is_none()) {
        state.global_position.fetch_add(1, Ordering::Relaxed);
    }
    match fault {
        Some(Fault::Close { .. }) => {
            ticket.close(Outcome::CutByScript);
            Err(Closed)
        }
        Some(Fault::Error {
            status,
            error_type,
            message,
            retry_after_seconds,
            ..
        }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut refusal = refuse(&mut ticket, status, &error_type, &message);
            if let Some(seconds) = retry_after_seconds {
                set_header(&mut refusal, "retry-after", &seconds.to_string());
            }
            Ok(refusal)
        }
        fault => Ok(reply(
            Answer::of_turn(turn, request, seed),
            fault,
            request.stream,
            ticket,
        )),
    }
}

/// The turn's fault, unless this request has had its share of it.
fn active_fault(state: &State, turn: &Turn, label: &str, seed: u64, ticket: &Ticket) -> Option<Fault> {
    let fault = turn.fault.as_ref()?;
    let Some(times) = fault.times() else {
        return Some(fault.clone());
    };
    let mut hasher = DefaultHasher::new();
    label.hash(&mut hasher);
    if state.script.order == Order::Conversation {
        seed.hash(&mut hasher);
    }
    let attempt = state.attempts.count(hasher.finish());
    ticket.note(|entry| entry.attempt = Some(attempt));
    (attempt <= times).then(|| fault.clone())
}

fn reply(answer: Answer, fault: Option<Fault>, stream: bool, mut ticket: Ticket) -> Reply {
    ticket.note(|entry| entry.status = Some(200));
    let id = ticket.id();
    if stream {
        return played(
            Box::new(Events::new(answer)),
            fault,
            ticket,
            "text/event-stream; charset=utf-8",
        );
    }
    let message = answer.to_message();
    if fault.is_none() {
        let reply = json_reply(StatusCode::OK, &message, id);
        ticket.sent(message.to_string().len(), Some(answer.usage));
        ticket.close(Outcome::Completed);
        return reply;
    }
    let mut first = Bytes::from(message.to_string());
    let second = first.split_off(first.len() / 2);
    played(
        Box::new([raw(first), raw(second)].into_iter()),
        fault,
        ticket,
        "application/json",
    )
}

fn played(source: Source, fault: Option<Fault>, ticket: Ticket, content_type: &str) -> Reply {
    let id = ticket.id();
    let mut reply = Response::new(PlayedBody::new(source, fault, ticket).boxed_unsync());
    set_header(&mut reply, "content-type", content_type);
    set_header(&mut reply, "cache-control", "no-cache");
    set_header(&mut reply, "request-id", &request_id(id));
    reply
}

fn refuse(ticket: &mut Ticket, status: StatusCode, error_type: &str, message: &str) -> Reply {
    ticket.note(|entry| entry.status = Some(status.as_u16()));
    ticket.close(Outcome::Refused);
    error_reply(status, error_type, message, ticket.id())
}

/// The same for a request that is sent again, and different for another session's.
fn seed(headers: &HeaderMap, body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    headers.get("x-claude-code-session-id").hash(&mut hasher);
    body.hash(&mut hasher);
    hasher.finish()
}

fn new_entry(parts: &Parts) -> Entry {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let shown = |(name, value): (&http::HeaderName, &http::HeaderValue)| match name.as_str() {
        "x-api-key" | "authorization" | "cookie" => (name.to_string(), "(not kept)".to_owned()),
        _ => (name.to_string(), text(value)),
    };
    Entry {
        id: 0,
        received_at_ms: since_1970.as_millis() as u64,
        path: parts.uri.to_string(),
        session: parts.headers.get("x-claude-code-session-id").map(text),
        headers: parts.headers.iter().map(shown).collect(),
        request_bytes: 0,
        model: String::new(),
        stream: false,
        messages: 0,
        last_user_text: String::new(),
        turn: None,
        attempt: None,
        status: None,
        sent: Sent::default(),
        outcome: Outcome::Open,
    }
}

fn describe(entry: &mut Entry, request: &MessagesRequest) {
    entry.model.clone_from(&request.model);
    entry.stream = request.stream;
    entry.messages = request.messages.len();
    entry.last_user_text = request
        .last_user_text()
        .chars()
        .take(SHOWN_TEXT_CHARACTERS)
        .collect();
}
