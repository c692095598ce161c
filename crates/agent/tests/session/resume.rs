//! Sessions that go on: resumed, continued, forked, cut, and after a kill at the worst moment.

use crate::host::{Options, Place, assert_valid, result, start, start_with};
use crate::server::{Server, call, calls, said};
use serde_json::{Value, json};

/// One finished turn; the session's id.
async fn one_turn(place: &Place, arguments: &[&str]) -> String {
    let server = Server::start(vec![said("first answer")]).await;
    let mut host = start(place, &server, arguments);
    host.prompt("first").await;
    let frames = host.until_result().await;
    let id = result(&frames)["session_id"].as_str().unwrap().to_owned();
    host.finish().await;
    id
}

/// The messages of the first request of a session that goes on, its id and its result.
async fn go_on(place: &Place, arguments: &[&str]) -> (Value, String, Value) {
    let server = Server::start(vec![said("second answer")]).await;
    let mut host = start(place, &server, arguments);
    host.prompt("second").await;
    let frames = host.until_result().await;
    let result = result(&frames).clone();
    host.finish().await;
    let body = server.asked()[0].body.clone();
    assert_valid(&body);
    (
        body["messages"].clone(),
        result["session_id"].as_str().unwrap().to_owned(),
        result,
    )
}

#[tokio::test]
async fn a_transcript_is_private_compact_and_chained() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let id = one_turn(&place, &[]).await;
    let paths = place.transcripts();
    assert_eq!(paths[0].file_stem().unwrap().to_str().unwrap(), id);
    assert_eq!(
        std::fs::metadata(&paths[0]).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let text = std::fs::read_to_string(&paths[0]).unwrap();
    assert!(
        text.lines()
            .all(|line| line.starts_with("{\"type\":\"") && !line.contains("\": ")),
        "{text}"
    );
    let lines = Place::lines_of(&paths[0]);
    assert_eq!(
        (lines[0]["type"].as_str(), &lines[0]["parentUuid"]),
        (Some("user"), &Value::Null)
    );
    assert_eq!(lines[1]["parentUuid"], lines[0]["uuid"]);
    for key in [
        "sessionId",
        "isSidechain",
        "timestamp",
        "cwd",
        "version",
        "gitBranch",
        "userType",
    ] {
        assert!(lines[1].get(key).is_some(), "{key}");
    }
    assert_eq!(lines[2]["type"], "cost-state");
}

#[tokio::test]
async fn resume_and_continue_keep_the_id_and_the_totals_and_fork_takes_a_new_id() {
    let place = Place::new();
    let id = one_turn(&place, &[]).await;
    let (messages, same, outcome) = go_on(&place, &["--resume", &id]).await;
    assert_eq!(same, id);
    assert_eq!(
        (
            messages[0]["content"][0]["text"].as_str(),
            messages[1]["content"][0]["text"].as_str()
        ),
        (Some("first"), Some("first answer"))
    );
    assert!((outcome["total_cost_usd"].as_f64().unwrap() - 0.00022).abs() < 1e-9);
    assert_eq!(outcome["usage"]["output_tokens"], 20, "usage is of this turn");
    let (messages, same, _) = go_on(&place, &["--continue"]).await;
    assert_eq!((same, messages.as_array().unwrap().len()), (id.clone(), 5));
    let before = std::fs::read(&place.transcripts()[0]).unwrap();
    let (messages, forked, _) = go_on(&place, &["--resume", &id, "--fork-session"]).await;
    assert_eq!(messages.as_array().unwrap().len(), 7);
    assert_ne!(forked, id);
    let original = place
        .transcripts()
        .into_iter()
        .find(|path| path.to_string_lossy().contains(&id))
        .unwrap();
    assert_eq!(
        std::fs::read(original).unwrap(),
        before,
        "a fork leaves the original as it was"
    );
    let (messages, ..) = go_on(&place, &["--resume", &forked]).await;
    assert_eq!(messages.as_array().unwrap().len(), 9, "a fork resumes by itself");
}

#[tokio::test]
async fn history_can_be_cut_at_a_message() {
    let place = Place::new();
    let id = one_turn(&place, &[]).await;
    go_on(&place, &["--resume", &id]).await;
    let lines = Place::lines_of(&place.transcripts()[0]);
    let uuid_of = |text: &str| {
        lines
            .iter()
            .find(|line| line["message"].to_string().contains(text))
            .unwrap()["uuid"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let at = uuid_of("first answer");
    let (messages, ..) = go_on(
        &place,
        &["--resume", &id, "--fork-session", "--resume-session-at", &at],
    )
    .await;
    assert_eq!(messages.as_array().unwrap().len(), 3);
    let drop = uuid_of("\"second\"");
    let (messages, ..) = go_on(
        &place,
        &["--resume", &id, "--fork-session", "--resume-drops-turn", &drop],
    )
    .await;
    assert_eq!(messages.as_array().unwrap().len(), 3);
    // In place, the turns after the cut become a dead branch.
    let (messages, ..) = go_on(&place, &["--resume", &id, "--resume-session-at", &at]).await;
    assert_eq!(messages.as_array().unwrap().len(), 3);
    let (messages, ..) = go_on(&place, &["--resume", &id]).await;
    assert_eq!(messages.as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn after_a_kill_in_a_tool_the_model_is_told_that_the_call_was_interrupted() {
    let place = Place::new();
    let blocks = [
        call("t1", "Bash", json!({"command":"a"})),
        call("t2", "Bash", json!({"command":"hang"})),
    ];
    let server = Server::start(vec![calls(&blocks)]).await;
    let mut host = start(&place, &server, &["--permission-mode", "bypassPermissions"]);
    host.prompt("go").await;
    host.until(|frame| frame["message"]["content"][0]["tool_use_id"] == "t1")
        .await;
    // What is on disk now is what a kill leaves: the second call has begun and has no result. Half a line is torn off.
    let path = place.transcripts().remove(0);
    let copy = place.work().join("killed.jsonl");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("{\"type\":\"user\",\"uuid\":\"torn");
    std::fs::write(&copy, text).unwrap();
    let id = path.file_stem().unwrap().to_str().unwrap().to_owned();
    drop(host);
    let other = Place::new();
    let (messages, same, _) = go_on(&other, &["--resume", copy.to_str().unwrap()]).await;
    assert_eq!(same, id);
    let results: Vec<&Value> = messages[2]["content"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|block| block["type"] == "tool_result")
        .collect();
    assert_eq!(results.len(), 2);
    assert!(
        results[1]["content"]
            .as_str()
            .unwrap()
            .starts_with("[Tool call interrupted")
            && results[1]["is_error"] == true
    );
    assert_eq!(messages[2]["content"][2]["text"], "second");
    // The result was written down: it is resumed once more without a second one.
    let (messages, ..) = go_on(&other, &["--resume", &id]).await;
    assert_eq!(messages.to_string().matches("[Tool call interrupted").count(), 1);
}

#[tokio::test]
async fn what_cannot_be_resumed_is_an_error_for_the_host_too() {
    let place = Place::new();
    let used = one_turn(&place, &["--session-id", "33333333-3333-4333-8333-333333333333"]).await;
    let other = "44444444-4444-4444-8444-444444444444";
    let no_conversation = format!("No conversation found with session ID: {other}");
    let in_use = format!("Error: Session ID {used} is already in use.");
    for (arguments, message, has_result) in [
        (vec!["--resume", other], no_conversation.as_str(), true),
        (
            vec!["--resume", "my title"],
            "Error: --resume requires a valid session ID or session title",
            true,
        ),
        (
            vec!["--resume", &used, "--resume-session-at", other],
            "No message found with message.uuid of: ",
            true,
        ),
        (vec!["--session-id", &used], in_use.as_str(), false),
        (
            vec!["--resume", &used, "--session-id", other],
            "Error: --session-id with --continue or --resume also needs --fork-session.",
            false,
        ),
    ] {
        let server = Server::start(vec![]).await;
        let mut host = start(&place, &server, &arguments);
        if has_result {
            // A session that cannot start still lets its host write its first line.
            host.control("r", json!({"subtype":"initialize"})).await;
        }
        let (frames, exit) = host.finish_without_closing().await;
        assert_eq!(exit.code, 1);
        assert!(exit.message.as_deref().unwrap().starts_with(message), "{exit:?}");
        assert_eq!(frames.len(), usize::from(has_result), "{frames:?}");
        if has_result {
            assert_eq!(result(&frames)["subtype"], "error_during_execution");
            assert_eq!(result(&frames)["errors"][0].as_str(), exit.message.as_deref());
        }
    }
}

#[tokio::test]
async fn without_persistence_nothing_is_written() {
    let place = Place::new();
    one_turn(&place, &["--no-session-persistence"]).await;
    assert!(place.transcripts().is_empty());
}

#[tokio::test]
async fn a_transcript_that_cannot_be_written_is_said_and_the_turn_goes_on() {
    let place = Place::new();
    let server = Server::start(vec![said("hello")]).await;
    let environment = [("CLAUDE_CONFIG_DIR", "/dev/null/config")];
    let mut host = start_with(
        &place,
        &server,
        &Options {
            environment: &environment,
            ..Options::default()
        },
    );
    host.prompt("hi").await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["result"], "hello");
    assert!(
        frames
            .iter()
            .any(|frame| frame["subtype"] == "session_writes_lost")
    );
}
