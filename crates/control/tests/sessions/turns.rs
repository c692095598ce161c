//! Turns that go well.

use crate::stage::{Stage, message, new_session, settings};
use control::{NewSession, SendError};
use domain::{Cost, SandboxState, SessionStatus};
use serde_json::json;
use wire::{Body, StopReason};

#[tokio::test]
async fn a_message_runs_a_turn_and_the_log_tells_it() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    let sent = stage.send(&id, "say:hello tool:ls say:bye").await;
    let idle = stage.idle(&id).await;
    assert_eq!((idle.stop_reason, idle.error), (Some(StopReason::EndTurn), None));
    let expected = [
        "user(say:hello tool:ls say:bye)",
        "status_running",
        "model_request_start",
        "agent(hello)",
        "model_request_end",
        "bash(ls)",
        "result(did ls)",
        "model_request_start",
        "agent(bye)",
        "model_request_end",
        "usage",
        "idle(end_turn)",
    ];
    assert_eq!(stage.told(&id).await, expected);
    let log = stage.log(&id).await;
    assert_eq!(log[0].event.id, sent);
    assert!(log.iter().all(|logged| logged.event.processed_at.is_some()));
    let Body::AgentToolResult { tool_use_id, .. } = &log[6].event.body else {
        panic!("a result")
    };
    assert_eq!(*tool_use_id, log[5].event.id);
    let Body::SpanModelRequestEnd {
        model_request_start_id,
        model_usage,
        is_error,
    } = &log[4].event.body
    else {
        panic!("a span's end")
    };
    assert_eq!((model_request_start_id, is_error), (&log[2].event.id, &None));
    assert_eq!((model_usage.input_tokens, model_usage.output_tokens), (10, 7));
    let summary = stage.control.summary(&id).await.unwrap();
    assert_eq!((summary.result_text.as_deref(), summary.turns), (Some("bye"), 2));
    assert_eq!(
        (summary.status, summary.stop_reason),
        (SessionStatus::Idle, Some(StopReason::EndTurn))
    );
}

#[tokio::test]
async fn the_runtime_is_started_once_and_gets_initialize_and_the_message_in_order() {
    let stage = Stage::new().await;
    let new = NewSession {
        system_prompt: Some("Be brief.".into()),
        max_cost: Some(Cost::from_usd(2.0)),
        ..new_session()
    };
    let id = stage.control.create(new).await.unwrap();
    let first = stage.send(&id, "say:1").await;
    stage.idle(&id).await;
    stage.turn(&id, "say:2").await;
    let spawned = stage.machine.guest().spawned();
    assert_eq!((spawned.len(), spawned[0].id.as_str()), (1, "runtime-1"));
    let argv = spawned[0].argv.join(" ");
    for part in [
        "--model claude-haiku-4-5",
        "--max-turns 9",
        "--max-budget-usd 2",
        "--session-id ",
    ] {
        assert!(argv.contains(part), "{argv}");
    }
    let grant = &stage.machine.grants()[0];
    assert!(grant.token.starts_with("hostler-session-"));
    assert_eq!(spawned[0].env["ANTHROPIC_API_KEY"], grant.token);
    assert_eq!(
        (grant.budget, grant.already_spent),
        (Some(Cost::from_usd(2.0)), Cost::ZERO)
    );
    let lines = stage.gate.lines_in.lock().unwrap().clone();
    assert_eq!(lines[0]["request"]["systemPrompt"], json!(["Be brief."]));
    assert_eq!(
        (&lines[1]["type"], &lines[2]["type"]),
        (&json!("user"), &json!("user"))
    );
    assert_ne!(lines[1]["uuid"], lines[2]["uuid"]);
    assert!(!first.as_str().is_empty());
    assert_eq!(stage.machine.specs().len(), 1);
}

#[tokio::test]
async fn messages_queue_while_the_agent_works_and_are_acted_on_in_order() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.send(&id, "wait say:one").await;
    stage.gate.reached.notified().await;
    stage.send(&id, "say:two").await;
    stage.send(&id, "say:three").await;
    let queued = stage.store.queued_events(&id).await.unwrap();
    assert_eq!(queued.len(), 2);
    assert_eq!(stage.gate.messages(), ["wait say:one"]);
    stage.gate.open.notify_one();
    stage.idle(&id).await;
    let told = stage.told(&id).await;
    let said: Vec<&str> = told
        .iter()
        .map(String::as_str)
        .filter(|word| word.starts_with("agent"))
        .collect();
    assert_eq!(said, ["agent(one)", "agent(two)", "agent(three)"]);
    // One stretch of running, and usage after each turn.
    let count = |word: &str| told.iter().filter(|told| *told == word).count();
    assert_eq!(
        (count("status_running"), count("idle(end_turn)"), count("usage")),
        (1, 1, 3)
    );
    assert!(stage.store.queued_events(&id).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_and_leaves_nothing_in_the_log() {
    let mut settings = settings();
    settings.bounds.message_bytes = 100;
    settings.bounds.queued_messages = 2;
    let gate = crate::runtime::Gate::default();
    let stage = Stage::with(gate.script(), gate, settings).await;
    let id = stage.session().await;
    let send = |text: &str| stage.control.send(&id, vec![message(text)]);
    assert!(matches!(send("").await, Err(SendError::Empty)));
    assert!(matches!(
        send(&"x".repeat(200)).await,
        Err(SendError::TooLarge { limit: 100, .. })
    ));
    let content = serde_json::from_value(json!([{"type":"redacted"}])).unwrap();
    let redacted = control::Input::Message { content };
    assert!(matches!(
        stage.control.send(&id, vec![redacted]).await,
        Err(SendError::Block { .. })
    ));
    assert!(stage.log(&id).await.is_empty());
    send("wait").await.unwrap();
    send("say:1").await.unwrap();
    send("say:2").await.unwrap();
    assert!(matches!(
        send("say:3").await,
        Err(SendError::QueueFull { count: 2 })
    ));
    stage.gate.open.notify_one();
    stage.idle(&id).await;
    let other = domain::SessionId::random();
    let unknown = stage.control.send(&other, vec![message("x")]).await;
    assert!(matches!(
        unknown,
        Err(SendError::Access(control::AccessError::NoSession { .. }))
    ));
}

#[tokio::test]
async fn a_tool_that_asks_is_answered() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.turn(&id, "ask:Bash").await;
    assert!(stage.told(&id).await.contains(&"agent(allow)".to_owned()));
}

#[tokio::test]
async fn results_say_why_the_session_stopped() {
    for (plan, stop, error) in [
        ("say:x refuse", "refusal", None),
        (
            "say:x max_turns",
            "retries_exhausted",
            Some("error(tool_use_limit_reached_error)"),
        ),
        (
            "overloaded",
            "retries_exhausted",
            Some("error(model_overloaded_error)"),
        ),
    ] {
        let stage = Stage::new().await;
        let id = stage.session().await;
        let idle = stage.turn(&id, plan).await;
        let told = stage.told(&id).await;
        assert_eq!(told.last().unwrap(), &format!("idle({stop})"), "{plan}");
        assert_eq!(idle.error.is_some(), error.is_some(), "{plan}");
        if let Some(error) = error {
            assert!(told.contains(&error.to_owned()), "{plan}: {told:?}");
        }
        // The session takes the next message.
        assert_eq!(stage.turn(&id, "say:again").await.error, None);
    }
}

#[tokio::test]
async fn a_model_request_is_told_when_it_is_made_and_each_time_that_it_is_made_again() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.turn(&id, "say:before").await;
    let before = stage.log(&id).await.len();
    stage
        .send(&id, "requesting wait retry wait requesting say:x")
        .await;
    let status = async || stage.store.session(&id).await.unwrap().status;
    stage.gate.reached.notified().await;
    stage.logged(&id, "span.model_request_start").await;
    stage.gate.open.notify_one();
    stage.gate.reached.notified().await;
    stage.logged(&id, "session.status_rescheduled").await;
    assert_eq!(status().await, domain::SessionStatus::Rescheduling);
    stage.gate.open.notify_one();
    assert_eq!(stage.idle(&id).await.error, None);
    let expected = [
        "status_running",
        "model_request_start",
        "model_request_end",
        "error(model_request_failed_error)",
        "status_rescheduled",
        "status_running",
        "model_request_start",
        "agent(x)",
        "model_request_end",
        "usage",
        "idle(end_turn)",
    ];
    assert_eq!(stage.told(&id).await[before + 1..], expected);

    // The last word of the last turn is its own, also where it was made to wait after it.
    stage
        .turn(&id, "say:last requesting retry requesting overloaded")
        .await;
    let summary = stage.control.summary(&id).await.unwrap();
    assert_eq!(summary.result_text.as_deref(), Some("last"));
    stage.turn(&id, "requesting retry requesting overloaded").await;
    let summary = stage.control.summary(&id).await.unwrap();
    assert_eq!(summary.result_text, None);
}

#[tokio::test]
async fn an_api_error_that_is_tried_again_is_told_and_does_not_end_the_turn_by_itself() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    let idle = stage.turn(&id, "overloaded").await;
    let errors: Vec<_> = stage
        .log(&id)
        .await
        .into_iter()
        .filter_map(|logged| match logged.event.body {
            Body::SessionError { error } => Some(error),
            _ => None,
        })
        .collect();
    assert_eq!(errors.len(), 2);
    assert_eq!(
        serde_json::to_value(errors[0].retry_status).unwrap(),
        json!({"type":"retrying"})
    );
    assert_eq!(
        serde_json::to_value(errors[1].retry_status).unwrap(),
        json!({"type":"exhausted"})
    );
    assert_eq!(idle.error.as_ref(), Some(&errors[1]));
    assert!(
        !stage
            .told(&id)
            .await
            .iter()
            .any(|word| word.starts_with("agent(API Error"))
    );
}

#[tokio::test]
async fn a_reached_budget_is_the_reason_when_the_ledger_says_so() {
    let stage = Stage::new().await;
    let new = NewSession {
        max_cost: Some(Cost::from_usd(0.01)),
        ..new_session()
    };
    let id = stage.control.create(new).await.unwrap();
    let call = store::NewCall {
        session: id.clone(),
        model: "m".into(),
        stream: true,
        request_bytes: 1,
        started_at: time::OffsetDateTime::now_utc(),
    };
    let call = stage.store.open_model_call(call).await.unwrap();
    let closed = store::Closed {
        outcome: store::Outcome::Completed,
        status: Some(200),
        model: None,
        usage: domain::Usage {
            input_tokens: 5,
            ..Default::default()
        },
        estimated: false,
        cost: Some(Cost::from_usd(0.02)),
        attempts: 1,
        request_id: None,
        first_byte: None,
        duration: std::time::Duration::ZERO,
    };
    stage.store.close_model_call(call, closed).await.unwrap();
    let idle = stage.turn(&id, "overloaded").await;
    assert_eq!(
        (idle.stop_reason, idle.error),
        (Some(StopReason::BudgetReached), None)
    );
    let summary = stage.control.summary(&id).await.unwrap();
    assert_eq!(
        (summary.usage.input_tokens, summary.list_cost),
        (5, Some(Cost::from_usd(0.02)))
    );
    assert_eq!(stage.machine.grants()[0].already_spent, Cost::from_usd(0.02));
}

#[tokio::test]
async fn every_line_is_acknowledged_after_it_is_stored() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.turn(&id, "lines:50").await;
    let stored = stage.store.last_line(&id, "runtime-1").await.unwrap();
    // Init, initialize's answer, 50 model calls of 8 lines, and the result.
    assert_eq!(stored, 403);
    let guest = stage.machine.guest();
    crate::stage::until("all is acknowledged", || {
        guest.acknowledged("runtime-1") == stored
    })
    .await;
}

#[tokio::test]
async fn the_sandbox_s_state_and_view_are_recorded() {
    let stage = Stage::new().await;
    let before = time::OffsetDateTime::now_utc();
    let id = stage.session().await;
    stage.turn(&id, "say:x compact").await;
    let row = stage.control.session(&id).await.unwrap();
    let sandboxes = stage.store.sandboxes_of(&id).await.unwrap();
    assert_eq!((sandboxes.len(), sandboxes[0].state), (1, SandboxState::Idle));
    assert_eq!(row.sandbox.as_ref(), Some(&stage.machine.specs()[0].id));
    assert!(row.view_started_at.unwrap() >= before);
    assert!(
        stage
            .told(&id)
            .await
            .contains(&"thread_context_compacted".to_owned())
    );
}

#[tokio::test]
async fn a_session_begins_with_its_first_message_or_not_at_all() {
    let stage = Stage::new().await;
    let empty = stage.control.begin(new_session(), Vec::new()).await;
    assert!(matches!(empty, Err(control::BeginError::Send(SendError::Empty))));
    assert!(stage.control.sessions().await.unwrap().is_empty());
    let begun = stage
        .control
        .begin(new_session(), vec![message("say:hello")])
        .await;
    let (id, sent) = begun.unwrap();
    assert_eq!(stage.idle(&id).await.error, None);
    let log = stage.log(&id).await;
    assert_eq!(
        (
            log[0].event.id.clone(),
            stage.control.sessions().await.unwrap().len()
        ),
        (sent[0].event.id.clone(), 1)
    );
    stage.turn(&id, "say:again").await;
    assert!(stage.told(&id).await.contains(&"agent(again)".to_owned()));
}
