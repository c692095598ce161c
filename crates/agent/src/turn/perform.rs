//! One call, from its input to its outcome: checked, permitted, run in its place.

use super::Call;
use super::ask::{ask_host, deny};
use crate::aside::Spending;
use crate::servers;
use crate::session::{Runner, Session, Tool};
use crate::web;
use agent_tools::{Outcome, misfit};
use permissions::Decision;
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::Duration;
use stream_json::PermissionDenial;
use tokio_util::sync::CancellationToken;

/// How long a tool may take to stop once it is told to.
const STOP_GRACE: Duration = Duration::from_secs(5);

pub(super) const INTERRUPTED: &str = "[Request interrupted by user for tool use]";

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Performed {
    pub(super) content: Value,
    pub(super) is_error: bool,
    pub(super) result: Value,
    pub(super) denial: Option<PermissionDenial>,
    /// The host wants the turn to stop.
    pub(super) stops: bool,
    /// Calls of the model that it took.
    pub(super) spent: Vec<Spending>,
    /// Nothing was run on this machine: a session that goes on later may run it.
    pub(super) is_open: bool,
}

/// How a call came to be permitted.
enum Permit {
    /// By rules and modes as they were when it was judged.
    Judged,
    /// By the host, which may have changed the input.
    Granted { input: Value },
}

impl Performed {
    pub(crate) fn error(text: impl Into<String>) -> Self {
        let text = text.into();
        let result = json!(format!("Error: {text}"));
        Self {
            content: json!(text),
            is_error: true,
            result,
            denial: None,
            stops: false,
            spent: Vec::new(),
            is_open: false,
        }
    }

    /// Stopped before anything was run on this machine.
    pub(crate) fn interrupted() -> Self {
        Self {
            is_open: true,
            ..Self::error(INTERRUPTED)
        }
    }

    pub(crate) fn text(text: impl Into<String>, result: Value) -> Self {
        Self {
            content: Value::String(text.into()),
            is_error: false,
            result,
            denial: None,
            stops: false,
            spent: Vec::new(),
            is_open: false,
        }
    }

    pub(crate) fn having_spent(self, spent: Vec<Spending>) -> Self {
        Self { spent, ..self }
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
        Self {
            content: Value::Array(outcome.content),
            is_error: outcome.is_error,
            result: outcome.result,
            denial: None,
            stops: false,
            spent: Vec::new(),
            is_open: false,
        }
    }

    /// A single text is sent as a bare string, as the official command line does for its own tools.
    fn of_toolbox(outcome: Outcome) -> Self {
        let mut performed = Self::of(outcome);
        if let Some([block]) = performed.content.as_array().map(Vec::as_slice)
            && block["type"] == "text"
            && block["text"].is_string()
        {
            performed.content = block["text"].clone();
        }
        performed
    }
}

/// `before` are the calls that must have ended before this one may run; it is asked about at once.
pub(super) async fn perform(
    session: &Session,
    call: &Call,
    before: Vec<CancellationToken>,
    token: CancellationToken,
) -> Performed {
    let performed = async {
        let tool = checked(session, call).map_err(|reason| invalid(&reason))?;
        let permit = permitted(session, &tool, call, &token).await?;
        for earlier in &before {
            tokio::select! {
                biased;
                () = token.cancelled() => return Err(Performed::interrupted()),
                () = earlier.cancelled() => {}
            }
        }
        let input = match permit {
            Permit::Granted { input } => input,
            // What ran meanwhile may have changed the directory, and answers the rules.
            Permit::Judged => match permitted(session, &tool, call, &token).await? {
                Permit::Granted { input } => input,
                Permit::Judged => call.input.clone(),
            },
        };
        fits(&tool, call, &input).map_err(|reason| invalid(&reason))?;
        Ok(run(session, &tool, call, input, token).await)
    };
    performed.await.unwrap_or_else(|refused| refused)
}

/// The tool, if the call is one that can be carried out at all; else what the model is told.
fn checked(session: &Session, call: &Call) -> Result<Rc<Tool>, String> {
    if call.was_cut_off {
        return Err(
            "Error: The reply reached the output token limit inside this call, so it was not run. \
                    Make the call again, in smaller pieces."
                .to_owned(),
        );
    }
    let tool = session
        .tool(&call.name)
        .ok_or_else(|| format!("Error: No such tool available: {}", call.name))?;
    if let Some(reason) = &call.bad_input {
        return Err(format!("InputValidationError: {}: {reason}", call.name));
    }
    fits(&tool, call, &call.input)?;
    Ok(tool)
}

/// The host may change an input, so it is held against the schema twice. Servers check what is theirs.
fn fits(tool: &Tool, call: &Call, input: &Value) -> Result<(), String> {
    let misfit = match &tool.runner {
        Runner::Toolbox | Runner::Web(_) => misfit(&call.name, &tool.definition.input_schema, input),
        Runner::Server(_) => (!input.is_object())
            .then(|| format!("InputValidationError: {}: the input must be an object", call.name)),
    };
    misfit.map_or(Ok(()), Err)
}

fn invalid(reason: &str) -> Performed {
    Performed::error(format!("<tool_use_error>{reason}</tool_use_error>"))
}

async fn run(
    session: &Session,
    tool: &Tool,
    call: &Call,
    input: Value,
    token: CancellationToken,
) -> Performed {
    match &tool.runner {
        Runner::Toolbox => on_this_machine(session, call, input, token).await,
        Runner::Web(tool) => web::call(session, *tool, input, &token).await,
        Runner::Server(address) => {
            let outcome = servers::call(session, address, &call.id, &input, &token).await;
            outcome.map_or_else(Performed::interrupted, Performed::of)
        }
    }
}

async fn on_this_machine(
    session: &Session,
    call: &Call,
    input: Value,
    token: CancellationToken,
) -> Performed {
    let outcome = session.tools.call(&call.name, input, token.clone());
    let overdue = async {
        token.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        biased;
        outcome = outcome => Performed::of_toolbox(outcome),
        () = overdue => Performed::error(INTERRUPTED),
    }
}

/// What rules and modes say of the call as things are now.
pub(super) fn judge(session: &Session, judged: permissions::Call<'_>) -> Decision {
    let mut live = session.live.borrow_mut();
    live.permissions
        .directories
        .stand_in(session.tools.current_directory());
    live.permissions.decide(judged)
}

/// The permission to run, or what the model is told instead.
async fn permitted(
    session: &Session,
    tool: &Tool,
    call: &Call,
    token: &CancellationToken,
) -> Result<Permit, Performed> {
    if token.is_cancelled() {
        return Err(Performed::interrupted());
    }
    let judged = permissions::Call {
        tool: &call.name,
        kind: tool.kind,
        server: tool.server(),
        input: &call.input,
    };
    match judge(session, judged) {
        Decision::Allow => Ok(Permit::Judged),
        Decision::Ask { reason, reason_type } if session.options.asks_host => {
            let input = ask_host(session, call, judged, (reason, reason_type), token).await?;
            Ok(Permit::Granted { input })
        }
        Decision::Ask { reason_type, .. } => {
            let message = format!(
                "Permission to use {} has not been granted, and there is nobody to ask. It can be allowed by a permission rule or mode.",
                call.name
            );
            Err(deny(session, call, message, reason_type).await)
        }
        Decision::Deny { message, reason_type } => Err(deny(session, call, message, reason_type).await),
    }
}
