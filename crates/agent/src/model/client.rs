//! One attempt of a call: the request sent, the head of the answer judged, its events handed on as they arrive.

use super::assemble::ApiError;
use super::sse::{MAX_STREAM, Parser, SseError};
use super::{CallError, CallHeaders};
use crate::environment::{Credential, Environment};
use bytes::{Buf as _, Bytes};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The most of an error's body that is read.
const MAX_ERROR_BODY: usize = 64 << 10;

/// How long one reply may take in all; pings alone do not keep it alive for ever.
const MAX_REPLY_TIME: Duration = Duration::from_hours(1);

/// Keeps one connection to the API alive between calls.
pub(crate) struct Client {
    http: outbound::Client,
    url: String,
    headers: http::HeaderMap,
    betas: Vec<String>,
    answer_timeout: Duration,
    idle_timeout: Duration,
}

/// The events of a reply that has begun.
pub(crate) struct Events {
    body: Incoming,
    parser: Parser,
    ready: VecDeque<Vec<u8>>,
    idle_timeout: Duration,
    begun: Instant,
    pub(crate) request_id: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("the header '{name}' cannot be sent")]
pub(crate) struct BadHeader {
    name: String,
}

impl Client {
    pub(crate) fn new(environment: &Environment, betas: &[String]) -> Result<Self, BadHeader> {
        let mut headers = http::HeaderMap::new();
        let mut insert = |name: &str, value: &str, secret: bool| {
            let bad = || BadHeader {
                name: name.to_owned(),
            };
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
            value.set_sensitive(secret);
            headers.insert(header, value);
            Ok(())
        };
        insert("anthropic-version", "2023-06-01", false)?;
        insert(CONTENT_TYPE.as_str(), "application/json", false)?;
        insert(
            USER_AGENT.as_str(),
            concat!("hostler-agent/", env!("CARGO_PKG_VERSION")),
            false,
        )?;
        match &environment.credential {
            Credential::None => {}
            Credential::ApiKey(key) => insert("x-api-key", key, true)?,
            Credential::Bearer(token) => insert(AUTHORIZATION.as_str(), &format!("Bearer {token}"), true)?,
        }
        for (name, value) in &environment.custom_headers {
            insert(name, value, true)?;
        }
        let config = outbound::ClientConfig {
            idle_timeout: Duration::from_mins(5),
            max_idle_per_host: 1,
            ..outbound::ClientConfig::default()
        };
        Ok(Self {
            http: outbound::Client::new(config),
            url: format!("{}/v1/messages?beta=true", environment.base_url),
            headers,
            betas: environment.betas.iter().chain(betas).cloned().collect(),
            answer_timeout: environment.answer_timeout,
            idle_timeout: environment.stream_idle_timeout,
        })
    }

    /// Sends the call once and reads the head of its answer.
    pub(crate) async fn send(
        &self,
        call: &CallHeaders,
        body: Bytes,
        attempt: u32,
    ) -> Result<Events, CallError> {
        let connection = |message: String, may_pass| CallError::Connection { message, may_pass };
        let mut builder = http::Request::post(&self.url)
            .header("x-claude-code-session-id", &call.session_id)
            .header("x-stainless-retry-count", attempt);
        let betas: Vec<&str> = self
            .betas
            .iter()
            .map(String::as_str)
            .chain(call.betas.iter().copied())
            .collect();
        if !betas.is_empty() {
            builder = builder.header("anthropic-beta", betas.join(","));
        }
        let mut http_request = builder
            .body(Full::new(body))
            .map_err(|error| connection(error.to_string(), false))?;
        http_request.headers_mut().extend(self.headers.clone());
        let answer = tokio::time::timeout(self.answer_timeout, self.http.request(http_request))
            .await
            .map_err(|_| {
                connection(
                    format!("no answer within {} s", self.answer_timeout.as_secs()),
                    true,
                )
            })?
            .map_err(|error| connection(error.to_string(), error.may_pass()))?;
        if !answer.status().is_success() {
            return Err(self.refusal(answer).await);
        }
        let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
        let content_type = header("content-type").unwrap_or_default();
        if !content_type.starts_with("text/event-stream") {
            let message = format!("the answer is '{content_type}' and not an event stream");
            return Err(CallError::Malformed { message });
        }
        Ok(Events {
            request_id: header("request-id"),
            body: answer.into_body(),
            parser: Parser::default(),
            ready: VecDeque::new(),
            idle_timeout: self.idle_timeout,
            begun: Instant::now(),
        })
    }

    async fn refusal(&self, answer: http::Response<Incoming>) -> CallError {
        #[derive(Deserialize)]
        struct ErrorBody {
            error: ApiError,
        }
        let status = answer.status().as_u16();
        let retry_after = answer
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok())
            .filter(|seconds| seconds.is_finite() && (0.0..1e6).contains(seconds))
            .map(Duration::from_secs_f64);
        let limited = Limited::new(answer.into_body(), MAX_ERROR_BODY).collect();
        let text = match tokio::time::timeout(self.idle_timeout, limited).await {
            Ok(Ok(body)) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            Ok(Err(_)) | Err(_) => String::new(),
        };
        let (kind, message) = match serde_json::from_str::<ErrorBody>(&text) {
            Ok(body) => (body.error.kind, body.error.message),
            Err(_) => (String::new(), text.chars().take(500).collect()),
        };
        CallError::Api {
            status: Some(status),
            kind,
            message,
            retry_after,
        }
    }
}

impl Events {
    /// The data of the next event; `None` at the end of the body.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, CallError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.begun.elapsed() > MAX_REPLY_TIME {
                return Err(CallError::TooLong {
                    limit: MAX_REPLY_TIME,
                });
            }
            let frame = tokio::time::timeout(self.idle_timeout, self.body.frame())
                .await
                .map_err(|_| CallError::Silent {
                    after: self.idle_timeout,
                })?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| CallError::Dropped {
                message: error.to_string(),
            })?;
            let Ok(mut data) = frame.into_data() else { continue };
            let mut events = Vec::new();
            while data.has_remaining() {
                let chunk = data.chunk().len();
                self.parser
                    .push(&data.split_to(chunk), &mut events)
                    .map_err(|error| match error {
                        SseError::StreamTooLong => CallError::Endless { limit: MAX_STREAM },
                        SseError::EventTooLong => CallError::Malformed {
                            message: "an event is too long".to_owned(),
                        },
                    })?;
            }
            self.ready.extend(events);
        }
    }
}
