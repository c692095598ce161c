//! The tool calls of one reply: checked, permitted, run, and answered in the order in which they end.
//!
//! Neighbouring calls that are safe together run together; every other call runs alone, in its place.

use super::{End, Turn};
use crate::permissions;
use crate::session::{Session, Tool};
use crate::transcript::Body;
use agent_tools::{Concurrency, Outcome, misfit};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use std::time::Duration;
use stream_json::{Block, Content, PermissionDenial, Role, User, UserMessage};
use tokio_util::sync::CancellationToken;

/// How long a tool may take to stop once it is told to.
const STOP_GRACE: Duration = Duration::from_secs(5);

pub(crate) const INTERRUPTED: &str = "[Request interrupted by user for tool use]";

/// One `tool_use` of a reply.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) input: Value,
    /// The transcript's line of the call.
    pub(crate) line: String,
    /// Why the input could not be read.
    pub(crate) bad_input: Option<String>,
    /// The reply ended at the output limit inside this call.
    pub(crate) was_cut_off: bool,
}

/// What came of a call.
#[derive(Debug)]
pub(super) struct Performed {
    content: Value,
    is_error: bool,
    result: Value,
    denial: Option<PermissionDenial>,
    /// The host wants the turn to stop.
    stops: bool,
}

impl Performed {
    pub(super) fn error(text: impl Into<String>) -> Self {
        let text = text.into();
        let result = json!(format!("Error: {text}"));
        Self {
            content: json!(text),
            is_error: true,
            result,
            denial: None,
            stops: false,
        }
    }

    pub(super) fn denied(call: &Call, message: String, stops: bool) -> Self {
        let denial = PermissionDenial {
            tool_name: call.name.clone(),
            tool_use_id: call.id.clone(),
            tool_input: call.input.clone(),
        };
        Self {
            denial: Some(denial),
            stops,
            ..Self::error(message)
        }
    }

    fn of(outcome: Outcome) -> Self {
        // A single text is sent as a bare string, as the official command line does.
        let content = match outcome.content.as_slice() {
            [block] if block["type"] == "text" && block["text"].is_string() => block["text"].clone(),
            _ => Value::Array(outcome.content),
        };
        Self {
            content,
            is_error: outcome.is_error,
            result: outcome.result,
            denial: None,
            stops: false,
        }
    }
}

impl Turn<'_> {
    /// Runs all calls; how the turn ends if it ends here.
    pub(super) async fn run_calls(&mut self, calls: Vec<Call>) -> Option<End> {
        let mut rest = calls.as_slice();
        let mut stops = false;
        while !rest.is_empty() {
            if stops || self.token.is_cancelled() {
                self.answer_interrupted(rest).await;
                return Some(End::Interrupted { in_tools: true });
            }
            let together = rest
                .iter()
                .take_while(|call| is_safe(self.session, call))
                .count()
                .max(1);
            let (group, later) = rest.split_at(together);
            stops = self.run_group(group).await;
            rest = later;
        }
        (stops || self.token.is_cancelled()).then_some(End::Interrupted { in_tools: true })
    }

    async fn run_group(&mut self, group: &[Call]) -> bool {
        let session = self.session;
        let token = self.token.clone();
        let mut running: FuturesUnordered<_> = group
            .iter()
            .map(|call| {
                let token = token.clone();
                async move { (call, perform(session, call, token).await) }
            })
            .collect();
        let mut stops = false;
        while let Some((call, performed)) = running.next().await {
            stops |= performed.stops;
            self.answer(call, performed).await;
        }
        stops
    }

    /// Writes a result down, shows it, and puts it into the conversation.
    pub(super) async fn answer(&mut self, call: &Call, performed: Performed) {
        self.denials.extend(performed.denial);
        let block = Block::tool_result(call.id.clone(), performed.content, performed.is_error);
        let content = Content::Blocks(vec![block.clone()]);
        let uuid = self.work.transcript.append(Body::User {
            message: UserMessage {
                role: Role::User,
                content: content.clone(),
            },
            tool_use_result: Some(performed.result.clone()),
            source: Some(call.line.clone()),
            is_meta: false,
            is_compact_summary: false,
        });
        let mut user = User::new(content);
        user.uuid = Some(uuid);
        user.tool_use_result = Some(performed.result);
        user.timestamp = Some(crate::clock::timestamp());
        self.session.output.user(user).await;
        self.work.conversation.push(Role::User, [block]);
    }

    pub(super) async fn answer_interrupted(&mut self, calls: &[Call]) {
        for call in calls {
            self.answer(call, Performed::error(INTERRUPTED)).await;
        }
    }
}

fn is_safe(session: &Session, call: &Call) -> bool {
    session
        .tool(&call.name)
        .is_none_or(|tool| tool.concurrency == Concurrency::Safe)
}

/// One call, from its input to its outcome.
async fn perform(session: &Session, call: &Call, token: CancellationToken) -> Performed {
    if call.was_cut_off {
        let text = "The reply reached the output token limit inside this call, so it was not run. \
                    Make the call again, in smaller pieces.";
        return Performed::error(format!("<tool_use_error>Error: {text}</tool_use_error>"));
    }
    let Some(tool) = session.tool(&call.name) else {
        let name = &call.name;
        return Performed::error(format!(
            "<tool_use_error>Error: No such tool available: {name}</tool_use_error>"
        ));
    };
    if let Some(reason) = &call.bad_input {
        return invalid(&format!("InputValidationError: {}: {reason}", call.name));
    }
    if let Some(reason) = misfit(&call.name, &tool.definition.input_schema, &call.input) {
        return invalid(&reason);
    }
    let input = match permitted(session, tool, call, &token).await {
        Ok(input) => input,
        Err(refused) => return refused,
    };
    // The host may have changed it.
    if let Some(reason) = misfit(&call.name, &tool.definition.input_schema, &input) {
        return invalid(&reason);
    }
    run(session, call, input, token).await
}

fn invalid(reason: &str) -> Performed {
    Performed::error(format!("<tool_use_error>{reason}</tool_use_error>"))
}

async fn run(session: &Session, call: &Call, input: Value, token: CancellationToken) -> Performed {
    let outcome = session.tools.call(&call.name, input, token.clone());
    let overdue = async {
        token.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        biased;
        outcome = outcome => Performed::of(outcome),
        () = overdue => Performed::error(INTERRUPTED),
    }
}

/// The input to run with, or what the model is told instead.
async fn permitted(
    session: &Session,
    tool: &Tool,
    call: &Call,
    token: &CancellationToken,
) -> Result<Value, Performed> {
    if token.is_cancelled() {
        return Err(Performed::error(INTERRUPTED));
    }
    let judged = permissions::Call {
        tool: &call.name,
        kind: tool.kind,
        input: &call.input,
    };
    let decision = {
        let mut live = session.live.borrow_mut();
        live.permissions
            .directories
            .stand_in(session.tools.current_directory());
        live.permissions.decide(judged)
    };
    match decision {
        permissions::Decision::Allow => Ok(call.input.clone()),
        permissions::Decision::Ask { reason, reason_type } if session.options.asks_host => {
            super::ask::ask_host(session, call, judged, (reason, reason_type), token).await
        }
        permissions::Decision::Ask { reason_type, .. } => {
            let message = format!(
                "Permission to use {} has not been granted, and there is nobody to ask. It can be allowed by a permission rule or mode.",
                call.name
            );
            Err(super::ask::deny(session, call, message, reason_type).await)
        }
        permissions::Decision::Deny { message, reason_type } => {
            Err(super::ask::deny(session, call, message, reason_type).await)
        }
    }
}
