//! Control requests: answered at once, also before the first prompt and in the middle of a turn.

use crate::host::{Options, Place, of_subtype, of_type, result, start, start_with};
use crate::server::{Answer, Server, said};
use serde_json::json;

#[tokio::test]
async fn initialize_is_answered_and_its_prompt_and_denials_count() {
    let (place, server) = (Place::new(), Server::start(vec![said("hello")]).await);
    let mut host = start(&place, &server, &[]);
    host.control("r1", json!({"subtype":"initialize","hooks":null,"systemPrompt":["Speak Latin."],"disallowedTools":["Write"]})).await;
    let answer = host.answer("r1").await;
    assert_eq!(answer["subtype"], "success");
    assert_eq!(answer["response"]["commands"][0]["name"], "compact");
    host.prompt("hi").await;
    let frames = host.until_result().await;
    assert_eq!(
        frames[0]["tools"],
        json!(["Bash", "Read", "WebFetch", "WebSearch"])
    );
    assert_eq!(server.asked()[0].body["system"][1]["text"], "Speak Latin.");
}

#[tokio::test]
async fn what_this_runtime_does_not_do_is_refused_by_name() {
    let (place, server) = (Place::new(), Server::start(vec![]).await);
    let mut host = start(&place, &server, &[]);
    for (request, code, text) in [
        (
            json!({"subtype":"initialize","hooks":{"PreToolUse":[{"matcher":null,"hookCallbackIds":["h"]}]}}),
            "unsupported_request",
            "hooks",
        ),
        (
            json!({"subtype":"initialize","mcpServers":{"own":{"type":"sdk"},"far":{"type":"http","url":"http://x"}}}),
            "unsupported_request",
            "the MCP server 'far' is of type 'http'",
        ),
        (
            json!({"subtype":"initialize","sdkMcpServers":[""]}),
            "invalid_request",
            "not a name",
        ),
        (
            json!({"subtype":"initialize","sdkMcpServers":"a"}),
            "invalid_request",
            "initialize",
        ),
        (
            json!({"subtype":"mcp_message","server_name":"a","message":{}}),
            "unsupported_request",
            "mcp_message",
        ),
        (
            json!({"subtype":"levitate"}),
            "unsupported_request",
            "Unsupported control request subtype: levitate",
        ),
        (
            json!({"subtype":"set_permission_mode"}),
            "invalid_request",
            "set_permission_mode",
        ),
        (
            json!({"subtype":"set_permission_mode","mode":"yolo"}),
            "invalid_mode",
            "yolo",
        ),
        (
            json!({"subtype":"set_permission_mode","mode":"bypassPermissions"}),
            "invalid_mode",
            "bypassPermissions",
        ),
        (json!({}), "unsupported_request", ""),
    ] {
        host.control("r", request.clone()).await;
        let answer = host.answer("r").await;
        assert_eq!(
            (answer["subtype"].as_str(), answer["error_code"].as_str()),
            (Some("error"), Some(code)),
            "{request}"
        );
        assert!(answer["error"].as_str().unwrap().contains(text), "{answer}");
    }
}

#[tokio::test]
async fn settings_change_while_the_session_lives() {
    let (place, server) = (Place::new(), Server::start(vec![said("hello")]).await);
    let mut host = start(&place, &server, &["--allow-dangerously-skip-permissions"]);
    host.control(
        "r1",
        json!({"subtype":"set_permission_mode","mode":"bypassPermissions"}),
    )
    .await;
    assert_eq!(
        host.answer("r1").await["response"],
        json!({"mode":"bypassPermissions"})
    );
    let status = host.next().await.unwrap();
    assert_eq!(
        (status["subtype"].as_str(), status["permissionMode"].as_str()),
        (Some("status"), Some("bypassPermissions"))
    );
    host.control("r2", json!({"subtype":"set_model","model":"sonnet"}))
        .await;
    assert_eq!(
        host.answer("r2").await["response"],
        json!({"model":"claude-sonnet-4-5"})
    );
    host.control(
        "r3",
        json!({"subtype":"set_max_thinking_tokens","max_thinking_tokens":2000}),
    )
    .await;
    host.answer("r3").await;
    host.control("r4", json!({"subtype":"mcp_status"})).await;
    assert_eq!(host.answer("r4").await["response"], json!({"mcpServers":[]}));
    host.prompt("hi").await;
    let frames = host.until_result().await;
    let init = of_subtype(&frames, "init").next().unwrap();
    assert_eq!(
        (init["model"].as_str(), init["permissionMode"].as_str()),
        (Some("claude-sonnet-4-5"), Some("bypassPermissions"))
    );
    let body = &server.asked()[0].body;
    assert_eq!(
        (body["model"].as_str(), &body["thinking"]),
        (
            Some("claude-sonnet-4-5"),
            &json!({"type":"enabled","budget_tokens":2000})
        )
    );
    host.control("r5", json!({"subtype":"get_context_usage"})).await;
    let usage = host.answer("r5").await["response"].clone();
    assert_eq!(
        (usage["totalTokens"].as_u64(), usage["maxTokens"].as_u64()),
        (Some(30), Some(200_000))
    );
}

#[tokio::test]
async fn requests_are_served_in_the_middle_of_a_turn() {
    let (place, server) = (Place::new(), Server::start(vec![Answer::Hang(vec![])]).await);
    let mut host = start(&place, &server, &[]);
    host.prompt("hi").await;
    server.wait_for(1).await;
    host.control("r1", json!({"subtype":"mcp_status"})).await;
    assert_eq!(host.answer("r1").await["subtype"], "success");
    let uuid = "22222222-2222-4222-8222-222222222222";
    host.send(json!({"type":"user","uuid":uuid,"message":{"role":"user","content":"later"}}))
        .await;
    host.control("r2", json!({"subtype":"interrupt","cancel_queued":true}))
        .await;
    let frames = host.until_result().await;
    let answer = of_type(&frames, "control_response").next().unwrap();
    assert_eq!(
        answer["response"]["response"],
        json!({"still_queued":[],"cancelled":[uuid]})
    );
    assert_eq!(result(&frames)["terminal_reason"], "aborted_streaming");
}

#[tokio::test]
async fn end_session_ends_the_process_with_success() {
    let (place, server) = (Place::new(), Server::start(vec![]).await);
    let environment = [("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS", "1")];
    let mut host = start_with(
        &place,
        &server,
        &Options {
            environment: &environment,
            ..Options::default()
        },
    );
    host.control("r1", json!({"subtype":"end_session"})).await;
    assert_eq!(host.answer("r1").await["subtype"], "success");
    let (_, exit) = host.finish_without_closing().await;
    assert_eq!(exit.code, 0);
}
