//! `/v1/environments`.

use crate::{ADMIN, Fixture};
use http::Method;
use serde_json::{Value, json};

async fn environment(fixture: &Fixture, body: Value) -> Value {
    fixture.post("/v1/environments", body).await.resource()
}

fn path(environment: &Value) -> String {
    format!("/v1/environments/{}", environment["id"].as_str().unwrap())
}

#[tokio::test]
async fn an_environment_is_made_read_changed_and_archived() {
    let fixture = Fixture::new().await;
    let body = json!({"name": "e", "hostler": {"memory": "2G"}, "metadata": {"a": "1"},
        "config": {"type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["a.example"]}}});
    let made = environment(&fixture, body).await;
    assert_eq!(made["hostler"]["memory"], 2_u64 << 30);
    assert_eq!(fixture.get(&path(&made)).await.resource(), made);
    let same = fixture
        .post(&path(&made), json!({"hostler": {"memory": "2048M"}}))
        .await
        .resource();
    assert_eq!(same, made);
    let update = json!({"name": "f", "metadata": {"a": "", "b": "2"}, "hostler": {"cpus": 2}});
    let updated = fixture.post(&path(&made), update).await.resource();
    assert_eq!(
        (&updated["name"], &updated["metadata"]),
        (&json!("f"), &json!({"b": "2"}))
    );
    assert_eq!(updated["config"], made["config"]);
    assert_eq!(fixture.get(&path(&made)).await.resource(), updated);
    let archived = fixture
        .post(&format!("{}/archive", path(&made)), json!({}))
        .await
        .resource();
    assert!(archived["archived_at"].is_string());
    let refused = fixture.post(&path(&made), json!({"name": "g"})).await;
    assert_eq!(
        (refused.error(), refused.code()),
        ((400, "invalid_request_error"), "environment_archived")
    );
    assert_eq!(fixture.all("/v1/environments", 5).await, Vec::<String>::new());
    assert_eq!(
        fixture
            .all("/v1/environments?include_archived=true", 5)
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn a_deleted_environment_is_gone() {
    let fixture = Fixture::new().await;
    let made = environment(&fixture, json!({"name": "e"})).await;
    let deleted = fixture
        .call(ADMIN, Method::DELETE, &path(&made), None)
        .await
        .resource();
    assert_eq!(deleted, json!({"type": "environment_deleted", "id": made["id"]}));
    let gone = fixture.get(&path(&made)).await;
    assert_eq!(
        (gone.error(), gone.code()),
        ((404, "not_found_error"), "environment_not_found")
    );
    let again = fixture.call(ADMIN, Method::DELETE, &path(&made), None).await;
    assert_eq!(again.error(), (404, "not_found_error"));
}

#[tokio::test]
async fn too_much_metadata_has_its_code() {
    let fixture = Fixture::new().await;
    let many: serde_json::Map<String, Value> = (0..16).map(|n| (n.to_string(), json!("x"))).collect();
    let made = environment(&fixture, json!({"name": "e", "metadata": many})).await;
    let refused = fixture
        .post(&path(&made), json!({"metadata": {"one more": "x"}}))
        .await;
    assert_eq!(
        (refused.error(), refused.code()),
        ((400, "invalid_request_error"), "invalid_metadata")
    );
    let refused = fixture
        .post(&path(&made), json!({"metadata": {"k": "v".repeat(513)}}))
        .await;
    assert_eq!(
        (refused.code(), &refused.json["error"]["details"]["field"]),
        ("invalid_metadata", &json!("metadata.k"))
    );
}

#[tokio::test]
async fn lists_are_whole_and_in_order_whatever_the_page_size() {
    let fixture = Fixture::new().await;
    let mut expected = Vec::new();
    for number in 0..5 {
        let made = environment(&fixture, json!({"name": number.to_string()})).await;
        expected.insert(0, made["id"].as_str().unwrap().to_owned());
    }
    for limit in [1, 2, 5] {
        assert_eq!(fixture.all("/v1/environments", limit).await, expected, "{limit}");
    }
}
