//! What must be true of a session when everything is over. Pure.
//!
//! Events are held against each other by what they say and by what they belong to: an event that was written twice has
//! two ids.

mod calls;
mod turns;

use crate::script;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

pub(crate) use calls::{Come, come};
pub(crate) use turns::{Turn, turns};

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

/// The user's word that the server would not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The calls that it was about.
    pub(crate) calls: Vec<String>,
    pub(crate) status: u16,
    pub(crate) said: String,
}

/// What is known of a session.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) session: String,
    /// All of it.
    pub(crate) log: Vec<Value>,
    /// Events as they were answered to who sent them.
    pub(crate) acknowledged: Vec<Value>,
    /// Texts of messages that were cut off: nobody knows whether they were heard.
    pub(crate) unanswered: Vec<String>,
    pub(crate) refused: Vec<Refused>,
    /// How many events there were when the reader began.
    pub(crate) began_at: usize,
    /// Events as the reader was shown them, in that order.
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
            Self::turns,
            Self::calls,
            Self::confirmations,
            Self::refusals,
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

    /// Each is in the log as it was answered.
    fn acknowledged(&self) -> Vec<Broken> {
        let log: HashMap<&str, &Value> = self.log.iter().map(|event| (id(event), event)).collect();
        let check = |event: &Value| match log.get(id(event)) {
            None => Some(self.broken(id(event), "was acknowledged and is not in the log")),
            Some(logged) if !same(event, logged) => Some(self.broken(
                id(event),
                format!("was acknowledged as {event} and is in the log as {logged}"),
            )),
            Some(_) => None,
        };
        self.acknowledged.iter().filter_map(check).collect()
    }

    /// Exactly the log from where the reader began: as it is there, in its order, without gaps and without doubles.
    fn shown(&self) -> Vec<Broken> {
        let expected = self.log.get(self.began_at..).unwrap_or_default();
        for (shown, logged) in self.shown.iter().zip(expected) {
            if id(shown) != id(logged) {
                let what = format!("was shown in the place of {}", id(logged));
                return vec![self.broken(id(shown), what)];
            }
            if !same(shown, logged) {
                let what = format!("was shown as {shown} and is in the log as {logged}");
                return vec![self.broken(id(shown), what)];
            }
        }
        let more = self.shown.iter().skip(expected.len());
        let more = more.map(|event| self.broken(id(event), "was shown after the end of the log"));
        let missing = expected.iter().skip(self.shown.len());
        let missing =
            missing.map(|event| self.broken(id(event), "was never shown to a reader that came back"));
        more.chain(missing).collect()
    }

    /// None is doubled, none still waits, and each is one that was sent.
    fn messages(&self) -> Vec<Broken> {
        let messages: Vec<&Value> = self.of_type("user.message").collect();
        let texts = messages.iter().filter_map(|event| text(event));
        let doubled =
            twice(texts).map(|text| self.broken("", format!("the message {text:?} is there twice")));
        let waiting = messages.iter().filter(|event| event["processed_at"].is_null());
        let waiting = waiting.map(|event| self.broken(id(event), "a message was never acted on"));
        let sent: BTreeSet<&str> = self
            .acknowledged
            .iter()
            .filter_map(text)
            .chain(self.unanswered.iter().map(String::as_str))
            .collect();
        let of_nobody = messages
            .iter()
            .filter(|event| text(event).is_none_or(|text| !sent.contains(text)));
        let of_nobody = of_nobody
            .map(|event| self.broken(id(event), "a message that nobody has sent, or that was refused"));
        doubled.chain(waiting).chain(of_nobody).collect()
    }

    /// Each span of a model request has one end, after it, and at most one text in it: the model says one at a time.
    fn requests(&self) -> Vec<Broken> {
        let mut broken = Vec::new();
        let (mut open, mut texts) = (None, 0);
        for event in &self.log {
            match event["type"].as_str() {
                Some("span.model_request_start") => {
                    if let Some(before) = open.replace(id(event)) {
                        broken.push(self.broken(before, "a model request has no end"));
                    }
                    texts = 0;
                }
                Some("span.model_request_end") => {
                    let start = event["model_request_start_id"].as_str();
                    if open.take() != start {
                        let what = format!("an end of the model request {start:?}, which is not open");
                        broken.push(self.broken(id(event), what));
                    }
                }
                Some("agent.message") => {
                    texts += 1;
                    if open.is_none() {
                        broken.push(self.broken(id(event), "a text of no model request"));
                    } else if texts > 1 {
                        broken.push(self.broken(id(event), "a second text of one reply"));
                    }
                }
                _ => {}
            }
        }
        broken.extend(open.map(|start| self.broken(start, "a model request has no end")));
        broken
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

fn text(event: &Value) -> Option<&str> {
    event["content"][0]["text"].as_str()
}

/// The line that a call leaves.
fn line(call: &Value) -> Option<String> {
    script::line_of(call["input"]["command"].as_str()?)
}

fn twice<'a>(items: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    let mut seen = BTreeSet::new();
    items.filter(move |item| !seen.insert(*item))
}

#[cfg(test)]
mod tests;
