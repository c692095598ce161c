//! Calls that wait for the user: confirmations and custom tools, in one host's life.

use crate::stage::{Stage, message, within};
use control::{AnswerError, Input, SendError};
use domain::{EventId, SessionId};
use wire::{Body, Confirmation, ContentBlock, Text};

pub fn confirm(id: &EventId, result: Confirmation, deny_message: Option<&str>) -> Input {
    Input::Confirm {
        tool_use_id: id.clone(),
        result,
        deny_message: deny_message.map(str::to_owned),
    }
}

pub fn allow(id: &EventId) -> Input {
    confirm(id, Confirmation::Allow, None)
}

pub fn custom_result(id: &EventId, text: &str) -> Input {
    Input::CustomToolResult {
        custom_tool_use_id: id.clone(),
        content: Some(vec![ContentBlock::text(text)]),
        is_error: None,
    }
}

impl Stage {
    pub async fn answer(&self, id: &SessionId, inputs: Vec<Input>) -> Result<(), SendError> {
        self.control.send(id, inputs).await.map(drop)
    }
}

#[tokio::test]
async fn a_call_waits_for_its_confirmation() {
    let stage = Stage::hosted().await;
    let id = stage.asking_session().await;
    stage.send(&id, "say:hi approve:ls say:bye").await;
    let asked = stage.asked(&id).await;
    let row = stage.store.session(&id).await.unwrap();
    assert_eq!(row.status, domain::SessionStatus::Idle);
    assert!(stage.gate.ran.lock().unwrap().is_empty());
    stage.answer(&id, vec![allow(&asked[0])]).await.unwrap();
    stage.idle(&id).await;
    let told = stage.told(&id).await;
    let from = told.iter().position(|word| word == "bash(ls)").unwrap();
    let expected = [
        "bash(ls)",
        "idle(requires_action)",
        "tool_confirmation",
        "status_running",
        "result(ran)",
        "model_request_start",
        "agent(bye)",
        "model_request_end",
        "usage",
        "idle(end_turn)",
    ];
    assert_eq!(told[from..], expected);
    assert_eq!(stage.gate.ran.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn calls_of_a_reply_that_was_cut_off_wait_for_nobody() {
    let stage = Stage::hosted().await;
    let id = stage.asking_session().await;
    stage.send(&id, "cut:rm approve:ls say:bye").await;
    let asked = stage.asked(&id).await;
    let told = stage.told(&id).await;
    let cut = told.iter().position(|word| word == "bash(rm)").unwrap();
    assert_eq!(asked.len(), 1, "{told:?}");
    assert!(
        told[cut + 2].starts_with("failed(The model's reply was cut off"),
        "{told:?}"
    );
    let log = stage.log(&id).await;
    for call in log.iter().filter(|logged| !asked.contains(&logged.event.id)) {
        let answer = match &call.event.body {
            Body::AgentToolUse { .. } => allow(&call.event.id),
            Body::AgentCustomToolUse { .. } => custom_result(&call.event.id, "late"),
            _ => continue,
        };
        let refused = stage.answer(&id, vec![answer]).await;
        assert!(matches!(
            refused,
            Err(SendError::Answer(AnswerError::NotOpen { .. }))
        ));
    }
    // Neither does the runtime that goes on make them.
    stage.machine.power_cut();
    let stage = stage.host_killed().await;
    stage.answer(&id, vec![allow(&asked[0])]).await.unwrap();
    stage.idle(&id).await;
    let spawned = stage.machine.guest().spawned();
    let at = spawned[0]
        .argv
        .iter()
        .position(|argument| argument == "--run-tool-uses")
        .unwrap();
    assert!(!spawned[0].argv[at + 1].contains(','), "{:?}", spawned[0].argv);
    assert_eq!(stage.gate.ran.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_denial_reaches_the_model_in_words() {
    let stage = Stage::hosted().await;
    let id = stage.asking_session().await;
    stage.send(&id, "approve:rm").await;
    let asked = stage.asked(&id).await;
    let denied = confirm(&asked[0], Confirmation::Deny, Some("not today"));
    stage.answer(&id, vec![denied]).await.unwrap();
    stage.idle(&id).await;
    assert!(stage.told(&id).await.contains(&"result(not today)".to_owned()));
    assert!(stage.gate.ran.lock().unwrap().is_empty());
}

#[tokio::test]
async fn several_calls_wait_together_and_the_rest_is_told_again() {
    let stage = Stage::hosted().await;
    let id = stage.asking_session().await;
    stage.send(&id, "approve:a,b,c").await;
    let asked = stage.asked(&id).await;
    assert_eq!(asked.len(), 3);
    stage.answer(&id, vec![allow(&asked[1])]).await.unwrap();
    within(async {
        while stage.asked(&id).await.len() != 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(stage.asked(&id).await, [asked[0].clone(), asked[2].clone()]);
    stage
        .answer(&id, vec![allow(&asked[0]), allow(&asked[2])])
        .await
        .unwrap();
    stage.idle(&id).await;
    assert_eq!(stage.gate.ran.lock().unwrap().len(), 3);
    let told = stage.told(&id).await;
    let idles = told
        .iter()
        .filter(|word| *word == "idle(requires_action)")
        .count();
    assert_eq!(idles, 2, "{told:?}");
}

#[tokio::test]
async fn an_answer_that_fits_nothing_is_refused_and_changes_nothing() {
    let stage = Stage::hosted().await;
    let id = stage.asking_session().await;
    let other = EventId::random();
    let refused = stage.answer(&id, vec![allow(&other)]).await;
    assert!(matches!(
        refused,
        Err(SendError::Answer(AnswerError::NotOpen { .. }))
    ));
    stage.send(&id, "approve:a,b").await;
    let asked = stage.asked(&id).await;
    let before = stage.log(&id).await.len();
    for inputs in [
        vec![allow(&asked[0]), allow(&other)],
        vec![allow(&asked[0]), allow(&asked[0])],
        vec![custom_result(&asked[0], "x")],
    ] {
        assert!(matches!(
            stage.answer(&id, inputs).await,
            Err(SendError::Answer(_))
        ));
    }
    assert_eq!(stage.log(&id).await.len(), before);
    stage.answer(&id, vec![allow(&asked[0])]).await.unwrap();
    let twice = stage.answer(&id, vec![allow(&asked[0])]).await;
    assert!(matches!(twice, Err(SendError::Answer(_))));
    stage.answer(&id, vec![allow(&asked[1])]).await.unwrap();
    stage.idle(&id).await;
    let finished = stage.answer(&id, vec![allow(&asked[1])]).await;
    assert!(matches!(
        finished,
        Err(SendError::Answer(AnswerError::NotOpen { .. }))
    ));
}

#[tokio::test]
async fn a_custom_tool_is_played_by_the_client() {
    let stage = Stage::hosted().await;
    let id = stage.asking_session().await;
    stage.send(&id, "custom:ulm").await;
    let asked = stage.asked(&id).await;
    let log = stage.log(&id).await;
    let call = log.iter().find(|logged| logged.event.id == asked[0]).unwrap();
    assert!(matches!(&call.event.body, Body::AgentCustomToolUse { name, .. } if name == "weather"));
    let note = Input::System {
        content: vec![Text {
            text: "in Celsius".into(),
        }],
    };
    stage
        .answer(&id, vec![custom_result(&asked[0], "sunny"), note])
        .await
        .unwrap();
    stage.idle(&id).await;
    let told = stage.told(&id).await;
    assert!(told.contains(&"agent(sunny)".to_owned()), "{told:?}");
    assert!(
        !told.iter().any(|word| word.starts_with("result(")),
        "its result is the client's event: {told:?}"
    );
}

#[tokio::test]
async fn an_answer_may_come_before_the_session_waits() {
    let stage = Stage::hosted().await;
    let id = stage.asking_session().await;
    let mut stream = stage.control.events(&id, 0).await.unwrap();
    stage.send(&id, "custom:ulm").await;
    let call = loop {
        if let Some(control::Item::Event(logged)) = within(stream.next()).await.unwrap()
            && matches!(logged.event.body, Body::AgentCustomToolUse { .. })
        {
            break logged.event.id.clone();
        }
    };
    stage
        .answer(&id, vec![custom_result(&call, "sunny")])
        .await
        .unwrap();
    within(async {
        while !stage.told(&id).await.contains(&"idle(end_turn)".to_owned()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_interrupt_ends_the_waiting() {
    let stage = Stage::hosted().await;
    let id = stage.asking_session().await;
    stage.send(&id, "approve:a,b").await;
    let asked = stage.asked(&id).await;
    stage
        .answer(&id, vec![Input::Interrupt, message("say:next")])
        .await
        .unwrap();
    stage.idle(&id).await;
    let told = stage.told(&id).await;
    assert!(told.ends_with(&["usage".to_owned(), "idle(end_turn)".to_owned()]));
    assert!(told.contains(&"agent(next)".to_owned()), "{told:?}");
    let late = stage.answer(&id, vec![allow(&asked[0])]).await;
    assert!(matches!(late, Err(SendError::Answer(_))));
    assert!(stage.gate.ran.lock().unwrap().is_empty());
}

#[tokio::test]
async fn messages_wait_while_calls_do() {
    let stage = Stage::hosted().await;
    let id = stage.asking_session().await;
    stage.send(&id, "approve:a").await;
    let asked = stage.asked(&id).await;
    stage.send(&id, "say:later").await;
    assert_eq!(stage.asked(&id).await, asked, "the session still waits");
    stage.answer(&id, vec![allow(&asked[0])]).await.unwrap();
    stage.idle(&id).await;
    let told = stage.told(&id).await;
    assert!(told.contains(&"agent(later)".to_owned()), "{told:?}");
}

#[tokio::test]
async fn what_an_operator_adds_goes_with_its_message() {
    let stage = Stage::hosted().await;
    let id = stage.asking_session().await;
    let note = |text: &str| Input::System {
        content: vec![Text { text: text.into() }],
    };
    stage
        .answer(&id, vec![message("say:one wait"), note("be brief")])
        .await
        .unwrap();
    stage.gate.reached.notified().await;
    stage
        .answer(&id, vec![message("say:two"), note("be kind")])
        .await
        .unwrap();
    stage.gate.open.notify_one();
    stage.idle(&id).await;
    let lines = stage.gate.lines_in.lock().unwrap().clone();
    let users: Vec<String> = lines
        .iter()
        .filter(|line| line["type"] == "user")
        .map(ToString::to_string)
        .collect();
    assert!(users[0].contains("be brief") && users[1].contains("be kind") && users.len() == 2);
    let log = stage.log(&id).await;
    assert!(log.iter().all(|logged| logged.event.processed_at.is_some()));
}
