//! `hostler runtimes` on a data directory, with programs from files: what is installed, chosen, held and removed.

use crate::support::{Broken, Called, Host};
use domain::{Limits, SessionId, SessionStatus};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::Ordering;
use store::{Instance, NewSession, Store};

const WORKSPACE: &str = "default";

fn host() -> Host {
    let host = Host::new(Broken::default());
    let program = host.path("program");
    fs::write(&program, "#!/bin/sh\necho it plays no agent\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    host
}

async fn done(host: &Host, arguments: &[&str]) -> Called {
    let line = ["runtimes"].iter().chain(arguments).copied();
    let called = host.call(&line.collect::<Vec<_>>()).await;
    assert_eq!(called.exit, 0, "{arguments:?}: {}", called.err);
    called
}

async fn refused(host: &Host, arguments: &[&str]) -> String {
    let line = ["runtimes"].iter().chain(arguments).copied();
    let called = host.call(&line.collect::<Vec<_>>()).await;
    assert_eq!((called.exit, called.out.as_str()), (1, ""), "{arguments:?}");
    assert!(called.err.contains("\nhint: "), "{}", called.err);
    called.err
}

async fn install(host: &Host, version: &str) -> Called {
    let program = host.path("program");
    done(
        host,
        &[
            "install",
            "--file",
            program.to_str().unwrap(),
            "--version",
            version,
        ],
    )
    .await
}

async fn listed(host: &Host) -> Vec<Value> {
    let out = done(host, &["list", "--json"]).await.out;
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn versions_are_installed_pinned_taken_back_and_removed() {
    let host = host();
    let first = install(&host, "2.1.330").await;
    assert!(first.err.contains("new sessions get it"), "{}", first.err);
    let second = install(&host, "2.1.331").await;
    assert!(second.err.contains("new sessions get 2.1.330"), "{}", second.err);
    let error = refused(&host, &["rm", "claude@2.1.330"]).await;
    assert!(error.contains("is the default of new sessions"), "{error}");

    let pinned = done(&host, &["pin", "claude@2.1.331"]).await;
    assert_eq!(pinned.err, "new sessions get claude 2.1.331\n");
    let all = listed(&host).await;
    assert_eq!(
        (&all[0]["version"], &all[0]["default"]),
        (&json!("2.1.331"), &json!(true))
    );
    assert_eq!(all[0]["pinned_to"], "2.1.331");
    let table = done(&host, &["list"]).await.out;
    assert!(
        table
            .lines()
            .nth(1)
            .unwrap()
            .ends_with("default, pinned to 2.1.331"),
        "{table}"
    );

    let lifted = done(&host, &["pin", "--none"]).await;
    assert!(lifted.err.contains("nothing is pinned"), "{}", lifted.err);
    let back = done(&host, &["rollback", "claude"]).await;
    assert_eq!(
        back.err,
        "claude 2.1.331 is out of use; new sessions get 2.1.330\n"
    );
    let table = done(&host, &["list"]).await.out;
    assert!(table.contains("out of use: it was rolled back"), "{table}");
    done(&host, &["rm", "claude@2.1.331"]).await;
    assert_eq!(listed(&host).await.len(), 1);
}

#[tokio::test]
async fn what_is_not_there_is_said_with_what_gets_it_and_nothing_is_made() {
    let host = host();
    for arguments in [
        &["rm", "claude@2.1.330"][..],
        &["pin", "claude@2"],
        &["rollback", "claude"],
    ] {
        let error = refused(&host, arguments).await;
        assert!(
            error.contains("hint: hostler runtimes install claude\n"),
            "{error}"
        );
    }
    let empty = done(&host, &["list"]).await;
    assert!(empty.err.contains("no versions of claude"), "{}", empty.err);
    let run = host.call(&["run", "--runtime", "claude", "x"]).await;
    assert_eq!(run.exit, 1);
    assert!(
        run.err.ends_with("hint: hostler runtimes install claude\n"),
        "{}",
        run.err
    );
    assert_eq!(host.broken.starts.load(Ordering::SeqCst), 0, "nothing is started");
    assert!(!host.path("data").exists());
    let error = refused(&host, &["install", "--file", "/nowhere"]).await;
    assert!(error.contains("/nowhere cannot be read"), "{error}");
}

/// A session of `run` on a version of claude, and how it stands.
async fn session(store: &Store, version: &str, status: SessionStatus) {
    let id = SessionId::random();
    let new = NewSession {
        id: id.clone(),
        title: None,
        workspace: None,
        model: "m".to_owned(),
        limits: Limits::default(),
        egress_rules: json!([]),
        settings: json!({"runtime": {"claude": {"version": version}}}),
        hosting: None,
    };
    store.create_session(new).await.unwrap();
    if status == SessionStatus::Terminated {
        store.archive_session(&id).await.unwrap();
    }
}

#[tokio::test]
async fn a_version_that_a_session_or_an_environment_needs_stays() {
    let host = host();
    for version in ["2.1.330", "2.1.331", "2.1.332", "2.1.333"] {
        install(&host, version).await;
    }
    let store = Store::open(Instance::open(&host.path("data")).unwrap())
        .await
        .unwrap();
    session(&store, "2.1.331", SessionStatus::Idle).await;
    session(&store, "2.1.333", SessionStatus::Terminated).await;
    let create = json!({"name": "old", "hostler": {"runtime": "claude", "runtime_version": "2.1.332"}});
    let create = <wire::environments::Create as wire::Input>::read(create).unwrap();
    let workspace = WORKSPACE.parse().unwrap();
    store.create_workspace(&workspace).await.unwrap();
    let definition = create.define(&Limits::default());
    store.create_environment(&workspace, definition).await.unwrap();
    store.close().await;
    drop(store);

    let error = refused(&host, &["rm", "claude@2.1.331"]).await;
    assert!(error.contains("is used by a session"), "{error}");
    let error = refused(&host, &["rm", "claude@2.1.332"]).await;
    assert!(error.contains("is pinned by environment \"old\""), "{error}");
    done(&host, &["rm", "claude@2.1.333"]).await;
    let all = listed(&host).await;
    let in_use: Vec<_> = all.iter().map(|one| one["in_use"].as_bool().unwrap()).collect();
    assert_eq!(in_use, [false, true, false]);
    assert_eq!(all[0]["pinned_by"], json!(["environment \"old\""]));
}
