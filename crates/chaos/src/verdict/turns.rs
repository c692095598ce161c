//! The turns of a log: each begins with its message, and has an answer to it or the word that it was cut. Pure.

use super::calls::{Come, come};
use super::{Broken, Evidence, id, line, text};
use crate::script;
use serde_json::Value;
use std::collections::BTreeSet;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A message, and everything that was done until the next one was taken.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) message: &'a Value,
    events: Vec<&'a Value>,
}

/// A message stands in the log where it came, and its turn begins when it was taken.
pub(crate) fn turns(log: &[Value]) -> Vec<Turn<'_>> {
    let moment = |event: &Value| OffsetDateTime::parse(event["processed_at"].as_str()?, &Rfc3339).ok();
    let mut events: Vec<(OffsetDateTime, &Value)> = log
        .iter()
        .filter_map(|event| Some((moment(event)?, event)))
        .collect();
    events.sort_by_key(|(at, _)| *at);
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for (_, event) in events {
        if event["type"] == "user.message" {
            turns.push(Turn {
                message: event,
                events: Vec::new(),
            });
        } else if let Some(turn) = turns.last_mut() {
            turn.events.push(event);
        }
    }
    turns
}

impl Turn<'_> {
    /// Whether the last whole reply in it is one that the model ends with: a text, and no call.
    pub(crate) fn is_answered(&self) -> bool {
        let (mut answered, mut texts, mut calls) = (false, 0, 0);
        for event in &self.events {
            match event["type"].as_str() {
                Some("span.model_request_start") => (texts, calls) = (0, 0),
                Some("agent.message") => texts += 1,
                Some("agent.tool_use") => calls += 1,
                Some("span.model_request_end") if event["is_error"] != true => {
                    answered = texts > 0 && calls == 0;
                }
                _ => {}
            }
        }
        answered
    }

    /// Whether it says that it was given up.
    fn is_given_up(&self) -> bool {
        self.errors().any(gives_up)
    }

    /// Whether it says so, and of what waited behind it, that it was dropped.
    fn drops_the_rest(&self) -> bool {
        let dropping = |error: &Value| {
            let said = error["message"].as_str();
            gives_up(error) && said.is_some_and(|said| said.contains("What waited was dropped"))
        };
        self.errors().any(dropping)
    }

    /// Whether anything was done for it at all.
    fn is_begun(&self) -> bool {
        let begins = [
            "session.status_running",
            "span.model_request_start",
            "agent.tool_use",
        ];
        self.events
            .iter()
            .any(|event| begins.iter().any(|kind| event["type"] == *kind))
    }

    /// Whether it says that the agent was cut in its work. A model request alone is only made again.
    fn was_cut(&self) -> bool {
        self.errors()
            .any(|error| error["type"] != "model_request_failed_error")
    }

    fn errors(&self) -> impl Iterator<Item = &Value> {
        let errors = self
            .events
            .iter()
            .filter(|event| event["type"] == "session.error");
        errors.map(|event| &event["error"])
    }

    fn calls(&self) -> impl Iterator<Item = &Value> {
        let calls = self
            .events
            .iter()
            .filter(|event| event["type"] == "agent.tool_use");
        calls.copied()
    }
}

impl Evidence {
    /// Each message has its answer, or the word that it was given up, in its own turn, or was dropped with the turn that
    /// it waited for; and the calls there are those of its own job, all of them unless the agent was cut.
    pub(super) fn turns(&self) -> Vec<Broken> {
        let mut broken = Vec::new();
        // Of the last turn that began: it was given up, and with it what waited.
        let (mut given_up, mut dropping) = (false, false);
        for turn in turns(&self.log) {
            if dropping && !turn.is_begun() {
                continue;
            }
            let message = text(turn.message).unwrap_or_default();
            if !turn.is_answered() && !turn.is_given_up() {
                let what =
                    format!("{message:?} has neither an answer nor a word that it was cut in its turn");
                broken.push(self.broken(id(turn.message), what));
            }
            broken.extend(self.calls_of(&turn, given_up));
            (given_up, dropping) = (turn.is_given_up(), turn.drops_the_rest());
        }
        broken
    }

    /// Where the turn before was given up, the model is shown its results together with the message, and what it plays
    /// may answer those.
    fn calls_of(&self, turn: &Turn<'_>, after_given_up: bool) -> Vec<Broken> {
        let message = text(turn.message).unwrap_or_default();
        let wanted = if after_given_up {
            script::all_lines_of(message)
        } else {
            script::lines_of(message)
        };
        let others = turn.calls().filter_map(|call| Some((call, line(call)?)));
        let others = others.filter(|(_, line)| !wanted.contains(line));
        let mut broken: Vec<Broken> = others
            .map(|(call, line)| {
                self.broken(
                    id(call),
                    format!("{line} was called for in the turn of {message:?}"),
                )
            })
            .collect();
        if turn.is_answered() && !turn.was_cut() && !after_given_up {
            let is_well = |call: &&Value| come(&self.log, id(call)) == Some(Come::Well);
            let well: BTreeSet<String> = turn.calls().filter(is_well).filter_map(line).collect();
            let missing = wanted.iter().filter(|line| !well.contains(*line));
            broken.extend(missing.map(|line| {
                let what = format!("{message:?} was not cut, and no call for {line} came back well");
                self.broken(id(turn.message), what)
            }));
        }
        broken
    }
}

fn gives_up(error: &Value) -> bool {
    let status = error["retry_status"]["type"].as_str();
    matches!(status, Some("exhausted" | "terminal"))
}
