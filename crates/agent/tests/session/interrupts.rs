//! An interrupt at each point of a turn: the process stays usable and the history valid.

use crate::host::{Host, Place, assert_valid, of_type, result, start, tool_results};
use crate::server::{Answer, Server, block, call, calls, events, said};
use agent::Signal;
use serde_json::{Value, json};

async fn interrupt(host: &mut Host) -> Vec<Value> {
    host.control("stop", json!({"subtype":"interrupt"})).await;
    let frames = host.until_result().await;
    let answered =
        of_type(&frames, "control_response").any(|frame| frame["response"]["request_id"] == "stop");
    assert!(answered, "the interrupt is answered: {frames:?}");
    frames
}

/// After an interrupt the next prompt works and its request is valid.
async fn assert_usable(host: &mut Host, server: &Server, request: usize) {
    host.prompt("again").await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["result"], "fine");
    assert_valid(&server.asked()[request].body);
}

fn assert_interrupted(frames: &[Value], reason: &str) {
    let result = result(frames);
    assert_eq!(
        (result["subtype"].as_str(), result["terminal_reason"].as_str()),
        (Some("error_during_execution"), Some(reason))
    );
    assert!(result["errors"].is_array());
    assert!(of_type(frames, "user").any(|frame| {
        frame["message"]
            .to_string()
            .contains("[Request interrupted by user")
    }));
}

#[tokio::test]
async fn before_the_answer_begins() {
    let (place, server) = (
        Place::new(),
        Server::start(vec![Answer::Hang(vec![]), said("fine")]).await,
    );
    let mut host = start(&place, &server, &[]);
    host.prompt("go").await;
    server.wait_for(1).await;
    assert_interrupted(&interrupt(&mut host).await, "aborted_streaming");
    assert_usable(&mut host, &server, 1).await;
    assert_eq!(host.finish().await.1.code, 0);
}

#[tokio::test]
async fn in_the_middle_of_text_which_is_kept() {
    let partial = events(&[block("one two three four")], "end_turn", 10)[..3].to_vec();
    let (place, server) = (
        Place::new(),
        Server::start(vec![Answer::Hang(partial), said("fine")]).await,
    );
    let mut host = start(&place, &server, &["--include-partial-messages"]);
    host.prompt("go").await;
    host.until(|frame| frame["event"]["type"] == "content_block_delta")
        .await;
    let frames = interrupt(&mut host).await;
    assert_interrupted(&frames, "aborted_streaming");
    assert_usable(&mut host, &server, 1).await;
    assert_eq!(
        server.asked()[1].body["messages"][1]["content"][0]["text"],
        "one two t"
    );
}

#[tokio::test]
async fn in_the_middle_of_a_call_s_input_which_is_not_run() {
    let whole = events(
        &[
            call("t1", "Bash", json!({"command":"a"})),
            call("t2", "Bash", json!({"command":"b"})),
        ],
        "tool_use",
        10,
    );
    // Up to the middle of the second call.
    let partial = whole[..7].to_vec();
    let (place, server) = (
        Place::new(),
        Server::start(vec![Answer::Hang(partial), said("fine")]).await,
    );
    let mut host = start(
        &place,
        &server,
        &[
            "--permission-mode",
            "bypassPermissions",
            "--include-partial-messages",
        ],
    );
    host.prompt("go").await;
    host.until(|frame| frame["event"]["index"] == 1).await;
    let frames = interrupt(&mut host).await;
    assert_interrupted(&frames, "aborted_streaming");
    assert_eq!(
        tool_results(&frames).len(),
        1,
        "the call that was shown gets its result"
    );
    assert!(host.log.lines().is_empty());
    assert_usable(&mut host, &server, 1).await;
}

#[tokio::test]
async fn while_a_tool_runs_with_others_behind_it() {
    let blocks = [
        call("t1", "Bash", json!({"command":"hang"})),
        call("t2", "Bash", json!({"command":"b"})),
        call("t3", "Read", json!({"file_path":"c"})),
    ];
    let (place, server) = (
        Place::new(),
        Server::start(vec![calls(&blocks), said("fine")]).await,
    );
    let mut host = start(&place, &server, &["--permission-mode", "bypassPermissions"]);
    host.prompt("go").await;
    host.until(|frame| frame["message"]["content"][0]["id"] == "t3")
        .await;
    host.log.wait_for("start hang").await;
    let frames = interrupt(&mut host).await;
    assert_interrupted(&frames, "aborted_tools");
    assert_eq!(tool_results(&frames).len(), 3);
    assert_eq!(host.log.lines().first().map(String::as_str), Some("start hang"));
    assert!(!host.log.lines().contains(&"start b".to_owned()));
    assert_usable(&mut host, &server, 1).await;
}

#[tokio::test]
async fn a_tool_that_does_not_stop_is_left_behind() {
    let (place, server) = (
        Place::new(),
        Server::start(vec![
            calls(&[call("t1", "Bash", json!({"command":"stubborn"}))]),
            said("fine"),
        ])
        .await,
    );
    let mut host = start(&place, &server, &["--permission-mode", "bypassPermissions"]);
    host.prompt("go").await;
    host.until(|frame| frame["message"]["content"][0]["id"] == "t1")
        .await;
    host.log.wait_for("start stubborn").await;
    assert_interrupted(&interrupt(&mut host).await, "aborted_tools");
    assert_usable(&mut host, &server, 1).await;
}

#[tokio::test]
async fn while_the_host_is_asked_the_question_is_withdrawn() {
    let (place, server) = (
        Place::new(),
        Server::start(vec![
            calls(&[call("t1", "Bash", json!({"command":"make"}))]),
            said("fine"),
        ])
        .await,
    );
    let mut host = start(&place, &server, &["--permission-prompt-tool", "stdio"]);
    host.prompt("go").await;
    let asked = host.until(|frame| frame["type"] == "control_request").await;
    let frames = interrupt(&mut host).await;
    let withdrawn = of_type(&frames, "control_cancel_request").next().unwrap();
    assert_eq!(withdrawn["request_id"], asked.last().unwrap()["request_id"]);
    assert!(host.log.lines().is_empty());
    assert_usable(&mut host, &server, 1).await;
}

#[tokio::test]
async fn while_waiting_to_retry() {
    let busy = Answer::Status(
        529,
        vec![("retry-after", "200")],
        json!({"type":"error","error":{"type":"overloaded_error","message":"busy"}}),
    );
    let (place, server) = (Place::new(), Server::start(vec![busy, said("fine")]).await);
    let mut host = start(&place, &server, &[]);
    host.prompt("go").await;
    host.until(|frame| frame["subtype"] == "api_retry").await;
    assert_interrupted(&interrupt(&mut host).await, "aborted_streaming");
    assert_usable(&mut host, &server, 1).await;
}

#[tokio::test]
async fn between_turns_it_is_answered_and_changes_nothing() {
    let (place, server) = (Place::new(), Server::start(vec![said("fine")]).await);
    let mut host = start(&place, &server, &[]);
    host.control("stop", json!({"subtype":"interrupt"})).await;
    assert_eq!(host.answer("stop").await["response"], json!({"still_queued":[]}));
    assert_usable(&mut host, &server, 0).await;
}

#[tokio::test]
async fn sigint_is_an_interrupt_and_sigterm_ends_without_a_result() {
    let answers = vec![
        Answer::Hang(vec![]),
        calls(&[call("t1", "Bash", json!({"command":"hang"}))]),
    ];
    let (place, server) = (Place::new(), Server::start(answers).await);
    let mut host = start(&place, &server, &["--permission-mode", "bypassPermissions"]);
    host.prompt("go").await;
    server.wait_for(1).await;
    host.signals.send(Signal::Interrupt).await.unwrap();
    assert_interrupted(&host.until_result().await, "aborted_streaming");
    host.prompt("go").await;
    host.until(|frame| frame["message"]["content"][0]["id"] == "t1")
        .await;
    host.log.wait_for("start hang").await;
    host.signals.send(Signal::Terminate).await.unwrap();
    let (frames, exit) = host.finish_without_closing().await;
    assert_eq!((exit.code, exit.message), (143, None));
    assert_eq!(of_type(&frames, "result").count(), 0);
}

#[tokio::test]
async fn a_session_that_only_sigint_stopped_ends_with_success() {
    let (place, server) = (Place::new(), Server::start(vec![Answer::Hang(vec![])]).await);
    let mut host = start(&place, &server, &[]);
    host.prompt("go").await;
    server.wait_for(1).await;
    host.signals.send(Signal::Interrupt).await.unwrap();
    host.until_result().await;
    assert_eq!(host.finish().await.1.code, 0);
}
