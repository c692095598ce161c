//! Streams: replay, then live, without gaps; slow readers lose previews and no event.

use crate::stage::{Stage, events_until, is_idle, within};
use control::Item;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use wire::{Body, ContentBlock, Delta, Preview};

#[tokio::test]
async fn a_stream_replays_the_log_and_goes_on_live() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    stage.turn(&id, "say:past").await;
    let mut stream = stage.control.events(&id, 0).await.unwrap();
    let mut told = events_until(&mut stream, is_idle).await;
    stage.send(&id, "say:live").await;
    told.extend(events_until(&mut stream, is_idle).await);
    assert_eq!(told, stage.told(&id).await);
    let mut tail = stage.control.events(&id, 7).await.unwrap();
    assert_eq!(events_until(&mut tail, is_idle).await, told[7..]);
}

#[tokio::test]
async fn previews_announce_the_event_with_its_id_and_are_its_beginning() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    let mut stream = stage.control.events(&id, 0).await.unwrap();
    stage.send(&id, "say:hello-there").await;
    let mut previewed: BTreeMap<String, String> = BTreeMap::new();
    loop {
        match within(stream.next()).await.unwrap().unwrap() {
            Item::Behind => {}
            Item::Preview(preview) => match &*preview {
                Preview::EventStart { event } => {
                    assert_eq!(event.kind, "agent.message");
                    previewed.insert(event.id.to_string(), String::new());
                }
                Preview::EventDelta {
                    event_id,
                    delta: Delta::ContentDelta { content, .. },
                } => {
                    previewed
                        .get_mut(event_id.as_str())
                        .unwrap()
                        .push_str(&content.text);
                }
            },
            Item::Event(logged) => {
                if let Body::AgentMessage { content } = &logged.event.body {
                    assert_eq!(content, &[ContentBlock::text("hello-there")]);
                    assert_eq!(previewed[logged.event.id.as_str()], "hello-there");
                    assert!(previewed.len() == 1);
                }
                if is_idle(&logged.event.body) {
                    break;
                }
            }
        }
    }
    assert_eq!(previewed.len(), 1);
}

#[tokio::test]
async fn a_reader_that_fell_behind_gets_every_event_and_no_preview_out_of_the_middle() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    let mut slow = stage.control.events(&id, 0).await.unwrap();
    // Far more than is kept in memory.
    stage.turn(&id, "lines:2000").await;
    let mut told = Vec::new();
    let mut previewed: BTreeMap<String, String> = BTreeMap::new();
    loop {
        match within(slow.next()).await.unwrap().unwrap() {
            Item::Event(logged) => {
                if let (Body::AgentMessage { content }, Some(text)) =
                    (&logged.event.body, previewed.remove(logged.event.id.as_str()))
                {
                    assert!(content[0].as_text().unwrap().starts_with(&text));
                }
                told.push(crate::stage::word(&logged.event.body));
                if is_idle(&logged.event.body) {
                    break;
                }
            }
            Item::Behind => {}
            Item::Preview(preview) => match &*preview {
                Preview::EventStart { event } => {
                    previewed.insert(event.id.to_string(), String::new());
                }
                Preview::EventDelta {
                    event_id,
                    delta: Delta::ContentDelta { content, .. },
                } => {
                    previewed
                        .get_mut(event_id.as_str())
                        .expect("a delta has its start")
                        .push_str(&content.text);
                }
            },
        }
    }
    assert_eq!(told, stage.told(&id).await);
}

#[tokio::test]
async fn many_readers_get_the_same_log_and_do_not_slow_each_other() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    let _never_read = stage.control.events(&id, 0).await.unwrap();
    let mut readers = Vec::new();
    for _ in 0..200 {
        readers.push(stage.control.events(&id, 0).await.unwrap());
    }
    stage.send(&id, "lines:20").await;
    let told = join_all(readers.iter_mut().map(|reader| events_until(reader, is_idle))).await;
    let log = stage.told(&id).await;
    assert!(told.iter().all(|told| *told == log));
}

#[tokio::test]
async fn waiting_for_the_next_item_may_be_given_up_at_any_time() {
    let stage = Stage::new().await;
    let id = stage.session().await;
    let mut stream = stage.control.events(&id, 0).await.unwrap();
    let mut told = Vec::new();
    stage.send(&id, "lines:100").await;
    while told.last().is_none_or(|last: &String| !last.starts_with("idle")) {
        let polled = futures_util::poll!(Box::pin(stream.next()));
        match polled {
            std::task::Poll::Ready(Ok(Some(Item::Event(logged)))) => {
                told.push(crate::stage::word(&logged.event.body));
            }
            std::task::Poll::Ready(other) => assert!(matches!(other, Ok(Some(Item::Preview(_))))),
            std::task::Poll::Pending => tokio::task::yield_now().await,
        }
    }
    assert_eq!(told, stage.told(&id).await);
}
