//! Frames as seen on the wire, and nonsense, against the parser.

#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};
use stream_json::{Answer, Block, Content, Frame, FrameError, PermissionAnswer, Request, SystemEvent};

fn parse(value: &Value) -> Frame {
    Frame::parse(value.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error:?} for {value}"))
}

fn round_trip(value: &Value) {
    let line = parse(value).to_line().unwrap();
    assert!(
        line.starts_with(b"{\"type\":"),
        "type comes first: {}",
        String::from_utf8_lossy(&line)
    );
    let back: Value = serde_json::from_slice(&line).unwrap();
    let (Value::Object(sent), Value::Object(back)) = (value, back) else {
        panic!("objects")
    };
    for (key, sent) in sent {
        assert_eq!(Some(sent), back.get(key), "{key} survives in {value}");
    }
}

#[test]
fn known_frames_survive_a_round_trip_with_the_keys_this_crate_does_not_name() {
    let usage = json!({"input_tokens":3,"cache_creation_input_tokens":0,"cache_read_input_tokens":1,"output_tokens":2,
        "service_tier":"standard","server_tool_use":{"web_search_requests":0}});
    for frame in [
        json!({"type":"user","session_id":"","message":{"role":"user","content":"hi"},"parent_tool_use_id":null}),
        json!({"type":"user","session_id":"default","message":{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},
            {"type":"image","source":{"type":"base64","media_type":"image/png","data":"aa"}}]},"parent_tool_use_id":null,
            "uuid":"u","origin":{"kind":"human"},"client_composed":true,"shouldQuery":false,"priority":"now"}),
        json!({"type":"user","session_id":"s","uuid":"u","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"x"}],"is_error":true}]},
            "parent_tool_use_id":null,"tool_use_result":"Error: Exit code 1","tool_result_meta":[{"id":"t"}]}),
        json!({"type":"assistant","message":{"id":"m","type":"message","role":"assistant","model":"claude-x","content":[{"type":"thinking","thinking":"hm","signature":"sig"}],
            "stop_reason":null,"stop_sequence":null,"usage":usage,"context_management":null},"parent_tool_use_id":null,"session_id":"s","uuid":"u","request_id":"req_1"}),
        json!({"type":"assistant","message":{"id":"m","type":"message","role":"assistant","model":"claude-x","content":[{"type":"tool_use","id":"t","name":"Bash","input":{"command":"ls"},"caller":{"type":"direct"}}],
            "stop_reason":null,"stop_sequence":null,"usage":usage},"parent_tool_use_id":null,"session_id":"s","uuid":"u"}),
        json!({"type":"result","subtype":"success","is_error":false,"duration_ms":5,"duration_api_ms":4,"num_turns":1,"result":"ok","stop_reason":"end_turn",
            "session_id":"s","total_cost_usd":0.5,"usage":usage,"modelUsage":{},"permission_denials":[],"terminal_reason":"completed","uuid":"u","ttft_ms":3}),
        json!({"type":"system","subtype":"init","cwd":"/w","session_id":"s","tools":["Bash"],"mcp_servers":[{"name":"a","status":"connected"}],"model":"m","permissionMode":"default",
            "slash_commands":[],"apiKeySource":"none","claude_code_version":"2.1.330","output_style":"default","agents":[],"skills":[],"capabilities":[],"uuid":"u","fast_mode_state":"off"}),
        json!({"type":"system","subtype":"status","status":null,"permissionMode":"plan","uuid":"u","session_id":"s"}),
        json!({"type":"system","subtype":"session_state_changed","state":"idle","sdk_host_only":true,"uuid":"u","session_id":"s"}),
        json!({"type":"system","subtype":"api_retry","attempt":1,"max_retries":10,"retry_delay_ms":500,"error_status":null,"error":"x","uuid":"u","session_id":"s"}),
        json!({"type":"system","subtype":"compact_boundary","compact_metadata":{"trigger":"auto","pre_tokens":9,"preserved_messages":{"uuids":[]}},"uuid":"u","session_id":"s"}),
        json!({"type":"system","subtype":"permission_denied","tool_name":"Bash","tool_use_id":"t","message":"no","uuid":"u","session_id":"s"}),
        json!({"type":"system","subtype":"task_started","task_id":"t","uuid":"u","session_id":"s","description":"d"}),
        json!({"type":"stream_event","event":{"type":"message_stop"},"parent_tool_use_id":null,"uuid":"u","session_id":"s"}),
        json!({"type":"command_lifecycle","command_uuid":"c","state":"queued","uuid":"u","session_id":"s"}),
        json!({"type":"control_cancel_request","request_id":"r"}),
        json!({"type":"control_request","request_id":"r","request":{"subtype":"initialize","hooks":null,"agents":{"a":{}}}}),
        json!({"type":"control_request","request_id":"r","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{},"tool_use_id":"t","title":"x"}}),
        json!({"type":"control_request","request_id":"r","request":{"subtype":"hook_callback","callback_id":"c"}}),
        json!({"type":"control_request","request_id":"r","request":{"subtype":"initialize","sdkMcpServers":["a"],"sdkMcpServerManifests":{}}}),
        json!({"type":"control_request","request_id":"r","request":{"subtype":"mcp_message","server_name":"a","message":{"jsonrpc":"2.0","id":1,"method":"tools/list"}}}),
        json!({"type":"control_response","response":{"subtype":"success","request_id":"r","response":{"behavior":"allow"}}}),
        json!({"type":"control_response","response":{"subtype":"error","request_id":"r","error":"no","error_code":"e"}}),
    ] {
        // `hooks: null` means the same as no hooks.
        let mut frame = frame;
        if frame["request"]["hooks"].is_null() && frame["request"]["subtype"] == "initialize" {
            frame["request"].as_object_mut().unwrap().remove("hooks");
        }
        round_trip(&frame);
    }
}

#[test]
fn an_unknown_type_is_kept_byte_for_byte() {
    let line = br#"{"zeta": 1.0, "type":"telepathy", "alpha":[ ]}"#;
    let frame = Frame::parse(line).unwrap();
    assert!(matches!(&frame, Frame::Unknown(unknown) if unknown.kind == "telepathy"));
    assert_eq!(frame.to_line().unwrap(), [&line[..], b"\n"].concat());
}

#[test]
fn nonsense_is_an_error_and_says_which() {
    let deep = format!(r#"{{"type":"x","a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let cases: [(&[u8], &str); 12] = [
        (b"", "NotJson"),
        (b"hello", "NotJson"),
        (b"{", "NotJson"),
        (b"{\"type\":\"user\"} trailing", "NotJson"),
        (b"{\"type\":\"\xff\"}", "NotJson"),
        (b"[1]", "NotAFrame"),
        (b"null", "NotAFrame"),
        (b"{}", "NotAFrame"),
        (b"{\"type\":7}", "NotAFrame"),
        (b"{\"type\":\"user\"}", "Malformed"),
        (
            b"{\"type\":\"user\",\"message\":{\"role\":\"user\",\"content\":7}}",
            "Malformed",
        ),
        (deep.as_bytes(), "TooDeep"),
    ];
    for (line, expected) in cases {
        let name = match Frame::parse(line) {
            Err(FrameError::NotJson { .. }) => "NotJson",
            Err(FrameError::NotAFrame) => "NotAFrame",
            Err(FrameError::Malformed { .. }) => "Malformed",
            Err(FrameError::TooDeep) => "TooDeep",
            other => panic!("{other:?} for {}", String::from_utf8_lossy(line)),
        };
        assert_eq!(name, expected, "for {}", String::from_utf8_lossy(line));
    }
}

#[test]
fn a_known_request_with_a_malformed_body_keeps_its_id_and_name() {
    let frame = parse(
        &json!({"type":"control_request","request_id":"r7","request":{"subtype":"set_permission_mode","mode":7}}),
    );
    let Frame::ControlRequest(request) = frame else {
        panic!("a control request")
    };
    assert_eq!(request.request_id, "r7");
    assert!(matches!(request.request, Request::Other(_)));
    assert_eq!(request.request.subtype(), "set_permission_mode");
}

#[test]
fn an_unknown_system_subtype_is_kept_as_other() {
    let Frame::System(system) =
        parse(&json!({"type":"system","subtype":"weather","sky":"blue","session_id":"s","uuid":"u"}))
    else {
        panic!("a system frame")
    };
    let SystemEvent::Other(body) = system.event else {
        panic!("other")
    };
    assert_eq!(
        (body["subtype"].as_str(), body["sky"].as_str()),
        (Some("weather"), Some("blue"))
    );
    assert_eq!(system.session_id, "s");
}

#[test]
fn permission_answers_read_in_both_forms() {
    let allow: PermissionAnswer = serde_json::from_value(json!({"behavior":"allow","updatedInput":{"a":1},
        "updatedPermissions":[{"type":"addRules","rules":[{"toolName":"Bash","ruleContent":"git *"}],"behavior":"allow","destination":"session"}]})).unwrap();
    assert!(matches!(
        allow,
        PermissionAnswer::Allow {
            updated_input: Some(_),
            updated_permissions: Some(_)
        }
    ));
    let deny: PermissionAnswer =
        serde_json::from_value(json!({"behavior":"deny","message":"no","interrupt":true})).unwrap();
    assert_eq!(
        deny,
        PermissionAnswer::Deny {
            message: "no".into(),
            interrupt: Some(true)
        }
    );
    assert!(serde_json::from_value::<PermissionAnswer>(json!({"behavior":"maybe"})).is_err());
}

#[test]
fn the_text_of_content_is_the_same_bare_or_in_blocks() {
    assert_eq!(Content::Text("a".into()).text(), "a");
    assert_eq!(
        Content::Blocks(vec![Block::text("a"), Block::text("b")]).text(),
        "a\nb"
    );
    let answer = Answer::Error {
        request_id: "r".into(),
        error: "e".into(),
        error_code: None,
    };
    assert_eq!(answer.request_id(), "r");
}

#[test]
fn a_message_to_a_server_in_the_host_is_read() {
    let message = json!({"type":"control_request","request_id":"r8","request":{"subtype":"mcp_message","server_name":"a","message":{"id":1}}});
    let Frame::ControlRequest(request) = parse(&message) else {
        panic!("a control request")
    };
    assert!(
        matches!(&request.request, Request::McpMessage { server_name, message } if server_name == "a" && message["id"] == 1)
    );
    assert_eq!(request.request.subtype(), "mcp_message");
}
