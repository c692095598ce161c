//! Many sessions that have had a turn and wait for the next, their memory, and a message to any of them.

use super::Bench;
use super::scene::{PATIENCE, Scene, talk};
use crate::goal::{Figure, Goal};
use crate::memory::{self, Snapshot};
use crate::report::Unit;
use stage::{Failure, Setup, calm, message};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const HELD: &str = "idle sessions, held at once";
const SERVE: &str = "serve, resident";
const SERVE_BYTES: u64 = 150 << 20;
/// What a model client and a guest's connection are kept for is over by then.
const SETTLE: Duration = Duration::from_secs(20);
const AT_ONCE: usize = 4;
const BETWEEN: Duration = Duration::from_millis(20);

impl Bench<'_> {
    pub(super) async fn idle(&mut self) -> Result<(), Failure> {
        self.progress.at("idle sessions");
        let wanted = self.options.sessions;
        // A message and what is asked about it are counted with the rest.
        let requests = wanted + 4 * self.options.iterations;
        let before = Snapshot::take();
        let scene = Arc::new(Scene::open(self.program, &talk(), Setup::POOL, requests).await?);
        let started = Instant::now();
        let sessions = self.hold(&scene).await;
        let rate = sessions.len() as f64 / started.elapsed().as_secs_f64();
        tokio::time::sleep(SETTLE).await;
        self.report.add_amount(HELD, sessions.len() as u64, Unit::Count);
        self.report
            .add_amount("idle sessions, started", rate as u64, Unit::PerSecond);
        self.weigh(&scene, &before, sessions.len() as u64);
        let row = format!(
            "message to one of {} idle sessions: to model request",
            sessions.len()
        );
        let samples = self.wake(&scene, &sessions).await?;
        self.report.add_series(row.clone(), &samples);
        self.at_most(row, Figure::P50, Duration::from_millis(100));
        self.goals.push(Goal::AmountAtLeast {
            amount: HELD.to_owned(),
            limit: wanted as u64,
        });
        self.goals.push(Goal::AmountAtMost {
            amount: SERVE.to_owned(),
            limit: SERVE_BYTES,
        });
        let count = sessions.len();
        let started = Instant::now();
        if let Some(scene) = Arc::into_inner(scene) {
            scene.end().await?;
        }
        let rate = count as f64 / started.elapsed().as_secs_f64();
        self.report.add_amount(
            "idle sessions, ended with the server",
            rate as u64,
            Unit::PerSecond,
        );
        Ok(())
    }

    /// As many as are wanted; the first that fails ends it, and is reported.
    async fn hold(&mut self, scene: &Arc<Scene>) -> Vec<String> {
        let wanted = self.options.sessions;
        let (mut sessions, mut opening, mut asked) = (Vec::with_capacity(wanted), JoinSet::new(), 0);
        let mut failure = None;
        loop {
            while asked < wanted && opening.len() < AT_ONCE && failure.is_none() {
                let (scene, number) = (Arc::clone(scene), asked);
                opening.spawn(async move {
                    let word = format!("idle-{number}");
                    // How fast they may be made is the server's to say, and not what is measured here.
                    let (session, _) = calm(|| scene.begin(number, &word)).await?;
                    scene.client(number).idle(&session, PATIENCE).await?;
                    Ok::<_, Failure>(session)
                });
                asked += 1;
            }
            match opening.join_next().await {
                Some(Ok(Ok(session))) => sessions.push(session),
                Some(Ok(Err(error))) => failure = Some(error.in_full()),
                Some(Err(error)) => failure = Some(error.to_string()),
                None => break,
            }
            self.progress.step(sessions.len() as u64, wanted as u64);
        }
        if let Some(reason) = failure {
            self.report
                .not_measured(format!("idle session number {}", sessions.len() + 1), reason);
        }
        sessions
    }

    fn weigh(&mut self, scene: &Scene, before: &Snapshot, count: u64) {
        let growth = before.growth();
        let mut bytes = |name: &str, value: Option<u64>| {
            if let Some(value) = value {
                self.report.add_amount(name, value, Unit::Bytes);
            }
        };
        let server = scene.server();
        bytes(SERVE, server.and_then(memory::resident_bytes));
        let proportional = server.and_then(memory::of_process);
        bytes("serve, proportional", proportional);
        bytes("all sandboxes: processes", growth.proportional_bytes);
        bytes("all sandboxes: kernel", Some(growth.kernel_bytes));
        let all = proportional.zip(growth.proportional_bytes);
        let all = all.map(|(server, inside)| server + inside + growth.kernel_bytes);
        bytes("serve, sandboxes and kernel together", all);
        bytes(
            "the same, for one session",
            all.and_then(|all| all.checked_div(count)),
        );
        if let Some(descriptors) = server.and_then(memory::descriptors) {
            self.report
                .add_amount("serve, open descriptors", descriptors, Unit::Count);
        }
    }

    /// A message to one session after another, chosen all over.
    async fn wake(&self, scene: &Scene, sessions: &[String]) -> Result<Vec<Duration>, Failure> {
        let mut samples = Vec::new();
        let count = self.options.warm_up + self.options.iterations;
        for number in 0..count {
            // Far from the one before, and none twice before all others.
            let Some(session) = sessions.get((number * 619) % sessions.len().max(1)) else {
                break;
            };
            let word = format!("wake-{number}");
            let api = scene.client(number);
            tokio::time::sleep(BETWEEN).await;
            let started = Instant::now();
            api.send(session, &[message(&word)]).await?;
            let at = scene.asked(&word).await?;
            if number >= self.options.warm_up {
                samples.push(at.duration_since(started));
            }
            api.idle(session, PATIENCE).await?;
            self.progress.step(number as u64 + 1, count as u64);
        }
        Ok(samples)
    }
}
