//! Every event type against the JSON that the API defines.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use wire::{Body, ContentBlock, ErrorBody, ErrorType, Event, Preview, SessionErrorType};

const ID: &str = "sevt_0123456789abcdefghjkmnpqrs";

fn samples() -> Vec<Value> {
    vec![
        json!({"type":"user.message","content":[{"type":"text","text":"hi"}]}),
        json!({"type":"user.interrupt"}),
        json!({"type":"user.interrupt","session_thread_id":"sthr_1"}),
        json!({"type":"user.tool_confirmation","tool_use_id":ID,"result":"deny","deny_message":"no"}),
        json!({"type":"user.custom_tool_result","custom_tool_use_id":ID,
               "content":[{"type":"text","text":"a"}],"is_error":false}),
        json!({"type":"system.message","content":[{"type":"text","text":"be brief"}]}),
        json!({"type":"agent.custom_tool_use","name":"weather","input":{"city":"x"}}),
        json!({"type":"session.deleted"}),
        json!({"type":"agent.message","content":[{"type":"text","text":"yes"},{"type":"redacted"}]}),
        json!({"type":"agent.thinking"}),
        json!({"type":"agent.tool_use","name":"bash","input":{"command":"ls"},"evaluated_permission":"allow"}),
        json!({"type":"agent.tool_result","tool_use_id":ID,"content":[{"type":"text","text":"a"}],"is_error":true}),
        json!({"type":"agent.thread_context_compacted"}),
        json!({"type":"session.status_running"}),
        json!({"type":"session.status_idle","stop_reason":{"type":"end_turn"}}),
        json!({"type":"session.status_idle","stop_reason":{"type":"requires_action","event_ids":[ID]}}),
        json!({"type":"session.status_idle","stop_reason":{"type":"refusal"},
               "stop_details":{"type":"refusal","category":"c"}}),
        json!({"type":"session.status_idle","stop_reason":{"type":"a_later_reason","why":1}}),
        json!({"type":"session.status_rescheduled"}),
        json!({"type":"session.status_terminated"}),
        json!({"type":"session.usage","usage":{"input_tokens":3,"list_cost":{"amount":"2500","currency":"USD"}}}),
        json!({"type":"session.error","error":{"type":"mcp_connection_failed_error","message":"m",
               "retry_status":{"type":"retrying"},"mcp_server_name":"x"}}),
        json!({"type":"session.error","error":{"type":"a_later_error","message":"m",
               "retry_status":{"type":"terminal"}}}),
        json!({"type":"session.updated","title":"t"}),
        json!({"type":"session.updated","budget":null,"title":null}),
        json!({"type":"span.model_request_start"}),
        json!({"type":"span.model_request_end","model_request_start_id":ID,"model_usage":
               {"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":3,"cache_creation_input_tokens":4}}),
    ]
}

#[test]
fn every_event_is_written_as_it_was_read() {
    for body in samples() {
        let mut json = body.clone();
        json["id"] = ID.into();
        json["processed_at"] = "2026-11-21T19:20:00Z".into();
        let event: Event = serde_json::from_value(json.clone()).unwrap();
        assert!(!matches!(event.body, Body::Unknown(_)), "{json}");
        assert_eq!(event.body.kind(), body["type"], "{json}");
        assert_eq!(serde_json::to_value(&event).unwrap(), json);
    }
}

#[test]
fn the_samples_cover_every_known_type() {
    let sampled: Vec<Value> = samples()
        .into_iter()
        .map(|sample| sample["type"].clone())
        .collect();
    for kind in Body::TYPES {
        assert!(sampled.iter().any(|found| found == kind), "{kind} has no sample");
    }
}

#[test]
fn an_unknown_type_is_kept_whole() {
    let json = json!({"id":ID,"processed_at":null,"type":"agent.teleport","to":{"x":[1,2]},"n":7});
    let event: Event = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(event.body.kind(), "agent.teleport");
    assert!(matches!(&event.body, Body::Unknown(unknown) if unknown.fields()["n"] == 7));
    assert_eq!(serde_json::to_value(&event).unwrap(), json);
    let block = json!({"type":"hologram","beams":3});
    assert_eq!(
        serde_json::to_value(serde_json::from_value::<ContentBlock>(block.clone()).unwrap()).unwrap(),
        block
    );
}

#[test]
fn a_known_type_with_wrong_fields_is_an_error() {
    for json in [
        json!({"type":"user.message"}),
        json!({"type":"user.message","content":"text"}),
        json!({"type":"agent.tool_result","tool_use_id":"../../etc"}),
        json!({"type":7}),
        json!({"content":[]}),
        json!([]),
    ] {
        assert!(serde_json::from_value::<Body>(json.clone()).is_err(), "{json}");
    }
    assert!(serde_json::from_value::<ContentBlock>(json!({"type":"text"})).is_err());
}

#[test]
fn content_blocks_are_written_as_they_were_read() {
    for json in [
        json!({"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}),
        json!({"type":"image","source":{"type":"url","url":"https://example.com/a.png"}}),
        json!({"type":"image","source":{"type":"file","file_id":"file_1"}}),
        json!({"type":"document","source":{"type":"text","media_type":"text/plain","data":"x"},"title":"t"}),
        json!({"type":"document","source":{"type":"a_later_source","k":1},"context":"c"}),
        json!({"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"x"}],
               "citations":{"enabled":true}}),
        json!({"type":"redacted"}),
    ] {
        let block: ContentBlock = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&block).unwrap(), json);
    }
}

#[test]
fn previews_have_the_shape_of_the_stream() {
    for json in [
        json!({"type":"event_start","event":{"type":"agent.message","id":ID}}),
        json!({"type":"event_delta","event_id":ID,
               "delta":{"type":"content_delta","index":0,"content":{"type":"text","text":"he"}}}),
    ] {
        let preview: Preview = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(preview.event_id().as_str(), ID);
        assert_eq!(serde_json::to_value(&preview).unwrap(), json);
    }
}

#[test]
fn the_error_body_is_the_api_s() {
    let json = json!({"type":"error","error":{"type":"not_found_error","message":"m",
                      "details":{"error_code":"session_not_found"}},"request_id":"req_1"});
    let body: ErrorBody = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(
        (body.error.kind.clone(), body.error.kind.status()),
        (ErrorType::NotFoundError, 404)
    );
    assert_eq!(serde_json::to_value(&body).unwrap(), json);
    let later = serde_json::from_value::<ErrorType>(json!("memory_precondition_failed_error")).unwrap();
    assert_eq!(
        serde_json::to_value(&later).unwrap(),
        "memory_precondition_failed_error"
    );
    let error = serde_json::from_value::<SessionErrorType>(json!("billing_error")).unwrap();
    assert_eq!(error, SessionErrorType::BillingError);
}
