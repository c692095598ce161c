//! From a request to its answer. Every answer has the request's id; every failure has the API's shape.

use crate::Api;
use crate::api_error::ApiError;
use crate::authentication::{self, Identity};
use crate::body::{self, Reader};
use crate::call::{self, Call};
use crate::config::Config;
use crate::ending::Ending;
use crate::json;
use crate::rate::Meter;
use crate::reply::{Body, Reply};
use crate::request_id::RequestId;
use crate::route::{Access, Route};
use crate::router::{Found, Parameters, Router, method_name};
use domain::SessionId;
use futures_util::FutureExt as _;
use http::header::{CONTENT_ENCODING, EXPECT};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request};
use serde_json::Value;
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;
use traces::{Context, NewRequest, RequestSpan};
use tracing::{Instrument as _, Span, field};

/// Characters of a path that is no route's.
const LOGGED_PATH: usize = 200;
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// A request, before anything is known of it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    id: &'a RequestId,
    began: Instant,
}

/// What all requests share.
pub(crate) struct Answering {
    api: Api,
    router: Router,
    meter: Arc<Meter>,
    reader: Reader,
    head_bytes: usize,
    pub(crate) ending: Ending,
}

impl Answering {
    pub(crate) fn new(config: &Config, api: Api, routes: Vec<Route>) -> Self {
        Self {
            router: Router::new(routes, &api.metrics.http),
            api,
            meter: Arc::new(Meter::new(config.rates)),
            reader: Reader::new(config.limits.clone()),
            head_bytes: config.limits.head_bytes,
            ending: Ending::default(),
        }
    }

    pub(crate) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.router.routes()
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Reply {
        let id = RequestId::random();
        let began = Instant::now();
        let (head, body) = request.into_parts();
        let found = self.find(&head);
        let meter = found
            .as_ref()
            .map_or(self.router.unmatched(), |found| found.meter);
        let span = span(&id, &head, found.as_ref().ok());
        let asked = Asked { id: &id, began };
        let answered = AssertUnwindSafe(self.handle(asked, found, head, body).instrument(span.clone()))
            .catch_unwind()
            .await;
        let _entered = span.enter();
        let answered = answered.unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
        let mut reply = answered.unwrap_or_else(|error| {
            tell(&error);
            error.into_reply(&id)
        });
        let (status, took) = (reply.status().as_u16(), began.elapsed());
        meter.answered(status, took);
        tracing::info!(status, took_ms = took.as_millis() as u64, "answered");
        if let Ok(value) = HeaderValue::from_str(id.as_str()) {
            reply.headers_mut().insert(REQUEST_ID, value);
        }
        reply
    }

    fn find(&self, head: &Parts) -> Result<Found<'_>, ApiError> {
        self.check_head(head)?;
        self.router.find(&head.method, head.uri.path())
    }

    async fn handle(
        &self,
        asked: Asked<'_>,
        found: Result<Found<'_>, ApiError>,
        head: Parts,
        body: Body,
    ) -> Result<Reply, ApiError> {
        let asks_first = head.headers.contains_key(EXPECT);
        let admitted = match found {
            Ok(found) => self.admit(found, head).await,
            Err(error) => Err(error),
        };
        match admitted {
            Ok((route, call)) => {
                let trace = self.trace(asked, route, &call);
                let answered = traces::within(trace.context(), self.call(route, call, body)).await;
                trace.answered(match &answered {
                    Ok(reply) => reply.status().as_u16(),
                    Err(error) => error.status().as_u16(),
                });
                answered
            }
            Err(error) => {
                // A client that asked first has not sent it.
                if !asks_first {
                    body::discard(body).await;
                }
                Err(error)
            }
        }
    }

    /// Of a request that may change something, or is part of a client's own trace. Who has no key makes none.
    fn trace(&self, asked: Asked<'_>, route: &Route, call: &Call) -> RequestSpan {
        if !self.api.traces.is_on() || route.access == Access::Open {
            return RequestSpan::default();
        }
        let parent = Context::of_headers(&call.head.headers);
        if route.method == Method::GET && parent.is_none() {
            return RequestSpan::default();
        }
        let trace = self.api.traces.request(NewRequest {
            id: asked.id.as_str(),
            method: Some(method_name(&route.method)),
            route: route.path,
            workspace: call.workspace().ok(),
            session: session_of(&call.parameters),
            parent,
            took: asked.began.elapsed(),
        });
        note(&trace);
        trace
    }

    /// Everything that is known from the head.
    async fn admit<'a>(&self, found: Found<'a>, head: Parts) -> Result<(&'a Route, Call), ApiError> {
        let Found {
            route, parameters, ..
        } = found;
        let identity = match route.access {
            Access::Open => None,
            Access::Workspace | Access::Admin => Some(self.identify(&head, route).await?),
        };
        let query = call::read_query(head.uri.query().unwrap_or_default(), &route.query)?;
        let encoded = head.headers.get(CONTENT_ENCODING);
        if encoded.is_some_and(|encoding| encoding != "identity") {
            return Err(ApiError::unsupported_encoding());
        }
        let call = Call {
            api: self.api.clone(),
            identity,
            parameters,
            query,
            head,
            body: Value::Null,
            meter: Arc::clone(&self.meter),
            reader: self.reader.clone(),
            ending: self.ending.clone(),
        };
        Ok((route, call))
    }

    /// The connection's buffer bounds a head only roughly.
    fn check_head(&self, head: &Parts) -> Result<(), ApiError> {
        let path = head.uri.path_and_query().map_or(0, |path| path.as_str().len());
        let headers = head.headers.iter();
        let headers: usize = headers
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        if path + headers > self.head_bytes {
            return Err(ApiError::head_too_large(self.head_bytes));
        }
        Ok(())
    }

    async fn identify(&self, head: &Parts, route: &Route) -> Result<Identity, ApiError> {
        let keys = self.api.resources.keys();
        let identity = authentication::identify(keys, &head.headers, route.access).await?;
        match &identity.caller {
            hosted::Caller::Admin => tracing::Span::current().record("key", "admin"),
            hosted::Caller::Key { id, .. } => tracing::Span::current().record("key", id.as_str()),
        };
        self.meter.admit(&identity.caller, route.class, Instant::now())?;
        Ok(identity)
    }

    async fn call(&self, route: &Route, mut call: Call, body: Body) -> Result<Reply, ApiError> {
        let _held = if let Some(wanted) = &route.body {
            let workspace = call.identity.as_ref().map(|identity| &identity.workspace);
            let share = self.reader.share(workspace);
            let read = self.reader.read(body, wanted.limit, &share).await?;
            call.body = json::parse(&read.bytes)?;
            read.held
        } else {
            body::discard(body).await;
            None
        };
        (route.handler)(call).await
    }
}

/// Who asked for what, in every line that is logged of it. What a client made up is cut.
fn span(id: &RequestId, head: &Parts, found: Option<&Found<'_>>) -> Span {
    let span = tracing::info_span!(
        "request",
        request = %id,
        method = field::Empty,
        route = field::Empty,
        path = field::Empty,
        session = field::Empty,
        key = field::Empty,
        trace_id = field::Empty,
    );
    let Some(found) = found else {
        let shown: String = head.uri.path().chars().take(LOGGED_PATH).collect();
        span.record("path", shown);
        return span;
    };
    span.record("method", found.route.method.as_str());
    span.record("route", found.route.path);
    if let Some(session) = session_of(&found.parameters) {
        span.record("session", session.as_str());
    }
    span
}

fn session_of(parameters: &Parameters) -> Option<SessionId> {
    parameters.iter().find_map(|(name, value)| match *name {
        "session_id" => value.parse().ok(),
        _ => None,
    })
}

/// Has the lines that are logged from now on say which trace they belong to.
pub(crate) fn note(trace: &RequestSpan) {
    if let Some(context) = trace.context() {
        Span::current().record("trace_id", field::display(context.trace_id()));
    }
}

pub(crate) fn panicked(panic: &(dyn Any + Send)) -> ApiError {
    let said = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    ApiError::internal(format!("a handler panicked: {}", said.unwrap_or_default()))
}

pub(crate) fn tell(error: &ApiError) {
    if let Some(cause) = error.cause() {
        tracing::error!(cause, "a request failed");
    } else {
        tracing::debug!(
            status = error.status().as_u16(),
            message = error.message(),
            "refused"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::whole;
    use crate::{Config, NoUpstream};
    use hosted::{AdminKey, Resources};
    use http_body_util::BodyExt as _;
    use store::{Instance, Store};

    #[tokio::test]
    async fn a_handler_that_panics_is_an_error_without_a_word_of_what_it_said() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Instance::open(&directory.path().join("data")).unwrap());
        let (admin, _) = AdminKey::find(directory.path(), None).unwrap();
        let resources = Resources::open(store.await.unwrap(), admin).await.unwrap();
        let api = Api {
            sessions: None,
            resources,
            upstream: Arc::new(NoUpstream),
            metrics: metrics::Metrics::default(),
            traces: traces::Traces::default(),
        };
        let route = Route::get("/panic", |_| Box::pin(async { panic!("a secret") })).access(Access::Open);
        let answering = Answering::new(&Config::default(), api, vec![route]);
        for _ in 0..2 {
            let request = Request::builder().uri("/panic").body(whole("")).unwrap();
            let (parts, body) = answering.answer(request).await.into_parts();
            let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
            assert_eq!(parts.status, 500);
            assert_eq!(body["error"]["type"], "api_error");
            assert_eq!(body["request_id"], parts.headers["request-id"].to_str().unwrap());
            assert!(!body.to_string().contains("secret"));
        }
    }
}
