//! Sessions of the API at work: archived, deleted and changed while something else is asked of them.

use crate::service::{Service, toolset};
use crate::stage::{Stage, until, within};
use control::{AccessError, Refused, SendError};
use domain::SessionStatus;
use hosted::HostedError;
use serde_json::{Value, json};
use wire::StopReason;

fn code<T: std::fmt::Debug>(answer: Result<T, HostedError>) -> &'static str {
    match answer {
        Err(
            HostedError::Refused(refused)
            | HostedError::Send(SendError::Refused(refused))
            | HostedError::Access(AccessError::Refused(refused)),
        ) => conflict(&refused),
        Err(
            HostedError::Access(AccessError::NoSession { .. })
            | HostedError::Send(SendError::Access(AccessError::NoSession { .. })),
        ) => "not_found",
        other => panic!("{other:?}"),
    }
}

fn conflict(refused: &Refused) -> &'static str {
    assert!(refused.conflict, "{refused:?}");
    refused.code.unwrap()
}

impl Stage {
    /// Does something once a sandbox is being ended, which then ends.
    async fn while_destroying<T>(&self, what: impl Future<Output = T>) -> T {
        until("a sandbox is being ended", || self.machine.is_destroying()).await;
        let soon = async {
            // Time enough to get in; what is asked later has the same answer.
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            self.machine.hold_destroy(false);
        };
        tokio::join!(what, soon).0
    }
}

#[tokio::test]
async fn a_session_that_runs_is_neither_archived_nor_deleted() {
    let stage = Stage::hosted().await;
    let service = Service::new(&stage).await;
    let id = service.session(json!({})).await;
    service.send(&id, "say:one wait say:two").await.unwrap();
    stage.gate.reached.notified().await;
    assert_eq!(code(service.archive(&id).await), "session_running");
    assert_eq!(code(service.delete(&id).await), "session_running");
    stage.gate.open.notify_one();
    assert_eq!(stage.idle(&id).await.error, None);
    assert!(stage.told(&id).await.contains(&"agent(two)".to_owned()));
    service.archive(&id).await.unwrap();
    let again = service.archive(&id).await.unwrap();
    assert!(again.archived_at.is_some());
    assert_eq!(code(service.send(&id, "say:x").await), "session_archived");
    service.delete(&id).await.unwrap();
    assert_eq!(stage.machine.alive(), 0);
}

#[tokio::test]
async fn what_ends_a_session_that_is_being_archived_comes_after_it() {
    let stage = Stage::hosted().await;
    let service = Service::new(&stage).await;
    let id = service.session(json!({})).await;
    service.send(&id, "say:one").await.unwrap();
    stage.idle(&id).await;
    stage.machine.hold_destroy(true);
    let (archived, again, deleted) = tokio::join!(
        service.archive(&id),
        stage.while_destroying(service.archive(&id)),
        stage.while_destroying(service.delete(&id)),
    );
    archived.unwrap();
    // The deletion may be first.
    assert!(again.is_ok() || code(again) == "not_found");
    deleted.unwrap();
    let gone = within(stage.control.session(&id)).await;
    assert!(matches!(gone, Err(AccessError::NoSession { .. })));
}

#[tokio::test]
async fn a_limit_that_changes_while_the_runtime_starts_holds() {
    let stage = Stage::hosted().await;
    let service = Service::new(&stage).await;
    let limit =
        |amount: &str| json!({"type": "limit", "max_list_cost": {"amount": amount, "currency": "USD"}});
    let id = service.session(json!({"budget": limit("100")})).await;
    stage.machine.hold_create();
    service.send(&id, "say:one").await.unwrap();
    until("the sandbox is being built", || !stage.machine.specs().is_empty()).await;
    let update = serde_json::from_value(json!({"budget": limit("200")})).unwrap();
    service
        .hosted
        .update(&service.workspace, &id, update)
        .await
        .unwrap();
    stage.machine.let_create();
    stage.idle(&id).await;
    let last = stage.machine.budgets().last().copied().flatten();
    assert_eq!(last, Some(domain::Cost::from_nano_usd(2_000_000_000)));
}

#[tokio::test]
async fn what_comes_while_a_session_is_archived_is_refused() {
    let stage = Stage::hosted().await;
    let service = Service::new(&stage).await;
    let id = service.session(json!({})).await;
    service.send(&id, "say:one").await.unwrap();
    stage.idle(&id).await;
    stage.machine.hold_destroy(true);
    let title = serde_json::from_value(json!({"title": "x"})).unwrap();
    let (archived, sent, updated) = tokio::join!(
        service.archive(&id),
        stage.while_destroying(service.send(&id, "hang")),
        stage.while_destroying(service.hosted.update(&service.workspace, &id, title)),
    );
    assert!(archived.is_ok(), "{archived:?}");
    assert_eq!(code(sent), "session_archived");
    assert_eq!(code(updated), "session_archived");
    assert_eq!(stage.gate.messages(), ["say:one"]);
    service.delete(&id).await.unwrap();
}

#[tokio::test]
async fn a_message_and_an_archiving_do_not_both_succeed() {
    let stage = Stage::hosted().await;
    let service = Service::new(&stage).await;
    for _ in 0..20 {
        let id = service.session(json!({})).await;
        let (sent, archived) = tokio::join!(service.send(&id, "hang"), service.archive(&id));
        let row = stage.store.session(&id).await.unwrap();
        assert_ne!(sent.is_ok(), archived.is_ok(), "{sent:?} {archived:?}");
        if archived.is_ok() {
            assert_eq!(code(sent), "session_archived");
            assert_eq!(row.status, SessionStatus::Idle);
        } else {
            assert_eq!(code(archived), "session_running");
            assert_eq!(row.archived_at, None);
        }
    }
}

#[tokio::test]
async fn what_comes_while_a_session_is_deleted_finds_none() {
    let stage = Stage::hosted().await;
    let service = Service::new(&stage).await;
    let id = service.session(json!({})).await;
    service.send(&id, "say:one").await.unwrap();
    stage.idle(&id).await;
    stage.machine.hold_destroy(true);
    let (deleted, again, sent) = tokio::join!(
        service.delete(&id),
        stage.while_destroying(service.delete(&id)),
        stage.while_destroying(service.send(&id, "hang")),
    );
    deleted.unwrap();
    assert_eq!((code(again), code(sent)), ("not_found", "not_found"));
    let gone = within(stage.control.session(&id)).await;
    assert!(matches!(gone, Err(AccessError::NoSession { .. })));
}

#[tokio::test]
async fn what_waits_at_a_reached_budget_goes_on_with_a_higher_one_and_with_nothing_else() {
    for raised in [
        json!({"type": "limit", "max_list_cost": {"amount": "200", "currency": "USD"}}),
        Value::Null,
    ] {
        let stage = Stage::hosted().await;
        let service = Service::new(&stage).await;
        let budget = json!({"type": "limit", "max_list_cost": {"amount": "100", "currency": "USD"}});
        let id = service.session(json!({"budget": budget})).await;
        service.send(&id, "wait budget").await.unwrap();
        stage.gate.reached.notified().await;
        service.send(&id, "say:two").await.unwrap();
        stage.gate.open.notify_one();
        let idle = stage.idle(&id).await;
        assert_eq!(idle.stop_reason, Some(StopReason::BudgetReached));
        let interrupt = json!([{"type": "user.interrupt"}]);
        service.send_all(&id, interrupt).await.unwrap();
        assert_eq!(stage.idle(&id).await, idle);
        let waits = stage.store.queued_events(&id).await.unwrap();
        assert_eq!((waits.len(), stage.gate.messages().len()), (1, 1));

        let update = serde_json::from_value(json!({"budget": raised})).unwrap();
        let session = service.hosted.update(&service.workspace, &id, update).await;
        session.unwrap();
        stage.idle(&id).await;
        let told = stage.told(&id).await;
        let from = told.iter().position(|word| word == "updated").unwrap();
        assert_eq!(told[from + 1], "status_running");
        assert!(told.contains(&"agent(two)".to_owned()), "{told:?}");
    }
}

#[tokio::test]
async fn a_turn_that_waits_keeps_its_tools_and_the_next_one_has_those_of_the_update() {
    let stage = Stage::hosted().await;
    let service = Service::new(&stage).await;
    let id = service.session_with(&toolset("always_ask"), json!({})).await;
    service.send(&id, "approve:rm").await.unwrap();
    let asked = stage.asked(&id).await;
    let update = json!({"agent": {"tools": toolset("always_allow")}});
    let update = serde_json::from_value(update).unwrap();
    let updated = service.hosted.update(&service.workspace, &id, update).await;
    let policy = serde_json::to_value(updated.unwrap().agent.tools).unwrap();
    assert!(policy.to_string().contains("always_allow"), "{policy}");
    assert_eq!(stage.asked(&id).await, asked, "the turn still waits");

    // Also in another runtime.
    drop(service);
    stage.machine.power_cut();
    let stage = stage.host_killed().await;
    let service = Service::new(&stage).await;
    let deny = json!([{"type": "user.tool_confirmation", "tool_use_id": asked[0], "result": "deny"}]);
    service.send_all(&id, deny).await.unwrap();
    stage.idle(&id).await;
    assert!(stage.gate.ran.lock().unwrap().is_empty());
    service.send(&id, "say:next").await.unwrap();
    stage.idle(&id).await;
    let spawned = stage.machine.guest().spawned();
    let asks = |spawn: &guest_protocol::Spawn| spawn.argv.contains(&"--permission-prompt-tool".to_owned());
    assert_eq!(spawned.iter().map(asks).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn tools_that_change_while_a_host_looks_for_the_runtime_are_those_of_the_next_turn() {
    let stage = Stage::hosted().await;
    let service = Service::new(&stage).await;
    let id = service.session_with(&toolset("always_ask"), json!({})).await;
    service.send(&id, "say:one").await.unwrap();
    stage.idle(&id).await;
    drop(service);
    stage.machine.hold_attach(true);
    let stage = stage.host_killed().await;
    let service = Service::new(&stage).await;
    let update = json!({"agent": {"tools": toolset("always_allow")}});
    let update = serde_json::from_value(update).unwrap();
    service
        .hosted
        .update(&service.workspace, &id, update)
        .await
        .unwrap();
    stage.machine.hold_attach(false);
    service.send(&id, "say:two").await.unwrap();
    stage.idle(&id).await;
    assert_eq!(stage.machine.guest().spawned().len(), 2);
}
