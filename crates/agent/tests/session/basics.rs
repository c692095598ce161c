//! A turn from prompt to result, and the life of the process around it.

use crate::host::{Options, Place, assert_valid, of_subtype, of_type, result, start, start_with};
use crate::server::{Answer, Server, block, events, said};
use serde_json::{Value, json};

#[tokio::test]
async fn a_note_of_the_host_is_a_turn_like_a_person_s() {
    let (place, server) = (
        Place::new(),
        Server::start(vec![said("noted"), said("hello")]).await,
    );
    let mut host = start(&place, &server, &["--replay-user-messages"]);
    let uuid = "66666666-6666-4666-8666-666666666666";
    host.send(json!({"type":"user","uuid":uuid,"isSynthetic":true,"message":{"role":"user","content":"the file is there now"}}))
        .await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["result"], "noted");
    assert_eq!(result(&frames)["user_message_uuids"], json!([uuid]));
    let replay = of_type(&frames, "user").next().unwrap();
    assert_eq!(
        (&replay["isReplay"], &replay["isSynthetic"], &replay["uuid"]),
        (&json!(true), &json!(true), &json!(uuid))
    );
    host.prompt("hi").await;
    host.until_result().await;
    let body = &server.asked()[1].body;
    assert_eq!(body["messages"][0]["content"][0]["text"], "the file is there now");
    assert_eq!(body["messages"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_prompt_is_answered_and_the_process_ends_with_its_input() {
    let (place, server) = (Place::new(), Server::start(vec![said("hello")]).await);
    let mut host = start(&place, &server, &[]);
    host.prompt("hi").await;
    let frames = host.until_result().await;
    let kinds: Vec<&str> = frames
        .iter()
        .map(|frame| frame["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["system", "assistant", "result"]);
    let init = &frames[0];
    assert_eq!(
        (init["subtype"].as_str(), init["model"].as_str()),
        (Some("init"), Some("claude-haiku-4-5"))
    );
    assert_eq!(
        init["tools"],
        json!(["Bash", "Read", "Write", "WebFetch", "WebSearch"])
    );
    let result = result(&frames);
    assert_eq!(result["result"], "hello");
    assert_eq!(
        (result["subtype"].as_str(), result["is_error"].as_bool()),
        (Some("success"), Some(false))
    );
    assert_eq!(
        (result["num_turns"].as_u64(), result["terminal_reason"].as_str()),
        (Some(1), Some("completed"))
    );
    assert_eq!(result["usage"]["input_tokens"], 10);
    assert_eq!(result["modelUsage"]["claude-haiku-4-5"]["outputTokens"], 20);
    assert!((result["total_cost_usd"].as_f64().unwrap() - 0.00011).abs() < 1e-9);
    for frame in &frames {
        assert!(
            frame["uuid"].is_string() && frame["session_id"] == result["session_id"],
            "{frame}"
        );
    }
    let (rest, exit) = host.finish().await;
    assert!(rest.is_empty(), "{rest:?}");
    assert_eq!((exit.code, exit.message), (0, None));
}

#[tokio::test]
async fn the_request_has_what_the_api_needs_and_nothing_is_cached_but_the_ends() {
    let (place, server) = (Place::new(), Server::start(vec![said("one"), said("two")]).await);
    let mut host = start(
        &place,
        &server,
        &[
            "--append-system-prompt",
            "Be brief.",
            "--effort",
            "low",
            "--betas",
            "b-1",
        ],
    );
    host.prompt("hi").await;
    host.until_result().await;
    host.prompt("again").await;
    host.until_result().await;
    let asked = server.asked();
    let head = asked[0].head.to_lowercase();
    assert!(head.starts_with("post /v1/messages?beta=true http/1.1"), "{head}");
    for header in [
        "anthropic-version: 2023-06-01",
        "x-api-key: key",
        "anthropic-beta: b-1,effort-2025-11-24",
        "user-agent: hostler-agent/",
        "x-claude-code-session-id: ",
    ] {
        assert!(head.contains(header), "{header} in {head}");
    }
    let body = &asked[1].body;
    assert_valid(body);
    assert_eq!(body["messages"].as_array().unwrap().len(), 3);
    assert_eq!(body.to_string().matches("cache_control").count(), 2);
    assert_eq!(
        body["system"].as_array().unwrap().last().unwrap()["text"],
        "Be brief."
    );
    assert!(body["system"].as_array().unwrap().last().unwrap()["cache_control"].is_object());
    assert_eq!(body["output_config"]["effort"], "low");
    assert_eq!(asked[0].body["system"], asked[1].body["system"]);
    assert_eq!(server.connections(), 1, "the connection is kept alive");
}

#[tokio::test]
async fn each_block_is_a_frame_and_thinking_is_replayed_with_its_signature() {
    let thinking = json!({"type":"thinking","thinking":"hm","signature":"sig"});
    let reply = Answer::Events(events(&[thinking, block("a"), block("b")], "end_turn", 10));
    let (place, server) = (Place::new(), Server::start(vec![reply, said("c")]).await);
    let mut host = start(&place, &server, &[]);
    host.prompt("hi").await;
    let frames = host.until_result().await;
    let blocks: Vec<&Value> = of_type(&frames, "assistant")
        .map(|frame| &frame["message"]["content"])
        .collect();
    assert_eq!(blocks.len(), 3);
    assert!(
        blocks
            .iter()
            .all(|content| content.as_array().unwrap().len() == 1)
    );
    assert!(
        of_type(&frames, "assistant")
            .all(|frame| frame["message"]["id"] == "msg_1" && frame["message"]["stop_reason"].is_null())
    );
    assert_eq!(result(&frames)["result"], "b");
    host.prompt("more").await;
    host.until_result().await;
    let body = &server.asked()[1].body;
    assert_eq!(
        body["messages"][1]["content"][0],
        json!({"type":"thinking","thinking":"hm","signature":"sig"})
    );
}

#[tokio::test]
async fn partial_messages_are_the_raw_events_with_each_block_before_its_stop() {
    let (place, server) = (Place::new(), Server::start(vec![said("hello")]).await);
    let mut host = start(&place, &server, &["--include-partial-messages"]);
    host.prompt("hi").await;
    let frames = host.until_result().await;
    let names: Vec<String> = frames
        .iter()
        .map(|frame| match frame["type"].as_str().unwrap() {
            "stream_event" => frame["event"]["type"].as_str().unwrap().to_owned(),
            "system" => frame["subtype"].as_str().unwrap().to_owned(),
            other => other.to_owned(),
        })
        .collect();
    assert_eq!(
        names,
        [
            "init",
            "requesting_or_status",
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "assistant",
            "content_block_stop",
            "message_delta",
            "message_stop",
            "result"
        ]
        .map(|name| if name == "requesting_or_status" {
            "status"
        } else {
            name
        })
    );
    let first = of_type(&frames, "stream_event").next().unwrap();
    assert!(first["ttft_ms"].is_u64() && first["uuid"].is_string());
}

#[tokio::test]
async fn a_uuid_is_followed_through_its_life_and_runs_only_once() {
    let (place, server) = (Place::new(), Server::start(vec![said("hello")]).await);
    let environment = [("CLAUDE_CODE_SDK_READS_SESSION_STATE", "1")];
    let options = Options {
        arguments: &["--replay-user-messages"],
        environment: &environment,
        ..Options::default()
    };
    let mut host = start_with(&place, &server, &options);
    let uuid = "11111111-1111-4111-8111-111111111111";
    let line =
        json!({"type":"user","message":{"role":"user","content":"hi"},"uuid":uuid,"origin":{"kind":"human"}});
    host.send(line.clone()).await;
    let frames = host.until(|frame| frame["state"] == "idle").await;
    let states: Vec<&str> = of_type(&frames, "command_lifecycle")
        .map(|frame| frame["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["queued", "started", "completed"]);
    let result = frames.iter().find(|frame| frame["type"] == "result").unwrap();
    assert_eq!(result["user_message_uuids"], json!([uuid]));
    assert_eq!(result["origin"], json!({"kind":"human"}));
    let replay = of_type(&frames, "user").next().unwrap();
    assert_eq!(
        (replay["isReplay"].as_bool(), replay["uuid"].as_str()),
        (Some(true), Some(uuid))
    );
    let running = of_subtype(&frames, "session_state_changed").next().unwrap();
    assert_eq!(
        (running["state"].as_str(), running["sdk_host_only"].as_bool()),
        (Some("running"), Some(true))
    );
    host.send(line).await;
    let again = host.until(|frame| frame["isReplay"] == true).await;
    assert_eq!(again.len(), 1);
    assert_eq!(host.finish().await.1.code, 0);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_line_that_should_not_query_only_joins_the_history() {
    let (place, server) = (Place::new(), Server::start(vec![said("hello")]).await);
    let mut host = start(&place, &server, &[]);
    host.send(json!({"type":"user","message":{"role":"user","content":"note"},"shouldQuery":false}))
        .await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["num_turns"], 0);
    host.prompt("hi").await;
    host.until_result().await;
    assert_eq!(server.asked().len(), 1);
    assert!(server.asked()[0].body["messages"][0].to_string().contains("note"));
}

#[tokio::test]
async fn a_turn_that_runs_when_the_input_ends_is_finished() {
    let (place, server) = (Place::new(), Server::start(vec![said("hello")]).await);
    let mut host = start(&place, &server, &[]);
    host.prompt("hi").await;
    let (frames, exit) = host.finish().await;
    assert_eq!(result(&frames)["result"], "hello");
    assert_eq!(exit.code, 0);
}

#[tokio::test]
async fn noise_on_the_input_is_skipped_and_what_is_no_json_ends_the_process() {
    let (place, server) = (Place::new(), Server::start(vec![said("hello")]).await);
    let mut host = start(&place, &server, &[]);
    host.send_raw("\n  \n{\"type\":\"keep_alive\"}\n{\"type\":\"telepathy\"}\n")
        .await;
    host.prompt("hi").await;
    assert_eq!(result(&host.until_result().await)["result"], "hello");
    host.send_raw("this is not JSON\n").await;
    let (_, exit) = host.finish().await;
    assert_eq!(exit.code, 1);
    assert!(exit.message.unwrap().contains("not JSON"));
}

#[tokio::test]
async fn the_cost_command_answers_without_the_model() {
    let (place, server) = (Place::new(), Server::start(vec![said("hello")]).await);
    let mut host = start(&place, &server, &[]);
    host.prompt("hi").await;
    host.until_result().await;
    host.prompt("/cost").await;
    let frames = host.until_result().await;
    let shown = of_type(&frames, "user").next().unwrap()["message"]["content"]
        .as_str()
        .unwrap();
    assert!(
        shown.starts_with("<local-command-stdout>Total cost: $0.0001"),
        "{shown}"
    );
    assert_eq!(result(&frames)["num_turns"], 0);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_prompt_given_as_an_argument_is_the_only_turn() {
    let (place, server) = (Place::new(), Server::start(vec![said("hello")]).await);
    let mut host = start(&place, &server, &["--input-format=text", "-p", "hi"]);
    assert_eq!(result(&host.until_result().await)["result"], "hello");
    assert!(host.next().await.is_none());
}
