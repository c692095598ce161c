//! Whole sessions on the whole stack, against the simulated model: what a user waits for.

use crate::ledger::Seen;
use crate::stack::ThisProcess;
use bench::{Failure, Held, IdleSessions, Options, Program, Report};
use cli::{How, Running, Services as _, Shutdown, StartOptions, Upstream};
use control::{Control, Input, Lifetime, NewSession, Runtime};
use domain::{Limits, SessionId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::{Mutex, mpsc};
use wire::ContentBlock;

const MODEL: &str = cli::DEFAULT_MODEL;
/// Sandboxes that are kept ready, as a server does.
const POOL: usize = 8;
const PATIENCE: Duration = Duration::from_secs(30);
/// Says one thing, whatever it is asked.
const TALK: &str = r#"{"name":"talk","turns":[{"reply":[{"text":"Done."}]}]}"#;
/// Runs a command twice, then says one thing.
const COMMANDS: &str = r#"{"name":"commands","turns":[
    {"reply":[{"tool_use":{"name":"Bash","input":{"command":"true"}}}]},
    {"reply":[{"tool_use":{"name":"Bash","input":{"command":"true"}}}]},
    {"reply":[{"text":"Done."}]}]}"#;

/// The stack, and what its gateway sees.
struct Bench {
    control: Control,
    seen: Mutex<mpsc::UnboundedReceiver<Seen>>,
    _data: TempDir,
}

pub(super) async fn first_request(options: &Options) -> anyhow::Result<Report> {
    let (bench, shutdown) = Bench::start(TALK).await?;
    let bench = Arc::new(bench);
    let (measured, opened) = (Arc::clone(&bench), Arc::clone(&bench));
    let idle = IdleSessions::new(move || {
        let bench = Arc::clone(&opened);
        async move { bench.idle_session().await }
    });
    let report = bench::session(
        move || {
            let bench = Arc::clone(&measured);
            async move { bench.to_first_request().await }
        },
        idle,
        options,
    )
    .await;
    shutdown(How::End).await;
    Ok(report)
}

pub(super) async fn runtime(native: Program, options: &Options) -> anyhow::Result<Report> {
    let (bench, shutdown) = Bench::start(COMMANDS).await?;
    let bench = Arc::new(bench);
    let report = bench::runtime(
        native,
        move || {
            let bench = Arc::clone(&bench);
            async move { bench.command_round_trips().await }
        },
        options,
    )
    .await;
    shutdown(How::End).await;
    Ok(report)
}

impl Bench {
    async fn start(script: &str) -> anyhow::Result<(Self, Shutdown)> {
        let data = tempfile::tempdir()?;
        let (observer, seen) = mpsc::unbounded_channel();
        let options = StartOptions {
            data: data.path().canonicalize()?,
            upstream: Upstream::Simulated {
                name: "bench".to_owned(),
                json: script.to_owned(),
            },
            pool: POOL,
            tuning: cli::Tuning::default(),
            lifetime: Lifetime::Host,
        };
        let services = ThisProcess {
            observer: Some(observer),
            ..ThisProcess::default()
        };
        let Running {
            control, shutdown, ..
        } = services.start(&options).await?;
        Ok((
            Self {
                control,
                seen: Mutex::new(seen),
                _data: data,
            },
            shutdown,
        ))
    }

    async fn to_first_request(&self) -> Result<Duration, Failure> {
        let mut seen = self.seen.lock().await;
        while seen.try_recv().is_ok() {}
        let started = Instant::now();
        let id = self.ask().await?;
        let opened = opened(&mut seen).await?;
        self.end(&id).await?;
        Ok(opened.duration_since(started))
    }

    /// From the end of the model's answer, which asks for a command, to the request with its result.
    async fn command_round_trips(&self) -> Result<[Duration; 2], Failure> {
        let mut seen = self.seen.lock().await;
        while seen.try_recv().is_ok() {}
        let id = self.ask().await?;
        opened(&mut seen).await?;
        let trips = [round_trip(&mut seen).await?, round_trip(&mut seen).await?];
        self.end(&id).await?;
        Ok(trips)
    }

    async fn idle_session(&self) -> Result<Held, Failure> {
        let id = self.ask().await?;
        self.control
            .wait_idle(&id)
            .await
            .map_err(|error| failure("wait for idle", &error))?;
        let control = self.control.clone();
        Ok(Held::new(async move {
            control
                .remove(&id)
                .await
                .map_err(|error| failure("remove session", &error))
        }))
    }

    async fn ask(&self) -> Result<SessionId, Failure> {
        let new = NewSession {
            workspace: None,
            model: MODEL.to_owned(),
            limits: Limits::default(),
            rules: policy::Rules::none(),
            max_turns: None,
            max_cost: None,
            system_prompt: None,
            title: None,
            runtime: Runtime::Native,
            tools: None,
            environment: BTreeMap::new(),
            effort: None,
            hosting: None,
        };
        let content = vec![ContentBlock::text("go")];
        let begun = self.control.begin(new, vec![Input::Message { content }]).await;
        begun
            .map(|(id, _)| id)
            .map_err(|error| failure("begin session", &error))
    }

    async fn end(&self, id: &SessionId) -> Result<(), Failure> {
        self.control
            .wait_idle(id)
            .await
            .map_err(|error| failure("wait for idle", &error))?;
        self.control
            .remove(id)
            .await
            .map_err(|error| failure("remove session", &error))
    }
}

async fn next(seen: &mut mpsc::UnboundedReceiver<Seen>) -> Result<Seen, Failure> {
    let late = || Failure::Deadline {
        step: "model call".to_owned(),
        seconds: PATIENCE.as_secs(),
    };
    tokio::time::timeout(PATIENCE, seen.recv())
        .await
        .ok()
        .flatten()
        .ok_or_else(late)
}

async fn round_trip(seen: &mut mpsc::UnboundedReceiver<Seen>) -> Result<Duration, Failure> {
    let answered = loop {
        match next(seen).await? {
            Seen::Closed(at) => break at,
            Seen::Opened(_) => {}
        }
    };
    Ok(opened(seen).await?.duration_since(answered))
}

async fn opened(seen: &mut mpsc::UnboundedReceiver<Seen>) -> Result<Instant, Failure> {
    loop {
        if let Seen::Opened(at) = next(seen).await? {
            return Ok(at);
        }
    }
}

fn failure(step: &str, error: &dyn std::error::Error) -> Failure {
    Failure::Step {
        step: step.to_owned(),
        reason: error.to_string(),
    }
}
