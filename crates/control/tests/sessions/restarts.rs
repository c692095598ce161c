//! The host dies where it is, and the next one takes over.

use crate::stage::{Stage, until, within};
use domain::{SandboxState, SessionStatus};
use wire::StopReason;

#[tokio::test]
async fn a_turn_that_was_cut_is_ended_in_the_log_and_its_sandbox_is_gone() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.send(&id, "say:done start:build wait").await;
    stage.gate.reached.notified().await;
    stage.logged(&id, "agent.tool_use").await;
    let call = store::NewCall {
        session: id.clone(),
        model: "m".into(),
        stream: true,
        request_bytes: 1,
        started_at: time::OffsetDateTime::now_utc(),
    };
    stage.store.open_model_call(call).await.unwrap();
    let before = stage.told(&id).await;
    let stage = stage.killed_and_started_again().await;
    let told = stage.told(&id).await;
    assert_eq!(
        told[..before.len()],
        before,
        "nothing that was stored is lost or changed"
    );
    assert!(
        told[before.len()].starts_with("failed(The call was interrupted"),
        "{told:?}"
    );
    assert_eq!(
        told[before.len() + 1..],
        ["error(unknown_error)", "usage", "idle(retries_exhausted)"]
    );
    assert_eq!(stage.machine.alive(), 0);
    let sums = stage.store.model_call_sums(&id).await.unwrap();
    assert_eq!((sums.calls, sums.open), (1, 0));
    let idle = stage.idle(&id).await;
    assert_eq!(idle.stop_reason, Some(StopReason::RetriesExhausted));
    assert!(
        idle.error
            .unwrap()
            .message
            .contains("1 tool calls have no result")
    );
    let summary = stage.control.summary(&id).await.unwrap();
    assert_eq!(
        (summary.status, summary.result_text.as_deref()),
        (SessionStatus::Idle, Some("done"))
    );
}

#[tokio::test]
async fn the_conversation_goes_on_in_a_new_sandbox_and_the_agent_is_told_what_it_lost() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.turn(&id, "say:remembered").await;
    let stage = stage.killed_and_started_again().await;
    assert_eq!(
        stage.machine.alive(),
        0,
        "an idle session's sandbox is not left behind either"
    );
    assert_eq!(
        stage.told(&id).await.last().unwrap(),
        "idle(end_turn)",
        "nothing was cut"
    );
    assert_eq!(stage.turn(&id, "say:next").await.error, None);
    let guest = stage.machine.guest();
    let spawned = &guest.spawned()[0];
    assert_eq!(
        spawned.id, "runtime-2",
        "names of processes are used once in a session"
    );
    let transcript = guest.file(spawned.argv.last().unwrap()).unwrap();
    let transcript = String::from_utf8(transcript.to_vec()).unwrap();
    assert!(transcript.contains("remembered"));
    let told = stage.gate.lines_in.lock().unwrap().last().unwrap().to_string();
    assert!(told.contains("is gone, and this is a new one"), "{told}");
    let sandboxes = stage.store.sandboxes_of(&id).await.unwrap();
    let states: Vec<_> = sandboxes.iter().map(|sandbox| sandbox.state).collect();
    assert_eq!(states, [SandboxState::Destroyed, SandboxState::Idle]);
}

#[tokio::test]
async fn messages_that_waited_are_dropped_with_the_turn_that_was_cut_and_that_is_told() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.send(&id, "wait").await;
    stage.gate.reached.notified().await;
    stage.send(&id, "say:waited").await;
    let stage = stage.killed_and_started_again().await;
    assert!(stage.store.queued_events(&id).await.unwrap().is_empty());
    let error = stage.idle(&id).await.error.unwrap();
    assert!(
        error.message.contains("What waited was dropped"),
        "{}",
        error.message
    );
    assert_eq!(
        stage.machine.specs().len(),
        1,
        "nothing is run without anybody asking for it"
    );
    stage.turn(&id, "say:new").await;
    let told = stage.told(&id).await;
    let said: Vec<&String> = told.iter().filter(|word| word.starts_with("agent")).collect();
    assert_eq!(said, ["agent(new)"]);
}

#[tokio::test]
async fn a_host_that_dies_at_any_point_leaves_a_log_that_makes_sense() {
    for point in 0..24_u64 {
        let stage = Stage::new().await;
        let id = stage.session().await;
        stage.send(&id, "lines:5 tool:a start:b lines:5 hang").await;
        // Dies after so many events are in the log.
        let store = stage.store.clone();
        within(async {
            while store.session(&id).await.unwrap().last_seq < 2 + point {
                tokio::task::yield_now().await;
            }
        })
        .await;
        drop(store);
        let stage = stage.killed_and_started_again().await;
        let told = stage.told(&id).await;
        let count = |word: &str| told.iter().filter(|told| told.starts_with(word)).count();
        assert_eq!(
            count("bash("),
            count("result(") + count("failed("),
            "point {point}: {told:?}"
        );
        assert_eq!(
            count("model_request_start"),
            count("model_request_end"),
            "point {point}: {told:?}"
        );
        assert_eq!(
            (count("status_running"), count("idle(")),
            (1, 1),
            "point {point}: {told:?}"
        );
        let said: Vec<&String> = told.iter().filter(|word| word.starts_with("agent")).collect();
        let expected: Vec<String> = (0..10).map(|number| format!("agent({})", number % 5)).collect();
        assert_eq!(
            said,
            expected.iter().take(said.len()).collect::<Vec<_>>(),
            "point {point}"
        );
        assert_eq!(stage.machine.alive(), 0, "point {point}");
        assert_eq!(stage.turn(&id, "say:again").await.error, None, "point {point}");
    }
}

#[tokio::test]
async fn a_host_that_dies_while_it_builds_a_sandbox_leaves_none() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.machine.hold_create();
    stage.send(&id, "say:x").await;
    let machine = stage.machine.clone();
    until("the sandbox is being built", || !machine.specs().is_empty()).await;
    let stage = stage.killed_and_started_again().await;
    assert_eq!(stage.machine.destroyed(), [stage.machine.specs()[0].id.clone()]);
    assert_eq!(stage.told(&id).await.last().unwrap(), "idle(retries_exhausted)");
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_destroyed_keeps_nobody_from_starting_and_is_tried_again() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.turn(&id, "say:x").await;
    stage.machine.fail_destroy(true);
    let stage = stage.killed_and_started_again().await;
    assert_eq!(stage.machine.alive(), 1);
    stage.machine.fail_destroy(false);
    let stage = stage.killed_and_started_again().await;
    assert_eq!(stage.machine.alive(), 0);
}
