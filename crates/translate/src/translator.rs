//! From the frames of a runtime to the events of the log. Pure: no clock, no I/O.
//!
//! Frames are hostile: whatever order they come in, what comes out is a log that makes sense. A tool result without a
//! call is left out, an event has the id that its previews announced or a new one if they were not its beginning, and
//! every model request that was started ends. So does every call: one of a reply that was cut off and is asked for again
//! is not made, and none outlives its turn.

mod content;
mod requests;
mod stream;
#[cfg(test)]
mod tests;

use crate::toolset::{Judged, SERVER, Toolset, judge};
pub use content::runtime_tool_name;
use content::{result_blocks, tool_input, tool_name};
use domain::EventId;
use requests::Request;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stream::Streaming;
use stream_json::{
    Answer, Assistant, Block, Content, ControlRequest, Extra, Frame, SystemEvent, TurnResult, User,
};
use wire::{Body, ContentBlock, Preview};

/// Tool calls that may be open at once; a runtime that goes on past them is broken.
const MAX_OPEN_TOOLS: usize = 1000;

/// What a frame means for the session.
#[derive(Debug)]
pub enum Meaning {
    Event(EventId, Body),
    Preview(Preview),
    /// A call has its result.
    Resolved(EventId),
    /// The runtime wants an answer.
    Asks(Box<ControlRequest>),
    /// It does not want the answer to a request any more.
    Withdraws(String),
    /// The runtime answers what it was asked.
    Answers(Answer),
    /// The turn is over.
    Ended(Box<TurnResult>),
}

/// The runtime does what no runtime may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    #[error("it has more than {MAX_OPEN_TOOLS} tool calls open")]
    TooManyTools,
}

#[derive(Debug, Default)]
pub struct Translator {
    /// Nothing where the runtime may use all that it has.
    toolset: Option<Arc<Toolset>>,
    state: State,
    streaming: Streaming,
}

/// What must be known to go on after the last frame that is stored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    request: Option<Request>,
    /// Tool calls without a result, by the runtime's id.
    tools: BTreeMap<String, OpenCall>,
    /// An API error that the runtime gave up on.
    api_error: Option<ApiError>,
    /// It summarises the conversation: a model request that is told neither at its beginning nor at its end.
    compacts: bool,
    /// It waits before it makes a request again, and the log says so.
    waits: bool,
}

impl State {
    /// The runtime's ids of open calls.
    pub fn runtime_ids(&self, events: &[EventId]) -> BTreeMap<EventId, String> {
        let wanted = self.tools.iter().filter(|(_, call)| events.contains(&call.event));
        wanted
            .map(|(id, call)| (call.event.clone(), id.clone()))
            .collect()
    }

    /// Takes what ended with a runtime that is gone, as [`Translator::cut`] does.
    pub fn cut(&mut self, kept: &[EventId]) -> Vec<Meaning> {
        let mut translator = Translator::new(None, std::mem::take(self));
        let cut = translator.cut(kept);
        *self = translator.state;
        cut
    }

    /// Ends calls that had not begun when their runtime was lost, where no other runtime can make them.
    pub fn give_up(&mut self) -> Vec<Meaning> {
        let mut translator = Translator::new(None, std::mem::take(self));
        let mut out = Vec::new();
        translator.end_calls(&mut out, given_up, |_, _| true);
        *self = translator.state;
        out
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct OpenCall {
    event: EventId,
    /// Its result is the client's event.
    custom: bool,
    /// The frame that told it.
    #[serde(default)]
    frame: String,
}

/// The runtime's own account of a model call that failed for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    pub class: String,
    pub text: String,
}

impl Translator {
    /// Of a runtime whose frames so far are told by `state`.
    pub fn new(toolset: Option<Arc<Toolset>>, state: State) -> Self {
        Self {
            toolset,
            state,
            streaming: Streaming::default(),
        }
    }

    pub fn toolset(&self) -> Option<&Toolset> {
        self.toolset.as_deref()
    }

    /// Whether calls of a tool, by the runtime's name of it, wait for the user.
    pub fn asks(&self, name: &str) -> bool {
        judge(self.toolset(), &tool_name(name)).asks()
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// The event of an open call, by the runtime's id.
    pub fn event_of(&self, tool_use_id: &str) -> Option<&EventId> {
        self.state.tools.get(tool_use_id).map(|call| &call.event)
    }

    /// Calls without a result; nothing while the model still speaks, and may make more.
    pub fn open_calls(&self) -> Option<Vec<&EventId>> {
        let calls = || self.state.tools.values().map(|call| &call.event).collect();
        self.state.request.is_none().then(calls)
    }

    pub fn translate(&mut self, frame: Frame) -> Result<Vec<Meaning>, Nonsense> {
        let mut out = Vec::new();
        match frame {
            Frame::StreamEvent(frame) if frame.parent_tool_use_id.is_none() => {
                self.stream_event(&frame.event, &mut out);
            }
            Frame::Assistant(frame) => self.assistant(*frame, &mut out)?,
            Frame::User(frame) => self.user(*frame, &mut out),
            Frame::System(frame) => self.system(frame.event, &mut out),
            Frame::ControlRequest(request) => out.push(Meaning::Asks(request)),
            Frame::ControlResponse(response) => out.push(Meaning::Answers(response.response)),
            Frame::Result(result) => {
                self.close_request(true, &mut out);
                self.end_calls(&mut out, interrupted, |_, _| true);
                self.streaming.reset();
                self.state.compacts = false;
                self.state.waits = false;
                out.push(Meaning::Ended(result));
            }
            Frame::ControlCancelRequest(cancel) => out.push(Meaning::Withdraws(cancel.request_id)),
            Frame::StreamEvent(_) | Frame::CommandLifecycle(_) | Frame::KeepAlive | Frame::Unknown(_) => {}
        }
        Ok(out)
    }

    /// Events that end what a runtime that is gone left open: the model request, and each tool call as interrupted, but
    /// for those that another runtime can still make.
    pub fn cut(&mut self, kept: &[EventId]) -> Vec<Meaning> {
        let mut out = Vec::new();
        if let Some(request) = &mut self.state.request {
            // The runtime that goes on has the reply as far as it came.
            request.calls.clear();
        }
        self.close_request(true, &mut out);
        self.streaming.reset();
        self.end_calls(&mut out, interrupted, |_, call| !kept.contains(&call.event));
        self.state.compacts = false;
        self.state.waits = false;
        out
    }

    /// The API error that the present turn ended with; asked for once.
    pub fn take_api_error(&mut self) -> Option<ApiError> {
        self.state.api_error.take()
    }

    fn stream_event(&mut self, json: &Value, out: &mut Vec<Meaning>) {
        match json["type"].as_str() {
            Some("message_start") => {
                // A runtime may not say when it asks.
                if self.state.request.as_ref().is_none_or(|request| request.answered) {
                    self.open_request(out);
                }
                if let Some(request) = &mut self.state.request {
                    request.answered = true;
                    stream::add_usage(&mut request.usage, &json["message"]["usage"]);
                }
            }
            Some("message_delta") => {
                if let Some(request) = &mut self.state.request {
                    stream::add_usage(&mut request.usage, &json["usage"]);
                }
            }
            Some("message_stop") => self.close_request(false, out),
            Some(_) => out.extend(self.streaming.preview(json).map(Meaning::Preview)),
            None => {}
        }
    }

    fn assistant(&mut self, frame: Assistant, out: &mut Vec<Meaning>) -> Result<(), Nonsense> {
        if let Some(class) = frame.error {
            let text = frame
                .message
                .content
                .iter()
                .filter_map(Block::as_text)
                .collect::<Vec<_>>()
                .join("\n");
            self.state.api_error = Some(ApiError { class, text });
            return Ok(());
        }
        self.supersede(&frame.extra, out);
        // Of a subagent only what it does is told, not what it says to its parent.
        let main = frame.parent_tool_use_id.is_none();
        for block in frame.message.content {
            match block {
                Block::Text { text, .. } if main && !text.is_empty() => {
                    let id = self.streaming.finish_text(&text);
                    out.push(Meaning::Event(
                        id,
                        Body::AgentMessage {
                            content: vec![ContentBlock::text(text)],
                        },
                    ));
                }
                Block::Thinking { .. } if main => self.thinking(out),
                Block::Other(block)
                    if main && block.get("type").is_some_and(|kind| kind == "redacted_thinking") =>
                {
                    self.thinking(out);
                }
                Block::ToolUse { id, name, input, .. } => {
                    if let Some(request) = self.state.request.as_mut().filter(|_| main) {
                        request.calls.insert(id.clone());
                    }
                    self.tool_use((id, &frame.uuid), &name, input, out)?;
                }
                Block::Text { .. } | Block::Thinking { .. } | Block::ToolResult { .. } | Block::Other(_) => {}
            }
        }
        Ok(())
    }

    fn thinking(&mut self, out: &mut Vec<Meaning>) {
        out.push(Meaning::Event(
            self.streaming.finish_thinking(),
            Body::AgentThinking,
        ));
    }

    /// What was shown by the frames that this one names is said again.
    fn supersede(&mut self, extra: &Extra, out: &mut Vec<Meaning>) {
        let Some(frames) = extra.get("supersedes").and_then(Value::as_array) else {
            return;
        };
        let frames: BTreeSet<&str> = frames.iter().filter_map(Value::as_str).collect();
        self.end_calls(out, not_made, |_, call| frames.contains(&*call.frame));
    }

    fn tool_use(
        &mut self,
        (id, frame): (String, &str),
        name: &str,
        input: Value,
        out: &mut Vec<Meaning>,
    ) -> Result<(), Nonsense> {
        // The same call told twice, also by another runtime, is one call.
        if self.state.tools.contains_key(&id) {
            return Ok(());
        }
        if self.state.tools.len() >= MAX_OPEN_TOOLS {
            return Err(Nonsense::TooManyTools);
        }
        let prefix = format!("mcp__{SERVER}__");
        let name = tool_name(name.strip_prefix(&prefix).unwrap_or(name));
        let input = tool_input(input);
        let session_thread_id = None;
        let (custom, body) = match judge(self.toolset.as_deref(), &name) {
            Judged::Custom => {
                let body = Body::AgentCustomToolUse {
                    name,
                    input,
                    session_thread_id,
                };
                (true, body)
            }
            Judged::BuiltIn {
                permission,
                evaluation,
            } => {
                let body = Body::AgentToolUse {
                    name,
                    input,
                    evaluated_permission: Some(permission),
                    evaluation,
                    session_thread_id,
                };
                (false, body)
            }
        };
        let event = EventId::random();
        self.state.tools.insert(
            id,
            OpenCall {
                event: event.clone(),
                custom,
                frame: frame.to_owned(),
            },
        );
        out.push(Meaning::Event(event, body));
        Ok(())
    }

    /// Ends open calls: with this instead of a result, where that is not the client's to give.
    fn end_calls(
        &mut self,
        out: &mut Vec<Meaning>,
        result: fn(EventId) -> Body,
        ends: impl Fn(&String, &OpenCall) -> bool,
    ) {
        let ended = self.state.tools.extract_if(.., |id, call| ends(id, call));
        for (_, call) in ended {
            out.push(Meaning::Resolved(call.event.clone()));
            if !call.custom {
                event(out, result(call.event));
            }
        }
    }

    fn user(&mut self, frame: User, out: &mut Vec<Meaning>) {
        let Content::Blocks(blocks) = frame.message.content else {
            return;
        };
        for block in blocks {
            let Block::ToolResult {
                tool_use_id,
                content,
                is_error,
                ..
            } = block
            else {
                continue;
            };
            let Some(call) = self.state.tools.remove(&tool_use_id) else {
                continue;
            };
            out.push(Meaning::Resolved(call.event.clone()));
            if !call.custom {
                event(
                    out,
                    Body::AgentToolResult {
                        tool_use_id: call.event,
                        content: result_blocks(content),
                        is_error,
                    },
                );
            }
        }
    }

    fn system(&mut self, system: SystemEvent, out: &mut Vec<Meaning>) {
        match system {
            SystemEvent::CompactBoundary(_) => event(out, Body::AgentThreadContextCompacted),
            SystemEvent::Status { status, .. } => match status.as_deref() {
                Some("requesting") => self.open_request(out),
                Some("compacting") => self.state.compacts = true,
                _ if std::mem::take(&mut self.state.compacts) => self.go_on(out),
                _ => {}
            },
            SystemEvent::ApiRetry(attempt) => self.retry(&attempt, out),
            SystemEvent::Init(_)
            | SystemEvent::SessionStateChanged { .. }
            | SystemEvent::PermissionDenied { .. }
            | SystemEvent::Other(_) => {}
        }
    }
}

/// What a tool call without a result gets instead of one.
pub fn interrupted(tool_use_id: EventId) -> Body {
    let text = "The call was interrupted: it is not known whether it ran, or how far.";
    failed(tool_use_id, text)
}

/// What a call of a reply gets that broke off after it.
fn not_made(tool_use_id: EventId) -> Body {
    let text = "The model's reply was cut off after this call, so it was not made.";
    failed(tool_use_id, text)
}

fn given_up(tool_use_id: EventId) -> Body {
    let text = "The runtime was lost before this call began, so it was not made.";
    failed(tool_use_id, text)
}

fn failed(tool_use_id: EventId, text: &str) -> Body {
    Body::AgentToolResult {
        tool_use_id,
        content: Some(vec![ContentBlock::text(text)]),
        is_error: Some(true),
    }
}

fn event(out: &mut Vec<Meaning>, body: Body) {
    out.push(Meaning::Event(EventId::random(), body));
}
