//! Turns that go wrong: the session goes on, and the host always does.

use crate::runtime::Gate;
use crate::stage::{Stage, settings, until, within};
use domain::SandboxState;
use std::time::Duration;
use wire::{Body, StopReason};

/// Every way in which a runtime can fail in the middle of a turn, and a word of what the user is told.
const BROKEN: [(&str, &str); 7] = [
    ("say:x exit:7", "with code 7"),
    ("exit:0", "with code 0"),
    ("killed", "by signal 9"),
    ("raw:this-is-no-json", "this-is-no-json"),
    ("raw:[1]", "makes no sense"),
    ("raw:{\"type\":\"assistant\"}", "malformed"),
    ("long", "5000008 bytes"),
];

#[tokio::test]
async fn a_broken_runtime_ends_its_turn_and_the_next_message_starts_another() {
    for (plan, words) in BROKEN {
        let stage = Stage::new().await;
        let id = stage.session().await;
        let idle = stage.turn(&id, plan).await;
        assert_eq!(idle.stop_reason, Some(StopReason::RetriesExhausted), "{plan}");
        let message = idle.error.unwrap().message;
        assert!(message.contains(words), "{plan}: {message}");
        assert_eq!(stage.turn(&id, "say:again").await.error, None, "{plan}");
        let spawned = stage.machine.guest().spawned();
        assert_eq!(spawned.len(), 2, "{plan}");
        assert_eq!(spawned[1].id, "runtime-2", "{plan}");
        assert_eq!(stage.machine.specs().len(), 1, "{plan}: the sandbox stays");
        assert!(stage.told(&id).await.contains(&"agent(again)".to_owned()));
    }
}

#[tokio::test]
async fn what_a_broken_runtime_left_open_is_ended_in_the_log() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.turn(&id, "say:before start:sleep exit:1").await;
    let told = stage.told(&id).await;
    let call = told.iter().position(|word| word == "bash(sleep)").unwrap();
    assert!(
        told[call + 1].starts_with("failed(The call was interrupted"),
        "{told:?}"
    );
    assert_eq!(
        told[call + 2..],
        ["error(unknown_error)", "usage", "idle(retries_exhausted)"]
    );
}

#[tokio::test]
async fn what_waits_is_dropped_with_a_turn_that_fails() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.send(&id, "say:one wait exit:1").await;
    stage.gate.reached.notified().await;
    stage.send(&id, "say:two").await;
    stage.gate.open.notify_one();
    let error = stage.idle(&id).await.error.unwrap();
    assert_eq!(error.retry_status, wire::RetryStatus::Exhausted);
    assert!(error.message.contains("dropped"), "{}", error.message);
    assert!(stage.store.queued_events(&id).await.unwrap().is_empty());
    stage.turn(&id, "say:three").await;
    let told = stage.told(&id).await;
    assert!(told.contains(&"agent(three)".to_owned()) && !told.contains(&"agent(two)".to_owned()));
    let guest = stage.machine.guest();
    let transcript = guest.file(guest.spawned()[1].argv.last().unwrap()).unwrap();
    let transcript = String::from_utf8(transcript.to_vec()).unwrap();
    assert!(transcript.contains("say:one") && !transcript.contains("say:two"));
}

#[tokio::test]
async fn the_next_runtime_goes_on_with_the_conversation() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.turn(&id, "say:hello exit:1").await;
    stage.turn(&id, "say:again").await;
    let guest = stage.machine.guest();
    // No transcript was in the sandbox, so it is made from the log.
    let argv = &guest.spawned()[1].argv;
    let [.., flag, path] = argv.as_slice() else {
        panic!("{argv:?}")
    };
    assert_eq!(flag, "--resume");
    let transcript = String::from_utf8(guest.file(path).unwrap().to_vec()).unwrap();
    assert!(
        transcript.contains("say:hello exit:1") && transcript.contains("\"hello\""),
        "{transcript}"
    );
    assert!(
        !transcript.contains("say:again"),
        "the new message is not history"
    );

    stage.turn(&id, "exit:1").await;
    let conversation = path.rsplit('/').next().unwrap().trim_end_matches(".jsonl");
    guest.put_file(
        &format!("/home/agent/.claude/projects/-workspace/{conversation}.jsonl"),
        "{}",
    );
    stage.turn(&id, "say:more").await;
    assert_eq!(guest.spawned()[2].argv.last().unwrap(), conversation);
}

#[tokio::test]
async fn the_last_words_of_a_runtime_are_told_without_what_a_terminal_would_act_on() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    let idle = stage.turn(&id, "stderr:panic\u{1b}[2Jhere exit:101").await;
    let message = idle.error.unwrap().message;
    assert!(
        message.contains("panic [2Jhere") && !message.contains('\u{1b}'),
        "{message}"
    );
}

#[tokio::test]
async fn a_process_that_the_memory_limit_ended_is_told() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.send(&id, "wait killed").await;
    stage.gate.reached.notified().await;
    stage.machine.out_of_memory(1);
    stage.gate.open.notify_one();
    let message = stage.idle(&id).await.error.unwrap().message;
    assert!(
        message.contains("1024 MiB") && message.contains("by signal 9"),
        "{message}"
    );
    // The agent went on without it: the turn is fine and the log tells it.
    stage.send(&id, "wait say:fine").await;
    stage.gate.reached.notified().await;
    stage.machine.out_of_memory(2);
    stage.gate.open.notify_one();
    assert_eq!(stage.idle(&id).await.error, None);
    let told = stage.told(&id).await;
    assert_eq!(
        told[told.len() - 3..],
        ["error(unknown_error)", "usage", "idle(end_turn)"]
    );
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_built_fails_the_turn_and_is_cleaned_away() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.machine.fail_create(true);
    let error = stage.turn(&id, "say:x").await.error.unwrap();
    assert!(error.message.contains("overlay"), "{}", error.message);
    stage.machine.fail_create(false);
    stage.machine.fail_attach(true);
    let error = stage.turn(&id, "say:x").await.error.unwrap();
    assert!(error.message.contains("no upstream"), "{}", error.message);
    stage.machine.fail_attach(false);
    assert_eq!(stage.machine.alive(), 0);
    assert_eq!(stage.turn(&id, "say:third").await.error, None);
    let states: Vec<_> = stage
        .store
        .sandboxes_of(&id)
        .await
        .unwrap()
        .iter()
        .map(|sandbox| sandbox.state)
        .collect();
    assert_eq!(states[1..], [SandboxState::Destroyed, SandboxState::Idle]);
}

#[tokio::test]
async fn lines_come_once_over_connections_that_break() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.send(&id, "lines:20 wait lines:20 wait lines:20").await;
    let guest = stage.machine.guest_when_there().await;
    stage.gate.reached.notified().await;
    guest.cut_connections();
    stage.gate.open.notify_one();
    stage.gate.reached.notified().await;
    guest.hide();
    tokio::time::sleep(Duration::from_millis(20)).await;
    guest.listen();
    stage.gate.open.notify_one();
    assert_eq!(stage.idle(&id).await.error, None);
    let told = stage.told(&id).await;
    let said: Vec<&String> = told.iter().filter(|word| word.starts_with("agent")).collect();
    let expected: Vec<String> = (0..3)
        .flat_map(|_| (0..20).map(|number| format!("agent({number})")))
        .collect();
    assert_eq!(said, expected.iter().collect::<Vec<_>>());
    assert_eq!(stage.machine.specs().len(), 1);
}

#[tokio::test]
async fn a_runtime_whose_start_was_not_answered_is_found_and_not_started_twice() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.turn(&id, "exit:1").await;
    let guest = stage.machine.guest();
    guest.lose_spawn_answer();
    assert_eq!(stage.turn(&id, "say:there").await.error, None);
    let names: Vec<String> = guest.spawned().into_iter().map(|spawn| spawn.id).collect();
    assert_eq!(names, ["runtime-1", "runtime-2"]);
    assert_eq!(stage.gate.messages(), ["exit:1", "say:there"]);
}

#[tokio::test]
async fn a_guest_that_stays_away_loses_its_sandbox_and_the_next_message_gets_a_new_one() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.send(&id, "say:before start:build wait").await;
    stage.gate.reached.notified().await;
    stage.machine.guest().hide();
    let error = stage.idle(&id).await.error.unwrap();
    assert!(error.message.contains("sandbox was lost"), "{}", error.message);
    assert_eq!(stage.machine.alive(), 0);
    stage.turn(&id, "say:after").await;
    assert_eq!(stage.machine.specs().len(), 2);
    let guest = stage.machine.guest();
    let path = guest.spawned()[0].argv.last().unwrap().clone();
    let transcript = String::from_utf8(guest.file(&path).unwrap().to_vec()).unwrap();
    let told = stage.gate.lines_in.lock().unwrap().last().unwrap().to_string();
    assert!(
        told.contains("The sandbox that this conversation was held in is gone"),
        "{told}"
    );
    assert!(
        transcript.contains("tool_result"),
        "the open call has a result: {transcript}"
    );
    assert_eq!(stage.told(&id).await.last().unwrap(), "idle(end_turn)");
}

#[tokio::test]
async fn an_interrupt_ends_the_turn_and_nothing_else() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.send(&id, "say:busy hang").await;
    stage.gate.reached.notified().await;
    stage.control.interrupt(&id).await.unwrap();
    stage.control.interrupt(&id).await.unwrap();
    let idle = stage.idle(&id).await;
    assert_eq!((idle.stop_reason, idle.error), (Some(StopReason::EndTurn), None));
    let told = stage.told(&id).await;
    assert_eq!(told.iter().filter(|word| *word == "interrupt").count(), 2);
    let asked = stage.gate.lines_in.lock().unwrap().clone();
    let asked = asked
        .iter()
        .filter(|line| line["request"]["subtype"] == "interrupt");
    assert_eq!(asked.count(), 1, "the runtime is asked once");
    stage.control.interrupt(&id).await.unwrap();
    assert_eq!(
        stage.told(&id).await,
        told,
        "an interrupt of an idle session does nothing"
    );
    stage.turn(&id, "say:again").await;
    assert_eq!(stage.machine.guest().spawned().len(), 1);
}

#[tokio::test]
async fn messages_that_wait_come_after_an_interrupt() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.send(&id, "hang").await;
    stage.gate.reached.notified().await;
    stage.send(&id, "say:next").await;
    stage.control.interrupt(&id).await.unwrap();
    stage.idle(&id).await;
    assert!(stage.told(&id).await.contains(&"agent(next)".to_owned()));
}

#[tokio::test]
async fn a_runtime_that_does_not_hear_an_interrupt_gets_signals() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.send(&id, "start:loop deaf").await;
    stage.gate.reached.notified().await;
    stage.control.interrupt(&id).await.unwrap();
    let idle = stage.idle(&id).await;
    assert_eq!((idle.stop_reason, idle.error), (Some(StopReason::EndTurn), None));
    assert_eq!(stage.machine.guest().signals(), [15, 9]);
    assert_eq!(stage.turn(&id, "say:again").await.error, None);
}

#[tokio::test]
async fn a_guest_that_passes_no_signal_on_loses_its_sandbox() {
    let gate = Gate::default();
    // Takes everything and answers nothing, not even signals.
    let stone: crate::runtime::Script = std::sync::Arc::new(|_, lines, output| {
        Box::pin(async move {
            let _held = (lines, output);
            std::future::pending::<()>().await;
        })
    });
    let stage = Stage::with(stone, gate, settings()).await;
    let id = stage.session().await;
    stage.send(&id, "say:x").await;
    stage.control.interrupt(&id).await.unwrap();
    let idle = stage.idle(&id).await;
    assert_eq!(idle.stop_reason, Some(StopReason::EndTurn));
    let log = stage.log(&id).await;
    let error = log.iter().find_map(|logged| match &logged.event.body {
        Body::SessionError { error } => Some(error),
        _ => None,
    });
    assert!(error.unwrap().message.contains("could not be interrupted"));
    assert_eq!((idle.error, stage.machine.alive()), (None, 0));
}

#[tokio::test]
async fn an_interrupt_while_the_sandbox_is_built_ends_the_turn() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.machine.hold_create();
    stage.send(&id, "say:x").await;
    let machine = stage.machine.clone();
    until("the sandbox is being built", || !machine.specs().is_empty()).await;
    stage.control.interrupt(&id).await.unwrap();
    assert_eq!(stage.idle(&id).await.stop_reason, Some(StopReason::EndTurn));
    stage.machine.let_create();
    let id_of_sandbox = &stage.machine.specs()[0].id;
    assert!(stage.machine.destroyed().contains(id_of_sandbox));
    assert_eq!(stage.turn(&id, "say:again").await.error, None);
}

#[tokio::test]
async fn a_runtime_that_does_not_answer_initialize_is_given_up() {
    let mut settings = settings();
    settings.deadlines.initialize = Duration::from_millis(50);
    let silent: crate::runtime::Script =
        std::sync::Arc::new(|_, mut lines, _| Box::pin(async move { while lines.recv().await.is_some() {} }));
    let stage = Stage::with(silent, Gate::default(), settings).await;
    let id = stage.session().await;
    let error = stage.turn(&id, "say:x").await.error.unwrap();
    assert!(
        error.message.contains("did not answer within"),
        "{}",
        error.message
    );
    assert_eq!(stage.machine.guest().removed(), ["runtime-1"]);
}

#[tokio::test]
async fn an_owner_that_was_fenced_touches_nothing_more() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.send(&id, "say:one wait say:two").await;
    stage.logged(&id, "agent.message").await;
    stage.store.claim_session(&id).await.unwrap();
    stage.gate.open.notify_one();
    let gone = within(stage.control.wait_idle(&id)).await;
    assert!(matches!(gone, Err(control::AccessError::OwnerGone { .. })));
    assert!(!stage.told(&id).await.contains(&"agent(two)".to_owned()));
    assert_eq!(stage.machine.alive(), 1, "the sandbox is the new owner's");
}
