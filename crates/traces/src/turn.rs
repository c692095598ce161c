//! A turn: one span from its message to its end, and one for each tool call in it.
//!
//! ```text
//! began, or resumed ─> tool calls begin, wait for the user, are answered, end ─> ended, or left to the next server
//! ```
//!
//! Whatever ends a turn ends what is open in it.

use crate::session::{Session, SessionTrace};
use crate::span::{CUT, New, Span, short};
use crate::{Context, names};
use domain::{EventId, Usage};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use std::collections::BTreeMap;
use std::time::SystemTime;

pub(crate) struct Turn {
    span: Span,
    pub(crate) context: Context,
    /// Of its model calls so far.
    pub(crate) usage: Usage,
    tools: BTreeMap<EventId, Tool>,
}

struct Tool {
    span: Span,
    /// While it waits for the user.
    approval: Option<Span>,
}

/// A call that the model makes.
pub struct NewTool<'a> {
    pub name: &'a str,
    pub kind: ToolKind,
    /// Whether the user is asked before it runs.
    pub asks: bool,
    pub at: SystemTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolKind {
    BuiltIn,
    /// The client's: its result comes from there.
    Custom,
}

/// What the user answers to a call that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Deny,
    /// Of a custom tool, which ends with it.
    Result {
        is_error: bool,
    },
}

pub struct TurnEnd<'a> {
    pub stop_reason: &'a str,
    /// The kind of the error that it ended with.
    pub error: Option<String>,
}

impl Turn {
    fn begin(session: &Session, message: &EventId, parent: Option<&Context>, resumed: bool) -> Self {
        let about = &session.about;
        let mut attributes = vec![
            KeyValue::new(names::OPERATION, "invoke_agent"),
            KeyValue::new(names::PROVIDER, "anthropic"),
            KeyValue::new(names::CONVERSATION, about.session.clone()),
            KeyValue::new(names::SESSION, about.session.clone()),
            KeyValue::new(names::REQUEST_MODEL, short(&about.model)),
            KeyValue::new(names::TURN, message.to_string()),
        ];
        if let Some((agent, version)) = &about.agent {
            attributes.push(KeyValue::new(names::AGENT_ID, agent.clone()));
            attributes.push(KeyValue::new(names::AGENT_VERSION, version.to_string()));
        }
        if let Some(workspace) = &about.workspace {
            attributes.push(KeyValue::new(names::WORKSPACE, workspace.clone()));
        }
        if resumed {
            attributes.push(KeyValue::new(names::RESUMED, true));
        }
        let new = New {
            name: "turn".into(),
            kind: SpanKind::Internal,
            parent,
            link: parent.filter(|_| resumed).cloned(),
            began: SystemTime::now(),
            attributes,
        };
        let span = Span::begin(&session.started, new);
        Self {
            context: span.context(),
            span,
            usage: Usage::default(),
            tools: BTreeMap::new(),
        }
    }

    pub(crate) fn part(&self, session: &Session, name: &'static str, attributes: Vec<KeyValue>) -> Span {
        Span::begin(&session.started, New::of(name, &self.context, attributes))
    }

    fn tool_began(&mut self, session: &Session, id: &EventId, new: &NewTool<'_>) {
        let name = short(new.name);
        let (kind, waits_for) = match new.kind {
            ToolKind::BuiltIn => ("built_in", new.asks.then_some("confirmation")),
            ToolKind::Custom => ("custom", Some("result")),
        };
        let mut attributes = vec![
            KeyValue::new(names::OPERATION, "execute_tool"),
            KeyValue::new(names::TOOL_NAME, name.clone()),
            KeyValue::new(names::TOOL_CALL, id.to_string()),
            KeyValue::new(names::TOOL_KIND, kind),
        ];
        if new.kind == ToolKind::BuiltIn {
            let permission = if new.asks { "ask" } else { "allow" };
            attributes.push(KeyValue::new(names::PERMISSION, permission));
        }
        let begin = |parent: &Context, name, attributes| {
            let new = New {
                began: new.at,
                ..New::of(name, parent, attributes)
            };
            Span::begin(&session.started, new)
        };
        let span = begin(&self.context, format!("execute_tool {name}"), attributes);
        let approval = waits_for.map(|what| {
            let waits_for = vec![KeyValue::new(names::WAITS_FOR, what)];
            begin(&span.context(), "approval".to_owned(), waits_for)
        });
        self.tools.insert(id.clone(), Tool { span, approval });
    }

    fn answered(&mut self, id: &EventId, decision: Decision, at: SystemTime) {
        let (word, ends) = match decision {
            Decision::Allow => ("allow", None),
            Decision::Deny => ("deny", None),
            Decision::Result { is_error } => ("result", Some(is_error)),
        };
        let Some(tool) = self.tools.get_mut(id) else {
            let call = KeyValue::new(names::TOOL_CALL, id.to_string());
            let decision = KeyValue::new(names::DECISION, word);
            self.span.happened("approval", vec![call, decision]);
            return;
        };
        if let Some(mut approval) = tool.approval.take() {
            approval.set(names::DECISION, word);
            approval.end_at(at);
        }
        if let Some(is_error) = ends {
            self.tool_ended(id, is_error, at);
        }
    }

    fn tool_ended(&mut self, id: &EventId, is_error: bool, at: SystemTime) {
        if let Some(mut tool) = self.tools.remove(id) {
            if is_error {
                tool.span.fail("tool_error");
            }
            tool.span.end_at(at);
            return;
        }
        // It began in a server before this one.
        let call = KeyValue::new(names::TOOL_CALL, id.to_string());
        let error = is_error.then(|| KeyValue::new(names::ERROR, "tool_error"));
        let attributes = [Some(call), error].into_iter().flatten().collect();
        self.span.happened("execute_tool", attributes);
    }

    /// Ends what is open, as cut.
    fn cut_tools(&mut self, why: &'static str) {
        for (_, mut tool) in std::mem::take(&mut self.tools) {
            tool.span.fail(why);
            if let Some(mut approval) = tool.approval {
                approval.fail(why);
            }
        }
    }
}

impl SessionTrace {
    /// The turn of a message, which a request brought.
    pub fn begin_turn(&self, message: &EventId, request: Option<&Context>) {
        self.replace(|session| Turn::begin(session, message, request, false));
    }

    /// A turn that began in a server before this one, with what [`traceparent`](Self::traceparent) said there.
    pub fn resume_turn(&self, message: &EventId, traceparent: Option<&str>) {
        let earlier = traceparent.and_then(Context::parse);
        self.replace(|session| Turn::begin(session, message, earlier.as_ref(), true));
    }

    fn replace(&self, begin: impl FnOnce(&Session) -> Turn) {
        if let Some(session) = &self.0 {
            let turn = begin(session);
            *session.turn() = Some(turn);
        }
    }

    /// What a server after this one needs to go on with the turn's trace.
    pub fn traceparent(&self) -> Option<String> {
        self.context().map(|context| context.traceparent())
    }

    pub fn tool_began(&self, id: &EventId, new: &NewTool<'_>) {
        self.turn(|session, turn| turn.tool_began(session, id, new));
    }

    pub fn answered(&self, id: &EventId, decision: Decision, at: SystemTime) {
        self.turn(|_, turn| turn.answered(id, decision, at));
    }

    pub fn tool_ended(&self, id: &EventId, is_error: bool, at: SystemTime) {
        self.turn(|_, turn| turn.tool_ended(id, is_error, at));
    }

    /// The turn goes on after an error of this kind.
    pub fn retries(&self, kind: &str) {
        self.turn(|_, turn| {
            let kind = KeyValue::new(names::ERROR, short(kind));
            turn.span.happened("retry", vec![kind]);
        });
    }

    pub fn end_turn(&self, end: &TurnEnd<'_>) {
        self.close(|turn| {
            turn.cut_tools(CUT);
            turn.span.set(names::STOP_REASON, end.stop_reason.to_owned());
            if let Some(kind) = &end.error {
                turn.span.fail(kind.clone());
            }
        });
    }

    /// The next server goes on with it.
    pub fn leave_turn(&self) {
        self.close(|turn| {
            turn.cut_tools("left");
            turn.span.set(names::LEFT, true);
        });
    }

    fn close(&self, end: impl FnOnce(&mut Turn)) {
        let Some(session) = &self.0 else { return };
        let turn = session.turn().take();
        if let Some(mut turn) = turn {
            end(&mut turn);
            let usage = turn.usage;
            turn.span.used(&usage);
        }
    }

    fn turn(&self, act: impl FnOnce(&Session, &mut Turn)) {
        if let Some(session) = &self.0
            && let Some(turn) = session.turn().as_mut()
        {
            act(session, turn);
        }
    }
}
