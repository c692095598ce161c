//! `/v1/sessions`, as far as nothing has to run.

use crate::{ADMIN, Fixture};
use http::Method;
use serde_json::{Value, json};

async fn session(fixture: &Fixture) -> (Value, Value) {
    let agent = fixture
        .post("/v1/agents", json!({"name": "a", "model": "claude-sonnet-5-5"}))
        .await
        .resource();
    let environment = fixture
        .post("/v1/environments", json!({"name": "e"}))
        .await
        .resource();
    let body = json!({"agent": agent["id"], "environment_id": environment["id"], "title": "t"});
    (fixture.post("/v1/sessions", body).await.resource(), environment)
}

#[tokio::test]
async fn an_environment_that_a_session_uses_stays() {
    let fixture = Fixture::new().await;
    let (session, environment) = session(&fixture).await;
    let environment = format!("/v1/environments/{}", environment["id"].as_str().unwrap());
    let refused = fixture.call(ADMIN, Method::DELETE, &environment, None).await;
    assert_eq!(
        (refused.error(), refused.code()),
        ((409, "invalid_request_error"), "environment_in_use")
    );
    assert_eq!(refused.headers["x-should-retry"], "false");
    assert_eq!(fixture.get(&environment).await.status, 200);
    let session = format!("/v1/sessions/{}", session["id"].as_str().unwrap());
    fixture
        .call(ADMIN, Method::DELETE, &session, None)
        .await
        .resource();
    fixture
        .call(ADMIN, Method::DELETE, &environment, None)
        .await
        .resource();
}

#[tokio::test]
async fn a_session_is_made_from_what_its_workspace_has() {
    let fixture = Fixture::new().await;
    let (session, environment) = session(&fixture).await;
    let agent = session["agent"]["id"].clone();
    let key = fixture.key("theirs").await;
    let body = json!({"agent": agent, "environment_id": environment["id"]});
    let answer = fixture.call(&key, Method::POST, "/v1/sessions", Some(body)).await;
    assert_eq!(
        (answer.error(), answer.code()),
        ((404, "not_found_error"), "agent_not_found")
    );
    let theirs = fixture
        .call(
            &key,
            Method::POST,
            "/v1/agents",
            Some(json!({"name": "a", "model": "m"})),
        )
        .await;
    let body = json!({"agent": theirs.resource()["id"], "environment_id": environment["id"]});
    let answer = fixture.call(&key, Method::POST, "/v1/sessions", Some(body)).await;
    assert_eq!(
        (answer.error(), answer.code()),
        ((404, "not_found_error"), "environment_not_found")
    );
}
