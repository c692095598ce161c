//! Sessions that outlive their hosts, their runtimes and their sandboxes.

use crate::approvals::{allow, custom_result};
use crate::runtime::Gate;
use crate::stage::{Stage, hosted, message, within};
use control::{Input, Runtime};
use domain::SandboxState;
use wire::{Body, StopReason};

fn count(told: &[String], word: &str) -> usize {
    told.iter().filter(|found| *found == word).count()
}

#[tokio::test]
async fn a_turn_goes_on_under_the_next_host_in_the_same_runtime() {
    let stage = Stage::hosted().await;
    let id = stage.session().await;
    stage.send(&id, "say:one tool:ls wait say:two").await;
    stage.gate.reached.notified().await;
    stage.logged(&id, "agent.tool_result").await;
    let stage = stage.host_killed().await;
    assert_eq!(stage.machine.alive(), 1, "the sandbox was not touched");
    stage.gate.open.notify_one();
    stage.idle(&id).await;
    let told = stage.told(&id).await;
    for word in [
        "agent(one)",
        "bash(ls)",
        "result(did ls)",
        "agent(two)",
        "idle(end_turn)",
    ] {
        assert_eq!(count(&told, word), 1, "{word}: {told:?}");
    }
    assert_eq!(stage.machine.guest().spawned().len(), 1);
    assert_eq!(stage.turn(&id, "say:three").await.error, None);
    assert_eq!(stage.machine.specs().len(), 1);
}

#[tokio::test]
async fn what_the_runtime_said_while_no_host_was_there_is_not_lost() {
    let stage = Stage::hosted().await;
    let id = stage.session().await;
    stage.send(&id, "lines:5 wait lines:30 tool:late").await;
    stage.gate.reached.notified().await;
    let Stage {
        directory,
        machine,
        gate,
        control,
        store,
    } = stage;
    drop((control, store));
    gate.open.notify_one();
    let guest = machine.guest();
    within(async {
        while guest.last_output() < 100 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let stage = Stage::on(directory, machine, gate, hosted()).await;
    stage.idle(&id).await;
    let told = stage.told(&id).await;
    for number in 5..30 {
        assert_eq!(count(&told, &format!("agent({number})")), 1, "{told:?}");
    }
    assert_eq!(count(&told, "result(did late)"), 1);
}

#[tokio::test]
async fn an_approval_survives_the_host() {
    let stage = Stage::hosted().await;
    let id = stage.asking_session().await;
    stage.send(&id, "approve:a,b say:done").await;
    let asked = stage.asked(&id).await;
    stage.answer(&id, vec![allow(&asked[0])]).await.unwrap();
    let stage = stage.host_killed().await;
    assert_eq!(stage.asked(&id).await, [asked[1].clone()]);
    let stage = stage.host_killed().await;
    stage.answer(&id, vec![allow(&asked[1])]).await.unwrap();
    let idle = stage.idle(&id).await;
    assert_eq!(idle.stop_reason, Some(StopReason::EndTurn));
    let mut ran = stage.gate.ran.lock().unwrap().clone();
    ran.sort();
    ran.dedup();
    assert_eq!((ran.len(), stage.gate.ran.lock().unwrap().len()), (2, 2));
    assert!(stage.told(&id).await.contains(&"agent(done)".to_owned()));
}

#[tokio::test]
async fn an_approval_survives_the_sandbox() {
    let stage = Stage::hosted().await;
    let id = stage.asking_session().await;
    stage.send(&id, "approve:a,b").await;
    let asked = stage.asked(&id).await;
    stage.machine.power_cut();
    let stage = stage.host_killed().await;
    assert_eq!(stage.asked(&id).await, asked, "nothing is started for it");
    assert_eq!(stage.machine.alive(), 0);
    stage.answer(&id, vec![allow(&asked[0])]).await.unwrap();
    assert_eq!(stage.asked(&id).await, [asked[1].clone()]);
    stage.answer(&id, vec![allow(&asked[1])]).await.unwrap();
    let idle = stage.idle(&id).await;
    let told = stage.told(&id).await;
    assert_eq!(idle.stop_reason, Some(StopReason::EndTurn), "{told:?}");
    assert_eq!(stage.gate.ran.lock().unwrap().len(), 2);
    assert_eq!(count(&told, "bash(a)") + count(&told, "bash(b)"), 2, "{told:?}");
    assert_eq!(count(&told, "agent(resumed)"), 1);
    let specs = stage.machine.specs();
    assert_eq!(specs[1].files_from.as_ref(), Some(&specs[0].id));
}

#[tokio::test]
async fn a_runtime_that_cannot_make_calls_again_is_told_that_they_were_not_made() {
    let stage = Stage::hosted().await;
    let version = "2.1.330".into();
    let id = stage.asking_session_on(Runtime::Claude { version }).await;
    stage.send(&id, "approve:a").await;
    let asked = stage.asked(&id).await;
    stage.machine.power_cut();
    let stage = stage.host_killed().await;
    stage.answer(&id, vec![allow(&asked[0])]).await.unwrap();
    let idle = stage.idle(&id).await;
    assert_eq!(idle.stop_reason, Some(StopReason::EndTurn));
    let spawn = stage.machine.guest().spawned()[0].clone();
    assert_eq!(spawn.argv[0], "/.hostler/runtime/claude");
    assert!(
        !spawn.argv.contains(&"--run-tool-uses".to_owned()),
        "{:?}",
        spawn.argv
    );
    assert!(stage.gate.ran.lock().unwrap().is_empty(), "nothing runs unasked");
    let log = stage.log(&id).await;
    let not_made = |body: &Body| match body {
        Body::AgentToolResult {
            tool_use_id, content, ..
        } => *tool_use_id == asked[0] && format!("{content:?}").contains("it was not made"),
        _ => false,
    };
    assert!(log.iter().any(|logged| not_made(&logged.event.body)), "{log:?}");
}

#[tokio::test]
async fn what_an_operator_added_to_a_result_survives_the_host() {
    let stage = Stage::hosted().await;
    let id = stage.asking_session().await;
    stage.send(&id, "custom:ulm,bonn").await;
    let asked = stage.asked(&id).await;
    let note = Input::System {
        content: vec![wire::Text {
            text: "in Celsius".into(),
        }],
    };
    // The runtime has not asked for the second one yet.
    let answer = vec![custom_result(&asked[1], "rain"), note];
    stage.answer(&id, answer).await.unwrap();
    let stage = stage.host_killed().await;
    assert_eq!(stage.asked(&id).await, [asked[0].clone()]);
    stage
        .answer(&id, vec![custom_result(&asked[0], "sunny")])
        .await
        .unwrap();
    stage.idle(&id).await;
    let heard = stage.gate.lines_in.lock().unwrap().last().unwrap().to_string();
    assert!(heard.contains("rain") && heard.contains("in Celsius"), "{heard}");
}

#[tokio::test]
async fn a_custom_result_survives_the_sandbox() {
    let stage = Stage::hosted().await;
    let id = stage.asking_session().await;
    stage.send(&id, "custom:ulm").await;
    let asked = stage.asked(&id).await;
    stage.machine.power_cut();
    let stage = stage.host_killed().await;
    stage
        .answer(&id, vec![custom_result(&asked[0], "sunny")])
        .await
        .unwrap();
    // The scripted runtime knows one way to go on: it asks again, and here that is a confirmation.
    within(async {
        while stage.machine.specs().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let argv = within(async {
        loop {
            if let Some(spawn) = stage.machine.guest().spawned().first() {
                return spawn.argv.clone();
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(argv.contains(&"--run-tool-uses".to_owned()), "{argv:?}");
}

#[tokio::test]
async fn a_runtime_that_dies_is_replaced_and_what_may_have_run_is_not_run_again() {
    let stage = Stage::hosted().await;
    let id = stage.session().await;
    stage.send(&id, "say:working start:build wait killed").await;
    stage.gate.reached.notified().await;
    stage.gate.open.notify_one();
    let idle = stage.idle(&id).await;
    let told = stage.told(&id).await;
    assert_eq!(
        (idle.stop_reason, idle.error),
        (Some(StopReason::EndTurn), None),
        "{told:?}"
    );
    let from = told.iter().position(|word| word == "bash(build)").unwrap();
    assert!(
        told[from + 1].starts_with("failed(The call was interrupted"),
        "{told:?}"
    );
    assert_eq!(
        told[from + 2..from + 4],
        ["error(unknown_error)", "status_rescheduled"]
    );
    assert_eq!(stage.machine.specs().len(), 1, "the sandbox is the same");
    let last = stage.gate.lines_in.lock().unwrap().last().unwrap().clone();
    assert_eq!(last["isSynthetic"], true);
    assert!(last.to_string().contains("interrupted in the middle"), "{last}");
}

#[tokio::test]
async fn a_runtime_that_is_gone_gives_its_name_to_no_other() {
    let stage = Stage::hosted().await;
    let id = stage.session().await;
    stage.send(&id, "lines:30 wait").await;
    stage.gate.reached.notified().await;
    let said = "agent(29)".to_owned();
    while !stage.told(&id).await.contains(&said) {
        tokio::task::yield_now().await;
    }
    stage.machine.guest().forget("runtime-1");
    let stage = stage.host_killed().await;
    let idle = stage.idle(&id).await;
    assert_eq!(idle.stop_reason, Some(StopReason::EndTurn));
    stage.turn(&id, "say:after").await;
    let told = stage.told(&id).await;
    assert_eq!(count(&told, "agent(after)"), 1, "{told:?}");
    let names: Vec<_> = stage
        .machine
        .guest()
        .spawned()
        .into_iter()
        .map(|spawn| spawn.id)
        .collect();
    assert_eq!(names, ["runtime-1", "runtime-2"]);
}

#[tokio::test]
async fn a_turn_that_is_given_up_leaves_no_call_open() {
    let stage = Stage::hosted().await;
    let id = stage.asking_session().await;
    stage.send(&id, "approve:a").await;
    let asked = stage.asked(&id).await;
    stage.machine.power_cut();
    stage.machine.fail_create(true);
    let stage = stage.host_killed().await;
    stage.answer(&id, vec![allow(&asked[0])]).await.unwrap();
    let idle = stage.idle(&id).await;
    assert_eq!(idle.stop_reason, Some(StopReason::RetriesExhausted));
    let told = stage.told(&id).await;
    assert_eq!(count(&told, "bash(a)"), 1, "{told:?}");
    let failed = told
        .iter()
        .filter(|word| word.starts_with("failed(The call was interrupted"));
    assert_eq!(failed.count(), 1, "{told:?}");
}

#[tokio::test]
async fn a_runtime_that_keeps_dying_is_given_up() {
    let gate = Gate::default();
    let mut settings = hosted();
    settings.bounds.restarts = 1;
    let script: crate::runtime::Script = std::sync::Arc::new(|_, mut lines, output: crate::guest::Output| {
        Box::pin(async move {
            lines.recv().await;
            output.exit(guest_protocol::Exit::Code(3));
        })
    });
    let stage = Stage::with(script, gate, settings).await;
    let id = stage.session().await;
    let idle = stage.turn(&id, "x").await;
    assert_eq!(idle.stop_reason, Some(StopReason::RetriesExhausted));
    assert!(idle.error.unwrap().message.contains("code 3"));
    let told = stage.told(&id).await;
    assert_eq!(count(&told, "status_rescheduled"), 1, "{told:?}");
    assert_eq!(count(&told, "status_running"), 2, "{told:?}");
}

#[tokio::test]
async fn a_power_cut_in_the_middle_of_a_turn_is_told_and_the_turn_goes_on_elsewhere() {
    let stage = Stage::hosted().await;
    let id = stage.session().await;
    stage.send(&id, "say:begun start:build wait").await;
    stage.gate.reached.notified().await;
    stage.logged(&id, "agent.tool_use").await;
    stage.machine.power_cut();
    let stage = stage.host_killed().await;
    let idle = stage.idle(&id).await;
    let told = stage.told(&id).await;
    assert_eq!(idle.stop_reason, Some(StopReason::EndTurn), "{told:?}");
    assert_eq!(count(&told, "status_rescheduled"), 1);
    assert!(
        told.iter()
            .any(|word| word.starts_with("failed(The call was interrupted"))
    );
    let last = stage.gate.lines_in.lock().unwrap().last().unwrap().to_string();
    assert!(last.contains("It has the files as you left them"), "{last}");
    let sandboxes = stage.store.sandboxes_of(&id).await.unwrap();
    let states: Vec<_> = sandboxes.iter().map(|sandbox| sandbox.state).collect();
    assert_eq!(states, [SandboxState::Destroyed, SandboxState::Idle]);
}

#[tokio::test]
async fn a_message_that_no_runtime_heard_is_delivered_after_a_power_cut() {
    let stage = Stage::hosted().await;
    let id = stage.session().await;
    stage.machine.hold_create();
    stage.send(&id, "say:heard").await;
    stage.machine.power_cut();
    stage.machine.let_create();
    let stage = stage.host_killed().await;
    stage.idle(&id).await;
    let told = stage.told(&id).await;
    assert_eq!(count(&told, "agent(heard)"), 1, "{told:?}");
    assert_eq!(count(&told, "user(say:heard)"), 1);
}

#[tokio::test]
async fn files_are_found_where_a_sandbox_in_between_was_never_built() {
    let stage = Stage::hosted().await;
    let id = stage.session().await;
    stage.turn(&id, "say:one").await;
    stage.machine.power_cut();
    stage.machine.fail_create(true);
    stage.send(&id, "say:two").await;
    within(async {
        while stage.machine.specs().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let stage = stage.host_killed().await;
    stage.machine.fail_create(false);
    stage.idle(&id).await;
    let told = stage.told(&id).await;
    assert_eq!(count(&told, "agent(two)"), 1, "{told:?}");
    let specs = stage.machine.specs();
    assert_eq!(specs.last().unwrap().files_from.as_ref(), Some(&specs[0].id));
    let last = stage.gate.lines_in.lock().unwrap().last().unwrap().to_string();
    assert!(last.contains("It has the files as you left them"), "{last}");
}

#[tokio::test]
async fn an_idle_session_keeps_its_sandbox_and_its_runtime() {
    let stage = Stage::hosted().await;
    let id = stage.session().await;
    stage.turn(&id, "say:one").await;
    let stage = stage.host_killed().await;
    stage.turn(&id, "say:two").await;
    assert_eq!(stage.machine.guest().spawned().len(), 1);
    assert_eq!(stage.machine.specs().len(), 1);
    assert_eq!(stage.gate.messages().len(), 2);
    assert_eq!(
        stage.machine.grants()[0].token,
        stage.machine.grants()[1].token,
        "the sandbox's key stays"
    );
}

#[tokio::test]
async fn an_interrupt_that_was_cut_is_asked_for_again() {
    let stage = Stage::hosted().await;
    let id = stage.session().await;
    stage.send(&id, "say:x deaf").await;
    stage.gate.reached.notified().await;
    stage.control.send(&id, vec![Input::Interrupt]).await.unwrap();
    let stage = stage.host_killed().await;
    let idle = stage.idle(&id).await;
    assert_eq!(idle.stop_reason, Some(StopReason::EndTurn));
    assert!(stage.machine.guest().signals().contains(&9));
}

#[tokio::test]
async fn sandboxes_that_are_nobodys_are_ended() {
    let stage = Stage::hosted().await;
    let id = stage.session().await;
    stage.turn(&id, "say:one").await;
    stage.store.remove_session(&id).await.unwrap();
    let stage = stage.host_killed().await;
    assert_eq!(stage.machine.alive(), 0);
}

#[tokio::test]
async fn leaving_keeps_everything_for_the_next_host() {
    let stage = Stage::hosted().await;
    let id = stage.session().await;
    stage.send(&id, "say:one wait say:two").await;
    stage.gate.reached.notified().await;
    stage.control.leave(std::time::Duration::from_secs(5)).await;
    assert_eq!(stage.machine.alive(), 1);
    let stage = stage.host_killed().await;
    stage.gate.open.notify_one();
    stage.idle(&id).await;
    let told = stage.told(&id).await;
    assert_eq!(
        (count(&told, "agent(one)"), count(&told, "agent(two)")),
        (1, 1),
        "{told:?}"
    );
    assert!(!told.iter().any(|word| word.starts_with("error(")), "{told:?}");
    stage.control.send(&id, vec![message("say:three")]).await.unwrap();
}

#[tokio::test]
async fn a_host_that_dies_between_two_turns_loses_neither() {
    for power_cut in [false, true] {
        let stage = Stage::hosted().await;
        let id = stage.session().await;
        stage.turn(&id, "say:one").await;
        // As the log stands when a turn has ended and the message that waited has not begun the next one.
        let epoch = stage.store.claim_session(&id).await.unwrap();
        let waits = wire::Event::queued(wire::Body::UserMessage {
            content: vec![wire::ContentBlock::text("say:two")],
        });
        let append = store::Append {
            status: Some(domain::SessionStatus::Running),
            ..store::Append::new(id.clone(), epoch, [waits])
        };
        stage.store.append(append).await.unwrap();
        if power_cut {
            stage.machine.power_cut();
        }
        let stage = stage.host_killed().await;
        stage.idle(&id).await;
        let told = stage.told(&id).await;
        assert_eq!(count(&told, "agent(two)"), 1, "{told:?}");
        assert_eq!(told.last().unwrap(), "idle(end_turn)");
    }
}

#[tokio::test]
async fn a_message_that_came_while_a_host_looked_for_the_sandbox_is_not_forgotten_by_the_next() {
    let stage = Stage::hosted().await;
    let id = stage.session().await;
    stage.turn(&id, "say:one").await;
    stage.machine.hold_attach(true);
    let stage = stage.host_killed().await;
    stage.send(&id, "say:two").await;
    let row = stage.store.session(&id).await.unwrap();
    assert_eq!(row.status, domain::SessionStatus::Running);
    let stage = stage.host_killed().await;
    stage.machine.hold_attach(false);
    stage.idle(&id).await;
    let told = stage.told(&id).await;
    assert_eq!(count(&told, "agent(two)"), 1, "{told:?}");
    assert_eq!(count(&told, "status_running"), 2, "{told:?}");
}

#[tokio::test]
async fn a_session_that_has_nothing_to_do_rests_under_the_next_host() {
    let stage = Stage::hosted().await;
    let id = stage.session().await;
    stage.turn(&id, "say:one").await;
    let epoch = stage.store.claim_session(&id).await.unwrap();
    let append = store::Append {
        status: Some(domain::SessionStatus::Running),
        ..store::Append::new(id.clone(), epoch, [])
    };
    stage.store.append(append).await.unwrap();
    let stage = stage.host_killed().await;
    assert_eq!(stage.idle(&id).await.stop_reason, Some(StopReason::EndTurn));
    assert_eq!(stage.turn(&id, "say:two").await.error, None);
}

#[tokio::test]
async fn a_session_that_was_not_at_work_is_told_that_its_sandbox_is_gone() {
    let stage = Stage::hosted().await;
    let (idle, waits, archived) = (
        stage.session().await,
        stage.asking_session().await,
        stage.session().await,
    );
    for id in [&idle, &archived] {
        stage.send(id, "say:one").await;
        stage.idle(id).await;
    }
    stage.control.archive(&archived).await.unwrap();
    stage.send(&waits, "approve:rm").await;
    let asked = stage.asked(&waits).await;
    stage.machine.power_cut();
    let stage = stage.host_killed().await;
    stage.logged(&waits, "session.error").await;
    let errors = |told: &[String]| told.iter().filter(|word| word.starts_with("error(")).count();
    for id in [&idle, &waits] {
        assert_eq!(errors(&stage.told(id).await), 1, "{:?}", stage.told(id).await);
    }
    assert_eq!(errors(&stage.told(&archived).await), 0);
    assert_eq!(stage.asked(&waits).await, asked);
    // Once is enough.
    let stage = stage.host_killed().await;
    stage.send(&idle, "say:two").await;
    assert_eq!(stage.idle(&idle).await.error, None);
    assert_eq!(errors(&stage.told(&idle).await), 1);
}
