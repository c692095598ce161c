//! What the API, the network and a hostile server can do to a turn.

use crate::host::{
    Options, Place, assert_valid, of_subtype, of_type, result, start, start_with, tool_results,
};
use crate::server::{Answer, Server, block, call, calls, events, refused, said};
use serde_json::{Value, json};

/// One prompt against these answers: the frames and the exit code.
async fn run(answers: Vec<Answer>, environment: &[(&str, &str)]) -> (Vec<Value>, u8, usize) {
    let (place, server) = (Place::new(), Server::start(answers).await);
    let mut host = start_with(
        &place,
        &server,
        &Options {
            environment,
            ..Options::default()
        },
    );
    host.prompt("go").await;
    let frames = host.until_result().await;
    let (_, exit) = host.finish().await;
    (frames, exit.code, server.asked().len())
}

#[tokio::test]
async fn what_cannot_pass_is_reported_at_once() {
    for (status, kind, text, class) in [
        (
            400,
            "invalid_request_error",
            "API Error: 400 nope",
            "invalid_request",
        ),
        (
            401,
            "authentication_error",
            "Failed to authenticate. API Error: 401 nope",
            "authentication_failed",
        ),
        (404, "not_found_error", "API Error: 404 nope", "model_not_found"),
    ] {
        let (frames, code, asked) = run(vec![refused(status, kind, "nope"), said("never")], &[]).await;
        let result = result(&frames);
        assert_eq!(
            (result["subtype"].as_str(), result["is_error"].as_bool()),
            (Some("success"), Some(true))
        );
        assert_eq!(result["result"], text);
        assert_eq!(
            (
                result["api_error_status"].as_u64(),
                result["terminal_reason"].as_str()
            ),
            (Some(status.into()), Some("api_error"))
        );
        let synthetic = of_type(&frames, "assistant").next().unwrap();
        assert_eq!(
            (
                synthetic["message"]["model"].as_str(),
                synthetic["error"].as_str()
            ),
            (Some("<synthetic>"), Some(class))
        );
        assert_eq!((code, asked), (1, 1));
        assert_eq!(of_subtype(&frames, "api_retry").count(), 0);
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_each_attempt_is_said() {
    let after = Answer::Status(
        429,
        vec![("retry-after", "0")],
        json!({"type":"error","error":{"type":"rate_limit_error","message":"slow"}}),
    );
    let answers = vec![
        refused(529, "overloaded_error", "busy"),
        refused(500, "api_error", "oops"),
        after,
        Answer::Close,
        said("at last"),
    ];
    let (frames, code, asked) = run(answers, &[]).await;
    assert_eq!(result(&frames)["result"], "at last");
    assert_eq!((code, asked), (0, 5));
    let retries: Vec<(Value, Value)> = of_subtype(&frames, "api_retry")
        .map(|frame| (frame["error_status"].clone(), frame["error"].clone()))
        .collect();
    assert_eq!(
        retries,
        [
            (json!(529), json!("overloaded")),
            (json!(500), json!("server_error")),
            (json!(429), json!("rate_limit")),
            (json!(null), json!("server_error"))
        ]
    );
    let third = of_subtype(&frames, "api_retry").nth(2).unwrap();
    assert_eq!(
        (
            third["attempt"].as_u64(),
            third["max_retries"].as_u64(),
            third["retry_delay_ms"].as_u64()
        ),
        (Some(3), Some(10), Some(0))
    );
}

#[tokio::test]
async fn retries_end_at_their_limit() {
    let answers = (0..5).map(|_| refused(529, "overloaded_error", "busy")).collect();
    let (frames, code, asked) = run(answers, &[("CLAUDE_CODE_MAX_RETRIES", "2")]).await;
    assert!(
        result(&frames)["result"]
            .as_str()
            .unwrap()
            .starts_with("API Error: 529 busy.")
    );
    assert_eq!((code, asked), (1, 3));
}

#[tokio::test]
async fn an_api_that_is_not_there_is_reported() {
    let (place, server) = (Place::new(), Server::start(vec![]).await);
    let environment = [
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:9"),
        ("CLAUDE_CODE_MAX_RETRIES", "1"),
    ];
    let mut host = start_with(
        &place,
        &server,
        &Options {
            environment: &environment,
            ..Options::default()
        },
    );
    host.prompt("go").await;
    let frames = host.until_result().await;
    assert!(
        result(&frames)["result"]
            .as_str()
            .unwrap()
            .starts_with("API Error: Unable to connect to API")
    );
    assert_eq!(of_subtype(&frames, "api_retry").count(), 1);
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_asked_for_again_and_its_blocks_count_once() {
    let first = events(
        &[call("t1", "Bash", json!({"command":"a"})), block("and")],
        "tool_use",
        10,
    );
    let broken = first[..7].to_vec();
    let mut with_error = first[..5].to_vec();
    with_error.push(json!({"type":"error","error":{"type":"overloaded_error","message":"busy"}}));
    let again = calls(&[call("t2", "Bash", json!({"command":"b"}))]);
    let (place, server) = (
        Place::new(),
        Server::start(vec![
            Answer::Cut(broken),
            Answer::Events(with_error),
            again,
            said("done"),
        ])
        .await,
    );
    let mut host = start(&place, &server, &["--permission-mode", "bypassPermissions"]);
    host.prompt("go").await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["result"], "done");
    assert_eq!(of_subtype(&frames, "api_retry").count(), 2);
    assert_eq!(
        host.log.lines(),
        ["start b", "end b"],
        "a call of a reply that broke off is not run"
    );
    assert_eq!(tool_results(&frames).len(), 1);
    let shown: Vec<&Value> = of_type(&frames, "assistant").collect();
    let last = shown
        .iter()
        .find(|frame| frame["message"]["content"][0]["id"] == "t2")
        .unwrap();
    assert_eq!(last["supersedes"].as_array().unwrap().len(), 1);
    let body = &server.asked()[3].body;
    assert_valid(body);
    assert!(!body.to_string().contains("t1"));
}

#[tokio::test]
async fn streams_that_are_no_reply_end_in_a_clear_error() {
    let html = Answer::Status(200, vec![], json!("<html>"));
    let junk = Answer::Raw(b"data: this is not JSON\n\n".to_vec());
    let disorder = Answer::Events(vec![json!({"type":"content_block_stop","index":0})]);
    for (answer, expected) in [
        (html, "event stream"),
        (junk, "malformed"),
        (disorder, "malformed"),
        (Answer::Endless, "too long"),
    ] {
        let (frames, code, asked) = run(vec![answer, said("never")], &[]).await;
        let text = result(&frames)["result"].as_str().unwrap();
        assert!(
            text.starts_with("API Error: ") && text.contains(expected),
            "{text}"
        );
        assert_eq!((code, asked), (1, 1));
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_given_up_and_asked_for_again() {
    let partial = events(&[block("one")], "end_turn", 10)[..3].to_vec();
    let environment = [("CLAUDE_STREAM_IDLE_TIMEOUT_MS", "100")];
    let (frames, _, asked) = run(vec![Answer::Hang(partial), said("at last")], &environment).await;
    assert_eq!((result(&frames)["result"].as_str(), asked), (Some("at last"), 2));
}

#[tokio::test]
async fn after_an_api_error_the_session_goes_on() {
    let (place, server) = (
        Place::new(),
        Server::start(vec![refused(400, "invalid_request_error", "nope"), said("fine")]).await,
    );
    let mut host = start(&place, &server, &[]);
    host.prompt("one").await;
    host.until_result().await;
    host.prompt("two").await;
    assert_eq!(result(&host.until_result().await)["result"], "fine");
    let body = &server.asked()[1].body;
    assert_valid(body);
    assert!(
        !body.to_string().contains("API Error"),
        "the model is not shown errors as its own words"
    );
    assert_eq!(host.finish().await.1.code, 0);
}
