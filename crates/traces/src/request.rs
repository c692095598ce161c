//! A request of a client, as far as it may have to do with a turn.

use crate::span::{CUT, New, Span, ago};
use crate::{Context, Traces, names};
use domain::{SessionId, WorkspaceId};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use std::time::Duration;

/// A request that was routed, and whose caller is known.
pub struct NewRequest<'a> {
    pub id: &'a str,
    /// Nothing for a frame of a `WebSocket`.
    pub method: Option<&'static str>,
    /// The route's pattern, never what a client asked for.
    pub route: &'static str,
    pub workspace: Option<&'a WorkspaceId>,
    pub session: Option<SessionId>,
    /// What the client says that it belongs to.
    pub parent: Option<Context>,
    /// How long ago it came.
    pub took: Duration,
}

/// Nothing where it is not recorded. Dropped before its answer it was cut: its client is gone.
#[derive(Default)]
pub struct RequestSpan(Option<Span>);

impl Traces {
    pub fn request(&self, new: NewRequest<'_>) -> RequestSpan {
        let Some(started) = &self.0 else {
            return RequestSpan(None);
        };
        let mut attributes = vec![
            KeyValue::new(names::ROUTE, new.route),
            KeyValue::new(names::REQUEST, new.id.to_owned()),
        ];
        if let Some(method) = new.method {
            attributes.push(KeyValue::new(names::METHOD, method));
        }
        if let Some(workspace) = new.workspace {
            attributes.push(KeyValue::new(names::WORKSPACE, workspace.to_string()));
        }
        if let Some(session) = new.session {
            attributes.push(KeyValue::new(names::SESSION, session.to_string()));
        }
        let span = Span::begin(
            started,
            New {
                name: format!("{} {}", new.method.unwrap_or("frame"), new.route).into(),
                kind: SpanKind::Server,
                parent: new.parent.as_ref(),
                link: None,
                began: ago(new.took),
                attributes,
            },
        );
        RequestSpan(Some(span))
    }
}

impl RequestSpan {
    pub fn context(&self) -> Option<Context> {
        self.0.as_ref().map(Span::context)
    }

    pub fn answered(mut self, status: u16) {
        if let Some(mut span) = self.0.take() {
            span.set(names::STATUS, i64::from(status));
            if status >= 500 {
                span.fail(status.to_string());
            }
        }
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        if let Some(span) = &mut self.0 {
            span.fail(CUT);
        }
    }
}
