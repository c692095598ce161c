//! Each promise, kept and broken.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

const COMMAND: &str = "name=$(sed x <<'END' | tail -n 1\njob-1-0-one.\nEND\n)\nletter=a; echo";

fn message(id: &str, text: &str, processed: bool) -> Value {
    let at = processed.then_some("2026-11-30T00:00:00Z");
    json!({"id": id, "type": "user.message", "processed_at": at, "content": [{"type": "text", "text": text}]})
}

fn log() -> Vec<Value> {
    vec![
        message("sevt_1", "job-1-0-one.", true),
        json!({"id": "sevt_2", "type": "span.model_request_start"}),
        json!({"id": "sevt_3", "type": "agent.tool_use", "name": "bash", "input": {"command": COMMAND}}),
        json!({"id": "sevt_4", "type": "span.model_request_end", "model_request_start_id": "sevt_2"}),
        json!({"id": "sevt_5", "type": "agent.tool_result", "tool_use_id": "sevt_3"}),
        json!({"id": "sevt_6", "type": "session.status_idle"}),
    ]
}

fn evidence() -> Evidence {
    Evidence {
        session: "sesn_1".to_owned(),
        acknowledged: vec![message("sevt_1", "job-1-0-one.", false)],
        shown: log()[1..].to_vec(),
        lines: vec!["job-1-0-one-a".to_owned()],
        log: log(),
    }
}

/// What is broken after a change, without the session.
fn after(change: impl FnOnce(&mut Evidence)) -> Vec<String> {
    let mut evidence = evidence();
    change(&mut evidence);
    let broken = evidence.judge();
    assert!(broken.iter().all(|broken| broken.session == "sesn_1"));
    broken
        .iter()
        .map(|broken| format!("{} {}", broken.event.as_deref().unwrap_or("-"), broken.what))
        .collect()
}

fn assert_broken(change: impl FnOnce(&mut Evidence), parts: &[&str]) {
    let broken = after(change);
    assert_eq!(broken.len(), parts.len(), "{broken:?}");
    for (broken, part) in broken.iter().zip(parts) {
        assert!(broken.contains(part), "{part:?} in {broken:?}");
    }
}

#[test]
fn what_fits_is_not_broken() {
    assert_broken(|_| {}, &[]);
    assert_broken(|evidence| evidence.shown.clear(), &[]);
}

#[test]
fn an_event_that_is_doubled_or_lost_is_told() {
    assert_broken(
        |evidence| {
            let first = evidence.log[0].clone();
            evidence.log.insert(1, first);
        },
        &[
            "sevt_1 an event stands twice",
            "- the message \"job-1-0-one.\" is there twice",
        ],
    );
    assert_broken(
        |evidence| {
            evidence.log.remove(0);
        },
        &["sevt_1 was acknowledged and is not in the log"],
    );
    assert_broken(
        |evidence| evidence.acknowledged[0] = message("sevt_1", "another", false),
        &["sevt_1 was acknowledged as"],
    );
}

#[test]
fn a_moment_may_come_to_a_message_and_not_change() {
    let later = |evidence: &mut Evidence| {
        evidence.acknowledged[0]["processed_at"] = json!("2026-11-30T00:00:01Z");
    };
    assert_broken(later, &["sevt_1 was acknowledged as"]);
    assert_broken(
        |evidence| evidence.log[0]["processed_at"] = Value::Null,
        &["sevt_1 a message was never acted on"],
    );
}

#[test]
fn a_reader_is_shown_all_in_the_log_s_order() {
    assert_broken(
        |evidence| {
            evidence.shown.remove(2);
        },
        &["sevt_5 was shown in the place of sevt_4"],
    );
    assert_broken(
        |evidence| {
            evidence.shown.pop();
        },
        &["sevt_6 was never shown"],
    );
    assert_broken(
        |evidence| {
            let last = evidence.shown.last().unwrap().clone();
            evidence.shown.push(last);
        },
        &["sevt_6 was shown after the end"],
    );
    assert_broken(
        |evidence| evidence.shown[0] = json!({"id": "sevt_2", "type": "other"}),
        &["sevt_2 was shown as"],
    );
    assert_broken(
        |evidence| evidence.shown.push(json!({"id": "sevt_9"})),
        &["sevt_9 was shown and is not in the log", "sevt_9 was shown after"],
    );
}

#[test]
fn each_call_has_one_result() {
    let without_readers = |evidence: &mut Evidence| evidence.shown.clear();
    assert_broken(
        |evidence| {
            without_readers(evidence);
            evidence.log.remove(4);
        },
        &["sevt_3 a call has no result"],
    );
    assert_broken(
        |evidence| {
            without_readers(evidence);
            let again = json!({"id": "sevt_7", "type": "agent.tool_result", "tool_use_id": "sevt_3"});
            evidence.log.push(again);
        },
        &["sevt_7 a result of sevt_3"],
    );
}

#[test]
fn each_line_is_of_one_call_that_may_have_been_cut() {
    assert_broken(
        |evidence| evidence.lines.push("job-1-0-one-a".to_owned()),
        &["- a call ran twice: job-1-0-one-a"],
    );
    assert_broken(
        |evidence| evidence.lines.clear(),
        &["sevt_3 a call came back well"],
    );
    assert_broken(
        |evidence| {
            evidence.lines.clear();
            evidence.shown.clear();
            evidence.log[4]["is_error"] = json!(true);
        },
        &[],
    );
    assert_broken(
        |evidence| evidence.lines.push("job-1-1-one-a".to_owned()),
        &["- a line of no call in the log: job-1-1-one-a"],
    );
    assert_broken(
        |evidence| {
            evidence.shown.clear();
            let again = json!({"id": "sevt_7", "type": "agent.tool_use", "input": {"command": COMMAND}});
            let result = json!({"id": "sevt_8", "type": "agent.tool_result", "tool_use_id": "sevt_7"});
            evidence.log.extend([again, result]);
        },
        &["sevt_7 the model's call came back twice: also sevt_3"],
    );
    assert_broken(
        |evidence| {
            evidence.shown.clear();
            evidence.log[4]["is_error"] = json!(true);
            let again = json!({"id": "sevt_7", "type": "agent.tool_use", "input": {"command": COMMAND}});
            let result = json!({"id": "sevt_8", "type": "agent.tool_result", "tool_use_id": "sevt_7"});
            evidence.log.extend([again, result]);
        },
        &[],
    );
}

#[test]
fn each_model_request_has_an_end() {
    assert_broken(
        |evidence| {
            evidence.shown.clear();
            evidence.log.remove(3);
        },
        &["sevt_2 a model request has no end"],
    );
    assert_broken(
        |evidence| {
            evidence.shown.clear();
            evidence.log.remove(1);
        },
        &["sevt_2 a model request has an end and no start"],
    );
}
