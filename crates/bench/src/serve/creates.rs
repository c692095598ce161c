//! From the request that creates a session with its first message to the moment at which the model is asked: one after
//! another, and many at the same moment.

use super::scene::{PATIENCE, Scene, talk};
use super::{Bench, LARGE_POOL};
use crate::goal::Figure;
use stage::{Failure, Setup};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const CREATE: &str = "session, created over HTTP: to first model request";
const ANSWERED: &str = "session, created over HTTP: to the answer";
const BURSTS: usize = 5;
/// As long as a pool takes to be full again.
const BETWEEN_BURSTS: Duration = Duration::from_secs(4);
const BETWEEN: Duration = Duration::from_millis(20);

impl Bench<'_> {
    pub(super) async fn creates(&mut self) -> Result<(), Failure> {
        self.progress.at("creating sessions, one after another");
        let count = self.options.warm_up + self.options.iterations;
        let scene = Scene::open(self.program, &talk(), Setup::POOL, count).await?;
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for number in 0..count {
            tokio::time::sleep(BETWEEN).await;
            let word = format!("create-{number}");
            let api = scene.client(number);
            let started = Instant::now();
            let session = api.session(&scene.made, Some(&word)).await?;
            let answer = started.elapsed();
            let at = scene.asked(&word).await?;
            if number >= self.options.warm_up {
                answered.push(answer);
                asked.push(at.duration_since(started));
            }
            api.idle(&session, PATIENCE).await?;
            api.delete(&format!("/v1/sessions/{session}")).await?;
            self.progress.step(number as u64 + 1, count as u64);
        }
        scene.end().await?;
        self.report.add_series(CREATE, &asked);
        self.report.add_series(ANSWERED, &answered);
        self.at_most(CREATE, Figure::P50, Duration::from_millis(25));
        self.at_most(CREATE, Figure::P99, Duration::from_millis(100));
        Ok(())
    }

    pub(super) async fn bursts(&mut self) -> Result<(), Failure> {
        for pool in [Setup::POOL, LARGE_POOL] {
            let count = self.options.burst;
            let row = |which: &str| {
                format!("burst of {count} creates, {which}, pool of {pool}: to first model request")
            };
            self.progress.at(&row("one after another"));
            let mut bursts = self.bursts_with(pool).await?.into_iter();
            // Nothing is there for an agent that nobody has asked for before.
            self.report
                .add_series(row("the agent's first"), &bursts.next().unwrap_or_default());
            let later: Vec<Duration> = bursts.flatten().collect();
            self.report.add_series(row("later"), &later);
            self.at_most(row("later"), Figure::P95, Duration::from_millis(90));
        }
        Ok(())
    }

    async fn bursts_with(&mut self, pool: u32) -> Result<Vec<Vec<Duration>>, Failure> {
        let sessions = self.options.burst * BURSTS;
        let scene = Arc::new(Scene::open(self.program, &talk(), pool, sessions).await?);
        let mut samples = Vec::new();
        for number in 0..BURSTS {
            tokio::time::sleep(BETWEEN_BURSTS).await;
            let burst = self.burst(&scene, number).await?;
            samples.push(burst.iter().map(|(_, took)| *took).collect());
            for (number, (session, _)) in burst.into_iter().enumerate() {
                let api = scene.client(number);
                api.idle(&session, PATIENCE).await?;
                api.delete(&format!("/v1/sessions/{session}")).await?;
            }
            let done = (number + 1) * self.options.burst;
            self.progress.step(done as u64, sessions as u64);
        }
        if let Some(scene) = Arc::into_inner(scene) {
            scene.end().await?;
        }
        Ok(samples)
    }

    /// All at once, each on a connection of its own; each is timed from the moment at which all may go.
    async fn burst(&self, scene: &Arc<Scene>, burst: usize) -> Result<Vec<(String, Duration)>, Failure> {
        let count = self.options.burst;
        let barrier = Arc::new(Barrier::new(count));
        let mut creating = JoinSet::new();
        for number in 0..count {
            let (scene, barrier) = (Arc::clone(scene), Arc::clone(&barrier));
            creating.spawn(async move {
                let word = format!("burst-{burst}-{number}");
                barrier.wait().await;
                let started = Instant::now();
                let (session, at) = scene.begin(number, &word).await?;
                Ok((session, at.duration_since(started)))
            });
        }
        creating.join_all().await.into_iter().collect()
    }
}
