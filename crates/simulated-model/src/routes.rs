//! The endpoints: the Messages API's own, and the ledger.

mod messages;

use crate::attempts::Attempts;
use crate::ledger::Ledger;
use crate::script::Script;
use crate::server::Options;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

pub(crate) type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

pub(crate) struct State {
    pub(crate) script: Script,
    pub(crate) options: Options,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) attempts: Attempts,
    /// How many requests were answered, for a script with `"order": "global"`.
    pub(crate) global_position: AtomicUsize,
}

/// The script wants the connection closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the script closes the connection here")]
pub(crate) struct Closed;

pub(crate) async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Reply, Closed> {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    Ok(match (&method, path.as_str()) {
        (&Method::GET, "/_simulated/ledger") => {
            let shown = json!({"totals": state.ledger.totals(), "entries": state.ledger.entries()});
            json_reply(StatusCode::OK, &shown, 0)
        }
        (&Method::HEAD, "/api/hello") => json_reply(StatusCode::OK, &Value::Null, 0),
        (&Method::GET, "/v1/models") => match refuse_key(&state, request.headers()) {
            Some(refusal) => refusal,
            None => json_reply(StatusCode::OK, &models(&state.script), 0),
        },
        (&Method::POST, "/v1/messages" | "/v1/messages/count_tokens") => {
            return messages::answer(state, request).await;
        }
        _ => error_reply(StatusCode::NOT_FOUND, "not_found_error", "Not found", 0),
    })
}

/// The 401 of a request without the key that the server was started with.
fn refuse_key(state: &State, headers: &HeaderMap) -> Option<Reply> {
    let key = state.options.api_key.as_deref()?;
    let given = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let accepted = given("x-api-key") == Some(key)
        || given("authorization").and_then(|value| value.strip_prefix("Bearer ")) == Some(key);
    (!accepted).then(|| {
        error_reply(
            StatusCode::UNAUTHORIZED,
            "authentication_error",
            "invalid x-api-key",
            0,
        )
    })
}

fn models(script: &Script) -> Value {
    let default = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"].map(str::to_owned);
    let ids = if script.models.is_empty() {
        default.as_slice()
    } else {
        script.models.as_slice()
    };
    let entry = |id: &String| json!({"type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z"});
    json!({
        "data": ids.iter().map(entry).collect::<Vec<_>>(),
        "has_more": false,
        "first_id": ids.first(),
        "last_id": ids.last(),
    })
}

/// The API's one error shape; `id` is the ledger's, 0 for a request that is not in it.
fn error_reply(status: StatusCode, error_type: &str, message: &str, id: u64) -> Reply {
    let body = json!({
        "type": "error",
        "error": {"type": error_type, "message": message},
        "request_id": request_id(id),
    });
    json_reply(status, &body, id)
}

fn json_reply(status: StatusCode, body: &Value, id: u64) -> Reply {
    let bytes = if body.is_null() {
        Bytes::new()
    } else {
        Bytes::from(body.to_string())
    };
    let mut reply = Response::new(Full::new(bytes).map_err(|never| match never {}).boxed_unsync());
    *reply.status_mut() = status;
    set_header(&mut reply, "content-type", "application/json");
    set_header(&mut reply, "request-id", &request_id(id));
    reply
}

/// What an answer names the request of a ledger entry.
pub fn request_id(id: u64) -> String {
    format!("req_simulated{id:012}")
}

fn set_header(reply: &mut Reply, name: &'static str, value: &str) {
    if let Ok(value) = http::HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}
