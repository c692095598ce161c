//! What must be true of a session when everything is over. Pure.

use crate::script;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broken {
    pub session: String,
    /// The event that it shows by.
    pub event: Option<String>,
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.session, self.what)?;
        match &self.event {
            Some(event) => write!(formatter, " ({event})"),
            None => Ok(()),
        }
    }
}

/// What is known of a session.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) session: String,
    /// All of it.
    pub(crate) log: Vec<Value>,
    /// Events as they were answered to who sent them.
    pub(crate) acknowledged: Vec<Value>,
    /// Events as a reader was shown them, in that order.
    pub(crate) shown: Vec<Value>,
    /// What the tools left in the sandbox.
    pub(crate) lines: Vec<String>,
}

impl Evidence {
    pub(crate) fn judge(&self) -> Vec<Broken> {
        let checks = [
            Self::once,
            Self::acknowledged,
            Self::shown,
            Self::messages,
            Self::calls,
            Self::lines,
            Self::requests,
        ];
        checks.iter().flat_map(|check| check(self)).collect()
    }

    fn broken(&self, event: &str, what: impl Into<String>) -> Broken {
        Broken {
            session: self.session.clone(),
            event: (!event.is_empty()).then(|| event.to_owned()),
            what: what.into(),
        }
    }

    fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.log.iter().filter(move |event| event["type"] == kind)
    }

    fn once(&self) -> Vec<Broken> {
        twice(self.log.iter().map(id))
            .map(|id| self.broken(id, "an event stands twice in the log"))
            .collect()
    }

    fn acknowledged(&self) -> Vec<Broken> {
        self.as_logged(&self.acknowledged, "was acknowledged")
    }

    /// Each as it is in the log, in its order, and none of those between left out.
    fn shown(&self) -> Vec<Broken> {
        let mut broken = self.as_logged(&self.shown, "was shown");
        let Some(first) = self.shown.first() else {
            return broken;
        };
        let from = self.log.iter().position(|event| id(event) == id(first));
        let expected = self.log[from.unwrap_or(self.log.len())..].iter().map(id);
        let mut shown = self.shown.iter().map(id);
        for expected in expected {
            match shown.next() {
                Some(found) if found == expected => {}
                Some(found) => {
                    let what = format!("was shown in the place of {expected}");
                    broken.push(self.broken(found, what));
                    return broken;
                }
                None => {
                    broken.push(self.broken(expected, "was never shown to a reader that came back"));
                    return broken;
                }
            }
        }
        broken.extend(shown.map(|more| self.broken(more, "was shown after the end of the log")));
        broken
    }

    fn as_logged(&self, events: &[Value], how: &str) -> Vec<Broken> {
        let log: HashMap<&str, &Value> = self.log.iter().map(|event| (id(event), event)).collect();
        let check = |event: &Value| match log.get(id(event)) {
            None => Some(self.broken(id(event), format!("{how} and is not in the log"))),
            Some(logged) if !same(event, logged) => Some(self.broken(
                id(event),
                format!("{how} as {event} and is in the log as {logged}"),
            )),
            Some(_) => None,
        };
        events.iter().filter_map(check).collect()
    }

    /// None is doubled, and none still waits.
    fn messages(&self) -> Vec<Broken> {
        let messages: Vec<&Value> = self.of_type("user.message").collect();
        let texts = messages.iter().filter_map(|event| text(event));
        let doubled =
            twice(texts).map(|text| self.broken("", format!("the message {text:?} is there twice")));
        let waiting = messages.iter().filter(|event| event["processed_at"].is_null());
        let waiting = waiting.map(|event| self.broken(id(event), "a message was never acted on"));
        doubled.chain(waiting).collect()
    }

    /// Each call has one result, after it.
    fn calls(&self) -> Vec<Broken> {
        let mut open = BTreeSet::new();
        let mut broken = Vec::new();
        for event in &self.log {
            match event["type"].as_str() {
                Some("agent.tool_use") => {
                    open.insert(id(event));
                }
                Some("agent.tool_result") => {
                    let call = event["tool_use_id"].as_str().unwrap_or_default();
                    if !open.remove(call) {
                        broken.push(
                            self.broken(id(event), format!("a result of {call}, which has no open call")),
                        );
                    }
                }
                _ => {}
            }
        }
        broken.extend(
            open.into_iter()
                .map(|call| self.broken(call, "a call has no result")),
        );
        broken
    }

    /// Each line is of one call, and each call that came back has left its line. A call that was cut may be made again.
    fn lines(&self) -> Vec<Broken> {
        let lines: BTreeSet<&str> = self.lines.iter().map(String::as_str).collect();
        let mut broken: Vec<Broken> = twice(self.lines.iter().map(String::as_str))
            .map(|line| self.broken("", format!("a call ran twice: {line}")))
            .collect();
        let failed: BTreeSet<&str> = self
            .of_type("agent.tool_result")
            .filter(|event| event["is_error"] == true)
            .filter_map(|event| event["tool_use_id"].as_str())
            .collect();
        let mut known = BTreeSet::new();
        let mut whole: BTreeMap<String, &str> = BTreeMap::new();
        for event in self.of_type("agent.tool_use") {
            let command = event["input"]["command"].as_str().unwrap_or_default();
            let Some(line) = script::line_of(command) else {
                continue;
            };
            known.insert(line.clone());
            if failed.contains(id(event)) {
                continue;
            }
            if !lines.contains(line.as_str()) {
                broken.push(self.broken(
                    id(event),
                    format!("a call came back well and has left no line: {line}"),
                ));
            }
            if let Some(other) = whole.insert(line, id(event)) {
                broken.push(self.broken(
                    id(event),
                    format!("the model's call came back twice: also {other}"),
                ));
            }
        }
        let unknown = lines.iter().filter(|line| !known.contains(**line));
        broken.extend(unknown.map(|line| self.broken("", format!("a line of no call in the log: {line}"))));
        broken
    }

    /// Each span of a model request has its end, and each end its start.
    fn requests(&self) -> Vec<Broken> {
        let starts: BTreeSet<&str> = self.of_type("span.model_request_start").map(id).collect();
        let start_of = |end: &'_ Value| end["model_request_start_id"].as_str().map(str::to_owned);
        let ends: BTreeSet<String> = self
            .of_type("span.model_request_end")
            .filter_map(start_of)
            .collect();
        let open = starts.iter().filter(|start| !ends.contains(**start));
        let of_nothing = ends.iter().filter(|start| !starts.contains(start.as_str()));
        let open = open.map(|start| self.broken(start, "a model request has no end"));
        open.chain(of_nothing.map(|start| self.broken(start, "a model request has an end and no start")))
            .collect()
    }
}

/// A message that waited when it was seen may have been acted on since.
fn same(seen: &Value, logged: &Value) -> bool {
    if seen == logged {
        return true;
    }
    if !seen["processed_at"].is_null() {
        return false;
    }
    let mut seen = seen.clone();
    seen["processed_at"] = logged["processed_at"].clone();
    seen == *logged
}

fn id(event: &Value) -> &str {
    event["id"].as_str().unwrap_or_default()
}

pub(crate) fn text(event: &Value) -> Option<&str> {
    event["content"][0]["text"].as_str()
}

fn twice<'a>(items: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    let mut seen = BTreeSet::new();
    items.filter(move |item| !seen.insert(*item))
}

#[cfg(test)]
mod tests;
