//! Sessions, sandboxes, model calls and egress decisions.

use crate::{append, open, session, session_of};
use domain::{Cost, SandboxId, SandboxState, SessionId, SessionStatus, Usage};
use std::time::Duration;
use store::{Append, Closed, Decision, Error, Hosting, NewCall, OpenError, Outcome, SandboxChange, Store};
use time::OffsetDateTime;

fn call(session: &SessionId) -> NewCall {
    let (model, started_at) = ("claude-haiku-4-5".into(), OffsetDateTime::now_utc());
    NewCall {
        session: session.clone(),
        model,
        stream: true,
        request_bytes: 9,
        started_at,
    }
}

fn closed(input_tokens: u64, cost: Option<Cost>) -> Closed {
    Closed {
        outcome: Outcome::Completed,
        status: Some(200),
        model: None,
        usage: Usage {
            input_tokens,
            ..Usage::default()
        },
        estimated: false,
        cost,
        attempts: 1,
        request_id: None,
        first_byte: None,
        duration: Duration::from_millis(3),
    }
}

#[tokio::test]
async fn a_session_is_read_back_as_it_was_made_also_by_the_next_instance() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let made = session(&store).await;
    assert_eq!(store.session(&made.id).await.unwrap(), made);
    store.close().await;
    assert!(matches!(
        store.append(append(&made, &["x"])).await,
        Err(Error::Closed)
    ));
    drop(store);
    let store = open(directory.path()).await;
    assert_eq!(store.sessions().await.unwrap(), [made]);
    let other = SessionId::random();
    assert!(matches!(store.session(&other).await, Err(Error::NoSession { session }) if session == other));
}

#[tokio::test]
async fn a_workspace_path_need_not_be_text() {
    use std::os::unix::ffi::OsStringExt;
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let path = std::path::PathBuf::from(std::ffi::OsString::from_vec(b"/a/\xff\xfe".to_vec()));
    let new = store::NewSession {
        id: SessionId::random(),
        title: None,
        workspace: Some(path.clone()),
        model: "m".into(),
        limits: domain::Limits::default(),
        egress_rules: serde_json::json!([]),
        settings: serde_json::json!({}),
        hosting: None,
    };
    let made = store.create_session(new).await.unwrap();
    assert_eq!(store.session(&made.id).await.unwrap().workspace, Some(path));
}

async fn begin(store: &Store, session: &store::Session) -> (SandboxId, OffsetDateTime) {
    let (id, at) = (
        SandboxId::random(),
        OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap(),
    );
    let sandbox = vec![SandboxChange::Begin {
        id: id.clone(),
        view_started_at: at,
        token: "a token".into(),
    }];
    let begin = Append {
        sandbox,
        status: Some(SessionStatus::Running),
        ..Append::new(session.id.clone(), session.epoch, [])
    };
    store.append(begin).await.unwrap();
    (id, at)
}

#[tokio::test]
async fn a_sandbox_is_its_session_s_from_before_it_is_built_and_moves_as_the_domain_says() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let made = session(&store).await;
    let (id, at) = begin(&store, &made).await;
    let row = store.session(&made.id).await.unwrap();
    assert_eq!((row.sandbox, row.view_started_at), (Some(id.clone()), Some(at)));
    let moved = store.set_sandbox_state(&id, SandboxState::Frozen).await;
    assert!(matches!(
        moved,
        Err(Error::SandboxMove {
            from: SandboxState::Starting,
            ..
        })
    ));
    for state in [
        SandboxState::Running,
        SandboxState::Running,
        SandboxState::Idle,
        SandboxState::Destroyed,
    ] {
        store.set_sandbox_state(&id, state).await.unwrap();
    }
    assert_eq!(
        store.sandboxes_of(&made.id).await.unwrap()[0].state,
        SandboxState::Destroyed
    );
    let unknown = store
        .set_sandbox_state(&SandboxId::random(), SandboxState::Destroyed)
        .await;
    assert!(matches!(unknown, Err(Error::NoSandbox { .. })));
}

#[tokio::test]
async fn the_next_instance_finds_what_the_last_one_left_and_nothing_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let made = session(&store).await;
    let (sandbox, _) = begin(&store, &made).await;
    store.open_model_call(call(&made.id)).await.unwrap();
    assert!(store.sandboxes_left_behind().await.unwrap().is_empty());
    assert!(store.sessions_left_running().await.unwrap().is_empty());
    assert_eq!(store.cut_calls_of_dead_instances().await.unwrap(), 0);
    store.close().await;
    drop(store);
    let store = open(directory.path()).await;
    assert_eq!(store.sandboxes_left_behind().await.unwrap()[0].id, sandbox);
    assert_eq!(store.sessions_left_running().await.unwrap()[0].id, made.id);
    assert_eq!(store.model_call_sums(&made.id).await.unwrap().open, 1);
    assert_eq!(store.cut_calls_of_dead_instances().await.unwrap(), 1);
    assert_eq!(store.cut_calls_of_dead_instances().await.unwrap(), 0);
    let sums = store.model_call_sums(&made.id).await.unwrap();
    assert_eq!((sums.calls, sums.open), (1, 0));
    let calls = store.model_calls(&made.id).await.unwrap();
    let told: Vec<_> = calls
        .iter()
        .map(|call| (call.outcome.as_str(), call.request_bytes))
        .collect();
    assert_eq!(told, [("cut", call(&made.id).request_bytes)]);
    store.claim_session(&made.id).await.unwrap();
    assert!(store.sessions_left_running().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_a_server_s_is_left_to_the_next_server() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let hosting = Hosting {
        workspace_id: "default".to_owned(),
        agent_id: "agent_1".to_owned(),
        agent_version: 1,
        environment_id: "env_1".to_owned(),
        resource: serde_json::json!({}),
    };
    let made = session_of(&store, Some(hosting)).await;
    let (sandbox, _) = begin(&store, &made).await;
    store.close().await;
    drop(store);
    let store = open(directory.path()).await;
    assert!(store.sandboxes_left_behind().await.unwrap().is_empty());
    assert!(store.sessions_left_running().await.unwrap().is_empty());
    assert_eq!(store.sandboxes_alive().await.unwrap()[0].id, sandbox);
    assert_eq!(store.sessions_under_way().await.unwrap()[0].id, made.id);
}

#[tokio::test]
async fn calls_add_up_and_a_call_without_a_price_makes_the_cost_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let (one, other) = (session(&store).await, session(&store).await);
    for (session, cost) in [(&one, 5), (&one, 7), (&other, 100)] {
        let id = store.open_model_call(call(&session.id)).await.unwrap();
        store
            .close_model_call(id, closed(10, Some(Cost::from_nano_usd(cost))))
            .await
            .unwrap();
        // A second close changes nothing.
        store.close_model_call(id, closed(1000, None)).await.unwrap();
    }
    let sums = store.model_call_sums(&one.id).await.unwrap();
    assert_eq!(
        (sums.usage.input_tokens, sums.list_cost()),
        (20, Some(Cost::from_nano_usd(12)))
    );
    let id = store.open_model_call(call(&one.id)).await.unwrap();
    store.close_model_call(id, closed(1, None)).await.unwrap();
    let sums = store.model_call_sums(&one.id).await.unwrap();
    assert_eq!(
        (sums.cost, sums.list_cost(), sums.unpriced),
        (Cost::from_nano_usd(12), None, 1)
    );
}

#[tokio::test]
async fn whoever_waits_for_the_ledger_is_woken_by_the_last_close() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let made = session(&store).await;
    let (first, last) = (
        store.open_model_call(call(&made.id)).await.unwrap(),
        store.open_model_call(call(&made.id)).await.unwrap(),
    );
    let unsettled = store
        .settled_model_calls(&made.id, Duration::from_millis(1))
        .await
        .unwrap();
    assert_eq!(unsettled.open, 2);
    let waiting = store.settled_model_calls(&made.id, Duration::from_secs(30));
    let closing = async {
        store.close_model_call(first, closed(1, None)).await.unwrap();
        store.close_model_call(last, closed(2, None)).await.unwrap();
    };
    let (settled, ()) = tokio::join!(waiting, closing);
    let settled = settled.unwrap();
    assert_eq!((settled.open, settled.usage.input_tokens), (0, 3));
}

#[tokio::test]
async fn huge_counts_do_not_overflow_the_sums() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let made = session(&store).await;
    for _ in 0..3 {
        let id = store.open_model_call(call(&made.id)).await.unwrap();
        store
            .close_model_call(id, closed(u64::MAX, Some(Cost::from_nano_usd(u64::MAX))))
            .await
            .unwrap();
    }
    assert_eq!(store.model_call_sums(&made.id).await.unwrap().calls, 3);
}

#[tokio::test]
async fn decisions_are_kept_up_to_a_number_and_long_texts_are_cut() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let made = session(&store).await;
    let decision = |host: String| Decision {
        at: OffsetDateTime::UNIX_EPOCH,
        protocol: "tls".into(),
        host,
        port: 443,
        allowed: false,
        rule: None,
        detail: None,
    };
    let many = (0..store::egress_audit::KEPT)
        .map(|number| decision(number.to_string()))
        .collect();
    store.append_decisions(&made.id, many).await.unwrap();
    store
        .append_decisions(
            &made.id,
            vec![decision("é".repeat(1000)), decision("last".into())],
        )
        .await
        .unwrap();
    let kept = store.decisions(&made.id, 0, 20_000).await.unwrap();
    assert_eq!(kept.len() as u64, store::egress_audit::KEPT);
    assert_eq!((kept[0].0, kept[0].1.host.as_str()), (3, "2"));
    let tail = store
        .decisions(&made.id, store::egress_audit::KEPT, 10)
        .await
        .unwrap();
    assert_eq!((tail[0].1.host.len(), tail[1].1.host.as_str()), (512, "last"));
}

#[tokio::test]
async fn a_removed_session_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let (made, other) = (session(&store).await, session(&store).await);
    begin(&store, &made).await;
    store.append(append(&made, &["x"])).await.unwrap();
    store.append(append(&other, &["y"])).await.unwrap();
    store.open_model_call(call(&made.id)).await.unwrap();
    store.remove_session(&made.id).await.unwrap();
    assert!(matches!(
        store.remove_session(&made.id).await,
        Err(Error::NoSession { .. })
    ));
    assert!(matches!(
        store.append(append(&made, &["x"])).await,
        Err(Error::NoSession { .. })
    ));
    assert!(store.sandboxes_of(&made.id).await.unwrap().is_empty());
    assert_eq!(crate::whole_log(&store, &other.id).await.len(), 1);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    store.close().await;
    drop(store);
    let path = directory.path().join("data/hostler.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // `user_version` is the big-endian number at offset 60 of the header.
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let instance = store::Instance::open(&directory.path().join("data")).unwrap();
    let Err(error) = Store::open(instance).await else {
        panic!("a newer database is not opened")
    };
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let instance = store::Instance::open(&data).unwrap();
    std::fs::write(
        data.join("hostler.db"),
        "this is not a database, and long enough to be read as one".repeat(20),
    )
    .unwrap();
    let Err(error) = Store::open(instance).await else {
        panic!("garbage is not opened")
    };
    assert!(error.to_string().contains("hostler.db"), "{error}");
}
