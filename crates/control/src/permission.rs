//! Answers to what a runtime asks of its host. Pure.
//!
//! The sandbox is the boundary: what a tool may do is decided by what the sandbox holds, so a tool that asks may run.
//! A question to the user has nobody to answer it and is refused with a reason that the model reads.

use serde_json::{Value, json};
use stream_json::{Answer, ControlRequest, ControlResponse, Frame, PermissionAnswer, Request};

const NOBODY: &str = "Nobody can answer questions in this session. Decide yourself and say what you assumed.";

pub(crate) fn answer(request: ControlRequest) -> Frame {
    let request_id = request.request_id;
    let answer = match request.request {
        Request::CanUseTool(asked) => {
            let to_user = asked.extra.get("requires_user_interaction") == Some(&Value::Bool(true));
            let answer = if to_user {
                PermissionAnswer::Deny {
                    message: NOBODY.to_owned(),
                    interrupt: None,
                }
            } else {
                PermissionAnswer::Allow {
                    updated_input: Some(asked.input),
                    updated_permissions: None,
                }
            };
            Answer::Success {
                request_id,
                response: Some(serde_json::to_value(answer).unwrap_or_else(|_| json!({}))),
            }
        }
        other => Answer::Error {
            request_id,
            error: format!("Unsupported control request subtype: {}", other.subtype()),
            error_code: Some("unsupported_request".to_owned()),
        },
    };
    Frame::ControlResponse(Box::new(ControlResponse { response: answer }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answered(request: &Value) -> Value {
        let json = json!({"type": "control_request", "request_id": "r1", "request": request});
        let Frame::ControlRequest(request) = Frame::parse(json.to_string().as_bytes()).unwrap() else {
            panic!("a control request stays one");
        };
        serde_json::to_value(answer(*request)).unwrap()["response"].clone()
    }

    #[test]
    fn a_tool_that_asks_may_run_with_its_own_input() {
        let asked =
            json!({"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"ls"},"tool_use_id":"t"});
        let expected = json!({"behavior":"allow","updatedInput":{"command":"ls"}});
        assert_eq!(
            answered(&asked),
            json!({"subtype":"success","request_id":"r1","response":expected})
        );
    }

    #[test]
    fn a_question_to_the_user_is_refused_with_a_reason() {
        let asked = json!({"subtype":"can_use_tool","tool_name":"AskUserQuestion","input":{},"tool_use_id":"t",
                           "requires_user_interaction":true});
        assert_eq!(
            answered(&asked)["response"],
            json!({"behavior":"deny","message":NOBODY})
        );
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for subtype in ["hook_callback", "mcp_message", "a_later_one"] {
            let answer = answered(&json!({"subtype": subtype}));
            assert_eq!(answer["error_code"], "unsupported_request", "{subtype}");
            assert!(answer["error"].as_str().unwrap().ends_with(subtype));
        }
    }
}
