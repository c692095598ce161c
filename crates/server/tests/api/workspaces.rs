//! Nobody sees from one workspace into another.

use crate::sessions::without_clocks;
use crate::{ADMIN, Answer, Fixture};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use server::Access;

/// What a resource of another workspace is asked with, by endpoint. A new endpoint with a name in its path needs a line
/// here: what it is for, and a body that would be good.
const ASKED: [(&str, &str, &str); 16] = [
    ("GET", "/v1/agents/{agent_id}", ""),
    ("POST", "/v1/agents/{agent_id}", "{\"name\": \"taken\"}"),
    ("POST", "/v1/agents/{agent_id}/archive", ""),
    ("GET", "/v1/agents/{agent_id}/versions", ""),
    ("GET", "/v1/environments/{environment_id}", ""),
    (
        "POST",
        "/v1/environments/{environment_id}",
        "{\"name\": \"taken\"}",
    ),
    ("DELETE", "/v1/environments/{environment_id}", ""),
    ("POST", "/v1/environments/{environment_id}/archive", ""),
    ("GET", "/v1/sessions/{session_id}", ""),
    ("POST", "/v1/sessions/{session_id}", "{\"title\": \"taken\"}"),
    ("DELETE", "/v1/sessions/{session_id}", ""),
    ("POST", "/v1/sessions/{session_id}/archive", ""),
    (
        "POST",
        "/v1/sessions/{session_id}/events",
        "{\"events\": [{\"type\": \"user.message\", \"content\": [{\"type\": \"text\", \"text\": \"hello\"}]}]}",
    ),
    ("GET", "/v1/sessions/{session_id}/events", ""),
    ("GET", "/v1/sessions/{session_id}/events/stream", ""),
    ("GET", "/host/v1/sessions/{session_id}/events/ws", ""),
];

/// What is the same for every workspace.
const SHARED: [&str; 2] = ["/v1/models", "/v1/models/{model_id}"];

/// One of each, by the name that it has in paths.
async fn ours(fixture: &Fixture, key: &str) -> [(&'static str, Value); 3] {
    let post = |path: &'static str, body| fixture.call(key, Method::POST, path, Some(body));
    let agent = post(
        "/v1/agents",
        json!({"name": "ours", "model": "claude-sonnet-5-5"}),
    )
    .await
    .resource();
    let environment = post("/v1/environments", json!({"name": "ours"})).await.resource();
    let body = json!({"agent": agent["id"], "environment_id": environment["id"]});
    let session = post("/v1/sessions", body).await.resource();
    [
        ("{agent_id}", agent),
        ("{environment_id}", environment),
        ("{session_id}", session),
    ]
}

#[tokio::test]
async fn a_resource_of_another_workspace_is_not_there_at_any_endpoint() {
    let fixture = Fixture::new().await;
    let (ours_key, theirs_key) = (fixture.key("ours").await, fixture.key("theirs").await);
    let ours = ours(&fixture, &ours_key).await;
    let named = fixture.endpoints.iter().filter(|endpoint| {
        endpoint.access == Access::Workspace
            && endpoint.path.contains('{')
            && !SHARED.contains(&endpoint.path)
    });
    for endpoint in named {
        let asked = ASKED
            .iter()
            .find(|(method, path, _)| *method == endpoint.method.as_str() && *path == endpoint.path);
        let Some((_, _, body)) = asked else {
            panic!("{} {} needs a line in ASKED", endpoint.method, endpoint.path);
        };
        let path = ours
            .iter()
            .fold(endpoint.path.to_owned(), |path, (name, resource)| {
                path.replace(name, resource["id"].as_str().unwrap())
            });
        assert!(!path.contains('{'), "{path}: say what stands for the name");
        let body = serde_json::from_str(body).ok();
        let answer = fixture
            .call(&theirs_key, endpoint.method.clone(), &path, body)
            .await;
        assert_eq!(
            answer.error(),
            (404, "not_found_error"),
            "{} {path}",
            endpoint.method
        );
    }
    let kinds = ["/v1/agents", "/v1/environments", "/v1/sessions"];
    for (kind, (_, resource)) in kinds.iter().zip(ours) {
        let path = format!("{kind}/{}", resource["id"].as_str().unwrap());
        let kept = fixture.call(&ours_key, Method::GET, &path, None).await.resource();
        assert_eq!(without_clocks(kept), without_clocks(resource));
    }
}

#[tokio::test]
async fn lists_hold_what_is_the_workspace_s_own() {
    let fixture = Fixture::new().await;
    let (ours_key, theirs_key) = (fixture.key("ours").await, fixture.key("theirs").await);
    ours(&fixture, &ours_key).await;
    let lists: Vec<&str> = fixture
        .endpoints
        .iter()
        .filter(|endpoint| {
            endpoint.access == Access::Workspace
                && endpoint.method == Method::GET
                && !endpoint.path.contains('{')
                && !SHARED.contains(&endpoint.path)
        })
        .map(|endpoint| endpoint.path)
        .collect();
    assert!(lists.len() >= 3);
    for path in lists {
        let theirs = fixture
            .call(&theirs_key, Method::GET, path, None)
            .await
            .resource();
        assert_eq!(theirs["data"], json!([]), "{path}");
        let ours = fixture.call(&ours_key, Method::GET, path, None).await.resource();
        assert_eq!(ours["data"].as_array().unwrap().len(), 1, "{path}");
    }
}

async fn list_in(fixture: &Fixture, key: &str, workspace: &str) -> Answer {
    let request = Request::builder()
        .uri("/v1/agents")
        .header("x-api-key", key)
        .header("anthropic-workspace-id", workspace);
    fixture.send(request.body(Full::new(Bytes::new())).unwrap()).await
}

#[tokio::test]
async fn the_admin_key_acts_where_the_header_says_and_a_key_only_at_home() {
    let fixture = Fixture::new().await;
    let key = fixture.key("ours").await;
    ours(&fixture, &key).await;
    let count = |answer: Answer| answer.resource()["data"].as_array().unwrap().len();
    assert_eq!(count(list_in(&fixture, ADMIN, "ours").await), 1);
    assert_eq!(count(list_in(&fixture, ADMIN, "default").await), 0);
    assert_eq!(count(list_in(&fixture, &key, "ours").await), 1);
    assert_eq!(
        list_in(&fixture, &key, "default").await.error(),
        (403, "permission_error")
    );
    assert_eq!(
        list_in(&fixture, &key, "nowhere").await.error(),
        (403, "permission_error")
    );
    assert_eq!(
        list_in(&fixture, ADMIN, "nowhere").await.error(),
        (404, "not_found_error")
    );
    assert_eq!(
        list_in(&fixture, ADMIN, "../x").await.error(),
        (400, "invalid_request_error")
    );
}

#[tokio::test]
async fn endpoints_of_the_admin_take_no_other_key() {
    let fixture = Fixture::new().await;
    let key = fixture.key("default").await;
    let endpoints = fixture.endpoints.iter();
    let admin: Vec<_> = endpoints
        .filter(|endpoint| endpoint.access == Access::Admin)
        .collect();
    assert!(!admin.is_empty());
    for endpoint in admin {
        assert!(endpoint.path.starts_with("/host/v1/") || endpoint.path == "/metrics");
        let path = endpoint
            .path
            .replace("{key_id}", "key_00000000000000000000000000");
        let answer = fixture
            .call(&key, endpoint.method.clone(), &path, Some(json!({})))
            .await;
        assert_eq!(
            answer.error(),
            (403, "permission_error"),
            "{} {path}",
            endpoint.method
        );
        let answer = fixture.call("no key", endpoint.method.clone(), &path, None).await;
        assert_eq!(
            answer.error(),
            (401, "authentication_error"),
            "{} {path}",
            endpoint.method
        );
    }
}

#[tokio::test]
async fn workspaces_are_made_once_and_listed() {
    let fixture = Fixture::new().await;
    let made = fixture
        .post("/host/v1/workspaces", json!({"id": "team-a"}))
        .await
        .resource();
    let again = fixture
        .post("/host/v1/workspaces", json!({"id": "team-a"}))
        .await
        .resource();
    assert_eq!(made, again);
    let listed = fixture.get("/host/v1/workspaces").await.resource();
    let ids: Vec<&Value> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|workspace| &workspace["id"])
        .collect();
    assert_eq!(ids, ["default", "team-a"]);
    assert_eq!(list_in(&fixture, ADMIN, "team-a").await.status, 200);
    let refused = fixture.post("/host/v1/workspaces", json!({"id": "Team A"})).await;
    assert_eq!(refused.error(), (400, "invalid_request_error"));
}
