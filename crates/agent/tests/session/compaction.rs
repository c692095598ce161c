//! Compaction: by itself when the window fills, on command, when the API says the prompt is too long.

use crate::host::{Place, assert_valid, of_subtype, result, start};
use crate::server::{Answer, Server, block, call, events, refused, said};
use serde_json::{Value, json};

fn filling(text: &str) -> Answer {
    Answer::Events(events(&[block(text)], "end_turn", 190_000))
}

fn is_for_a_summary(body: &Value) -> bool {
    body["tool_choice"]["type"] == "none" && body.to_string().contains("Write a summary")
}

#[tokio::test]
async fn a_window_that_fills_is_summarised_before_the_next_call() {
    let answers = vec![
        filling("first answer"),
        said("SUMMARY"),
        said("second answer"),
        said("third answer"),
    ];
    let (place, server) = (Place::new(), Server::start(answers).await);
    let mut host = start(&place, &server, &[]);
    host.prompt("first").await;
    host.until_result().await;
    host.prompt("second").await;
    let frames = host.until_result().await;
    let statuses: Vec<&Value> = of_subtype(&frames, "status")
        .map(|frame| &frame["status"])
        .collect();
    assert_eq!(statuses, [&json!("compacting"), &Value::Null]);
    let boundary = of_subtype(&frames, "compact_boundary").next().unwrap();
    assert_eq!(
        (
            boundary["compact_metadata"]["trigger"].as_str(),
            boundary["compact_metadata"]["pre_tokens"].as_u64()
        ),
        (Some("auto"), Some(190_020))
    );
    assert_eq!(result(&frames)["result"], "second answer");
    assert_eq!(result(&frames)["num_turns"], 1);
    let asked = server.asked();
    assert!(is_for_a_summary(&asked[1].body));
    assert_eq!(
        asked[1].body["tools"], asked[0].body["tools"],
        "the cache is not thrown away for the summary"
    );
    let after = &asked[2].body;
    assert_valid(after);
    assert_eq!(after["messages"].as_array().unwrap().len(), 1);
    assert!(after["messages"][0].to_string().contains("SUMMARY"));
    // A resume begins at the boundary.
    let id = result(&frames)["session_id"].as_str().unwrap().to_owned();
    host.finish().await;
    let mut host = start(&place, &server, &["--resume", &id]);
    host.prompt("third").await;
    host.until_result().await;
    let resumed = &server.asked()[3].body["messages"];
    assert_eq!(resumed.as_array().unwrap().len(), 3);
    assert!(resumed[0].to_string().contains("SUMMARY") && !resumed.to_string().contains("first answer"));
}

#[tokio::test]
async fn it_happens_between_tool_calls_too() {
    let full = Answer::Events(events(
        &[call("t1", "Bash", json!({"command":"a"}))],
        "tool_use",
        190_000,
    ));
    let (place, server) = (
        Place::new(),
        Server::start(vec![full, said("SUMMARY"), said("done")]).await,
    );
    let mut host = start(&place, &server, &["--permission-mode", "bypassPermissions"]);
    host.prompt("first").await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["result"], "done");
    assert_valid(&server.asked()[1].body);
    assert_valid(&server.asked()[2].body);
}

#[tokio::test]
async fn the_command_compacts_with_the_user_s_wishes() {
    let (place, server) = (
        Place::new(),
        Server::start(vec![said("one"), said("SUMMARY")]).await,
    );
    let mut host = start(&place, &server, &[]);
    host.prompt("/compact").await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["result"], "Nothing to compact.");
    host.prompt("first").await;
    host.until_result().await;
    host.prompt("/compact keep the names").await;
    let frames = host.until_result().await;
    assert_eq!(
        of_subtype(&frames, "compact_boundary").next().unwrap()["compact_metadata"]["trigger"],
        "manual"
    );
    assert_eq!(
        (
            result(&frames)["num_turns"].as_u64(),
            result(&frames)["result"].as_str()
        ),
        (Some(0), Some("Compacted."))
    );
    assert!(server.asked()[1].body.to_string().contains("keep the names"));
}

#[tokio::test]
async fn a_prompt_that_the_api_finds_too_long_is_compacted_once() {
    let too_long = || {
        refused(
            400,
            "invalid_request_error",
            "prompt is too long: 210000 tokens > 200000 maximum",
        )
    };
    let answers = vec![said("one"), too_long(), said("SUMMARY"), said("two")];
    let (place, server) = (Place::new(), Server::start(answers).await);
    let mut host = start(&place, &server, &[]);
    host.prompt("first").await;
    host.until_result().await;
    host.prompt("second").await;
    assert_eq!(result(&host.until_result().await)["result"], "two");
    // A single prompt that is too long cannot be made shorter.
    let server = Server::start(vec![too_long()]).await;
    let mut host = start(&place, &server, &[]);
    host.prompt("huge").await;
    let frames = host.until_result().await;
    assert_eq!(
        (
            result(&frames)["terminal_reason"].as_str(),
            result(&frames)["is_error"].as_bool()
        ),
        (Some("prompt_too_long"), Some(true))
    );
}

#[tokio::test]
async fn a_request_of_too_many_bytes_is_compacted_also_where_the_summary_needs_it() {
    let too_large = || {
        refused(
            413,
            "request_too_large",
            "the request is larger than 33554432 bytes",
        )
    };
    let answers = vec![
        said("one"),
        too_large(),
        too_large(),
        said("SUMMARY"),
        said("two"),
    ];
    let (place, server) = (Place::new(), Server::start(answers).await);
    let mut host = start(&place, &server, &[]);
    host.prompt("first").await;
    host.until_result().await;
    host.prompt("second").await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["result"], "two");
    let asked = server.asked();
    assert!(
        !asked[3].body.to_string().contains("first"),
        "the older half is left out"
    );
    assert_valid(&asked[4].body);
}

#[tokio::test]
async fn what_the_api_does_not_take_is_not_sent_again() {
    let huge = "x".repeat(100_000);
    let image = json!({"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}});
    let too_long = || {
        refused(
            413,
            "request_too_large",
            "the request is larger than 33554432 bytes",
        )
    };
    let no_image = || refused(400, "invalid_request_error", "Could not process image");
    let answers = vec![too_long(), said("one"), no_image(), said("two")];
    let (place, server) = (Place::new(), Server::start(answers).await);
    let mut host = start(&place, &server, &[]);
    host.prompt(&huge).await;
    assert_eq!(result(&host.until_result().await)["is_error"], true);
    host.prompt("first").await;
    assert_eq!(result(&host.until_result().await)["result"], "one");
    let content = json!([{"type":"text","text":"look"}, image]);
    host.send(json!({"type":"user","message":{"role":"user","content":content}}))
        .await;
    assert_eq!(result(&host.until_result().await)["is_error"], true);
    host.prompt("second").await;
    assert_eq!(result(&host.until_result().await)["result"], "two");
    let asked = server.asked();
    assert!(asked[0].body.to_string().contains(&huge) && !asked[1].body.to_string().contains(&huge));
    let last = asked[3].body.to_string();
    assert!(
        !last.contains("base64") && last.contains("image left out") && last.contains("look"),
        "{last}"
    );
    assert_valid(&asked[3].body);
}

#[tokio::test]
async fn a_summary_that_fails_leaves_the_conversation_as_it_was() {
    let answers = vec![
        said("one"),
        refused(400, "invalid_request_error", "nope"),
        said("two"),
    ];
    let (place, server) = (Place::new(), Server::start(answers).await);
    let mut host = start(&place, &server, &[]);
    host.prompt("first").await;
    host.until_result().await;
    host.prompt("/compact").await;
    let frames = host.until_result().await;
    assert_eq!(
        of_subtype(&frames, "status").last().unwrap()["compact_result"],
        "failed"
    );
    assert_eq!(result(&frames)["is_error"], true);
    host.prompt("second").await;
    assert_eq!(result(&host.until_result().await)["result"], "two");
    assert_eq!(server.asked()[2].body["messages"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_conversation_that_stays_too_long_is_not_compacted_for_ever() {
    let too_long = || refused(400, "invalid_request_error", "prompt is too long");
    let answers = vec![
        said("one"),
        too_long(),
        said("SUMMARY"),
        too_long(),
        said("SUMMARY"),
        too_long(),
        said("never"),
    ];
    let (place, server) = (Place::new(), Server::start(answers).await);
    let mut host = start(&place, &server, &[]);
    host.prompt("first").await;
    host.until_result().await;
    host.prompt("second").await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["terminal_reason"], "prompt_too_long");
    assert!(server.asked().len() < 7);
}
