//! Answers, and the word that there is none, in the turn of their message.

use super::*;

#[test]
fn a_message_has_its_answer_or_the_word_that_it_was_given_up_in_its_own_turn() {
    let second = |events: &[Value]| {
        let events = events.to_vec();
        move |evidence: &mut Evidence| {
            let message = message(10, 10, "show-1,400.");
            evidence.acknowledged.push(message.clone());
            // It came before the first one had its answer, and was taken after it.
            evidence.log.insert(2, message);
            evidence.log.extend(events);
        }
    };
    assert_log(second(&[start(11), says(12), end(13, 11)]), &[]);
    assert_log(second(&[error(11, "unknown_error", "exhausted")]), &[]);
    let without = ["sevt_10 \"show-1,400.\" has neither an answer nor a word"];
    assert_log(second(&[]), &without);
    assert_log(second(&[error(11, "unknown_error", "retrying")]), &without);
    assert_log(second(&[start(11), end(12, 11)]), &without);
    let mut broke_off = end(13, 11);
    broke_off["is_error"] = json!(true);
    assert_log(second(&[start(11), says(12), broke_off]), &without);
}

#[test]
fn the_calls_of_a_turn_are_those_of_its_job() {
    assert_log(
        |evidence| {
            evidence.log[2]["input"]["command"] = json!(COMMAND.replace("job-1-0", "job-1-9"));
            evidence.lines = vec!["job-1-9-one-a".to_owned()];
        },
        &[
            "sevt_3 job-1-9-one-a was called for in the turn of \"job-1-0-one.\"",
            "sevt_1 \"job-1-0-one.\" was not cut, and no call for job-1-0-one-a came back well",
        ],
    );
    let without_call = |evidence: &mut Evidence| {
        evidence.log.drain(1..5).for_each(drop);
        evidence.lines.clear();
    };
    assert_log(without_call, &["sevt_1 \"job-1-0-one.\" was not cut"]);
    for (kind, parts) in [
        ("unknown_error", &[][..]),
        (
            "model_request_failed_error",
            &["sevt_1 \"job-1-0-one.\" was not cut"],
        ),
    ] {
        assert_log(
            |evidence| {
                without_call(evidence);
                evidence.log.insert(1, error(2, kind, "retrying"));
            },
            parts,
        );
    }
}

/// The first message, and one that waited; the first is given up.
fn given_up(evidence: &mut Evidence, said: &str) {
    let next = message(10, 10, "job-1-1-one.");
    evidence.acknowledged.push(next.clone());
    let mut error = error(9, "unknown_error", "exhausted");
    error["error"]["message"] = json!(said);
    evidence.log.splice(5.., [error, next]);
}

#[test]
fn what_waited_is_dropped_only_with_a_turn_that_says_so() {
    assert_log(
        |evidence| given_up(evidence, "it broke. What waited was dropped: send it again"),
        &[],
    );
    assert_log(
        |evidence| given_up(evidence, "it broke"),
        &["sevt_10 \"job-1-1-one.\" has neither an answer nor a word"],
    );
    assert_log(
        |evidence| {
            given_up(evidence, "it broke. What waited was dropped: send it again");
            evidence
                .log
                .push(event(11, 11, "session.status_running", &json!({})));
        },
        &["sevt_10 \"job-1-1-one.\" has neither an answer nor a word"],
    );
}

#[test]
fn the_turn_after_one_that_was_given_up_may_answer_the_results_of_that_one() {
    assert_log(
        |evidence| {
            given_up(evidence, "it broke");
            evidence.log.extend([start(11), says(12), end(13, 11)]);
        },
        &[],
    );
}
