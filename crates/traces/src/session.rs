//! One session's traces: what its owner and the gateway, which know nothing of each other, have in common.

use crate::span::Step;
use crate::start::Started;
use crate::turn::Turn;
use crate::{Context, Traces, names};
use domain::SandboxId;
use opentelemetry::KeyValue;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Of one session, or nothing; cheap to clone.
#[derive(Clone, Default)]
pub struct SessionTrace(pub(crate) Option<Arc<Session>>);

/// What is told of a session wherever it is spoken of.
#[derive(Debug, Clone, Default)]
pub struct About {
    pub session: String,
    pub model: String,
    pub workspace: Option<String>,
    /// With its version.
    pub agent: Option<(String, u64)>,
}

pub(crate) struct Session {
    pub(crate) started: Arc<Started>,
    pub(crate) about: About,
    turn: Mutex<Option<Turn>>,
}

impl Traces {
    /// Of a session that is going to work.
    pub fn session(&self, about: impl FnOnce() -> About) -> SessionTrace {
        let session = self.0.as_ref().map(|started| {
            Arc::new(Session {
                started: Arc::clone(started),
                about: about(),
                turn: Mutex::default(),
            })
        });
        SessionTrace(session)
    }
}

impl Session {
    pub(crate) fn turn(&self) -> MutexGuard<'_, Option<Turn>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SessionTrace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_on() { "on" } else { "off" };
        formatter.debug_tuple("SessionTrace").field(&word).finish()
    }
}

impl SessionTrace {
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Of the turn that is under way.
    pub fn context(&self) -> Option<Context> {
        let turn = self.0.as_ref()?.turn();
        turn.as_ref().map(|turn| turn.context.clone())
    }

    /// A sandbox that the turn waits for: built for it, or found again.
    pub fn sandbox(&self, id: &SandboxId, is_new: bool) -> Step {
        let start = if is_new { "created" } else { "found" };
        self.step("sandbox", || {
            vec![
                KeyValue::new(names::SANDBOX, id.to_string()),
                KeyValue::new(names::SANDBOX_START, start),
            ]
        })
    }

    /// The agent's process, until it has been started and told what to do.
    pub fn runtime(&self) -> Step {
        self.step("runtime", Vec::new)
    }

    /// A part of the turn that is under way; nothing between two turns.
    fn step(&self, name: &'static str, attributes: impl FnOnce() -> Vec<KeyValue>) -> Step {
        let Some(session) = &self.0 else { return Step(None) };
        let mut turn = session.turn();
        let span = turn.as_mut().map(|turn| turn.part(session, name, attributes()));
        Step(span)
    }
}
