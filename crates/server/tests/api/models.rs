//! `/v1/models`.

use crate::{ENDLESS, Fixture};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use server::{Config, Upstream};
use std::sync::{Arc, Mutex};

/// Answers what it was given, and remembers what it was asked.
#[derive(Default)]
struct Scripted {
    answer: Mutex<Option<Bytes>>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Upstream for Scripted {
    async fn describe(&self, path_and_query: &str) -> Option<Bytes> {
        self.asked.lock().unwrap().push(path_and_query.to_owned());
        self.answer.lock().unwrap().clone()
    }
}

async fn fixture(upstream: &Arc<Scripted>) -> Fixture {
    let config = Config {
        rates: ENDLESS,
        ..Config::default()
    };
    Fixture::with_upstream(config, upstream.clone()).await
}

#[tokio::test]
async fn what_the_upstream_says_is_passed_on() {
    let upstream = Arc::new(Scripted::default());
    let fixture = fixture(&upstream).await;
    let model = json!({"type": "model", "id": "m", "display_name": "M", "created_at": "2026-01-01T00:00:00Z",
        "capabilities": {"batch": {"supported": true}}});
    let list = json!({"data": [model], "has_more": true, "first_id": "m", "last_id": "m"});
    *upstream.answer.lock().unwrap() = Some(list.to_string().into());
    assert_eq!(
        fixture.get("/v1/models?limit=1&after_id=a").await.resource(),
        list
    );
    *upstream.answer.lock().unwrap() = Some(model.to_string().into());
    assert_eq!(fixture.get("/v1/models/m").await.resource(), model);
    let asked = ["/v1/models?limit=1&after_id=a", "/v1/models/m"];
    assert_eq!(*upstream.asked.lock().unwrap(), asked);
}

#[tokio::test]
async fn where_the_upstream_says_nothing_the_price_table_does() {
    let upstream = Arc::new(Scripted::default());
    let fixture = fixture(&upstream).await;
    for answer in [None, Some("<html>"), Some("{}"), Some("{\"type\": \"error\"}")] {
        *upstream.answer.lock().unwrap() = answer.map(Bytes::from);
        let one = fixture.get("/v1/models/claude-opus-5-5").await.resource();
        assert_eq!(
            (&one["max_input_tokens"], &one["lifecycle"]),
            (&json!(1_000_000), &json!("active"))
        );
        let page = fixture.get("/v1/models?limit=1000").await.resource();
        let ids: Vec<&Value> = page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| &model["id"])
            .collect();
        assert!(ids.contains(&&json!("claude-opus-5-5")));
        assert_eq!(page["has_more"], false);
        let unknown = fixture.get("/v1/models/gpt-9").await;
        assert_eq!(
            (unknown.error(), unknown.code()),
            ((404, "not_found_error"), "model_not_found")
        );
    }
}

#[tokio::test]
async fn a_name_cannot_lead_the_real_key_to_another_path() {
    let upstream = Arc::new(Scripted::default());
    let fixture = fixture(&upstream).await;
    for id in ["..%2F..%2Fv1%2Fmessages", "a%3Fb", "a%0d%0ab", "%00"] {
        let answer = fixture.get(&format!("/v1/models/{id}")).await;
        assert_eq!(answer.error(), (404, "not_found_error"));
    }
    assert_eq!(*upstream.asked.lock().unwrap(), Vec::<String>::new());
    fixture.get("/v1/models/..").await;
    assert_eq!(*upstream.asked.lock().unwrap(), Vec::<String>::new());
}
