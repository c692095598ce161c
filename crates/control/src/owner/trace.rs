//! What an owner tells of its turns to whoever follows traces. Where nobody does, nothing is kept and nothing is told.
//!
//! Tool calls are told from the log: what is in it is what happened.

use crate::record::Record;
use domain::EventId;
use std::collections::BTreeMap;
use std::time::SystemTime;
use store::LoggedEvent;
use traces::{About, Context, Decision, NewTool, SessionTrace, ToolKind, Traces, TurnEnd};
use wire::{Body, Confirmation, EvaluatedPermission, Event, RetryStatus, SessionError};

pub(super) struct Trace {
    session: SessionTrace,
    /// The request that the turn which begins next came with.
    request: Option<Context>,
    /// The requests of messages that wait, by their numbers.
    waiting: BTreeMap<u64, Context>,
    /// What log lines of the present turn stand in.
    lines: tracing::Span,
}

impl Trace {
    pub(super) fn new(traces: &Traces, record: &Record) -> Self {
        let row = &record.row;
        let session = traces.session(|| About {
            session: row.id.to_string(),
            model: row.model.clone(),
            workspace: row.hosting.as_ref().map(|hosting| hosting.workspace_id.clone()),
            agent: row
                .hosting
                .as_ref()
                .map(|hosting| (hosting.agent_id.clone(), hosting.agent_version)),
        });
        Self {
            session,
            request: None,
            waiting: BTreeMap::new(),
            lines: tracing::Span::none(),
        }
    }

    pub(super) fn session(&self) -> &SessionTrace {
        &self.session
    }

    pub(super) fn lines(&self) -> tracing::Span {
        self.lines.clone()
    }

    pub(super) fn came_with(&mut self, request: Option<Context>) {
        self.request = request;
    }

    /// These messages wait; they came with the present request.
    pub(super) fn waits(&mut self, numbers: impl Iterator<Item = u64>) {
        if let Some(request) = &self.request {
            self.waiting
                .extend(numbers.map(|number| (number, request.clone())));
        }
    }

    /// The message with this number waits no longer.
    pub(super) fn is_next(&mut self, number: u64) {
        self.request = self.waiting.remove(&number);
        self.waiting = self.waiting.split_off(&number);
    }

    /// Answers what an owner after this one needs to go on with it.
    pub(super) fn begin(&mut self, message: &EventId) -> Option<String> {
        let request = self.request.take();
        self.session.begin_turn(message, request.as_ref());
        self.begin_lines()
    }

    pub(super) fn resume(&mut self, message: &EventId, earlier: Option<&str>) -> Option<String> {
        self.session.resume_turn(message, earlier);
        self.begin_lines()
    }

    fn begin_lines(&mut self) -> Option<String> {
        if let Some(context) = self.session.context() {
            self.lines = tracing::info_span!("turn", trace_id = %context.trace_id());
        }
        self.session.traceparent()
    }

    pub(super) fn end(&mut self, stop_reason: &str, error: Option<&SessionError>) {
        if self.session.is_on() {
            let error = error
                .filter(|error| error.retry_status != RetryStatus::Retrying)
                .map(kind_of);
            self.session.end_turn(&TurnEnd { stop_reason, error });
        }
        self.lines = tracing::Span::none();
    }

    pub(super) fn logged(&self, events: &[LoggedEvent]) {
        if self.session.is_on() {
            for logged in events {
                self.note(&logged.event);
            }
        }
    }

    fn note(&self, event: &Event) {
        let at = event.processed_at.map_or_else(SystemTime::now, SystemTime::from);
        let began = |name, kind, asks| {
            let new = NewTool { name, kind, asks, at };
            self.session.tool_began(&event.id, &new);
        };
        match &event.body {
            Body::AgentToolUse {
                name,
                evaluated_permission,
                ..
            } => {
                let asks = *evaluated_permission == Some(EvaluatedPermission::Ask);
                began(name, ToolKind::BuiltIn, asks);
            }
            Body::AgentCustomToolUse { name, .. } => began(name, ToolKind::Custom, false),
            Body::AgentToolResult {
                tool_use_id,
                is_error,
                ..
            } => self.session.tool_ended(tool_use_id, *is_error == Some(true), at),
            Body::UserToolConfirmation {
                tool_use_id, result, ..
            } => {
                let decision = match result {
                    Confirmation::Allow => Decision::Allow,
                    Confirmation::Deny => Decision::Deny,
                };
                self.session.answered(tool_use_id, decision, at);
            }
            Body::UserCustomToolResult {
                custom_tool_use_id,
                is_error,
                ..
            } => {
                let is_error = *is_error == Some(true);
                let decision = Decision::Result { is_error };
                self.session.answered(custom_tool_use_id, decision, at);
            }
            Body::SessionError { error } if error.retry_status == RetryStatus::Retrying => {
                self.session.retries(&kind_of(error));
            }
            _ => {}
        }
    }
}

impl Drop for Trace {
    /// A turn that is under way is the next server's, or nobody's.
    fn drop(&mut self) {
        self.session.leave_turn();
    }
}

/// The error by its name in the API, and without its message.
fn kind_of(error: &SessionError) -> String {
    match serde_json::to_value(&error.kind) {
        Ok(serde_json::Value::String(kind)) => kind,
        _ => "unknown_error".to_owned(),
    }
}
