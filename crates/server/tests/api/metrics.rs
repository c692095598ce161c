//! `/metrics`.

use crate::{ADMIN, ENDLESS, Fixture};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use server::Config;
use std::collections::BTreeMap;

/// What is told to a key, or to nobody in particular.
async fn scrape(fixture: &Fixture, key: Option<&str>) -> Result<BTreeMap<String, f64>, StatusCode> {
    let mut request = Request::builder().uri("/metrics");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let request = request.body(Full::new(Bytes::new())).unwrap();
    let (parts, body) = fixture.server.answer(request).await.into_parts();
    if parts.status != StatusCode::OK {
        return Err(parts.status);
    }
    let kind = parts.headers["content-type"].to_str().unwrap();
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with("# "));
    let samples = samples.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    Ok(samples.collect())
}

#[tokio::test]
async fn metrics_count_what_happened_and_name_nothing_that_a_client_chose() {
    let fixture = Fixture::new().await;
    let agent = json!({"name": "a-name-of-a-client", "model": "claude-sonnet-5-5"});
    let agent = fixture.post("/v1/agents", agent).await.resource();
    let environment = fixture.post("/v1/environments", json!({"name": "ours"})).await;
    let environment = environment.resource();
    let body = json!({"agent": agent["id"], "environment_id": environment["id"]});
    let session = fixture.post("/v1/sessions", body).await.resource();
    let id = session["id"].as_str().unwrap();
    assert_eq!(fixture.get("/v1/agents/agent_none").await.status, 404);
    assert_eq!(fixture.get("/a-path-of-a-client").await.status, 404);
    assert_eq!(
        fixture
            .call("nobody's", Method::GET, "/v1/agents", None)
            .await
            .status,
        401
    );

    let follow = Request::builder()
        .uri(format!("/v1/sessions/{id}/events/stream"))
        .header("x-api-key", ADMIN)
        .body(Full::new(Bytes::new()))
        .unwrap();
    let stream = fixture.server.answer(follow).await;
    let read = scrape(&fixture, Some(ADMIN)).await.unwrap();
    for (name, value) in [
        ("hostler_sessions{status=\"idle\"}", 1.0),
        ("hostler_sessions{status=\"running\"}", 0.0),
        ("hostler_sandboxes{state=\"running\"}", 0.0),
        ("hostler_open_streams", 1.0),
        (
            "hostler_http_requests_total{method=\"POST\",route=\"/v1/agents\",status=\"2xx\"}",
            1.0,
        ),
        (
            "hostler_http_requests_total{method=\"GET\",route=\"/v1/agents\",status=\"4xx\"}",
            1.0,
        ),
        (
            "hostler_http_requests_total{method=\"GET\",route=\"/v1/agents/{agent_id}\",status=\"4xx\"}",
            1.0,
        ),
        (
            "hostler_http_requests_total{method=\"any\",route=\"none\",status=\"4xx\"}",
            1.0,
        ),
        (
            "hostler_http_request_seconds_count{method=\"POST\",route=\"/v1/sessions\"}",
            1.0,
        ),
    ] {
        assert_eq!(read.get(name), Some(&value), "{name} in {read:#?}");
    }
    for name in read.keys() {
        assert!(!name.contains("of-a-client") && !name.contains(id), "{name}");
    }
    drop(stream);
    let read = scrape(&fixture, Some(ADMIN)).await.unwrap();
    assert_eq!(read.get("hostler_open_streams"), Some(&0.0));
    let scraped = "hostler_http_requests_total{method=\"GET\",route=\"/metrics\",status=\"2xx\"}";
    assert_eq!(read.get(scraped), Some(&1.0));
}

#[tokio::test]
async fn metrics_take_the_admin_key_unless_they_are_open() {
    let fixture = Fixture::new().await;
    let key = fixture.key("ours").await;
    assert_eq!(scrape(&fixture, None).await, Err(StatusCode::UNAUTHORIZED));
    assert_eq!(scrape(&fixture, Some(&key)).await, Err(StatusCode::FORBIDDEN));
    assert!(scrape(&fixture, Some(ADMIN)).await.is_ok());

    let open = Fixture::with(Config {
        rates: ENDLESS,
        open_metrics: true,
        ..Config::default()
    });
    let open = open.await;
    assert!(scrape(&open, None).await.is_ok());
    let closed = open
        .call("nobody's", Method::GET, "/host/v1/workspaces", None)
        .await;
    assert_eq!(closed.status, StatusCode::UNAUTHORIZED);
}
