//! What is wrong with a request about a session is said, and changes nothing.

use crate::sessions::{log, message, session, without_clocks};
use crate::{ADMIN, Answer, Fixture};
use bytes::Bytes;
use domain::{EventId, SessionId};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

async fn post(fixture: &Fixture, path: &str, body: &[u8]) -> Answer {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("x-api-key", ADMIN);
    let body = Full::new(Bytes::copy_from_slice(body));
    fixture.send(request.body(body).unwrap()).await
}

/// A session's path, and what it is and holds.
async fn state(fixture: &Fixture, path: &str) -> (Value, Value) {
    let session = fixture.get(path).await.resource();
    (without_clocks(session), log(fixture, path).await)
}

#[tokio::test]
async fn events_that_cannot_be_read_are_told_why() {
    let fixture = Fixture::new().await;
    let (path, _) = session(&fixture).await;
    let before = state(&fixture, &path).await;
    let table: [(&[u8], &str); 21] = [
        (b"", "the body is empty"),
        (b"{\"events\": [", "the body is not JSON: EOF"),
        (b"{\"events\": [{\"type\": \"user.message\", \"content\": \"\xff\"}]}", "not UTF-8: byte 49"),
        (b"[]", "must be an object"),
        (b"null", "must be an object"),
        (b"{}", "events: is required"),
        (b"{\"events\": {}}", "events: must be an array"),
        (b"{\"events\": []}", "events: must have at least one event"),
        (b"{\"events\": [1]}", "events[0]: must be an object"),
        (b"{\"events\": [{}]}", "events[0].type"),
        (b"{\"events\": [{\"type\": \"agent.message\", \"content\": []}]}", "events[0].type"),
        (b"{\"events\": [{\"type\": \"user.message\"}]}", "events[0].content: is required"),
        (b"{\"events\": [{\"type\": \"user.message\", \"content\": \"hello\"}]}", "events[0].content: must be an array"),
        (b"{\"events\": [{\"type\": \"user.message\", \"content\": [{\"type\": \"text\", \"text\": 1}]}]}", "events[0].content[0].text"),
        (b"{\"events\": [{\"type\": \"user.message\", \"content\": [{\"type\": \"text\", \"text\": \"a\\u0000\"}]}]}", "NUL"),
        (b"{\"events\": [{\"type\": \"user.message\", \"content\": [{\"type\": \"text\", \"text\": \" \"}]}]}", "is empty"),
        (b"{\"events\": [{\"type\": \"user.message\", \"content\": [{\"type\": \"image\", \"source\": {\"type\": \"base64\", \"media_type\": \"image/png\", \"data\": \"x!\"}}]}]}", "events[0].content[0].source.data: is not base 64"),
        (b"{\"events\": [{\"type\": \"user.custom_tool_result\", \"custom_tool_use_id\": \"x\", \"content\": [{\"type\": \"document\", \"source\": {\"type\": \"base64\", \"media_type\": \"application/pdf\", \"data\": \"A\"}}]}]}", "events[0].content[0].source.data: is not base 64"),
        (b"{\"events\": [{\"type\": \"user.interrupt\", \"x\": 1}]}", "events[0].x: is not a field here"),
        (b"{\"events\": [{\"type\": \"user.interrupt\", \"session_thread_id\": \"x\"}]}", "is not supported by this server yet"),
        (b"{\"events\": [{\"type\": \"system.message\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}]}]}", "must be the last event"),
    ];
    for (body, expected) in table {
        let answer = post(&fixture, &format!("{path}/events"), body).await;
        assert_eq!(answer.error(), (400, "invalid_request_error"), "{expected}");
        assert!(
            answer.message().contains(expected),
            "{expected}: {}",
            answer.message()
        );
    }
    let many = json!({"events": vec![json!({"type": "user.interrupt"}); 101]});
    let answer = fixture.post(&format!("{path}/events"), many).await;
    assert_eq!(answer.error(), (400, "invalid_request_error"));
    assert_eq!(state(&fixture, &path).await, before);
}

#[tokio::test]
async fn an_answer_to_nothing_is_refused_with_all_that_came_with_it() {
    let fixture = Fixture::new().await;
    let (path, _) = session(&fixture).await;
    let before = state(&fixture, &path).await;
    let id = EventId::random();
    for answer in [
        json!({"type": "user.tool_confirmation", "tool_use_id": id, "result": "allow"}),
        json!({"type": "user.tool_confirmation", "tool_use_id": "x", "result": "deny"}),
        json!({"type": "user.tool_confirmation", "tool_use_id": id, "result": "maybe"}),
        json!({"type": "user.tool_confirmation", "tool_use_id": id, "result": "allow", "deny_message": "no"}),
        json!({"type": "user.custom_tool_result", "custom_tool_use_id": id}),
        json!({"type": "user.custom_tool_result", "custom_tool_use_id": SessionId::random()}),
    ] {
        let mut body = message("hello");
        body["events"].as_array_mut().unwrap().push(answer.clone());
        let refused = fixture.post(&format!("{path}/events"), body).await;
        assert_eq!(refused.error(), (400, "invalid_request_error"), "{answer}");
    }
    assert_eq!(state(&fixture, &path).await, before);
}

#[tokio::test]
async fn a_long_message_is_taken_and_one_that_is_too_long_is_413() {
    let fixture = Fixture::new().await;
    let (path, _) = session(&fixture).await;
    let before = state(&fixture, &path).await;
    let events = format!("{path}/events");
    for megabytes in [25, 33] {
        let text = "x".repeat(megabytes << 20);
        let answer = fixture.post(&events, message(&text)).await;
        assert_eq!(answer.error(), (413, "request_too_large"), "{megabytes}");
    }
    assert_eq!(state(&fixture, &path).await, before);
    let text = "x".repeat(100_000);
    let sent = fixture.post(&events, message(&text)).await.resource();
    assert_eq!(sent["data"][0]["content"][0]["text"], text);
}

#[tokio::test]
async fn what_is_no_session_s_id_is_not_found_at_any_endpoint_of_sessions() {
    let fixture = Fixture::new().await;
    let (path, found) = session(&fixture).await;
    let before = state(&fixture, &path).await;
    let unknown = SessionId::random().to_string();
    let long = "x".repeat(5000);
    let ids = [
        unknown.as_str(),
        found["agent"]["id"].as_str().unwrap(),
        found["environment_id"].as_str().unwrap(),
        "x",
        "%00",
        "..%2F..%2Fetc",
        &long,
    ];
    let endpoints: Vec<_> = fixture
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.path.contains("{session_id}"))
        .collect();
    assert!(endpoints.len() >= 8);
    for endpoint in endpoints {
        let body = match (endpoint.method.as_str(), endpoint.path) {
            ("POST", path) if path.ends_with("/events") => message("hello"),
            _ => json!({"title": "taken"}),
        };
        for id in ids {
            let path = endpoint.path.replace("{session_id}", id);
            let answer = fixture
                .call(ADMIN, endpoint.method.clone(), &path, Some(body.clone()))
                .await;
            assert_eq!(
                (answer.error(), answer.code()),
                ((404, "not_found_error"), "session_not_found"),
                "{} {path}",
                endpoint.method
            );
        }
    }
    assert_eq!(state(&fixture, &path).await, before);
}

#[tokio::test]
async fn an_archived_session_takes_no_events() {
    let fixture = Fixture::new().await;
    let (path, _) = session(&fixture).await;
    fixture
        .post(&format!("{path}/archive"), json!({}))
        .await
        .resource();
    let before = state(&fixture, &path).await;
    for (path, body) in [
        (format!("{path}/events"), message("hello")),
        (
            format!("{path}/events"),
            json!({"events": [{"type": "user.interrupt"}]}),
        ),
        (path.clone(), json!({"title": "new"})),
    ] {
        let answer = fixture.post(&path, body).await;
        assert_eq!(
            (answer.error(), answer.code()),
            ((409, "invalid_request_error"), "session_archived")
        );
        assert_eq!(answer.headers["x-should-retry"], "false");
    }
    assert_eq!(state(&fixture, &path).await, before);
}

#[tokio::test]
async fn limits_and_filters_out_of_range_are_refused() {
    let fixture = Fixture::new().await;
    let (path, _) = session(&fixture).await;
    let events = format!("{path}/events");
    let both = [
        "limit=0",
        "limit=-1",
        "limit=1e2",
        "limit=ten",
        "limit=",
        "limit=99999999999999999999",
        "order=up",
        "page=x",
        "page=",
        "created_at[gte]=yesterday",
        "created_at[gte]=99999999999999999999",
        "unknown=1",
        "limit=1&limit=2",
    ];
    for list in ["/v1/sessions", events.as_str()] {
        for query in both {
            let answer = fixture.get(&format!("{list}?{query}")).await;
            assert_eq!(answer.error(), (400, "invalid_request_error"), "{list}?{query}");
        }
    }
    for path in [
        "/v1/sessions?limit=101",
        "/v1/sessions?statuses[]=asleep",
        "/v1/sessions?agent_version=1",
        "/v1/sessions?include_archived=perhaps",
        &format!("{events}?limit=1001"),
    ] {
        assert_eq!(
            fixture.get(path).await.error(),
            (400, "invalid_request_error"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_cursor_of_another_list_session_order_or_filter_is_refused() {
    let fixture = Fixture::new().await;
    let (path, found) = session(&fixture).await;
    let (other, _) = session(&fixture).await;
    fixture
        .post(&format!("{path}/events"), message("hello"))
        .await
        .resource();
    let cursor = async |path: &str| {
        let page = fixture.get(path).await.resource();
        page["next_page"].as_str().expect("there is more").to_owned()
    };
    let of_events = cursor(&format!("{path}/events?limit=1")).await;
    let of_sessions = cursor("/v1/sessions?limit=1").await;
    let of_agents = cursor("/v1/agents?limit=1").await;
    let agent = found["agent"]["id"].as_str().unwrap();
    let refused = [
        format!("{path}/events?page={of_sessions}"),
        format!("{path}/events?page={of_agents}"),
        format!("{other}/events?page={of_events}"),
        format!("{path}/events?order=desc&page={of_events}"),
        format!("{path}/events?types[]=user.message&page={of_events}"),
        format!("/v1/sessions?page={of_events}"),
        format!("/v1/sessions?page={of_agents}"),
        format!("/v1/sessions?order=asc&page={of_sessions}"),
        format!("/v1/sessions?agent_id={agent}&page={of_sessions}"),
        format!("/v1/sessions?page={}", &of_sessions[1..]),
    ];
    for path in refused {
        let answer = fixture.get(&path).await;
        assert_eq!(answer.error(), (400, "invalid_request_error"), "{path}");
        assert!(answer.message().contains("page: is "), "{}", answer.message());
    }
    let theirs = fixture.key("theirs").await;
    let path = format!("/v1/sessions?page={of_sessions}");
    let answer = fixture.call(&theirs, Method::GET, &path, None).await;
    assert_eq!(answer.error(), (400, "invalid_request_error"));
}
