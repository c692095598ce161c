//! Calls: each has one result, one word of the user where it asked, and one line at most in the sandbox. Pure.

use super::{Broken, Evidence, Refused, id, line, text, twice};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How a call came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Come {
    Well,
    /// Nobody knows how far it came.
    Interrupted,
    /// It was never begun.
    NotMade,
    /// In another way, which no call here has.
    Failed,
}

/// As its result says; nothing where it has none.
pub(crate) fn come(log: &[Value], call: &str) -> Option<Come> {
    let result = log
        .iter()
        .find(|event| event["tool_use_id"] == call && event["type"] == "agent.tool_result")?;
    Some(of_result(result))
}

fn of_result(result: &Value) -> Come {
    if result["is_error"] != true {
        return Come::Well;
    }
    match text(result).unwrap_or_default() {
        text if text.contains("interrupted") => Come::Interrupted,
        text if text.contains("was not made") => Come::NotMade,
        _ => Come::Failed,
    }
}

impl Evidence {
    /// Each call has one result, after it, which is good or says that it was interrupted or never made.
    pub(super) fn calls(&self) -> Vec<Broken> {
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
                        let what = format!("a result of {call}, which has no open call");
                        broken.push(self.broken(id(event), what));
                    }
                    if of_result(event) == Come::Failed {
                        let what = format!("a call failed and was not interrupted: {}", event["content"]);
                        broken.push(self.broken(id(event), what));
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

    /// Each is of one call that asked, and was given once; and no call that asked ran without one.
    pub(super) fn confirmations(&self) -> Vec<Broken> {
        let asked: BTreeSet<&str> = self
            .of_type("agent.tool_use")
            .filter(|event| event["evaluated_permission"] == "ask")
            .map(id)
            .collect();
        let given: Vec<&str> = self.confirmed().collect();
        let mut broken: Vec<Broken> = twice(given.iter().copied())
            .map(|call| self.broken(call, "a call was allowed twice"))
            .collect();
        let of_nothing = given.iter().filter(|call| !asked.contains(*call));
        broken.extend(of_nothing.map(|call| self.broken(call, "was allowed and is no call that asks")));
        let without = asked.iter().filter(|call| !given.contains(*call));
        let without = without.filter(|call| come(&self.log, call) == Some(Come::Well));
        broken.extend(without.map(|call| self.broken(call, "a call asked, and ran without the user's word")));
        broken
    }

    /// A word is only refused where it was heard before, or where its call was cut meanwhile.
    pub(super) fn refusals(&self) -> Vec<Broken> {
        let confirmed: BTreeSet<&str> = self.confirmed().collect();
        let over = |call: &String| {
            confirmed.contains(call.as_str())
                || matches!(come(&self.log, call), Some(Come::Interrupted | Come::NotMade))
        };
        let wrong = self
            .refused
            .iter()
            .filter(|refused| !matches!(refused.status, 400 | 409) || !refused.calls.iter().any(over));
        wrong
            .map(|refused| {
                let Refused { calls, status, said } = refused;
                self.broken(
                    "",
                    format!("the word on {calls:?} was refused with {status}: {said}"),
                )
            })
            .collect()
    }

    fn confirmed(&self) -> impl Iterator<Item = &str> {
        self.of_type("user.tool_confirmation")
            .filter_map(|event| event["tool_use_id"].as_str())
    }

    /// Each line is of one call, and each call that came back well has left its line. One that was interrupted may have
    /// left it, and may be made again.
    pub(super) fn lines(&self) -> Vec<Broken> {
        let lines: BTreeSet<&str> = self.lines.iter().map(String::as_str).collect();
        let mut broken: Vec<Broken> = twice(self.lines.iter().map(String::as_str))
            .map(|line| self.broken("", format!("a call ran twice: {line}")))
            .collect();
        // What may have left a line.
        let mut began = BTreeSet::new();
        let mut whole: BTreeMap<String, &str> = BTreeMap::new();
        for call in self.of_type("agent.tool_use") {
            let Some(line) = line(call) else { continue };
            match come(&self.log, id(call)) {
                Some(Come::Well) => {}
                Some(Come::NotMade) => continue,
                Some(Come::Interrupted | Come::Failed) | None => {
                    began.insert(line);
                    continue;
                }
            }
            began.insert(line.clone());
            if !lines.contains(line.as_str()) {
                let what = format!("a call came back well and has left no line: {line}");
                broken.push(self.broken(id(call), what));
            }
            if let Some(other) = whole.insert(line, id(call)) {
                let what = format!("the model's call came back twice: also {other}");
                broken.push(self.broken(id(call), what));
            }
        }
        let unknown = lines.iter().filter(|line| !began.contains(**line));
        broken
            .extend(unknown.map(|line| self.broken("", format!("a line of no call that was made: {line}"))));
        broken
    }
}
