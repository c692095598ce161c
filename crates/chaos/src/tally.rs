//! What a run came to, in numbers.

use crate::ledgers::Compared;
use crate::schedule::With;
use crate::subject::Known;
use bench::{Goal, Report, Unit};
use serde_json::Value;
use std::time::Duration;

const BROKEN: &str = "promises broken";

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) kills: u64,
    jailers: u64,
    runtimes: u64,
    guests: u64,
    everybody: u64,
    /// From the start of a server after a kill to the moment that it serves.
    starts: Vec<Duration>,
    sessions: u64,
    acknowledged: u64,
    unanswered: u64,
    events: u64,
    shown: u64,
    calls: u64,
    cut_calls: u64,
    lines: u64,
}

impl Tally {
    pub(crate) fn killed(&mut self, with: With, started: Duration) {
        self.kills += 1;
        match with {
            With::Nobody => {}
            With::Jailer => self.jailers += 1,
            With::Runtime => self.runtimes += 1,
            With::Guest => self.guests += 1,
            With::Everybody => self.everybody += 1,
        }
        self.starts.push(started);
    }

    pub(crate) fn knows(&mut self, known: &Known) {
        let evidence = &known.evidence;
        let of_type = |kind: &str, more: fn(&Value) -> bool| {
            let events = evidence.log.iter().filter(|event| event["type"] == kind);
            events.filter(|event| more(event)).count() as u64
        };
        self.sessions += 1;
        self.acknowledged += evidence.acknowledged.len() as u64;
        self.unanswered += known.unanswered as u64;
        self.events += evidence.log.len() as u64;
        self.shown += evidence.shown.len() as u64;
        self.calls += of_type("agent.tool_use", |_| true);
        self.cut_calls += of_type("agent.tool_result", |event| event["is_error"] == true);
        self.lines += evidence.lines.len() as u64;
    }

    pub(crate) fn report(&self, compared: &Compared, broken: usize, mut report: Report) -> Report {
        report.add_series("server, after a kill: start to serving", &self.starts);
        for (name, value) in [
            ("kills of the server", self.kills),
            ("  with the jailer and its watcher", self.jailers),
            ("  with a runtime", self.runtimes),
            ("  with a guest", self.guests),
            ("  with everybody", self.everybody),
            ("sessions", self.sessions),
            ("events acknowledged", self.acknowledged),
            ("messages cut off before an answer", self.unanswered),
            ("events in the logs", self.events),
            ("events shown to readers", self.shown),
            ("tool calls", self.calls),
            ("  that were cut", self.cut_calls),
            ("lines that they left", self.lines),
            ("model calls completed", compared.completed),
            ("model calls marked as cut", compared.cut),
            (BROKEN, broken as u64),
        ] {
            report.add_amount(name, value, Unit::Count);
        }
        report.judge(&[Goal::AmountAtMost {
            amount: BROKEN.to_owned(),
            limit: 0,
        }])
    }
}
