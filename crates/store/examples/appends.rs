//! How many appends a second the store takes durably on this disk: `cargo run --release -p store --example appends`.
//!
//! Each writer waits for its acknowledgement before it appends again, as an owner of a session does.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use domain::{Limits, SessionId};
use std::time::{Duration, Instant};
use store::{Append, Instance, NewSession, Store};
use time::OffsetDateTime;
use wire::{Body, ContentBlock, Event};

const MEASURED: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() {
    let parent = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, Into::into);
    let directory = parent.join(format!("hostler-appends-{}", std::process::id()));
    let store = Store::open(Instance::open(&directory).unwrap()).await.unwrap();
    println!(
        "{:>8} {:>12} {:>10} {:>10}",
        "writers", "appends/s", "p50 ms", "p99 ms"
    );
    for writers in [1, 10, 50, 200, 1000] {
        let tasks: Vec<_> = (0..writers).map(|_| tokio::spawn(write(store.clone()))).collect();
        let began = Instant::now();
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.unwrap());
        }
        let rate = times.len() as f64 / began.elapsed().as_secs_f64();
        times.sort_unstable();
        let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e3;
        println!("{writers:>8} {rate:>12.0} {:>10.2} {:>10.2}", at(0.5), at(0.99));
    }
    store.close().await;
    std::fs::remove_dir_all(directory).unwrap();
}

async fn write(store: Store) -> Vec<Duration> {
    let new = NewSession {
        id: SessionId::random(),
        title: None,
        workspace: None,
        model: "m".into(),
        limits: Limits::default(),
        egress_rules: serde_json::json!([]),
        settings: serde_json::json!({}),
        hosting: None,
    };
    let session = store.create_session(new).await.unwrap();
    let began = Instant::now();
    let mut times = Vec::new();
    while began.elapsed() < MEASURED {
        let content = vec![ContentBlock::text(
            "What an agent says in a line of about a hundred characters. ".repeat(2),
        )];
        let event = Event::new(Body::AgentMessage { content }, OffsetDateTime::now_utc());
        let append = Append::new(session.id.clone(), session.epoch, [event]);
        let asked = Instant::now();
        store.append(append).await.unwrap();
        times.push(asked.elapsed());
    }
    times
}
