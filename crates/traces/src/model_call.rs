//! A model call, as the gateway sees it.

use crate::names;
use crate::session::{Session, SessionTrace};
use crate::span::{New, Span, ago, short};
use domain::Usage;
use http::uri::Authority;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use std::sync::Arc;
use std::time::Duration;

/// Nothing where it is not recorded. It ends when this is dropped.
#[derive(Default)]
pub struct ModelCall(Option<Open>);

struct Open {
    span: Span,
    session: Arc<Session>,
}

/// How it ended.
pub struct ModelCallEnd<'a> {
    /// In the ledger's words.
    pub ended: &'static str,
    pub is_completed: bool,
    pub status: Option<u16>,
    /// As the upstream names it.
    pub model: Option<&'a str>,
    pub usage: &'a Usage,
    /// How often it was sent.
    pub attempts: u32,
    pub first_byte: Option<Duration>,
}

impl SessionTrace {
    /// A call that came so long ago, of the turn that is under way. `server` is a host, and its port where it has
    /// another than usual.
    pub fn model_call(&self, model: &str, stream: bool, server: &str, took: Duration) -> ModelCall {
        let Some(session) = &self.0 else {
            return ModelCall(None);
        };
        let turn = session.turn().as_ref().map(|turn| turn.context.clone());
        let model = short(model);
        let mut attributes = vec![
            KeyValue::new(names::OPERATION, "chat"),
            KeyValue::new(names::PROVIDER, "anthropic"),
            KeyValue::new(names::CONVERSATION, session.about.session.clone()),
            KeyValue::new(names::REQUEST_MODEL, model.clone()),
            KeyValue::new(names::REQUEST_STREAM, stream),
        ];
        if let Ok(server) = server.parse::<Authority>() {
            attributes.push(KeyValue::new(names::SERVER, server.host().to_owned()));
            let port = server.port_u16().map(i64::from);
            attributes.extend(port.map(|port| KeyValue::new(names::SERVER_PORT, port)));
        }
        let span = Span::begin(
            &session.started,
            New {
                name: format!("chat {model}").into(),
                kind: SpanKind::Client,
                parent: turn.as_ref(),
                link: None,
                began: ago(took),
                attributes,
            },
        );
        let session = Arc::clone(session);
        ModelCall(Some(Open { span, session }))
    }
}

impl ModelCall {
    pub fn ended(&mut self, end: &ModelCallEnd<'_>) {
        let Some(Open { mut span, session }) = self.0.take() else {
            return;
        };
        span.set(names::ENDED, end.ended);
        if let Some(status) = end.status {
            span.set(names::STATUS, i64::from(status));
        }
        if let Some(model) = end.model {
            span.set(names::RESPONSE_MODEL, short(model));
        }
        if end.attempts > 1 {
            span.set(names::RESEND_COUNT, i64::from(end.attempts - 1));
        }
        if let Some(first_byte) = end.first_byte {
            span.set(names::TIME_TO_FIRST_CHUNK, first_byte.as_secs_f64());
        }
        span.used(end.usage);
        if !end.is_completed {
            match end.status {
                Some(status) if status >= 400 => span.fail(status.to_string()),
                _ => span.fail(end.ended),
            }
        }
        if let Some(turn) = session.turn().as_mut() {
            turn.usage += *end.usage;
        }
    }
}
