//! Many writers at once.

use crate::{append, open, said, session, whole_log};
use futures_util::future::join_all;
use store::Error;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_of_many_sessions_at_once_are_all_there_in_order_and_without_gaps() {
    const SESSIONS: usize = 20;
    const EACH: usize = 50;
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let sessions = join_all((0..SESSIONS).map(|_| session(&store))).await;
    let writers = sessions.iter().map(|session| {
        let (store, session) = (store.clone(), session.clone());
        tokio::spawn(async move {
            for number in 0..EACH {
                store
                    .append(append(&session, &[&number.to_string()]))
                    .await
                    .unwrap();
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    for session in &sessions {
        let log = whole_log(&store, &session.id).await;
        let expected: Vec<String> = (0..EACH).map(|number| number.to_string()).collect();
        assert_eq!(log.iter().map(said).collect::<Vec<_>>(), expected);
        assert!(log.iter().zip(1..).all(|(event, seq)| event.seq == seq));
    }
}

#[tokio::test]
async fn one_bad_append_does_not_touch_its_neighbours_in_the_same_commit() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let session = session(&store).await;
    let mut stale = append(&session, &["stale"]);
    stale.epoch = 9;
    let twice = append(&session, &["once"]);
    let answers = join_all([
        store.append(append(&session, &["before"])),
        store.append(stale),
        store.append(twice),
        store.append(append(&session, &["after"])),
    ])
    .await;
    let outcome: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(outcome, [true, false, true, true]);
    assert!(matches!(answers[1], Err(Error::Fenced { .. })));
    let log = whole_log(&store, &session.id).await;
    assert_eq!(
        log.iter().map(said).collect::<Vec<_>>(),
        ["before", "once", "after"]
    );
}

#[tokio::test]
async fn an_append_whose_caller_went_away_is_whole_or_absent() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let session = session(&store).await;
    for _ in 0..20 {
        let mut cut = Box::pin(store.append(append(&session, &["one", "two"])));
        assert!(futures_util::poll!(&mut cut).is_pending());
        drop(cut);
    }
    store.append(append(&session, &["end"])).await.unwrap();
    let log = whole_log(&store, &session.id).await;
    assert!(log.iter().zip(1..).all(|(event, seq)| event.seq == seq));
    let texts: Vec<&str> = log.iter().map(said).collect();
    assert!(
        texts[..texts.len() - 1]
            .chunks(2)
            .all(|pair| pair == ["one", "two"]),
        "{texts:?}"
    );
}
