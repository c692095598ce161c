//! One call of a server's tool. It may stay open for days; only an interrupt or the end of the host's input ends it
//! without an answer.

use super::Address;
use super::exchange::{notify, send};
use crate::session::Session;
use agent_tools::Outcome;
use mcp::{CallRequest, Content, Limits};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The largest answer that hosts are shown as it came; of a larger one they see what the model sees.
const MAX_SHOWN: usize = 256 << 10;

/// `None` if it was interrupted: the host and the server are told.
pub(crate) async fn call(
    session: &Session,
    address: &Address,
    tool_use_id: &str,
    arguments: &Value,
    token: &CancellationToken,
) -> Option<Outcome> {
    let id = session.servers.next_id();
    let request = mcp::call(CallRequest {
        id,
        tool: &address.tool,
        arguments,
        tool_use_id,
    });
    let mut open = match send(session, &address.server, request).await {
        Ok(open) => open,
        Err(error) => return Some(failed(&error.to_string())),
    };
    let result = tokio::select! {
        biased;
        () = token.cancelled() => None,
        result = open.result() => Some(result),
    };
    let Some(result) = result else {
        open.withdraw(session).await;
        notify(session, &address.server, mcp::cancelled(id, "interrupted")).await;
        return None;
    };
    Some(match result {
        Ok(result) => outcome(session, &result),
        Err(error) => failed(&error.to_string()),
    })
}

fn outcome(session: &Session, result: &Value) -> Outcome {
    let limits = Limits {
        characters: session.environment.max_mcp_output,
        ..Limits::default()
    };
    let Content { blocks, is_error } = Content::of(result, limits);
    let given = &result["content"];
    let is_shown = given.is_array() && given.to_string().len() <= MAX_SHOWN;
    let shown = if is_shown {
        given.clone()
    } else {
        Value::Array(blocks.clone())
    };
    Outcome {
        content: blocks,
        is_error,
        result: shown,
    }
}

fn failed(text: &str) -> Outcome {
    Outcome {
        content: vec![json!({"type":"text","text":text})],
        is_error: true,
        result: json!(format!("Error: {text}")),
    }
}
