//! A session's stream of server-sent events, on real connections: coming back, falling behind, many readers, and ends.

use crate::ENDLESS;
use crate::running::{Record, Running, Stream, within};
use http::StatusCode;
use serde_json::{Value, json};
use server::Limits;
use std::time::Duration;
use tokio::net::TcpSocket;

const SHORT: Duration = Duration::from_millis(100);
const LAST: &str = "last-event-id";

fn ids(log: &[Value]) -> Vec<&str> {
    log.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

/// Every record has the event that the log has, once and in its order.
fn assert_are(records: &[Record], log: &[Value]) {
    let events: Vec<&Record> = records.iter().filter(|record| record.id.is_some()).collect();
    let told: Vec<&str> = events
        .iter()
        .map(|record| record.id.as_deref().unwrap())
        .collect();
    assert_eq!(told, ids(log));
    for (record, listed) in events.iter().zip(log) {
        assert_eq!(record.event, listed["type"]);
        // A message that waited was told before it was processed.
        let untimed = |event: &Value| {
            let mut event = event.clone();
            event["processed_at"].take();
            event
        };
        assert_eq!(untimed(&record.data), untimed(listed));
    }
}

#[tokio::test]
async fn whoever_comes_back_misses_nothing_also_after_a_restart() {
    let running = Running::new().await;
    let mut stream = running.stream(&[]).await.unwrap();
    running.say("one").await;
    let log = running.rests_after(1).await;
    let last = ids(&log).pop().unwrap().to_owned();
    assert_are(&stream.until(&last).await, &log);
    drop(stream);
    running.say("two").await;
    let log = running.rests_after(2).await;
    let newest = ids(&log).pop().unwrap().to_owned();
    let missed = ids(&log).iter().position(|id| *id == last).unwrap() + 1;
    let mut again = running.stream(&[(LAST, &last)]).await.unwrap();
    assert_are(&again.until(&newest).await, &log[missed..]);
    let running = running.restarted().await;
    for from in [0, missed - 1] {
        let mut again = running.stream(&[(LAST, ids(&log)[from])]).await.unwrap();
        assert_are(&again.until(&newest).await, &log[from + 1..]);
    }
    let mut up_to_date = running.stream(&[(LAST, &newest)]).await.unwrap();
    running.say("three").await;
    let first = up_to_date.next().await.unwrap();
    assert_eq!(first.event, "user.message");
    assert_eq!(first.data["content"][0]["text"], "three");
}

#[tokio::test]
async fn an_id_of_no_event_of_the_session_is_refused() {
    let running = Running::new().await;
    let foreign = running.another().await;
    let path = format!("/v1/sessions/{foreign}/events");
    let (_, sent) = running
        .call("POST", &path, &crate::sessions::message("there"))
        .await;
    let foreign = sent["data"][0]["id"].as_str().unwrap();
    for id in [foreign, domain::EventId::random().as_str(), "sevt_x", "", "0"] {
        let refused = running.stream(&[(LAST, id)]).await.err().unwrap();
        assert_eq!(refused.0, StatusCode::BAD_REQUEST, "{id}");
        let error = &refused.1["error"];
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().unwrap().contains(LAST), "{error}");
    }
}

#[tokio::test]
async fn a_reader_that_was_slow_is_told_so_and_misses_no_event() {
    let running = Running::new().await;
    let mut slow = running.stream(&[]).await.unwrap();
    let large_text = "x".repeat(1 << 20);
    for index in 0..24 {
        running.say(&format!("{index} {large_text}")).await;
    }
    let log = running.rests_after(24).await;
    let records = slow.until(ids(&log).last().unwrap()).await;
    let behind = records.iter().filter(|record| record.event == "ping");
    assert!(behind.clone().count() > 0);
    for ping in behind {
        assert_eq!(ping.data, json!({"type": "ping", "behind": true}));
    }
    assert_are(&records, &log);
}

/// One that takes little before its sender has to wait.
async fn narrow(running: &Running) -> Stream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(running.address).await.unwrap();
    running.stream_over(stream, &[]).await.unwrap()
}

/// A process may open few files by default; here are two ends of each connection.
fn many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, wanted).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_readers_get_every_event_while_one_of_them_reads_nothing() {
    many_files();
    let running = Running::new().await;
    let mut stuck = narrow(&running).await;
    let mut readers = Vec::new();
    for _ in 0..1000 {
        readers.push(running.stream(&[]).await.unwrap());
    }
    let large_text = "x".repeat(32 << 10);
    for index in 0..16 {
        running.say(&format!("{index} {large_text}")).await;
    }
    let log = running.rests_after(16).await;
    let last = ids(&log).last().unwrap().to_string();
    let reading: Vec<_> = readers
        .into_iter()
        .map(|mut reader| {
            let last = last.clone();
            tokio::spawn(async move { reader.until(&last).await })
        })
        .collect();
    for read in reading {
        assert_are(&within(read).await.unwrap(), &log);
    }
    assert_are(&stuck.until(&last).await, &log);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut() {
    let limits = Limits {
        silence: SHORT,
        ..Limits::default()
    };
    let running = Running::with(limits, ENDLESS).await;
    let stuck = narrow(&running).await;
    let large_text = "x".repeat(1 << 20);
    for index in 0..8 {
        running.say(&format!("{index} {large_text}")).await;
    }
    let is_open = || {
        let told = running.api.metrics.text(&[], &[], 0).unwrap();
        !told.contains("hostler_open_streams 0\n")
    };
    within(async {
        while is_open() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(stuck);
}

#[tokio::test]
async fn a_session_that_is_deleted_says_so_last() {
    let running = Running::new().await;
    let mut stream = running.stream(&[]).await.unwrap();
    let (status, _) = running.call("DELETE", &running.path(), &Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    let last = stream.next().await.unwrap();
    assert_eq!(
        (last.event.as_str(), &last.data["type"]),
        ("session.deleted", &json!("session.deleted"))
    );
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_stream_ends_when_its_key_is_revoked() {
    let running = Running::new().await;
    let keys = running.api.resources.keys();
    let created = keys.create(wire::keys::Create::default()).await.unwrap();
    let mut stream = running.stream(&[("x-api-key", &created.secret)]).await.unwrap();
    let mut other = running.stream(&[]).await.unwrap();
    keys.revoke(&created.key.id).await.unwrap();
    let last = stream.next().await.unwrap();
    assert_eq!(
        (last.event.as_str(), &last.data["error"]["type"]),
        ("error", &json!("authentication_error"))
    );
    assert_eq!(stream.next().await, None);
    running.say("hello").await;
    assert_eq!(other.next().await.unwrap().event, "user.message");
}

#[tokio::test]
async fn what_an_update_clears_is_told_and_listed_as_null() {
    let running = Running::new().await;
    let (_, made) = running.call("GET", &running.path(), &Value::Null).await;
    let budget = json!({"type": "limit", "max_list_cost": {"amount": "2500", "currency": "USD"}});
    let new = json!({
        "agent": made["agent"]["id"], "environment_id": made["environment_id"], "title": "t", "budget": budget,
    });
    let (_, budgeted) = running.call("POST", "/v1/sessions", &new).await;
    let session = budgeted["id"].as_str().unwrap().parse().unwrap();
    let running = Running { session, ..running };
    let mut stream = running.stream(&[]).await.unwrap();
    let change = json!({"budget": null, "title": null});
    let (status, changed) = running.call("POST", &running.path(), &change).await;
    assert_eq!(
        (status, &changed["budget"], &changed["title"]),
        (StatusCode::OK, &Value::Null, &Value::Null)
    );
    let told = stream.next().await.unwrap();
    assert_eq!(told.event, "session.updated");
    let fields = told.data.as_object().unwrap();
    assert!(fields["budget"].is_null() && fields["title"].is_null());
    assert_are(&[told], &running.log().await);
    let (status, refused) = running
        .call("POST", &running.path(), &json!({"budget": budget}))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(refused["error"]["details"]["error_code"], "budget_create_only");
}
