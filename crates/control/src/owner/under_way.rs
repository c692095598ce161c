//! A turn that is under way: what its owner must know of it, and what the next owner must if this one dies.

use super::interrupt::Interrupt;
use crate::asks::{Answer, Asks, Kind};
use crate::start::Order;
use domain::EventId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use translate::State;
use translate::toolset::Toolset;
use wire::{Body, EvaluatedPermission};

#[derive(Debug, Clone)]
pub(crate) struct Turn {
    /// Since when it has been running; nothing while it waits for the user.
    pub(super) running: Option<Instant>,
    pub(super) interrupt: Option<Interrupt>,
    pub(super) kept: Kept,
}

/// What outlives the owner, beside the log.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any may hold with any"
)]
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    /// The message that began it.
    pub(super) message: EventId,
    /// Whether a runtime has said anything to it.
    pub(super) heard: bool,
    /// Whether the present runtime was told to go on with it.
    pub(super) noted: bool,
    /// It waits for the user.
    pub(super) paused: bool,
    pub(super) interrupted: bool,
    /// It was cut and has not gone on yet.
    pub(super) rescheduled: bool,
    /// How often it was.
    pub(super) restarts: u32,
    /// Where in which trace it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<String>,
    pub(super) asks: Asks,
    /// What it may use, where the session's tools are others by now.
    pub(super) tools: Option<Toolset>,
    /// What the runtime's frames up to the last stored one came to.
    pub(super) frames: State,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            message: EventId::random(),
            heard: false,
            noted: false,
            paused: false,
            interrupted: false,
            rescheduled: false,
            restarts: 0,
            trace: None,
            asks: Asks::default(),
            tools: None,
            frames: State::default(),
        }
    }
}

impl Kept {
    /// Puts the log's answers where they belong.
    pub(crate) fn read_back(&mut self, answers: BTreeMap<EventId, Answer>) {
        self.asks.read_back(answers);
    }
}

impl Turn {
    pub(super) fn of_message(message: EventId) -> Self {
        let kept = Kept {
            message,
            ..Kept::default()
        };
        Self {
            running: Some(Instant::now()),
            interrupt: None,
            kept,
        }
    }

    /// One that an owner before this one began.
    pub(super) fn taken_over(kept: Kept) -> Self {
        let running = (!kept.paused).then(Instant::now);
        Self {
            running,
            interrupt: None,
            kept,
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.kept.paused
    }

    /// It waits for the user from now; answers how long it has run.
    pub(super) fn pause(&mut self) -> Duration {
        self.kept.paused = true;
        self.running
            .take()
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(super) fn go_on(&mut self) {
        self.kept.paused = false;
        self.running.get_or_insert_with(Instant::now);
    }

    /// How long it has run since it last began or went on.
    pub(super) fn ran(&self) -> Duration {
        self.running.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Notes an event of the runtime's.
    pub(super) fn told(&mut self, id: &EventId, body: &Body) {
        self.kept.heard = true;
        let kind = match body {
            Body::AgentToolUse {
                evaluated_permission: Some(EvaluatedPermission::Ask),
                ..
            } => Kind::Confirmation,
            Body::AgentCustomToolUse { .. } => Kind::CustomTool,
            _ => return,
        };
        self.kept.asks.told(id.clone(), kind);
    }

    /// What another runtime is to do to go on with it.
    pub(super) fn to_go_on(&self) -> Order {
        Order::GoOn {
            turn: self.kept.message.clone(),
            restarts: self.kept.restarts,
            calls: self.kept.frames.runtime_ids(&self.kept.asks.not_begun()),
        }
    }

    pub(super) fn as_json(&self) -> String {
        serde_json::to_string(&self.kept).unwrap_or_default()
    }
}
