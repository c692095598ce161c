//! The store on a real data directory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agents;
mod concurrency;
mod crash;
mod disk_full;
mod environments;
mod events;
mod keys;
mod migration;
mod resources;

use domain::{Limits, SessionId};
use std::path::Path;
use store::{Append, Hosting, Instance, LoggedEvent, NewSession, Query, Session, Store};
use time::OffsetDateTime;
use wire::{Body, ContentBlock, Event};

async fn open(directory: &Path) -> Store {
    Store::open(Instance::open(&directory.join("data")).unwrap())
        .await
        .unwrap()
}

async fn session(store: &Store) -> Session {
    session_of(store, None).await
}

async fn session_of(store: &Store, hosting: Option<Hosting>) -> Session {
    let new = NewSession {
        id: SessionId::random(),
        title: Some("a title".into()),
        workspace: Some("/some/where".into()),
        model: "claude-haiku-4-5".into(),
        limits: Limits::default(),
        egress_rules: serde_json::json!(["example.com"]),
        settings: serde_json::json!({"max_turns": 3}),
        hosting,
    };
    store.create_session(new).await.unwrap()
}

fn text(text: &str) -> Event {
    Event::new(
        Body::AgentMessage {
            content: vec![ContentBlock::text(text)],
        },
        OffsetDateTime::now_utc(),
    )
}

fn append(session: &Session, texts: &[&str]) -> Append {
    Append::new(
        session.id.clone(),
        session.epoch,
        texts.iter().map(|content| text(content)),
    )
}

fn said(event: &LoggedEvent) -> &str {
    match &event.event.body {
        Body::AgentMessage { content } | Body::UserMessage { content } => content[0].as_text().unwrap(),
        other => other.kind(),
    }
}

async fn whole_log(store: &Store, session: &SessionId) -> Vec<LoggedEvent> {
    let mut all: Vec<LoggedEvent> = Vec::new();
    loop {
        let after = all.last().map_or(0, |event| event.seq);
        let page = store
            .events(
                session,
                Query {
                    after,
                    limit: 1000,
                    types: &[],
                },
            )
            .await
            .unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}
