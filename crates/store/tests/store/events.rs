//! The event log.

use crate::{append, open, said, session, text, whole_log};
use domain::SessionStatus;
use store::{Append, Error, Lines, NewEvent, Query};
use wire::{Body, ContentBlock, Event};

#[tokio::test]
async fn events_are_numbered_from_one_without_gaps_and_read_back_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let session = session(&store).await;
    let first = store.append(append(&session, &["a", "b"])).await.unwrap().events;
    let second = store.append(append(&session, &["c"])).await.unwrap().events;
    let log = whole_log(&store, &session.id).await;
    assert_eq!(log.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(log.iter().map(said).collect::<Vec<_>>(), ["a", "b", "c"]);
    // The moment too, which is finer than what the database keeps.
    let answered: Vec<_> = first.into_iter().chain(second).collect();
    assert_eq!(answered, log);
    assert_eq!(store.session(&session.id).await.unwrap().last_seq, 3);
}

#[tokio::test]
async fn a_page_has_no_more_bytes_than_were_asked_for_and_at_least_one_event() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let session = session(&store).await;
    let long = "x".repeat(1000);
    let texts = ["a", "b", &long, "c"];
    store.append(append(&session, &texts)).await.unwrap();
    let mut pages = Vec::new();
    let mut after = 0;
    loop {
        let query = Query {
            after,
            limit: 10,
            types: &[],
        };
        let page = store.events_within(&session.id, query, 500).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.seq;
        pages.push(page.iter().map(|event| event.seq).collect::<Vec<_>>());
    }
    assert_eq!(pages, [vec![1, 2], vec![3], vec![4]]);
}

#[tokio::test]
async fn a_page_starts_after_a_number_and_holds_only_the_types_that_were_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let session = session(&store).await;
    store.append(append(&session, &["1", "2"])).await.unwrap();
    let thinking = Event::new(Body::AgentThinking, time::OffsetDateTime::now_utc());
    store
        .append(Append::new(session.id.clone(), 1, [thinking, text("4")]))
        .await
        .unwrap();
    let types = ["agent.message".to_owned()];
    let page = store
        .events(
            &session.id,
            Query {
                after: 1,
                limit: 10,
                types: &types,
            },
        )
        .await
        .unwrap();
    assert_eq!(page.iter().map(|event| event.seq).collect::<Vec<_>>(), [2, 4]);
    let page = store
        .events(
            &session.id,
            Query {
                after: 1,
                limit: 2,
                types: &[],
            },
        )
        .await
        .unwrap();
    assert_eq!(page.iter().map(|event| event.seq).collect::<Vec<_>>(), [2, 3]);
    let last = store
        .last_event(&session.id, "agent.thinking")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(last.seq, 3);
    assert_eq!(store.event_count(&session.id, "agent.message").await.unwrap(), 3);
}

#[tokio::test]
async fn a_page_of_huge_events_is_cut_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let session = session(&store).await;
    let huge = "x".repeat(5 << 20);
    store
        .append(append(&session, &[&huge, &huge, &huge]))
        .await
        .unwrap();
    let page = store
        .events(
            &session.id,
            Query {
                after: 0,
                limit: 10,
                types: &[],
            },
        )
        .await
        .unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(whole_log(&store, &session.id).await.len(), 3);
}

#[tokio::test]
async fn an_owner_whose_epoch_is_over_appends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let session = session(&store).await;
    assert_eq!(store.claim_session(&session.id).await.unwrap(), 2);
    let refused = store.append(append(&session, &["late"])).await;
    assert!(matches!(refused, Err(Error::Fenced { epoch: 1, .. })));
    let mut now = append(&session, &["in time"]);
    now.epoch = 2;
    assert_eq!(store.append(now).await.unwrap().events[0].seq, 1);
}

#[tokio::test]
async fn a_line_is_accepted_once_however_often_it_comes() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let session = session(&store).await;
    let lines = |first: u64, last: u64| {
        let events = (first..=last).map(|line| NewEvent {
            event: text(&format!("line {line}")),
            line: Some(line),
        });
        let lines = Some(Lines {
            process: "runtime-1".into(),
            first,
            last,
        });
        Append {
            events: events.collect(),
            lines,
            ..Append::new(session.id.clone(), 1, [])
        }
    };
    let begun = Append {
        process: Some("runtime-1".into()),
        ..Append::new(session.id.clone(), 1, [])
    };
    store.append(begun.clone()).await.unwrap();
    assert!(
        store.append(begun).await.is_err(),
        "a process's name is used once"
    );
    assert_eq!(store.append(lines(1, 3)).await.unwrap().events.len(), 3);
    // The guest sends again what was not acknowledged.
    let again = store.append(lines(2, 5)).await.unwrap().events;
    assert_eq!(again.iter().map(said).collect::<Vec<_>>(), ["line 4", "line 5"]);
    assert!(store.append(lines(1, 5)).await.unwrap().events.is_empty());
    let gap = store.append(lines(7, 7)).await;
    assert!(matches!(
        gap,
        Err(Error::LineGap {
            expected: 6,
            got: 7,
            ..
        })
    ));
    let mut other = lines(1, 1);
    other.lines = Some(Lines {
        process: "runtime-2".into(),
        first: 1,
        last: 1,
    });
    assert_eq!(store.append(other).await.unwrap().events.len(), 1);
    assert_eq!(store.last_line(&session.id, "runtime-1").await.unwrap(), 5);
    let log = whole_log(&store, &session.id).await;
    let expected = ["line 1", "line 2", "line 3", "line 4", "line 5", "line 1"];
    assert_eq!(log.iter().map(said).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_queued_message_is_processed_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let session = session(&store).await;
    let message = || {
        Event::queued(Body::UserMessage {
            content: vec![ContentBlock::text("hi")],
        })
    };
    store
        .append(Append::new(
            session.id.clone(),
            1,
            [message(), text("x"), message()],
        ))
        .await
        .unwrap();
    let waiting = |events: Vec<store::LoggedEvent>| events.iter().map(|event| event.seq).collect::<Vec<_>>();
    assert_eq!(waiting(store.queued_events(&session.id).await.unwrap()), [1, 3]);
    assert_eq!(store.queued(&session.id).await.unwrap(), [1, 3]);
    let begin = Append {
        processed: vec![1],
        status: Some(SessionStatus::Running),
        ..Append::new(session.id.clone(), 1, [])
    };
    store.append(begin).await.unwrap();
    assert_eq!(waiting(store.queued_events(&session.id).await.unwrap()), [3]);
    assert_eq!(store.queued(&session.id).await.unwrap(), [3]);
    let log = whole_log(&store, &session.id).await;
    assert!(log[0].event.processed_at.is_some() && log[2].event.processed_at.is_none());
    assert_eq!(
        store.session(&session.id).await.unwrap().status,
        SessionStatus::Running
    );
}

#[tokio::test]
async fn text_with_every_kind_of_character_survives() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let session = session(&store).await;
    let odd = "NUL \0, quote ' \" \\, 日本語, \u{1f980}, \u{202e}, line\r\n";
    store.append(append(&session, &[odd])).await.unwrap();
    assert_eq!(said(&whole_log(&store, &session.id).await[0]), odd);
}
