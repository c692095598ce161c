//! Permission questions to the host. No answer is a no: when the host's input ends, or the turn is interrupted.
//!
//! While a question is open, an answer to another one, or a new mode, may decide it: then it is withdrawn.

use super::Call;
use super::perform::{Performed, judge};
use crate::session::Session;
use permissions::Decision;
use serde_json::{Value, json};
use stream_json::{
    Answer, CanUseTool, CancelRequest, ControlRequest, Extra, Frame, PermissionAnswer, Request, SystemEvent,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) async fn deny(session: &Session, call: &Call, message: String, reason_type: &str) -> Performed {
    session
        .output
        .system(SystemEvent::PermissionDenied {
            tool_name: call.name.clone(),
            tool_use_id: call.id.clone(),
            decision_reason_type: Some(reason_type.to_owned()),
            decision_reason: None,
            message: message.clone(),
        })
        .await;
    Performed::denied(call, message, false)
}

/// Asks `can_use_tool`; the input to run with, or what the model is told instead.
pub(super) async fn ask_host(
    session: &Session,
    call: &Call,
    judged: permissions::Call<'_>,
    (reason, reason_type): (String, &'static str),
    token: &CancellationToken,
) -> Result<Value, Performed> {
    let mut changes = session.permission_changes.subscribe();
    let request_id = Uuid::new_v4().to_string();
    let Some(mut answer) = session.questions.expect(&request_id) else {
        let message = "The host has closed its input, so permission cannot be asked for.".to_owned();
        return Err(deny(session, call, message, "other").await);
    };
    session.asked.set(session.asked.get() + 1);
    if session.asked.get() == 1 {
        session.state("requires_action").await;
    }
    session
        .output
        .send(question(
            session,
            &request_id,
            call,
            judged,
            (reason, reason_type),
        ))
        .await;
    let settled = loop {
        tokio::select! {
            biased;
            () = token.cancelled() => break Settled::Interrupted,
            answer = &mut answer => break Settled::Answered(answer.ok()),
            Ok(()) = changes.changed() => match judge(session, judged) {
                Decision::Ask { .. } => {}
                decided => break Settled::Decided(decided),
            },
        }
    };
    session.asked.set(session.asked.get() - 1);
    if !matches!(settled, Settled::Answered(_)) {
        session.questions.withdraw(&request_id);
        let cancel = Frame::ControlCancelRequest(CancelRequest { request_id });
        session.output.send(cancel).await;
    }
    if session.asked.get() == 0 && !matches!(settled, Settled::Interrupted) {
        session.state("running").await;
    }
    match settled {
        Settled::Interrupted => Err(Performed::interrupted()),
        Settled::Answered(Some(answer)) => apply(session, call, answer).await,
        Settled::Answered(None) => {
            let message = "The host closed its input before it answered the permission request.".to_owned();
            Err(deny(session, call, message, "other").await)
        }
        Settled::Decided(Decision::Deny { message, reason_type }) => {
            Err(deny(session, call, message, reason_type).await)
        }
        Settled::Decided(_) => Ok(call.input.clone()),
    }
}

/// How a question ended.
enum Settled {
    Interrupted,
    /// `None` if nobody can answer any more.
    Answered(Option<Answer>),
    /// The rules or the mode have changed, and need no answer now.
    Decided(Decision),
}

fn question(
    session: &Session,
    request_id: &str,
    call: &Call,
    judged: permissions::Call<'_>,
    (reason, reason_type): (String, &str),
) -> Frame {
    let mut extra = Extra::new();
    // What a person needs to see first of the call.
    let described = ["description", "url", "query"]
        .iter()
        .find_map(|key| call.input.get(key).filter(|value| value.is_string()));
    if let Some(description) = described.filter(|_| judged.server.is_none()) {
        extra.insert("description".to_owned(), description.clone());
    }
    if let Some(path) = judged.path() {
        extra.insert("blocked_path".to_owned(), json!(path));
    }
    if let Some(server) = judged.server {
        extra.insert("mcp_server".to_owned(), json!({"name": server, "source": "sdk"}));
    }
    let request = CanUseTool {
        tool_name: call.name.clone(),
        display_name: Some(call.name.clone()),
        input: call.input.clone(),
        tool_use_id: call.id.clone(),
        permission_suggestions: session.live.borrow().permissions.suggestions(judged),
        decision_reason: Some(reason),
        decision_reason_type: Some(reason_type.to_owned()),
        extra,
    };
    Frame::ControlRequest(Box::new(ControlRequest {
        request_id: request_id.to_owned(),
        request: Request::CanUseTool(Box::new(request)),
    }))
}

async fn apply(session: &Session, call: &Call, answer: Answer) -> Result<Value, Performed> {
    let body = match answer {
        Answer::Success { response, .. } => response.unwrap_or(Value::Null),
        Answer::Error { error, .. } => return Err(Performed::denied(call, error, false)),
    };
    match serde_json::from_value(body) {
        Ok(PermissionAnswer::Allow {
            updated_input,
            updated_permissions,
        }) => {
            let before = session.live.borrow().permissions.mode;
            if let Some(updates) = updated_permissions.filter(|updates| !updates.is_empty()) {
                session.change_permissions(|permissions| {
                    for update in &updates {
                        permissions.update(update);
                    }
                });
            }
            let mode = session.live.borrow().permissions.mode;
            if mode != before {
                crate::control::send_mode(session, mode).await;
            }
            Ok(updated_input
                .filter(Value::is_object)
                .unwrap_or_else(|| call.input.clone()))
        }
        Ok(PermissionAnswer::Deny { message, interrupt }) => {
            Err(Performed::denied(call, message, interrupt == Some(true)))
        }
        Err(error) => {
            let message = format!("The host's answer to the permission request cannot be read: {error}");
            Err(Performed::denied(call, message, false))
        }
    }
}
