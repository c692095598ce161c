//! `/v1/sessions/{session_id}/events`.

use super::sessions::id;
use crate::api_error::ApiError;
use crate::call::Call;
use crate::following::Following;
use crate::reply::{self, Reply};
use crate::route::{BODY_BYTES, Route};
use crate::{sse, websocket};
use serde_json::json;
use wire::event_input::{Send, event_schema, sent_schema};
use wire::event_list::{List, MAX_LIMIT, Socket, Stream};
use wire::page::page_of;

const LAST_EVENT_ID: &str = "last-event-id";

pub(super) fn routes() -> Vec<Route> {
    let path = "/v1/sessions/{session_id}/events";
    vec![
        Route::post(path, |call| Box::pin(send(call)))
            .summary("Send events to a session: all are stored, or none")
            .body::<Send>(BODY_BYTES)
            .answer(sent_schema()),
        Route::get(path, |call| Box::pin(list(call)))
            .summary("List the events of a session, the oldest first")
            .query::<List>()
            .answer(page_of(event_schema(), MAX_LIMIT)),
        Route::get("/v1/sessions/{session_id}/events/stream", |call| {
            Box::pin(stream(call))
        })
        .summary("Follow a session's events from now on, or after the one that last-event-id names")
        .query::<Stream>()
        .answer_with("text/event-stream"),
        Route::get("/host/v1/sessions/{session_id}/events/ws", |call| {
            Box::pin(talk(call))
        })
        .summary("Follow a session's events, and send it some, over a WebSocket")
        .query::<Socket>()
        .upgrades(),
    ]
}

async fn send(mut call: Call) -> Result<Reply, ApiError> {
    let send: Send = call.body()?;
    let id = id(&call)?;
    let stored = call.sessions()?.send(call.workspace()?, &id, send);
    reply::ok(&json!({"data": stored.await?}))
}

async fn list(mut call: Call) -> Result<Reply, ApiError> {
    let list: List = call.query()?;
    let id = id(&call)?;
    let events = call.sessions()?.events(call.workspace()?, &id, list);
    reply::ok(&events.await?)
}

async fn stream(mut call: Call) -> Result<Reply, ApiError> {
    let wanted: Stream = call.query()?;
    let after = call.head.headers.get(LAST_EVENT_ID).map(|value| {
        let invalid = |_| ApiError::invalid_request("last-event-id is not the id of an event");
        let event = value.to_str().map_err(invalid)?;
        Ok::<_, ApiError>((LAST_EVENT_ID, event))
    });
    let after = after.transpose()?;
    let id = id(&call)?;
    let events = call.sessions()?.stream(call.workspace()?, &id, after);
    let terms = sse::Terms {
        ending: call.ending.clone(),
        shut_out: call.shut_out(),
        _open: call.api.metrics.http.stream(),
    };
    Ok(sse::reply(events.await?, wanted.event_deltas, terms))
}

async fn talk(mut call: Call) -> Result<Reply, ApiError> {
    let wanted: Socket = call.query()?;
    let session = id(&call)?;
    let after = wanted.after.as_deref().map(|event| ("after", event));
    let events = call.sessions()?.stream(call.workspace()?, &session, after);
    let following = Following::new(events.await?, wanted.event_deltas);
    websocket::reply(call, session, following)
}
