//! What `hostler serve` logs of a session's life where nobody watches: whose each line is, and nothing that was said.

use crate::serving::{ADMIN, Serving, command, within};
use serde_json::{Value, json};

const QUESTION: &str = "what-the-user-asks";
const ANSWER: &str = "what-the-model-says";
const PRINTED: &str = "what-the-command-prints";

#[tokio::test]
async fn a_session_s_life_is_logged_by_request_and_session_and_without_keys_or_texts() {
    let directory = tempfile::tempdir().unwrap();
    let command = format!("echo {PRINTED}");
    let turns = json!([
        {"reply": [{"tool_use": {"name": "Bash", "input": {"command": command}}}]},
        {"reply": [{"text": ANSWER}]},
    ]);
    let script = json!({"name": "logs", "turns": turns});
    let serving = Serving::start(directory.path(), &script, &[]).await;
    let session = serving.session().await;
    let path = format!("/v1/sessions/{session}");
    let mut followed = serving.follow(&format!("{path}/events/stream")).await;
    serving.say(&session, QUESTION).await;
    within(followed.until("end_turn")).await;
    let metrics = serving.call("GET", "/metrics", &Value::Null).await;
    for sample in [
        "hostler_sandbox_start_seconds_count 1\n",
        "hostler_session_first_model_request_seconds_count 1\n",
        "hostler_model_requests_total{outcome=\"completed\"} 2\n",
        "hostler_open_streams 1\n",
        "hostler_sessions{status=\"idle\"} 1\n",
        "hostler_sandboxes{state=\"idle\"} 1\n",
    ] {
        assert!(metrics.contains(sample), "{sample} in {metrics}");
    }
    assert!(
        !metrics.contains("hostler_event_append_lag_seconds_count 0\n"),
        "{metrics}"
    );
    serving.call("DELETE", &path, &Value::Null).await;
    let (status, said) = serving.end().await;
    assert!(status.success(), "{said}");

    for secret in [ADMIN, QUESTION, ANSWER, PRINTED, "hostler-session-"] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
    let lines = json(&said);
    assert!(lines.iter().any(|line| line["message"] == "serving"), "{said}");
    let of_session = |line: &&Value| line["spans"][0]["session"] == session.as_str();
    for message in [
        "a turn began",
        "a turn ended",
        "a sandbox started",
        "a sandbox ended",
    ] {
        let mut told = lines.iter().filter(|line| line["message"] == message);
        assert!(
            told.next().as_ref().is_some_and(of_session),
            "{message} in {said}"
        );
        assert_eq!(told.next(), None, "{message} is told once: {said}");
    }
    let sent = lines.iter().filter(|line| {
        let span = &line["spans"][0];
        span["route"] == "/v1/sessions/{session_id}/events" && span["method"] == "POST"
    });
    let sent: Vec<&Value> = sent.collect();
    assert_eq!(sent.len(), 1, "{said}");
    assert!(of_session(&sent[0]), "{said}");
    assert_eq!(sent[0]["spans"][0]["key"], "admin");
    assert!(
        sent[0]["spans"][0]["request"]
            .as_str()
            .unwrap()
            .starts_with("req_")
    );
    assert_eq!(sent[0]["status"], 200);
}

/// Each line is an object, and says when, how bad and what.
fn json(said: &str) -> Vec<Value> {
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for key in ["timestamp", "level", "message", "target"] {
            assert!(value[key].is_string(), "{key} in {line}");
        }
        value
    };
    said.lines().map(line).collect()
}

#[tokio::test]
async fn a_server_that_cannot_start_says_so_as_it_says_everything() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hostler.toml");
    std::fs::write(&file, "[limits]\nping = \"yes\"\n").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, exit, reason) in [
        (
            ["--config", file.to_str().unwrap()],
            2,
            "hostler.toml, line 2: `limits.ping` must be a time",
        ),
        (["--listen", &taken], 1, "cannot listen on 127.0.0.1:"),
    ] {
        // No jailer is started for it.
        let more = [&arguments[..], &["--jailer", "service"]].concat();
        let mut command = command(directory.path(), &json!({"name": "none", "turns": []}), &more);
        let output = within(command.output()).await.unwrap();
        assert_eq!(output.status.code(), Some(exit));
        let said = String::from_utf8(output.stderr).unwrap();
        let lines = json(&said);
        let last = lines.last().unwrap();
        assert_eq!(last["level"], "ERROR", "{said}");
        assert!(last["message"].as_str().unwrap().contains(reason), "{said}");
        assert!(last["hint"].is_string(), "{said}");
        assert_eq!(output.stdout, b"");
    }
}
