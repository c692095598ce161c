//! Stopping, removing, and shutting down.

use crate::stage::{Stage, events_until, message, until, within};
use control::{AccessError, CreateError, SendError};
use domain::{SandboxState, SessionStatus};
use std::time::Duration;
use wire::Body;

#[tokio::test]
async fn a_stopped_session_keeps_its_log_and_files_and_takes_no_more() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.send(&id, "say:x start:long wait").await;
    stage.gate.reached.notified().await;
    let mut stream = stage.control.events(&id, 0).await.unwrap();
    stage.control.stop(&id).await.unwrap();
    stage.control.stop(&id).await.unwrap();
    events_until(&mut stream, |body| matches!(body, Body::SessionStatusTerminated)).await;
    assert!(
        within(stream.next()).await.unwrap().is_none(),
        "the stream ends with the session"
    );
    let told = stage.told(&id).await;
    assert_eq!(told[told.len() - 2..], ["usage", "status_terminated"]);
    assert!(stage.idle(&id).await.terminated);
    let sent = stage.control.send(&id, vec![message("x")]).await;
    assert!(matches!(sent, Err(SendError::Terminated { .. })));
    assert_eq!((stage.machine.alive(), stage.machine.detached()), (0, 1));
    assert!(stage.machine.files_removed().is_empty());
    assert_eq!(
        stage.control.session(&id).await.unwrap().status,
        SessionStatus::Terminated
    );

    // A reader holds the data directory's lock.
    drop(stream);
    let stage = stage.killed_and_started_again().await;
    assert_eq!(stage.told(&id).await, told);
    let sent = stage.control.send(&id, vec![message("x")]).await;
    assert!(matches!(sent, Err(SendError::Terminated { .. })));
    let mut stream = stage.control.events(&id, 0).await.unwrap();
    events_until(&mut stream, |body| matches!(body, Body::SessionStatusTerminated)).await;
    assert!(within(stream.next()).await.unwrap().is_none());
    stage.control.remove(&id).await.unwrap();
    assert_eq!(stage.machine.files_removed().len(), 1);
}

#[tokio::test]
async fn a_removed_session_leaves_nothing_behind() {
    let stage = Stage::new().await;
    let (id, other) = (stage.session().await, stage.session().await);
    stage.turn(&other, "say:stays").await;
    stage.turn(&id, "exit:1").await;
    stage.send(&id, "say:x wait").await;
    stage.gate.reached.notified().await;
    let mut stream = stage.control.events(&id, 1_000_000).await.unwrap();
    let sandbox = stage.control.session(&id).await.unwrap().sandbox.unwrap();
    stage.control.remove(&id).await.unwrap();
    assert_eq!(stage.machine.files_removed(), [sandbox]);
    assert!(matches!(
        stage.control.session(&id).await,
        Err(AccessError::NoSession { .. })
    ));
    assert!(matches!(
        stage.control.remove(&id).await,
        Err(AccessError::NoSession { .. })
    ));
    let last = within(stream.next()).await.unwrap();
    assert!(
        matches!(&last, Some(control::Item::Event(logged)) if logged.event.body == Body::SessionDeleted),
        "{last:?}"
    );
    assert!(within(stream.next()).await.unwrap().is_none());
    assert_eq!(stage.machine.alive(), 1);
    assert_eq!(stage.control.sessions().await.unwrap().len(), 1);
    assert!(stage.told(&other).await.contains(&"agent(stays)".to_owned()));
}

#[tokio::test]
async fn a_session_that_cannot_be_removed_says_why_and_can_be_removed_later() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.turn(&id, "say:x").await;
    stage.machine.fail_destroy(true);
    let error = stage.control.remove(&id).await.unwrap_err();
    assert!(error.to_string().contains("the cgroup is busy"), "{error}");
    assert!(stage.control.session(&id).await.is_ok());
    stage.machine.fail_destroy(false);
    stage.control.remove(&id).await.unwrap();
    assert!(stage.control.sessions().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_session_is_stopped_while_its_sandbox_is_built() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.machine.hold_create();
    stage.send(&id, "say:x").await;
    let machine = stage.machine.clone();
    until("the sandbox is being built", || !machine.specs().is_empty()).await;
    within(stage.control.stop(&id)).await.unwrap();
    assert!(stage.machine.destroyed().contains(&stage.machine.specs()[0].id));
    assert_eq!(
        stage.store.sandboxes_of(&id).await.unwrap()[0].state,
        SandboxState::Destroyed
    );
}

#[tokio::test]
async fn shutting_down_ends_everything_and_says_what_was_cut() {
    let stage = Stage::new().await;
    let (working, resting, unused) = (
        stage.session().await,
        stage.session().await,
        stage.session().await,
    );
    stage.turn(&resting, "say:x").await;
    stage.send(&working, "start:long wait").await;
    stage.logged(&working, "agent.tool_use").await;
    let mut stream = stage.control.events(&unused, 0).await.unwrap();
    stage.control.shutdown(Duration::from_secs(10)).await;
    assert_eq!((stage.machine.alive(), stage.machine.detached()), (0, 2));
    assert!(within(stream.next()).await.unwrap().is_none());
    let told = stage.told(&working).await;
    assert!(
        told.iter()
            .any(|word| word.starts_with("failed(The call was interrupted")),
        "{told:?}"
    );
    assert_eq!(
        told[told.len() - 3..],
        ["error(unknown_error)", "usage", "idle(retries_exhausted)"]
    );
    assert_eq!(stage.told(&resting).await.last().unwrap(), "idle(end_turn)");
    let created = stage.control.create(crate::stage::new_session()).await;
    assert!(matches!(created, Err(CreateError::ShuttingDown)));
    assert!(matches!(
        stage.control.events(&working, 0).await,
        Err(AccessError::ShuttingDown)
    ));

    drop(stream);
    let stage = stage.killed_and_started_again().await;
    assert_eq!(
        stage.told(&working).await,
        told,
        "there is nothing left to reclaim"
    );
    assert_eq!(stage.turn(&working, "say:again").await.error, None);
}

#[tokio::test]
async fn a_session_needs_a_model_and_limits_that_can_be_enforced() {
    let stage = Stage::new().await;
    let mut new = crate::stage::new_session();
    new.model = " ".into();
    assert!(matches!(
        stage.control.create(new).await,
        Err(CreateError::NoModel)
    ));
    let mut new = crate::stage::new_session();
    new.limits.memory_bytes = 1;
    assert!(matches!(
        stage.control.create(new).await,
        Err(CreateError::Limits(_))
    ));
    assert!(stage.control.sessions().await.unwrap().is_empty());
}
