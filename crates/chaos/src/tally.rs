//! What a run came to, in numbers.

use crate::floors::{self, Deaths, Work};
use crate::ledgers::Compared;
use crate::subject::Known;
use crate::verdict::{Broken, Come, Turn, come, turns};
use bench::{Goal, Report, Unit};
use serde_json::Value;
use stage::Kind;
use std::collections::BTreeMap;
use std::time::Duration;

const BROKEN: &str = "promises broken";

#[derive(Debug, Default)]
pub(crate) struct Tally {
    deaths: BTreeMap<Kind, Deaths>,
    /// From the start of a server after a kill to the moment that it serves.
    starts: Vec<Duration>,
    works: Vec<Work>,
    acknowledged: u64,
    unanswered: u64,
    refused: u64,
    events: u64,
    shown: u64,
    calls: u64,
    interrupted: u64,
    not_made: u64,
}

impl Tally {
    /// Of a round that was to kill processes of this kind.
    pub(crate) fn died(&mut self, kind: Kind, died: u64) {
        let deaths = self.deaths.entry(kind).or_default();
        deaths.rounds += 1;
        deaths.hit += u64::from(died > 0);
        deaths.died += died;
    }

    pub(crate) fn started(&mut self, took: Duration) {
        self.starts.push(took);
    }

    pub(crate) fn knows(&mut self, known: &Known) {
        let evidence = &known.evidence;
        let calls = evidence
            .log
            .iter()
            .filter(|event| event["type"] == "agent.tool_use");
        let calls: Vec<Option<Come>> = calls
            .map(|call| come(&evidence.log, call["id"].as_str().unwrap_or_default()))
            .collect();
        let came = |wanted: Come| calls.iter().filter(|come| **come == Some(wanted)).count() as u64;
        let jobs = turns(&evidence.log)
            .into_iter()
            .filter(|turn| is_job(turn.message));
        self.works.push(Work {
            session: evidence.session.clone(),
            answered: jobs.filter(Turn::is_answered).count() as u64,
            calls: came(Come::Well),
            lines: evidence.lines.len() as u64,
        });
        self.acknowledged += evidence.acknowledged.len() as u64;
        self.unanswered += evidence.unanswered.len() as u64;
        self.refused += evidence.refused.len() as u64;
        self.events += evidence.log.len() as u64;
        self.shown += evidence.shown.len() as u64;
        self.calls += calls.len() as u64;
        self.interrupted += came(Come::Interrupted);
        self.not_made += came(Come::NotMade);
    }

    /// What must have happened and has not.
    pub(crate) fn missing(&self, compared: &Compared) -> Vec<Broken> {
        floors::check(&self.deaths, &self.works, compared)
    }

    pub(crate) fn report(&self, compared: &Compared, broken: usize, mut report: Report) -> Report {
        report.add_series("server, after a kill: start to serving", &self.starts);
        let died = |kind| self.deaths.get(&kind).map_or(0, |deaths| deaths.died);
        let sum = |of: fn(&Work) -> u64| self.works.iter().map(of).sum::<u64>();
        for (name, value) in [
            ("servers killed", died(Kind::Server)),
            ("jailers and their watchers killed", died(Kind::Jailer)),
            ("guests killed", died(Kind::Guest)),
            ("runtimes killed", died(Kind::Runtime)),
            ("sessions", self.works.len() as u64),
            ("jobs answered", sum(|work| work.answered)),
            ("events acknowledged", self.acknowledged),
            ("messages cut off before an answer", self.unanswered),
            ("confirmations refused", self.refused),
            ("events in the logs", self.events),
            ("events shown to readers", self.shown),
            ("tool calls", self.calls),
            ("  that were interrupted", self.interrupted),
            ("  that were not made", self.not_made),
            ("lines that they left", sum(|work| work.lines)),
            ("model requests answered in full", compared.answered),
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

fn is_job(message: &Value) -> bool {
    let text = message["content"][0]["text"].as_str();
    text.is_some_and(|text| text.starts_with("job-"))
}
