//! Clients of one session at the same time, and what it takes of them.

use crate::running::Running;
use crate::sessions::message;
use http::StatusCode;
use serde_json::{Value, json};

async fn two_keys(running: &Running) -> [String; 2] {
    let keys = running.api.resources.keys();
    let create = wire::keys::Create::default;
    let (one, other) = (
        keys.create(create()).await.unwrap(),
        keys.create(create()).await.unwrap(),
    );
    [one.secret, other.secret]
}

#[tokio::test]
async fn a_message_too_many_is_429_and_is_not_stored() {
    let running = Running::at_work().await;
    let events = format!("{}/events", running.path());
    running.say("begins").await;
    let waiting: Vec<Value> = (0..100)
        .map(|index| message(&format!("waits {index}"))["events"][0].clone())
        .collect();
    let (status, sent) = running.call("POST", &events, &json!({"events": waiting})).await;
    assert_eq!(status, StatusCode::OK, "{sent}");
    assert!(
        sent["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|event| event["processed_at"].is_null())
    );
    let stored = running.log().await.len();
    let (status, refused) = running.call("POST", &events, &message("one more")).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused["error"]["type"], "rate_limit_error");
    assert_eq!(running.log().await.len(), stored);
    // What does not wait is taken all the same.
    let interrupt = json!({"events": [{"type": "user.interrupt"}]});
    let (status, _) = running.call("POST", &events, &interrupt).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn two_clients_that_change_one_session_both_have_their_way() {
    let running = Running::at_work().await;
    running.say("begins").await;
    let [one, other] = two_keys(&running).await;
    let path = running.path();
    for round in 0..10 {
        let change = |name: &str| json!({"metadata": {name: round.to_string()}});
        let (of_one, of_other) = (change("one"), change("other"));
        let (first, second) = tokio::join!(
            running.call_as(&one, "POST", &path, &of_one),
            running.call_as(&other, "POST", &path, &of_other),
        );
        assert_eq!((first.0, second.0), (StatusCode::OK, StatusCode::OK));
        let (_, session) = running.call("GET", &path, &Value::Null).await;
        assert_eq!(
            session["metadata"],
            json!({"one": round.to_string(), "other": round.to_string()})
        );
        assert_eq!(session["status"], "running");
    }
    let log = running.log().await;
    let told = log.iter().filter(|event| event["type"] == "session.updated");
    assert_eq!(told.count(), 20);
}

#[tokio::test]
async fn a_session_is_archived_or_begins_a_turn_and_never_both() {
    let running = Running::at_work().await;
    let [one, other] = two_keys(&running).await;
    for _ in 0..20 {
        let path = format!("/v1/sessions/{}", running.another().await);
        let (events, archive) = (format!("{path}/events"), format!("{path}/archive"));
        let (hello, nothing) = (message("hello"), json!({}));
        let (sent, archived) = tokio::join!(
            running.call_as(&one, "POST", &events, &hello),
            running.call_as(&other, "POST", &archive, &nothing),
        );
        let (_, session) = running.call("GET", &path, &Value::Null).await;
        let (_, log) = running.call("GET", &events, &Value::Null).await;
        let begun = log["data"]
            .as_array()
            .unwrap()
            .iter()
            .any(|event| event["type"] == "user.message");
        let code = |answer: &(StatusCode, Value)| answer.1["error"]["details"]["error_code"].clone();
        match (sent.0.as_u16(), archived.0.as_u16()) {
            (200, 409) => {
                assert_eq!(code(&archived), "session_running");
                assert!(begun && session["archived_at"].is_null() && session["status"] == "running");
            }
            (409, 200) => {
                assert_eq!(code(&sent), "session_archived");
                assert!(!begun && session["archived_at"].is_string() && session["status"] == "idle");
            }
            other => panic!("{other:?}: {sent:?}, {archived:?}"),
        }
    }
}
