//! Answers to what a runtime asks of its host. Pure.
//!
//! The sandbox is the boundary: what a tool may do is decided by what the sandbox holds, so a tool that asks may run,
//! unless its policy says that the user is asked. A question to the user in words has nobody to answer it and is refused
//! with a reason that the model reads.

use crate::asks::{Answer as Decision, Question};
use serde_json::{Value, json};
use stream_json::{Answer, CanUseTool, ControlResponse, Frame, PermissionAnswer};

const NOBODY: &str = "Nobody can answer questions in this session. Decide yourself and say what you assumed.";
const DENIED: &str = "The user does not allow this call.";
const NOT_OPEN: &str = "This call cannot be asked about any more: it has been answered or has ended.";

/// The answer to a question that no user is asked.
pub(crate) fn unasked(request_id: String, asked: CanUseTool, asks: bool) -> Frame {
    let to_user = asked.extra.get("requires_user_interaction") == Some(&Value::Bool(true));
    let deny = |message: &str| PermissionAnswer::Deny {
        message: message.to_owned(),
        interrupt: None,
    };
    let answer = match (to_user, asks) {
        (true, _) => deny(NOBODY),
        (false, true) => deny(NOT_OPEN),
        (false, false) => PermissionAnswer::Allow {
            updated_input: Some(asked.input),
            updated_permissions: None,
        },
    };
    success(request_id, &answer)
}

/// The user's answer.
pub(crate) fn decided(question: &Question, decision: &Decision) -> Frame {
    let answer = match decision {
        Decision::Allow => PermissionAnswer::Allow {
            updated_input: question.input.clone(),
            updated_permissions: None,
        },
        Decision::Deny(message) => PermissionAnswer::Deny {
            message: message.clone().unwrap_or_else(|| DENIED.to_owned()),
            interrupt: None,
        },
        Decision::Result { .. } => PermissionAnswer::Deny {
            message: NOT_OPEN.to_owned(),
            interrupt: None,
        },
    };
    success(question.request_id.clone(), &answer)
}

/// To a request that no host of ours answers.
pub(crate) fn unsupported(request_id: String, what: &str) -> Frame {
    let response = Answer::Error {
        request_id,
        error: format!("Unsupported control request subtype: {what}"),
        error_code: Some("unsupported_request".to_owned()),
    };
    Frame::ControlResponse(Box::new(ControlResponse { response }))
}

fn success(request_id: String, answer: &PermissionAnswer) -> Frame {
    let response = Answer::Success {
        request_id,
        response: Some(serde_json::to_value(answer).unwrap_or_else(|_| json!({}))),
    };
    Frame::ControlResponse(Box::new(ControlResponse { response }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn asked(more: &Value) -> CanUseTool {
        let mut asked = json!({"tool_name": "Bash", "input": {"command": "ls"}, "tool_use_id": "t"});
        asked
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(asked).unwrap()
    }

    fn response(frame: &Frame) -> Value {
        let line: Value = serde_json::from_slice(&frame.to_line().unwrap()).unwrap();
        line["response"].clone()
    }

    #[test]
    fn a_tool_may_run_with_its_input_as_it_is() {
        let answer = response(&unasked("r1".into(), asked(&json!({})), false));
        assert_eq!(answer["request_id"], "r1");
        assert_eq!(
            answer["response"],
            json!({"behavior": "allow", "updatedInput": {"command": "ls"}})
        );
    }

    #[test]
    fn a_question_to_the_user_is_refused_with_a_reason() {
        let asked = asked(&json!({"requires_user_interaction": true}));
        let answer = response(&unasked("r1".into(), asked, false));
        assert_eq!(answer["response"], json!({"behavior": "deny", "message": NOBODY}));
    }

    #[test]
    fn a_call_that_asks_never_runs_unasked() {
        let answer = response(&unasked("r1".into(), asked(&json!({})), true));
        assert_eq!(answer["response"]["behavior"], "deny");
    }

    #[test]
    fn the_user_decides_and_a_denial_has_words() {
        let question = Question {
            request_id: "r1".into(),
            rpc_id: None,
            input: Some(json!({"command": "ls"})),
        };
        let allowed = response(&decided(&question, &Decision::Allow));
        assert_eq!(allowed["response"]["updatedInput"]["command"], "ls");
        let denied = response(&decided(&question, &Decision::Deny(Some("not today".into()))));
        assert_eq!(
            denied["response"],
            json!({"behavior": "deny", "message": "not today"})
        );
        let silent = response(&decided(&question, &Decision::Deny(None)));
        assert_eq!(silent["response"]["message"], DENIED);
    }

    #[test]
    fn what_is_not_known_is_an_error_to_its_sender() {
        let answer = response(&unsupported("r1".into(), "elicitation"));
        assert_eq!(answer["subtype"], "error");
        assert!(answer["error"].as_str().unwrap().contains("elicitation"));
    }
}
