//! Keys and workspaces.

use crate::open;
use domain::{KeyId, WorkspaceId};
use store::NewKey;
use time::OffsetDateTime;

fn new(workspace: &str, hash: u8) -> NewKey {
    NewKey {
        workspace: workspace.parse().unwrap(),
        name: Some("a name".to_owned()),
        prefix: "hk_abcd".to_owned(),
        hash: [hash; 32],
    }
}

#[tokio::test]
async fn keys_are_kept_with_when_they_were_used_and_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let one = store.create_key(new("team-a", 1)).await.unwrap();
    let two = store.create_key(new("team-a", 2)).await.unwrap();
    assert!(
        store.create_key(new("team-b", 2)).await.is_err(),
        "no two keys have one hash"
    );
    let used = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
    store.record_key_use(&one.id, used).await.unwrap();
    let revoked = store.revoke_key(&two.id).await.unwrap().unwrap();
    assert_eq!(store.revoke_key(&two.id).await.unwrap(), Some(revoked.clone()));
    assert_eq!(store.revoke_key(&KeyId::random()).await.unwrap(), None);
    store.close().await;
    drop(store);
    let store = open(directory.path()).await;
    let keys = store.keys().await.unwrap();
    assert_eq!(keys[0].last_used_at, Some(used));
    assert_eq!((&keys[0].id, keys[0].hash), (&one.id, [1; 32]));
    assert_eq!(keys[1], revoked);
    assert_eq!(keys.len(), 2);
}

#[tokio::test]
async fn a_workspace_is_made_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let workspace = WorkspaceId::default();
    store.create_workspace(&workspace).await.unwrap();
    let first = store.workspaces().await.unwrap();
    store.create_workspace(&workspace).await.unwrap();
    store.create_key(new("default", 1)).await.unwrap();
    assert_eq!(store.workspaces().await.unwrap(), first);
    store.create_key(new("another", 2)).await.unwrap();
    assert_eq!(store.workspaces().await.unwrap().len(), 2);
}
