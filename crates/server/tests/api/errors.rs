//! Whatever goes wrong has the API's one shape; the fixture checks that of every answer.

use crate::{ADMIN, Fixture};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;
use server::{Config, Rates};

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_apart() {
    let fixture = Fixture::new().await;
    for path in [
        "/",
        "/v1",
        "/v1/agents/",
        "/v2/agents",
        "/v1/agents/a/b/c",
        "/v1/agents/%00%ff",
    ] {
        assert_eq!(
            fixture.get(path).await.error(),
            (404, "not_found_error"),
            "{path}"
        );
    }
    let answer = fixture
        .call(ADMIN, Method::PUT, "/v1/agents", Some(json!({})))
        .await;
    assert_eq!(answer.error(), (405, "invalid_request_error"));
    assert_eq!(answer.headers["allow"], "POST, GET");
    let answer = fixture.call(ADMIN, Method::OPTIONS, "/v1/agents", None).await;
    assert_eq!(answer.status, 405);
}

#[tokio::test]
async fn ids_that_are_none_are_the_ids_of_nothing() {
    let fixture = Fixture::new().await;
    for id in [
        "x",
        "env_00000000000000000000000000",
        "agent_0",
        "..%2F..%2Fetc",
        "%00",
    ] {
        let answer = fixture.get(&format!("/v1/agents/{id}")).await;
        assert_eq!(
            (answer.error(), answer.code()),
            ((404, "not_found_error"), "agent_not_found"),
            "{id}"
        );
    }
}

#[tokio::test]
async fn only_a_right_key_opens() {
    let fixture = Fixture::new().await;
    let key = fixture.key("default").await;
    let good: [&[(&str, &str)]; 4] = [
        &[("authorization", &format!("Bearer {key}"))],
        &[("authorization", &format!("bearer {key}"))],
        &[("x-api-key", &key), ("anthropic-version", "2023-06-01")],
        &[
            ("x-api-key", ADMIN),
            ("anthropic-workspace-id", "default"),
            ("x-stainless-os", "Linux"),
        ],
    ];
    for headers in good {
        let answer = fixture
            .send(request(Method::GET, "/v1/agents", headers, b""))
            .await;
        assert_eq!(answer.status, 200, "{headers:?}");
    }
    let almost = format!("{}x", &key[..key.len() - 1]);
    let bad: [&[(&str, &str)]; 8] = [
        &[],
        &[("authorization", "Basic eDp5"), ("x-api-key", &key)],
        &[("authorization", ""), ("x-api-key", &key)],
        &[("authorization", "Bearer ")],
        &[("authorization", &format!("Basic {key}"))],
        &[("authorization", &format!("Bearer {almost}"))],
        &[("x-api-key", "")],
        &[("x-api-key", &key[..10])],
    ];
    for headers in bad {
        let answer = fixture
            .send(request(Method::GET, "/v1/agents", headers, b""))
            .await;
        assert_eq!(answer.error(), (401, "authentication_error"), "{headers:?}");
    }
    let headers = [("x-api-key", key.as_str()), ("anthropic-version", "latest")];
    let answer = fixture
        .send(request(Method::GET, "/v1/agents", &headers, b""))
        .await;
    assert_eq!(answer.error(), (400, "invalid_request_error"));
}

#[tokio::test]
async fn bodies_that_cannot_be_read_say_where() {
    let fixture = Fixture::new().await;
    let key = [("x-api-key", ADMIN)];
    let table: [(&[u8], &str); 7] = [
        (b"", "the body is empty"),
        (b"{\"name\": }", "expected value at line 1 column 10"),
        (b"{\"name\": \"\xc3\x28\"}", "not UTF-8: byte 10"),
        (b"[]", "the request: must be an object"),
        (
            b"{\"name\": \"a\\u0000b\", \"model\": \"m\"}",
            "name: must not hold a NUL",
        ),
        (
            b"{\"name\": \"n\", \"model\": \"m\", \"x\": 1}",
            "x: is not a field here",
        ),
        (b"{\"name\": 1e400, \"model\": \"m\"}", "number out of range"),
    ];
    for (body, expected) in table {
        let answer = fixture
            .send(request(Method::POST, "/v1/agents", &key, body))
            .await;
        assert_eq!(answer.error(), (400, "invalid_request_error"));
        assert!(answer.message().contains(expected), "{}", answer.message());
    }
    let headers = [("x-api-key", ADMIN), ("content-encoding", "gzip")];
    let answer = fixture
        .send(request(Method::POST, "/v1/agents", &headers, b"x"))
        .await;
    assert_eq!(answer.status, 415);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let fixture = Fixture::new().await;
    let body = json!({"name": "n", "model": "m", "system": "s".repeat(5 << 20)});
    let answer = fixture.post("/v1/agents", body).await;
    assert_eq!(answer.error(), (413, "request_too_large"));
}

#[tokio::test]
async fn queries_are_checked_by_name() {
    let fixture = Fixture::new().await;
    let table = [
        ("limit=0", "limit: must be a whole number from 1 to 100"),
        ("limit=101", "limit: must be a whole number from 1 to 100"),
        ("limit=1&limit=2", "limit: is given twice"),
        ("created_at[gte]=yesterday", "created_at[gte]: must be a time"),
        ("order=asc", "order: is not a parameter here"),
        ("page=%ff", "not UTF-8"),
        ("page=%00", "NUL"),
    ];
    for (query, expected) in table {
        let answer = fixture.get(&format!("/v1/agents?{query}")).await;
        assert_eq!(answer.error(), (400, "invalid_request_error"), "{query}");
        assert!(answer.message().contains(expected), "{}", answer.message());
    }
    assert_eq!(fixture.get("/v1/agents?beta=true").await.status, 200);
}

#[tokio::test]
async fn a_key_that_comes_too_often_is_told_when_to_come_again() {
    let rates = Rates {
        create: 1,
        environments: 2,
        other: 3,
    };
    let fixture = Fixture::with(Config {
        rates,
        ..Config::default()
    })
    .await;
    let agent = || json!({"name": "n", "model": "m"});
    assert_eq!(fixture.post("/v1/agents", agent()).await.status, 200);
    let refused = fixture.post("/v1/agents", agent()).await;
    assert_eq!(refused.error(), (429, "rate_limit_error"));
    assert_eq!(refused.headers["retry-after"], "60");
    for expected in [200, 200, 429] {
        assert_eq!(fixture.get("/v1/environments").await.status, expected);
    }
    for expected in [200, 200, 200, 429] {
        assert_eq!(fixture.get("/v1/agents").await.status, expected);
    }
    let other = fixture.key("default").await;
    assert_eq!(
        fixture.call(&other, Method::GET, "/v1/agents", None).await.status,
        200
    );
    for _ in 0..10 {
        assert_eq!(fixture.get("/healthz").await.status, 200);
    }
}
