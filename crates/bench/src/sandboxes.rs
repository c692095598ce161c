//! `hostler bench sandbox`: from create to the end of the first command, beside the peers; then many at once.

use crate::candidate::{Candidate, row};
use crate::density::{self, Held};
use crate::failure::Failure;
use crate::goal::{Figure, Goal};
use crate::options::Options;
use crate::peers;
use crate::report::Report;
use crate::rounds::{Plan, take_turns};
use domain::{Limits, SandboxId};
use guest_protocol::{Client, Exit, Framing, Payload, Spawn, Stdio};
use sandbox::{Backend, Created, Spec};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// What we and the peers run.
pub(crate) const COMMAND: &str = "/bin/true";
pub(crate) const FIRST_COMMAND: &str = "to first command";
const DESTROYED: &str = "until destroyed";
const COLD: &str = "hostler, cold";
const WARM: &str = "hostler, from the pool";

/// For one command; creating and destroying have the backend's own deadlines.
const COMMAND_PATIENCE: Duration = Duration::from_secs(30);
/// While many idle sandboxes are held.
const PROBES: usize = 20;
const MANY: usize = 500;

/// A backend, and what of it is measured.
#[derive(Clone)]
pub struct Contender {
    name: &'static str,
    backend: Arc<dyn Backend>,
}

impl Contender {
    /// Keeps nothing ready.
    pub fn cold(backend: Arc<dyn Backend>) -> Self {
        Self { name: COLD, backend }
    }

    /// Has a pool, which is full again a moment after each create.
    pub fn warm(backend: Arc<dyn Backend>) -> Self {
        Self { name: WARM, backend }
    }

    fn candidate(&self) -> Candidate {
        let backend = Arc::clone(&self.backend);
        Candidate::new(self.name, &[FIRST_COMMAND, DESTROYED], move || {
            first_command(Arc::clone(&backend))
        })
    }
}

/// The first contender is also the one of which many are made.
pub async fn sandbox(contenders: &[Contender], options: &Options) -> Report {
    let mut report = options.report("sandbox");
    density::allow_many_descriptors();
    let peers = peers::sandboxes().await;
    for (name, reason) in peers.missing {
        report.not_measured(name, reason);
    }
    let mut candidates: Vec<Candidate> = contenders
        .iter()
        .map(Contender::candidate)
        .chain(peers.candidates)
        .collect();
    report.add(take_turns(&mut candidates, options.plan()).await);
    if let Some(contender) = contenders.first() {
        many(contender, options, &mut report).await;
    }
    let goals = goals(options);
    report.judge(&goals)
}

fn goals(options: &Options) -> Vec<Goal> {
    let cold = row(COLD, FIRST_COMMAND);
    let at_most = |row: &str, micros| Goal::AtMost {
        row: row.to_owned(),
        figure: Figure::P50,
        limit: Duration::from_micros(micros),
    };
    let mut goals = vec![at_most(&cold, 4000), at_most(&row(WARM, FIRST_COMMAND), 1500)];
    let below = |peer: &str| Goal::Below {
        row: cold.clone(),
        other: row(peer, FIRST_COMMAND),
    };
    goals.extend(peers::SANDBOXES.map(below));
    if options.density >= MANY {
        goals.push(Goal::AmountAtLeast {
            amount: density::at_once("sandbox"),
            limit: MANY as u64,
        });
    }
    goals
}

/// Holds as many as asked for, and looks whether one more is as quick.
async fn many(contender: &Contender, options: &Options, report: &mut Report) {
    let backend = Arc::clone(&contender.backend);
    let held = density::hold("sandbox", options, move || open(Arc::clone(&backend)), report).await;
    let mut beside = contender.candidate();
    beside.name = format!("hostler, beside {} idle", held.len());
    let plan = Plan {
        iterations: PROBES,
        ..options.plan()
    };
    report.add(take_turns(&mut [beside], plan).await);
    density::release("sandbox", held, report).await;
}

async fn open(backend: Arc<dyn Backend>) -> Result<Held, Failure> {
    let spec = spec();
    let created = backend.create(&spec).await?;
    Ok(Held::new(async move {
        drop(created);
        end(&backend, &spec.id).await
    }))
}

/// A sandbox from nothing to nothing; it is ended also where the command fails.
async fn first_command(backend: Arc<dyn Backend>) -> Result<Vec<Duration>, Failure> {
    let spec = spec();
    let started = Instant::now();
    let created = backend.create(&spec).await?;
    let ran = timeout(COMMAND_PATIENCE, run(&created)).await;
    let first = started.elapsed();
    drop(created);
    let ended = end(&backend, &spec.id).await;
    let whole = started.elapsed();
    let late = || Failure::Deadline {
        step: COMMAND.to_owned(),
        seconds: COMMAND_PATIENCE.as_secs(),
    };
    ran.map_err(|_| late())??;
    ended?;
    Ok(vec![first, whole])
}

async fn run(created: &Created) -> Result<(), Failure> {
    let client = Client::new(&created.guest_socket);
    let spawn = Spawn {
        id: "bench".to_owned(),
        argv: vec![COMMAND.to_owned()],
        env: BTreeMap::new(),
        cwd: None,
        stdio: Stdio::Pipes,
        framing: Framing::Chunks,
    };
    client.spawn(&spawn).await?;
    let mut output = client.output(&spawn.id, 0, true).await?;
    while let Some(record) = output.next().await? {
        match record.payload {
            Payload::Exit(Exit::Code(0)) => return Ok(()),
            Payload::Exit(exit) => {
                return Err(Failure::Program {
                    program: COMMAND.to_owned(),
                    reason: format!("{exit:?}"),
                });
            }
            Payload::Output(_) => {}
        }
    }
    Err(Failure::Program {
        program: COMMAND.to_owned(),
        reason: "it has no exit".to_owned(),
    })
}

/// Both steps are tried, whatever becomes of the first.
async fn end(backend: &Arc<dyn Backend>, id: &SandboxId) -> Result<(), Failure> {
    let destroyed = backend.destroy(id).await;
    let removed = backend.remove_files(id).await;
    destroyed?;
    Ok(removed?)
}

fn spec() -> Spec {
    Spec {
        id: SandboxId::random(),
        limits: Limits::default(),
        workspace: None,
        egress_ports: Vec::new(),
        files_from: None,
        runtime: None,
    }
}
