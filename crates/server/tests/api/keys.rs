//! `/host/v1/keys`.

use crate::Fixture;
use http::Method;
use serde_json::json;

#[tokio::test]
async fn a_key_opens_its_workspace_until_it_is_revoked() {
    let fixture = Fixture::new().await;
    let body = json!({"name": "ci", "workspace_id": "team-a"});
    let made = fixture.post("/host/v1/keys", body).await.resource();
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("hk_") && secret.len() == 46);
    assert!(secret.starts_with(made["prefix"].as_str().unwrap()));
    let agent = json!({"name": "n", "model": "m"});
    fixture
        .call(&secret, Method::POST, "/v1/agents", Some(agent))
        .await
        .resource();

    let listed = fixture.get("/host/v1/keys").await.resource();
    let key = &listed["data"][0];
    assert_eq!(
        (&key["name"], &key["workspace_id"]),
        (&json!("ci"), &json!("team-a"))
    );
    assert!(key["last_used_at"].is_string());
    assert!(!listed.to_string().contains(&secret));

    let path = format!("/host/v1/keys/{}/revoke", key["id"].as_str().unwrap());
    let revoked = fixture.post(&path, json!({})).await.resource();
    assert!(revoked["revoked_at"].is_string());
    assert_eq!(fixture.post(&path, json!({})).await.resource(), revoked);
    let refused = fixture.call(&secret, Method::GET, "/v1/agents", None).await;
    assert_eq!(refused.error(), (401, "authentication_error"));
}

#[tokio::test]
async fn keys_are_there_after_a_restart_and_revoked_ones_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let first = crate::resources(&directory).await;
    let make = || first.keys().create(wire::keys::Create::default());
    let (kept, revoked) = (make().await.unwrap(), make().await.unwrap());
    first.keys().revoke(&revoked.key.id).await.unwrap();
    first.store().close().await;
    drop(first);
    let second = crate::resources(&directory).await;
    assert!(second.keys().authenticate(&kept.secret).await.is_some());
    assert!(second.keys().authenticate(&revoked.secret).await.is_none());
    assert!(second.keys().authenticate("").await.is_none());
}

#[tokio::test]
async fn the_data_directory_does_not_hold_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    let resources = crate::resources(&directory).await;
    let made = resources
        .keys()
        .create(wire::keys::Create::default())
        .await
        .unwrap();
    resources.store().close().await;
    for entry in std::fs::read_dir(directory.path().join("data")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let secret = &made.secret.as_bytes()[8..];
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
}

#[tokio::test]
async fn what_is_no_key_is_not_found_and_wrong_names_are_refused() {
    let fixture = Fixture::new().await;
    for id in ["key_00000000000000000000000000", "x"] {
        let answer = fixture
            .post(&format!("/host/v1/keys/{id}/revoke"), json!({}))
            .await;
        assert_eq!(
            (answer.error(), answer.code()),
            ((404, "not_found_error"), "key_not_found")
        );
    }
    for body in [
        json!({"workspace_id": "A"}),
        json!({"name": ""}),
        json!({"admin": true}),
    ] {
        let answer = fixture.post("/host/v1/keys", body).await;
        assert_eq!(answer.error(), (400, "invalid_request_error"));
    }
}
