//! Environments.

use crate::open;
use domain::WorkspaceId;
use serde_json::json;
use store::Refused;
use wire::Input;
use wire::environments::{Create, Definition, Update};
use wire::page::{Listing, Order, Slice};

fn definition(name: &str) -> Definition {
    Create::read(json!({"name": name, "hostler": {"memory": "64M"}}))
        .unwrap()
        .define(&domain::Limits::default())
}

fn slice() -> Slice {
    Listing::new("environments", Order::Desc)
        .slice(None, Some(5))
        .unwrap()
}

#[tokio::test]
async fn an_environment_is_kept_changed_archived_and_deleted() {
    let (directory, home) = (tempfile::tempdir().unwrap(), WorkspaceId::default());
    let store = open(directory.path()).await;
    let made = store.create_environment(&home, definition("one")).await.unwrap();
    store.close().await;
    drop(store);
    let store = open(directory.path()).await;
    assert_eq!(
        store.environment(&home, &made.id).await.unwrap(),
        Some(made.clone())
    );
    let update = |value| {
        let update = Update::read(value).unwrap();
        let store = &store;
        let (home, id) = (&home, &made.id);
        async move {
            let updated = store.update_environment(home, id, |definition| {
                update.apply(definition, &domain::Limits::default())
            });
            updated.await.unwrap()
        }
    };
    assert_eq!(update(json!({"name": "one"})).await, Ok(made.clone()));
    let updated = update(json!({"name": "two"})).await.unwrap();
    assert!(updated.updated_at >= made.updated_at && updated.created_at == made.created_at);
    let archived = store.archive_environment(&home, &made.id).await.unwrap().unwrap();
    assert_eq!(
        store.archive_environment(&home, &made.id).await.unwrap(),
        Ok(archived.clone())
    );
    assert_eq!(update(json!({"name": "three"})).await, Err(Refused::Archived));
    assert_eq!(store.environments(&home, false, &slice()).await.unwrap(), []);
    assert_eq!(
        store.environments(&home, true, &slice()).await.unwrap(),
        [archived]
    );
    assert_eq!(store.delete_environment(&home, &made.id).await.unwrap(), Ok(()));
    assert_eq!(
        store.delete_environment(&home, &made.id).await.unwrap(),
        Err(Refused::NotFound)
    );
    assert_eq!(store.environment(&home, &made.id).await.unwrap(), None);
}

#[tokio::test]
async fn another_workspace_sees_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let (home, other): (WorkspaceId, WorkspaceId) = ("home".parse().unwrap(), "other".parse().unwrap());
    let made = store.create_environment(&home, definition("one")).await.unwrap();
    assert_eq!(store.environment(&other, &made.id).await.unwrap(), None);
    assert_eq!(store.environments(&other, true, &slice()).await.unwrap(), []);
    let updated = store.update_environment(&other, &made.id, Ok).await.unwrap();
    assert_eq!(updated, Err(Refused::NotFound));
    assert_eq!(
        store.archive_environment(&other, &made.id).await.unwrap(),
        Err(Refused::NotFound)
    );
    assert_eq!(
        store.delete_environment(&other, &made.id).await.unwrap(),
        Err(Refused::NotFound)
    );
    assert_eq!(store.environment(&home, &made.id).await.unwrap(), Some(made));
}
