//! A host on a data directory and a machine, and what tests ask of it.

use crate::machine::Machine;
use crate::runtime::{Gate, Script};
use control::{Control, EventStream, Idle, Input, Item, NewSession, Parts, Runtime, Settings};
use domain::{EventId, Limits, SessionId};
use std::sync::Arc;
use std::time::Duration;
use store::{Instance, LoggedEvent, Query, Store};
use wire::{Body, ContentBlock};

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Stage {
    pub directory: tempfile::TempDir,
    pub machine: Machine,
    pub gate: Gate,
    pub control: Control,
    pub store: Store,
}

/// Deadlines short enough to be tried.
pub fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.deadlines.interrupt = Duration::from_millis(100);
    settings.deadlines.signal = Duration::from_millis(100);
    settings.deadlines.reconnect = Duration::from_millis(500);
    settings.deadlines.settle = Duration::from_millis(50);
    settings
}

pub fn hosted() -> Settings {
    Settings {
        lifetime: control::Lifetime::Session,
        ..settings()
    }
}

impl Stage {
    pub async fn new() -> Self {
        let gate = Gate::default();
        Self::with(gate.script(), gate, settings()).await
    }

    pub async fn with(script: Script, gate: Gate, settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let machine = Machine::new(script);
        let (control, store) = host(&directory, &machine, settings).await;
        Self {
            directory,
            machine,
            gate,
            control,
            store,
        }
    }

    /// Sessions outlive their hosts here.
    pub async fn hosted() -> Self {
        let gate = Gate::default();
        Self::with(gate.script(), gate, hosted()).await
    }

    /// A session whose agent asks before it runs a command, and has a tool of the client's.
    pub async fn asking_session(&self) -> SessionId {
        self.asking_session_on(Runtime::Native).await
    }

    pub async fn asking_session_on(&self, runtime: Runtime) -> SessionId {
        let toolset = serde_json::json!({
            "built_in": {"bash": "always_ask", "read": "always_allow"},
            "custom": [{"name": "weather", "description": "the weather", "input_schema": {"type": "object"}}],
        });
        let new = NewSession {
            tools: serde_json::from_value(toolset).unwrap(),
            runtime,
            ..new_session()
        };
        self.control.create(new).await.unwrap()
    }

    /// Waits until the session waits for answers; answers what for.
    pub async fn asked(&self, id: &SessionId) -> Vec<EventId> {
        match self.idle(id).await.stop_reason {
            Some(wire::StopReason::RequiresAction { event_ids }) => event_ids,
            other => panic!("{other:?}: {:?}", self.told(id).await),
        }
    }

    /// The host dies where it is, and another one starts on the same data.
    pub async fn killed_and_started_again(self) -> Self {
        self.started_again(settings()).await
    }

    /// The same where sessions outlive their hosts.
    pub async fn host_killed(self) -> Self {
        self.started_again(hosted()).await
    }

    async fn started_again(self, settings: Settings) -> Self {
        let Self {
            directory,
            machine,
            gate,
            control,
            store,
        } = self;
        drop((control, store));
        Self::on(directory, machine, gate, settings).await
    }

    /// A host on what another one left.
    pub async fn on(directory: tempfile::TempDir, machine: Machine, gate: Gate, settings: Settings) -> Self {
        let (control, store) = host(&directory, &machine, settings).await;
        Self {
            directory,
            machine,
            gate,
            control,
            store,
        }
    }

    pub async fn session(&self) -> SessionId {
        self.control.create(new_session()).await.unwrap()
    }

    pub async fn send(&self, id: &SessionId, text: &str) -> EventId {
        let sent = self.control.send(id, vec![message(text)]).await.unwrap();
        sent[0].event.id.clone()
    }

    pub async fn idle(&self, id: &SessionId) -> Idle {
        if let Ok(idle) = tokio::time::timeout(PATIENCE, self.control.wait_idle(id)).await {
            return idle.unwrap();
        }
        let mut told = self.told(id).await;
        told.truncate(100);
        panic!("the session is never idle: {told:?}")
    }

    /// Sends and waits for the end of the turn.
    pub async fn turn(&self, id: &SessionId, text: &str) -> Idle {
        self.send(id, text).await;
        self.idle(id).await
    }

    pub async fn log(&self, id: &SessionId) -> Vec<LoggedEvent> {
        let mut all: Vec<LoggedEvent> = Vec::new();
        loop {
            let after = all.last().map_or(0, |event| event.seq);
            let page = self
                .store
                .events(
                    id,
                    Query {
                        after,
                        limit: 1000,
                        types: &[],
                    },
                )
                .await
                .unwrap();
            if page.is_empty() {
                assert!(
                    all.iter().zip(1..).all(|(event, seq)| event.seq == seq),
                    "the log has gaps"
                );
                return all;
            }
            all.extend(page);
        }
    }

    /// Waits until an event of this type is in the log.
    pub async fn logged(&self, id: &SessionId, kind: &str) {
        within(async {
            while self.store.last_event(id, kind).await.unwrap().is_none() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// The log, one word an event: its type without the part before the dot, and what it says.
    pub async fn told(&self, id: &SessionId) -> Vec<String> {
        self.log(id)
            .await
            .iter()
            .map(|logged| word(&logged.event.body))
            .collect()
    }
}

async fn host(directory: &tempfile::TempDir, machine: &Machine, settings: Settings) -> (Control, Store) {
    let path = directory.path().join("data");
    // The dead host's tasks let go of the lock when they are gone, which is soon.
    let instance = within(async {
        loop {
            match Instance::open(&path) {
                Ok(instance) => return instance,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let store = Store::open(instance).await.unwrap();
    let parts = Parts {
        store: store.clone(),
        backend: Arc::new(machine.clone()),
        network: Arc::new(machine.clone()),
        settings,
        meter: metrics::SessionMeter::default(),
        traces: traces::Traces::default(),
    };
    (Control::start(parts).await.unwrap(), store)
}

pub fn message(text: &str) -> Input {
    Input::Message {
        content: vec![ContentBlock::text(text)],
    }
}

pub fn new_session() -> NewSession {
    NewSession {
        workspace: None,
        model: "claude-haiku-4-5".into(),
        limits: Limits::default(),
        rules: policy::Rules::parse(["example.com"]).unwrap(),
        max_turns: Some(9),
        max_cost: None,
        system_prompt: None,
        title: None,
        runtime: Runtime::Native,
        tools: None,
        environment: std::collections::BTreeMap::new(),
        effort: None,
        hosting: None,
    }
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("what was waited for did not happen")
}

/// Waits until something is so.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}

/// The stream's events up to the one that `last` says is the last; previews are left out.
pub async fn events_until(stream: &mut EventStream, last: impl Fn(&Body) -> bool) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        match within(stream.next()).await.unwrap() {
            Some(Item::Event(logged)) => {
                told.push(word(&logged.event.body));
                if last(&logged.event.body) {
                    return told;
                }
            }
            Some(Item::Preview(_) | Item::Behind) => {}
            None => panic!("the stream ended after {told:?}"),
        }
    }
}

pub fn is_idle(body: &Body) -> bool {
    matches!(body, Body::SessionStatusIdle { .. })
}

pub fn word(body: &Body) -> String {
    let text = |content: &[ContentBlock]| {
        content
            .iter()
            .filter_map(ContentBlock::as_text)
            .collect::<Vec<_>>()
            .join("|")
    };
    match body {
        Body::UserMessage { content } => format!("user({})", text(content)),
        Body::AgentMessage { content } => format!("agent({})", text(content)),
        Body::AgentToolUse { name, input, .. } => {
            format!("{name}({})", input["command"].as_str().unwrap_or_default())
        }
        Body::AgentToolResult {
            content, is_error, ..
        } => {
            let mark = if *is_error == Some(true) {
                "failed"
            } else {
                "result"
            };
            format!("{mark}({})", text(content.as_deref().unwrap_or_default()))
        }
        Body::SessionStatusIdle { stop_reason, .. } => {
            format!(
                "idle({})",
                serde_json::to_value(stop_reason).unwrap()["type"]
                    .as_str()
                    .unwrap()
            )
        }
        Body::SessionError { error } => {
            format!(
                "error({})",
                serde_json::to_value(&error.kind).unwrap().as_str().unwrap()
            )
        }
        other => other
            .kind()
            .split_once('.')
            .map_or_else(String::new, |(_, name)| name.to_owned()),
    }
}
