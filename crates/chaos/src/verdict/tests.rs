//! Each promise, kept and broken.
#![allow(clippy::unwrap_used)]

mod turns;

use super::*;
use serde_json::json;

const COMMAND: &str = "name=$(sed x <<'END' | tail -n 1\njob-1-0-one.\nEND\n)\nletter=a; echo";
const INTERRUPTED: &str = "The call was interrupted: it is not known whether it ran, or how far.";
const NOT_MADE: &str = "The model's reply was cut off after this call, so it was not made.";

/// Of this number and this second.
fn event(number: u32, second: u32, kind: &str, more: &Value) -> Value {
    let mut event = json!({
        "id": format!("sevt_{number}"),
        "type": kind,
        "processed_at": format!("2026-11-30T00:00:{second:02}Z"),
    });
    event
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    event
}

fn message(number: u32, second: u32, text: &str) -> Value {
    event(
        number,
        second,
        "user.message",
        &json!({"content": [{"type": "text", "text": text}]}),
    )
}

fn start(number: u32) -> Value {
    event(number, number, "span.model_request_start", &json!({}))
}

fn end(number: u32, start: u32) -> Value {
    let start = format!("sevt_{start}");
    event(
        number,
        number,
        "span.model_request_end",
        &json!({"model_request_start_id": start}),
    )
}

fn says(number: u32) -> Value {
    event(
        number,
        number,
        "agent.message",
        &json!({"content": [{"type": "text", "text": "Done."}]}),
    )
}

fn call(number: u32) -> Value {
    let more = json!({"input": {"command": COMMAND}, "evaluated_permission": "allow"});
    event(number, number, "agent.tool_use", &more)
}

fn result(number: u32, call: u32) -> Value {
    let call = format!("sevt_{call}");
    event(number, number, "agent.tool_result", &json!({"tool_use_id": call}))
}

fn failed(number: u32, call: u32, text: &str) -> Value {
    let mut failed = result(number, call);
    failed["is_error"] = json!(true);
    failed["content"] = json!([{"type": "text", "text": text}]);
    failed
}

fn error(number: u32, kind: &str, status: &str) -> Value {
    let error = json!({"error": {"type": kind, "retry_status": {"type": status}}});
    event(number, number, "session.error", &error)
}

/// Right after the message.
fn cut() -> Value {
    let error = json!({"error": {"type": "unknown_error", "retry_status": {"type": "retrying"}}});
    event(20, 1, "session.error", &error)
}

fn allowed(number: u32, call: u32) -> Value {
    let call = format!("sevt_{call}");
    event(
        number,
        number,
        "user.tool_confirmation",
        &json!({"tool_use_id": call, "result": "allow"}),
    )
}

fn log() -> Vec<Value> {
    vec![
        message(1, 1, "job-1-0-one."),
        start(2),
        call(3),
        end(4, 2),
        result(5, 3),
        start(6),
        says(7),
        end(8, 6),
        event(9, 9, "session.status_idle", &json!({})),
    ]
}

fn evidence() -> Evidence {
    let mut waiting = message(1, 1, "job-1-0-one.");
    waiting["processed_at"] = Value::Null;
    Evidence {
        session: "sesn_1".to_owned(),
        acknowledged: vec![waiting],
        began_at: 1,
        shown: log()[1..].to_vec(),
        lines: vec!["job-1-0-one-a".to_owned()],
        log: log(),
        ..Evidence::default()
    }
}

/// What is broken after a change.
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

/// The same of a log that a reader was shown whole.
fn assert_log(change: impl FnOnce(&mut Evidence), parts: &[&str]) {
    assert_broken(
        |evidence| {
            change(evidence);
            evidence.began_at = 0;
            evidence.shown.clone_from(&evidence.log);
        },
        parts,
    );
}

#[test]
fn what_fits_is_not_broken() {
    assert_broken(|_| {}, &[]);
    assert_log(|_| {}, &[]);
}

#[test]
fn an_event_that_is_doubled_or_lost_is_told() {
    assert_log(
        |evidence| {
            let last = evidence.log.last().unwrap().clone();
            evidence.log.push(last);
        },
        &["sevt_9 an event stands twice"],
    );
    assert_log(
        |evidence| evidence.acknowledged.push(message(20, 20, "job-1-1-one.")),
        &["sevt_20 was acknowledged and is not in the log"],
    );
    assert_log(
        |evidence| evidence.acknowledged[0]["content"][0]["text"] = json!("another"),
        &[
            "sevt_1 was acknowledged as",
            "sevt_1 a message that nobody has sent",
        ],
    );
}

#[test]
fn a_message_is_there_once_by_its_text_and_was_sent() {
    assert_log(
        |evidence| {
            evidence
                .log
                .extend([message(10, 10, "job-1-0-one."), start(11), says(12), end(13, 11)]);
        },
        &[
            "- the message \"job-1-0-one.\" is there twice",
            "sevt_10 \"job-1-0-one.\" was not cut, and no call for job-1-0-one-a came back well",
        ],
    );
    let unheard = |evidence: &mut Evidence| {
        evidence
            .log
            .extend([message(10, 10, "show-1,400."), start(11), says(12), end(13, 11)]);
    };
    assert_log(unheard, &["sevt_10 a message that nobody has sent"]);
    assert_log(
        |evidence| {
            unheard(evidence);
            evidence.unanswered.push("show-1,400.".to_owned());
        },
        &[],
    );
}

#[test]
fn a_moment_may_come_to_a_message_and_not_change() {
    assert_log(
        |evidence| evidence.acknowledged[0]["processed_at"] = json!("2026-11-30T00:00:02Z"),
        &["sevt_1 was acknowledged as"],
    );
    assert_log(
        |evidence| evidence.log[0]["processed_at"] = Value::Null,
        &["sevt_1 a message was never acted on"],
    );
}

#[test]
fn a_reader_is_shown_the_log_from_where_it_began() {
    assert_broken(
        |evidence| {
            evidence.shown.remove(2);
        },
        &["sevt_5 was shown in the place of sevt_4"],
    );
    assert_broken(
        |evidence| evidence.began_at = 0,
        &["sevt_2 was shown in the place of sevt_1"],
    );
    assert_broken(
        |evidence| {
            evidence.shown.remove(0);
        },
        &["sevt_3 was shown in the place of sevt_2"],
    );
    assert_broken(
        |evidence| {
            evidence.shown.pop();
        },
        &["sevt_9 was never shown"],
    );
    assert_broken(
        |evidence| evidence.shown.drain(1..).for_each(drop),
        &[
            "sevt_3", "sevt_4", "sevt_5", "sevt_6", "sevt_7", "sevt_8", "sevt_9",
        ],
    );
    assert_broken(
        |evidence| {
            let last = evidence.shown.last().unwrap().clone();
            evidence.shown.push(last);
        },
        &["sevt_9 was shown after the end"],
    );
    assert_broken(
        |evidence| {
            let first = evidence.shown[0].clone();
            evidence.shown.insert(0, first);
        },
        &["sevt_2 was shown in the place of sevt_3"],
    );
    assert_broken(
        |evidence| evidence.shown[0] = json!({"id": "sevt_2", "type": "other"}),
        &["sevt_2 was shown as"],
    );
}

#[test]
fn each_call_has_one_result_that_is_good_or_says_why_not() {
    assert_log(
        |evidence| {
            evidence.log.remove(4);
        },
        &[
            "sevt_1 \"job-1-0-one.\" was not cut",
            "sevt_3 a call has no result",
        ],
    );
    assert_log(
        |evidence| evidence.log.push(result(10, 3)),
        &["sevt_10 a result of sevt_3"],
    );
    assert_log(
        |evidence| {
            evidence.log[4] = failed(5, 3, "no such file");
            evidence.log.insert(1, cut());
        },
        &["sevt_5 a call failed and was not interrupted"],
    );
}

#[test]
fn a_call_that_asks_runs_with_one_word_of_the_user() {
    let asks = |evidence: &mut Evidence| evidence.log[2]["evaluated_permission"] = json!("ask");
    assert_log(asks, &["sevt_3 a call asked, and ran without"]);
    assert_log(
        |evidence| {
            asks(evidence);
            evidence.log.insert(4, allowed(10, 3));
        },
        &[],
    );
    assert_log(
        |evidence| {
            asks(evidence);
            evidence.log.splice(4..4, [allowed(10, 3), allowed(11, 3)]);
        },
        &["sevt_3 a call was allowed twice"],
    );
    assert_log(
        |evidence| evidence.log.insert(4, allowed(10, 3)),
        &["sevt_3 was allowed and is no call that asks"],
    );
}

#[test]
fn a_word_is_refused_only_where_it_was_heard_or_its_call_is_over() {
    let refused = |status| Refused {
        calls: vec!["sevt_3".to_owned()],
        status,
        said: "no".to_owned(),
    };
    let heard = |evidence: &mut Evidence| {
        evidence.log[2]["evaluated_permission"] = json!("ask");
        evidence.log.insert(4, allowed(10, 3));
    };
    for (status, parts) in [(409, &[][..]), (400, &[]), (500, &["was refused with 500: no"])] {
        assert_log(
            |evidence| {
                heard(evidence);
                evidence.refused.push(refused(status));
            },
            parts,
        );
    }
    assert_log(
        |evidence| evidence.refused.push(refused(409)),
        &["- the word on [\"sevt_3\"] was refused with 409: no"],
    );
    assert_log(
        |evidence| {
            evidence.log[4] = failed(5, 3, INTERRUPTED);
            evidence.log.insert(1, cut());
            evidence.refused.push(refused(409));
        },
        &[],
    );
}

#[test]
fn each_line_is_of_one_call_that_may_have_been_interrupted() {
    assert_log(
        |evidence| evidence.lines.push("job-1-0-one-a".to_owned()),
        &["- a call ran twice: job-1-0-one-a"],
    );
    assert_log(
        |evidence| evidence.lines.clear(),
        &["sevt_3 a call came back well"],
    );
    assert_log(
        |evidence| evidence.lines.push("job-1-1-one-a".to_owned()),
        &["- a line of no call that was made: job-1-1-one-a"],
    );
    let again = [
        start(10),
        call(11),
        end(12, 10),
        result(13, 11),
        start(14),
        says(15),
        end(16, 14),
    ];
    assert_log(
        |evidence| evidence.log.extend(again.clone()),
        &["sevt_11 the model's call came back twice: also sevt_3"],
    );
    for (text, is_there, parts) in [
        (INTERRUPTED, true, &[][..]),
        (INTERRUPTED, false, &[]),
        (NOT_MADE, false, &[]),
        (NOT_MADE, true, &["- a line of no call that was made"]),
    ] {
        assert_log(
            |evidence| {
                evidence.log[4] = failed(5, 3, text);
                evidence.log.insert(1, cut());
                if !is_there {
                    evidence.lines.clear();
                }
            },
            parts,
        );
    }
    assert_log(
        |evidence| {
            evidence.log[4] = failed(5, 3, INTERRUPTED);
            evidence.log.extend(again.clone());
        },
        &[],
    );
}

#[test]
fn each_model_request_has_one_end_and_one_text() {
    for (change, parts) in [
        (
            Box::new(|log: &mut Vec<Value>| drop(log.remove(3))) as Box<dyn Fn(&mut Vec<Value>)>,
            &["sevt_2 a model request has no end"][..],
        ),
        (
            Box::new(|log| drop(log.remove(1))),
            &["sevt_4 an end of the model request Some(\"sevt_2\")"],
        ),
        (
            Box::new(|log| log.push(end(10, 6))),
            &["sevt_10 an end of the model request Some(\"sevt_6\")"],
        ),
        (
            Box::new(|log| log.insert(7, says(10))),
            &["sevt_10 a second text of one reply"],
        ),
        (
            Box::new(|log| log.push(says(10))),
            &["sevt_10 a text of no model request"],
        ),
        (
            Box::new(|log| log.push(start(10))),
            &["sevt_10 a model request has no end"],
        ),
    ] {
        assert_log(|evidence| change(&mut evidence.log), parts);
    }
}
