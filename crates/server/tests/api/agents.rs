//! `/v1/agents`.

use crate::Fixture;
use serde_json::{Value, json};

async fn agent(fixture: &Fixture, name: &str) -> Value {
    let body = json!({"name": name, "model": "claude-sonnet-5-5"});
    fixture.post("/v1/agents", body).await.resource()
}

fn path(agent: &Value) -> String {
    format!("/v1/agents/{}", agent["id"].as_str().unwrap())
}

#[tokio::test]
async fn an_agent_is_read_as_it_was_made_in_every_version() {
    let fixture = Fixture::new().await;
    let first = agent(&fixture, "one").await;
    assert_eq!(
        (first["version"].as_u64(), first["type"].as_str()),
        (Some(1), Some("agent"))
    );
    let second = fixture
        .post(&path(&first), json!({"name": "two", "version": 1}))
        .await
        .resource();
    assert_eq!(second["version"], 2);
    assert_eq!(second["created_at"], first["created_at"]);
    assert_eq!(fixture.get(&path(&first)).await.resource(), second);
    let old = fixture
        .get(&format!("{}?version=1", path(&first)))
        .await
        .resource();
    assert_eq!(
        (&old["name"], &old["version"]),
        (&first["name"], &first["version"])
    );
    let missing = fixture.get(&format!("{}?version=3", path(&first))).await;
    assert_eq!(
        (missing.error(), missing.code()),
        ((404, "not_found_error"), "agent_not_found")
    );
    let versions = fixture
        .get(&format!("{}/versions?limit=1", path(&first)))
        .await
        .resource();
    assert_eq!(versions["data"], json!([second]));
    let next = versions["next_page"].as_str().unwrap();
    let rest = fixture
        .get(&format!("{}/versions?limit=1&page={next}", path(&first)))
        .await
        .resource();
    assert_eq!(
        (&rest["data"][0]["name"], &rest["next_page"]),
        (&json!("one"), &Value::Null)
    );
}

#[tokio::test]
async fn an_update_that_changes_nothing_makes_no_version() {
    let fixture = Fixture::new().await;
    let first = agent(&fixture, "one").await;
    for body in [
        json!({}),
        json!({"name": "one"}),
        json!({"metadata": {"x": null}}),
    ] {
        assert_eq!(fixture.post(&path(&first), body).await.resource(), first);
    }
}

#[tokio::test]
async fn of_two_updates_of_one_version_one_is_a_conflict_that_is_not_retried() {
    let fixture = Fixture::new().await;
    let first = agent(&fixture, "one").await;
    let (path, body) = (path(&first), |name: &str| json!({"name": name, "version": 1}));
    let (one, two) = tokio::join!(fixture.post(&path, body("a")), fixture.post(&path, body("b")));
    let (won, lost) = if one.status.is_success() {
        (one, two)
    } else {
        (two, one)
    };
    assert_eq!(won.resource()["version"], 2);
    assert_eq!(
        (lost.error(), lost.code()),
        ((409, "invalid_request_error"), "version_conflict")
    );
    assert_eq!(lost.headers["x-should-retry"], "false");
    assert!(lost.message().contains("version 2"), "{}", lost.message());
}

#[tokio::test]
async fn updates_without_a_version_are_all_there() {
    let fixture = Fixture::new().await;
    let first = agent(&fixture, "one").await;
    let path = path(&first);
    let bodies = (0..8).map(|n| json!({"metadata": {(n.to_string()): "x"}}));
    let updates = bodies.map(|body| fixture.post(&path, body));
    futures_util::future::join_all(updates).await;
    let last = fixture.get(&path).await.resource();
    assert_eq!(last["metadata"].as_object().unwrap().len(), 8);
    assert_eq!(last["version"], 9);
}

#[tokio::test]
async fn an_archived_agent_stays_readable_and_as_it_is() {
    let fixture = Fixture::new().await;
    let first = agent(&fixture, "one").await;
    let archive = format!("{}/archive", path(&first));
    let archived = fixture.post(&archive, json!({})).await.resource();
    assert!(archived["archived_at"].is_string());
    assert_eq!(fixture.post(&archive, json!({})).await.resource(), archived);
    assert_eq!(fixture.get(&path(&first)).await.resource(), archived);
    let refused = fixture.post(&path(&first), json!({"name": "x"})).await;
    assert_eq!(
        (refused.error(), refused.code()),
        ((400, "invalid_request_error"), "agent_archived")
    );
}

#[tokio::test]
async fn lists_are_whole_and_in_order_whatever_the_page_size() {
    let fixture = Fixture::new().await;
    let mut expected = Vec::new();
    for number in 0..7 {
        let made = agent(&fixture, &number.to_string()).await;
        expected.insert(0, made["id"].as_str().unwrap().to_owned());
    }
    for limit in [1, 2, 3, 7, 100] {
        assert_eq!(fixture.all("/v1/agents", limit).await, expected, "{limit}");
    }
    let archived = expected.remove(3);
    fixture
        .post(&format!("/v1/agents/{archived}/archive"), json!({}))
        .await
        .resource();
    assert_eq!(fixture.all("/v1/agents", 2).await, expected);
    assert_eq!(fixture.all("/v1/agents?include_archived=true", 2).await.len(), 7);
}

#[tokio::test]
async fn lists_are_filtered_by_time() {
    let fixture = Fixture::new().await;
    let (old, new) = (agent(&fixture, "old").await, agent(&fixture, "new").await);
    let at = |agent: &Value| agent["created_at"].as_str().unwrap().to_owned();
    let ids = |agent: &Value| vec![agent["id"].as_str().unwrap().to_owned()];
    let from = fixture
        .all(&format!("/v1/agents?created_at%5Bgte%5D={}", at(&new)), 5)
        .await;
    assert_eq!(from, ids(&new));
    let to = fixture
        .all(&format!("/v1/agents?created_at[lte]={}", at(&old)), 5)
        .await;
    assert_eq!(to, ids(&old));
}

#[tokio::test]
async fn a_cursor_of_something_else_is_refused() {
    let fixture = Fixture::new().await;
    for name in ["a", "b", "c"] {
        agent(&fixture, name).await;
    }
    let page = fixture.get("/v1/agents?limit=1").await.resource();
    let cursor = page["next_page"].as_str().unwrap();
    for path in [
        format!("/v1/environments?limit=1&page={cursor}"),
        format!("/v1/agents?limit=1&include_archived=true&page={cursor}"),
        "/v1/agents?page=nonsense".to_owned(),
    ] {
        let refused = fixture.get(&path).await;
        assert_eq!(refused.error(), (400, "invalid_request_error"), "{path}");
        assert!(refused.message().starts_with("page: "), "{}", refused.message());
    }
    let wider = fixture
        .get(&format!("/v1/agents?limit=2&page={cursor}"))
        .await
        .resource();
    assert_eq!(wider["data"].as_array().unwrap().len(), 2);
}
