//! Events that are on the disk: how many a second the store takes from many sessions and from one, and how many come
//! all the way from agents.

use super::Bench;
use super::scene::{PATIENCE, Scene};
use crate::goal::Goal;
use crate::report::Unit;
use domain::{Limits, SessionId};
use serde_json::{Value, json};
use stage::{Failure, Following, Place, Setup};
use std::time::{Duration, Instant};
use store::{Append, Instance, Lines, NewEvent, NewSession, Store};
use time::OffsetDateTime;
use tokio::task::JoinSet;
use wire::{Body, ContentBlock, Event};

const SESSIONS: usize = 200;
const MEASURED: Duration = Duration::from_secs(10);
const LEAST: u64 = 5000;
const TEXT: &str = "Some words of an agent, about as long as the text between two calls is: I have looked at the parser, and \
                    the empty line is dropped before the tokenizer sees it. I change that, and add a test.";
/// Of the whole way.
const AGENTS: usize = 50;
const BLOCKS: usize = 100;

impl Bench<'_> {
    pub(super) async fn appends(&mut self) -> Result<(), Failure> {
        self.progress.at("appending to the store");
        for sessions in [1, SESSIONS] {
            let rate = appended(sessions).await?;
            let name = format!("events appended by the store, {sessions} sessions, one event each time");
            self.report.add_amount(name.clone(), rate, Unit::PerSecond);
            if sessions == SESSIONS {
                self.goals.push(Goal::AmountAtLeast {
                    amount: name,
                    limit: LEAST,
                });
            }
        }
        self.progress.at("appending what agents say");
        let rate = self.all_the_way().await?;
        let name = format!("events from {AGENTS} agents to their readers");
        self.report.add_amount(name, rate, Unit::PerSecond);
        Ok(())
    }

    /// Each agent says many things in one turn; over when each reader has seen the end of it.
    async fn all_the_way(&self) -> Result<u64, Failure> {
        let block = json!({"text": TEXT, "chunk": TEXT.len()});
        let talks = vec![block; BLOCKS];
        let script = json!({
            "name": "talks",
            "anytime": [
                {"when": {"last_user_text_contains": "ready"}, "reply": [{"text": "Ready."}]},
                {"when": {"last_user_text_contains": "talk"}, "reply": talks},
            ],
            "turns": [],
        });
        let scene = Scene::open(self.program, &script, Setup::POOL, 2 * AGENTS).await?;
        let mut readers = Vec::new();
        for number in 0..AGENTS {
            let (session, _) = scene.begin(number, &format!("ready-{number}")).await?;
            scene.client(number).idle(&session, PATIENCE).await?;
            let following = Following::open(scene.client(number), &session, None).await?;
            readers.push((session, following));
        }
        let started = Instant::now();
        let mut reading = JoinSet::new();
        for (number, (session, following)) in readers.into_iter().enumerate() {
            let text = stage::message(&format!("talk-{number}"));
            scene.client(number).send(&session, &[text]).await?;
            reading.spawn(until_idle(following));
        }
        let events: Result<Vec<u64>, Failure> = reading.join_all().await.into_iter().collect();
        let rate = events?.iter().sum::<u64>() as f64 / started.elapsed().as_secs_f64();
        scene.end().await?;
        Ok(rate as u64)
    }
}

/// Events up to the one that ends the turn.
async fn until_idle(mut following: Following) -> Result<u64, Failure> {
    let counted = async {
        let mut events = 0;
        loop {
            let record = following.next().await?;
            events += u64::from(record.id.is_some());
            if record.kind == "session.status_idle" {
                return Ok(events);
            }
        }
    };
    let late = |_| Failure::Late {
        what: "an agent has said everything".to_owned(),
        seconds: PATIENCE.as_secs(),
    };
    tokio::time::timeout(PATIENCE, counted).await.map_err(late)?
}

/// Events a second, each appended as an owner does: with the line that it came from, and answered when it is on the disk.
async fn appended(sessions: usize) -> Result<u64, Failure> {
    let place = Place::new()?;
    let failed = |error: &dyn std::fmt::Display| Failure::File {
        path: place.data(),
        source: std::io::Error::other(error.to_string()),
    };
    let instance = Instance::open(&place.data()).map_err(|error| failed(&error))?;
    let store = Store::open(instance).await.map_err(|error| failed(&error))?;
    let mut rows = Vec::new();
    for _ in 0..sessions {
        let made = store.create_session(session()).await;
        rows.push(made.map_err(|error| failed(&error))?);
    }
    let started = Instant::now();
    let mut appending = JoinSet::new();
    for row in rows {
        let store = store.clone();
        appending.spawn(async move {
            let mut line = 0;
            while started.elapsed() < MEASURED {
                line += 1;
                store.append(append(&row, line)).await?;
            }
            Ok::<u64, store::Error>(line)
        });
    }
    let mut events = 0;
    while let Some(done) = appending.join_next().await {
        let done = done.map_err(|error| failed(&error))?;
        events += done.map_err(|error| failed(&error))?;
    }
    let rate = events as f64 / started.elapsed().as_secs_f64();
    store.close().await;
    Ok(rate as u64)
}

fn append(row: &store::Session, line: u64) -> Append {
    let content = vec![ContentBlock::text(TEXT)];
    let event = Event::new(Body::AgentMessage { content }, OffsetDateTime::now_utc());
    let mut append = Append::new(row.id.clone(), row.epoch, []);
    append.events.push(NewEvent {
        event,
        line: Some(line),
    });
    append.lines = Some(Lines {
        process: "runtime-1".to_owned(),
        first: line,
        last: line,
    });
    append
}

fn session() -> NewSession {
    NewSession {
        id: SessionId::random(),
        title: None,
        workspace: None,
        model: "claude-sonnet-5-5".to_owned(),
        limits: Limits::default(),
        egress_rules: Value::Null,
        settings: Value::Null,
        hosting: None,
    }
}
