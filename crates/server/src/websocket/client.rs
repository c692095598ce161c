//! Frames of a client: each is a request.

use crate::Api;
use crate::answer::{note, panicked, tell};
use crate::api_error::ApiError;
use crate::authentication;
use crate::call::Call;
use crate::json;
use crate::rate::{Class, Meter};
use crate::request_id::RequestId;
use crate::route::Access;
use domain::SessionId;
use futures_util::FutureExt as _;
use hosted::Hosted;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;
use traces::{Context, NewRequest};
use tracing::{Instrument as _, field};
use wire::Input as _;
use wire::event_input::Send;

/// Where the connection was opened.
const ROUTE: &str = "/host/v1/sessions/{session_id}/events/ws";

pub(super) struct Client {
    api: Api,
    sessions: Hosted,
    session: SessionId,
    /// With the key, which is asked for again at every frame.
    headers: HeaderMap,
    meter: Arc<Meter>,
}

/// What a frame is answered with.
pub(super) struct Answered {
    pub(super) json: String,
    /// The key does not open this session any more.
    pub(super) is_shut_out: bool,
}

impl Client {
    pub(super) fn new(call: Call, session: SessionId) -> Result<Self, ApiError> {
        Ok(Self {
            sessions: call.sessions()?.clone(),
            api: call.api,
            session,
            headers: call.head.headers,
            meter: call.meter,
        })
    }

    pub(super) async fn answer(&self, frame: &str) -> Answered {
        let id = RequestId::random();
        let span =
            tracing::info_span!("frame", request = %id, session = %self.session, trace_id = field::Empty);
        let handling = AssertUnwindSafe(self.send(&id, frame).instrument(span.clone()));
        let handled = handling.catch_unwind().await;
        let _entered = span.enter();
        match handled.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) {
            Ok(json) => {
                tracing::info!("answered");
                Answered {
                    json,
                    is_shut_out: false,
                }
            }
            Err(error) => {
                tell(&error);
                let body = serde_json::to_string(&error.body(&id));
                Answered {
                    json: body.unwrap_or_default(),
                    is_shut_out: matches!(error.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
                }
            }
        }
    }

    async fn send(&self, id: &RequestId, frame: &str) -> Result<String, ApiError> {
        let began = Instant::now();
        let keys = self.api.resources.keys();
        let identity = authentication::identify(keys, &self.headers, Access::Workspace).await?;
        self.meter.admit(&identity.caller, Class::Other, Instant::now())?;
        let send = Send::read(json::parse(frame.as_bytes())?)?;
        let trace = self.api.traces.request(NewRequest {
            id: id.as_str(),
            method: None,
            route: ROUTE,
            workspace: Some(&identity.workspace),
            session: Some(self.session.clone()),
            parent: Context::of_headers(&self.headers),
            took: began.elapsed(),
        });
        note(&trace);
        let sending = self.sessions.send(&identity.workspace, &self.session, send);
        let outcome = traces::within(trace.context(), sending).await;
        let outcome = outcome.map_err(ApiError::from);
        let status = outcome.as_ref().map_or_else(ApiError::status, |_| StatusCode::OK);
        trace.answered(status.as_u16());
        Ok(json!({"type": "sent", "data": outcome?}).to_string())
    }
}
