//! Agents and their versions.

use crate::open;
use domain::{AgentId, WorkspaceId};
use serde_json::json;
use store::{AgentFilter, Refused, Store};
use wire::agents::{Agent, Create, Definition, Update};
use wire::page::{Listing, Order, Slice};
use wire::{Input, Invalid};

fn definition(name: &str) -> Definition {
    Create::read(json!({"name": name, "model": "m", "tools": [{"type": "agent_toolset_20260401"}]}))
        .unwrap()
        .into()
}

fn renamed(name: &str) -> impl FnOnce(Definition) -> Result<Definition, Invalid> + Send + 'static {
    let update = Update::read(json!({"name": name})).unwrap();
    move |definition| update.apply(definition)
}

fn slice(limit: usize) -> Slice {
    Listing::new("agents", Order::Desc)
        .slice(None, Some(limit))
        .unwrap()
}

async fn rename(
    store: &Store,
    workspace: &WorkspaceId,
    id: &AgentId,
    expected: Option<u64>,
    name: &str,
) -> Result<Agent, Refused> {
    store
        .update_agent(workspace, id, expected, renamed(name))
        .await
        .unwrap()
}

#[tokio::test]
async fn every_version_is_there_after_a_restart() {
    let (directory, home) = (tempfile::tempdir().unwrap(), WorkspaceId::default());
    let store = open(directory.path()).await;
    let first = store.create_agent(&home, definition("one")).await.unwrap();
    let second = rename(&store, &home, &first.id, Some(1), "two").await.unwrap();
    assert_eq!((second.version, second.created_at), (2, first.created_at));
    store.close().await;
    drop(store);
    let store = open(directory.path()).await;
    assert_eq!(
        store.agent(&home, &first.id, None).await.unwrap(),
        Some(second.clone())
    );
    assert_eq!(
        store.agent(&home, &first.id, Some(1)).await.unwrap(),
        Some(first.clone())
    );
    for missing in [0, 3, u64::MAX] {
        assert_eq!(store.agent(&home, &first.id, Some(missing)).await.unwrap(), None);
    }
    let versions = store.agent_versions(&home, &first.id, &slice(10)).await.unwrap();
    assert_eq!(versions, [second, first]);
}

#[tokio::test]
async fn of_many_updates_of_one_version_one_is_made() {
    let (directory, home) = (tempfile::tempdir().unwrap(), WorkspaceId::default());
    let store = open(directory.path()).await;
    let agent = store.create_agent(&home, definition("one")).await.unwrap();
    let names: Vec<String> = (0..16).map(|number| format!("name {number}")).collect();
    let updates = names
        .iter()
        .map(|name| rename(&store, &home, &agent.id, Some(1), name));
    let outcomes = futures_util::future::join_all(updates).await;
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(won, 1);
    let lost = Err(Refused::VersionConflict { present: 2 });
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == lost).count(), 15);
    assert_eq!(
        store
            .agent_versions(&home, &agent.id, &slice(100))
            .await
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn a_refused_change_leaves_nothing() {
    let (directory, home) = (tempfile::tempdir().unwrap(), WorkspaceId::default());
    let store = open(directory.path()).await;
    let agent = store.create_agent(&home, definition("one")).await.unwrap();
    let wrong = Invalid::new("name", "is wrong");
    let refused = {
        let wrong = wrong.clone();
        store
            .update_agent(&home, &agent.id, None, |_| Err(wrong))
            .await
            .unwrap()
    };
    assert_eq!(refused, Err(Refused::Invalid(wrong)));
    let archived = store.archive_agent(&home, &agent.id).await.unwrap().unwrap();
    assert_eq!(
        rename(&store, &home, &agent.id, None, "two").await,
        Err(Refused::Archived)
    );
    assert_eq!(store.agent(&home, &agent.id, None).await.unwrap(), Some(archived));
}

#[tokio::test]
async fn another_workspace_sees_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let (home, other): (WorkspaceId, WorkspaceId) = ("home".parse().unwrap(), "other".parse().unwrap());
    let agent = store.create_agent(&home, definition("one")).await.unwrap();
    assert_eq!(store.agent(&other, &agent.id, None).await.unwrap(), None);
    assert_eq!(
        store.agent_versions(&other, &agent.id, &slice(5)).await.unwrap(),
        []
    );
    assert_eq!(
        store
            .agents(&other, AgentFilter::default(), &slice(5))
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        rename(&store, &other, &agent.id, None, "x").await,
        Err(Refused::NotFound)
    );
    assert_eq!(
        store.archive_agent(&other, &agent.id).await.unwrap(),
        Err(Refused::NotFound)
    );
    assert_eq!(store.agent(&home, &agent.id, None).await.unwrap(), Some(agent));
}
