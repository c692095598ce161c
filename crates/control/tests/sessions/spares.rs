//! Sandboxes with a runtime that waits, made ahead for sessions of the API.

use crate::runtime::Gate;
use crate::service::{Service, toolset};
use crate::stage::{Stage, hosted, until, within};
use control::Settings;
use serde_json::json;
use std::time::Duration;

fn settings() -> Settings {
    Settings {
        spares: 2,
        ..hosted()
    }
}

async fn stocked_stage() -> Stage {
    let gate = Gate::default();
    Stage::with(gate.script(), gate, settings()).await
}

/// A service of which one agent's sessions are asked for, and the sandbox that is kept for the next one.
async fn stocked(stage: &Stage, service: &Service) -> (String, usize) {
    let agent = service.agent(&toolset("always_allow")).await;
    let first = service.session_of(&agent, json!({})).await;
    service.send(&first, "say:one").await.unwrap();
    stage.idle(&first).await;
    let spare = spare(stage).await;
    (agent, spare)
}

/// Waits until a sandbox is there that no session has; how many there have been.
async fn spare(stage: &Stage) -> usize {
    until("a sandbox is made ahead", || stage.control.spares() == 1).await;
    stage.machine.specs().len()
}

#[tokio::test]
async fn the_next_session_of_an_agent_begins_in_a_sandbox_that_was_there() {
    let stage = stocked_stage().await;
    let service = Service::new(&stage).await;
    let (agent, made) = stocked(&stage, &service).await;
    let id = service.session_of(&agent, json!({})).await;
    let before = stage.store.session(&id).await.unwrap();
    assert_eq!(before.sandbox, None, "it is the session's with its first message");
    service.send(&id, "say:two").await.unwrap();
    stage.idle(&id).await;
    let row = stage.store.session(&id).await.unwrap();
    assert_eq!(row.sandbox.as_ref(), Some(&stage.machine.specs()[made - 1].id));
    assert!(stage.told(&id).await.contains(&"agent(two)".to_owned()));
    assert!(
        !stage
            .store
            .spare_sandboxes()
            .await
            .unwrap()
            .contains(&row.sandbox.unwrap())
    );
    // Also after its host is gone.
    drop(service);
    let stage = stage.host_killed().await;
    let service = Service::new(&stage).await;
    service.send(&id, "say:three").await.unwrap();
    stage.idle(&id).await;
    assert!(stage.told(&id).await.contains(&"agent(three)".to_owned()));
}

#[tokio::test]
async fn a_session_that_differs_does_not_get_it() {
    let stage = stocked_stage().await;
    let service = Service::new(&stage).await;
    let (agent, made) = stocked(&stage, &service).await;
    let overridden = json!({"agent": {"type": "agent_with_overrides", "id": agent, "system": "Be brief."}});
    let id = service.session_of(&agent, overridden).await;
    service.send(&id, "say:two").await.unwrap();
    stage.idle(&id).await;
    let row = stage.store.session(&id).await.unwrap();
    assert_ne!(row.sandbox.as_ref(), Some(&stage.machine.specs()[made - 1].id));
}

#[tokio::test]
async fn a_budget_is_told_when_it_is_taken() {
    let stage = stocked_stage().await;
    let service = Service::new(&stage).await;
    let (agent, _) = stocked(&stage, &service).await;
    let budget = json!({"type": "limit", "max_list_cost": {"amount": "300", "currency": "USD"}});
    service.session_of(&agent, json!({"budget": budget})).await;
    let limit = Some(domain::Cost::from_nano_usd(3_000_000_000));
    until("it is told", || stage.machine.budgets().contains(&limit)).await;
}

#[tokio::test]
async fn what_nobody_took_is_gone_with_its_files_when_the_service_ends_or_is_killed() {
    for is_killed in [true, false] {
        let stage = stocked_stage().await;
        let service = Service::new(&stage).await;
        let (agent, made) = stocked(&stage, &service).await;
        // One is taken and has had nothing to do, another waits.
        let taken = stage.machine.specs()[made - 1].id.clone();
        let session = service.session_of(&agent, json!({})).await;
        spare(&stage).await;
        let waits = stage.machine.specs().last().unwrap().id.clone();
        drop(service);
        let stage = if is_killed {
            stage.host_killed().await
        } else {
            stage.control.leave(Duration::from_secs(10)).await;
            stage
        };
        for sandbox in [taken, waits] {
            assert!(stage.machine.destroyed().contains(&sandbox), "{sandbox}");
            assert!(stage.machine.files_removed().contains(&sandbox), "{sandbox}");
        }
        assert_eq!(stage.store.spare_sandboxes().await.unwrap(), []);
        if is_killed {
            let service = Service::new(&stage).await;
            service.send(&session, "say:two").await.unwrap();
            stage.idle(&session).await;
            assert!(stage.told(&session).await.contains(&"agent(two)".to_owned()));
        }
    }
}

#[tokio::test]
async fn a_session_that_is_deleted_before_it_was_told_anything_leaves_nothing() {
    let stage = stocked_stage().await;
    let service = Service::new(&stage).await;
    let (agent, made) = stocked(&stage, &service).await;
    let taken = stage.machine.specs()[made - 1].id.clone();
    let id = service.session_of(&agent, json!({})).await;
    within(service.delete(&id)).await.unwrap();
    assert!(stage.machine.destroyed().contains(&taken));
    assert!(stage.machine.files_removed().contains(&taken));
}

#[tokio::test]
async fn new_tools_before_the_first_message_take_another_sandbox() {
    let stage = stocked_stage().await;
    let service = Service::new(&stage).await;
    let (agent, made) = stocked(&stage, &service).await;
    let id = service.session_of(&agent, json!({})).await;
    let update = json!({"agent": {"tools": toolset("always_ask")}});
    let update = serde_json::from_value(update).unwrap();
    service
        .hosted
        .update(&service.workspace, &id, update)
        .await
        .unwrap();
    service.send(&id, "approve:rm").await.unwrap();
    let asked = stage.asked(&id).await;
    assert_eq!(asked.len(), 1);
    let spare = &stage.machine.specs()[made - 1].id;
    assert_ne!(
        stage.store.session(&id).await.unwrap().sandbox.as_ref(),
        Some(spare)
    );
    assert!(stage.machine.files_removed().contains(spare));
}
