//! What a run found: as a table for people, as JSON for keeping.

use crate::goal::{Goal, Verdict};
use crate::machine::Machine;
use crate::rounds::Outcome;
use crate::statistics::Summary;
use serde::Serialize;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) figures: Summary,
}

/// A number that is not a series of times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Amount {
    pub name: String,
    pub value: u64,
    pub unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Bytes,
    Count,
    PerSecond,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NotMeasured {
    pub(crate) name: String,
    pub(crate) reason: String,
}

/// One run of one bench.
#[derive(Debug, Serialize)]
pub struct Report {
    bench: &'static str,
    /// RFC 3339, in UTC.
    at: String,
    version: &'static str,
    machine: Machine,
    warm_up: usize,
    iterations: usize,
    rows: Vec<Row>,
    amounts: Vec<Amount>,
    goals: Vec<Verdict>,
    not_measured: Vec<NotMeasured>,
}

impl Report {
    /// Of a bench that begins now, whose rows are made of so many iterations.
    pub fn begin(bench: &'static str, iterations: usize) -> Self {
        Self::new(bench, 0, iterations, Machine::observe())
    }

    pub(crate) fn new(bench: &'static str, warm_up: usize, iterations: usize, machine: Machine) -> Self {
        let at = time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339);
        Self {
            bench,
            at: at.unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION"),
            machine,
            warm_up,
            iterations,
            rows: Vec::new(),
            amounts: Vec::new(),
            goals: Vec::new(),
            not_measured: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.rows.extend(outcome.rows);
        self.not_measured.extend(outcome.not_measured);
    }

    /// A row, unless there is nothing in it.
    pub fn add_series(&mut self, name: impl Into<String>, series: &[Duration]) {
        if let Some(figures) = Summary::of(series) {
            let name = name.into();
            self.rows.push(Row { name, figures });
        }
    }

    pub fn add_amount(&mut self, name: impl Into<String>, value: u64, unit: Unit) {
        let name = name.into();
        self.amounts.push(Amount { name, value, unit });
    }

    pub(crate) fn add_amounts(&mut self, amounts: Vec<Amount>) {
        self.amounts.extend(amounts);
    }

    pub(crate) fn not_measured(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.not_measured.push(NotMeasured {
            name: name.into(),
            reason: reason.into(),
        });
    }

    /// The last step: judges what was measured, and looks at the machine's load once more.
    #[must_use]
    pub fn judge(mut self, goals: &[Goal]) -> Self {
        self.goals = goals
            .iter()
            .map(|goal| goal.judge(&self.rows, &self.amounts))
            .collect();
        self.machine.finish();
        self
    }

    /// Whether each goal that could be measured was reached.
    #[cfg(test)]
    pub(crate) fn reached(&self) -> bool {
        self.goals.iter().all(|verdict| verdict.reached != Some(false))
    }

    /// The tables, with a line feed at the end.
    pub fn render(&self) -> String {
        let mut text = format!("{} · {}\n", self.bench, self.machine);
        self.render_rows(&mut text);
        let width = self
            .amounts
            .iter()
            .map(|amount| amount.name.chars().count())
            .max()
            .unwrap_or(0);
        for amount in &self.amounts {
            line(
                &mut text,
                format_args!("  {:width$}  {:>12}", amount.name, amount.shown()),
            );
        }
        for one in &self.not_measured {
            line(
                &mut text,
                format_args!("  not measured: {}: {}", one.name, one.reason),
            );
        }
        for verdict in &self.goals {
            let mark = match verdict.reached {
                Some(true) => "reached",
                Some(false) => "NOT REACHED",
                None => "not measured",
            };
            let measured = verdict.measured.as_deref().unwrap_or("");
            line(
                &mut text,
                format_args!("  {mark:12}  {}  {measured}", verdict.goal),
            );
        }
        text
    }

    fn render_rows(&self, text: &mut String) {
        if self.rows.is_empty() {
            return;
        }
        let width = self
            .rows
            .iter()
            .map(|row| row.name.chars().count())
            .max()
            .unwrap_or(0);
        line(
            text,
            format_args!(
                "  {:width$} {:>6} {:>9} {:>9} {:>9} {:>9}  ms",
                "", "n", "min", "p50", "p95", "p99"
            ),
        );
        for Row { name, figures } in &self.rows {
            let [minimum, p50, p95, p99] = [figures.minimum, figures.p50, figures.p95, figures.p99]
                .map(|figure| figure.as_secs_f64() * 1e3);
            let count = figures.count;
            line(
                text,
                format_args!("  {name:width$} {count:>6} {minimum:>9.3} {p50:>9.3} {p95:>9.3} {p99:>9.3}"),
            );
        }
    }

    pub fn write_json(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        text.push('\n');
        std::fs::write(path, text)
    }
}

impl Amount {
    pub(crate) fn shown(&self) -> String {
        match self.unit {
            Unit::Bytes => format!("{:.2} MiB", self.value as f64 / f64::from(1 << 20)),
            Unit::Count => self.value.to_string(),
            Unit::PerSecond => format!("{}/s", self.value),
        }
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{arguments}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new("sandbox", 5, 100, Machine::for_tests());
        let figures = Summary::of(&[Duration::from_micros(3500)]).unwrap();
        report.rows.push(Row {
            name: "hostler, cold".to_owned(),
            figures,
        });
        report.add_amounts(vec![Amount {
            name: "idle sandbox".to_owned(),
            value: 3 << 20,
            unit: Unit::Bytes,
        }]);
        report.not_measured("crun", "not installed");
        report.judge(&[
            Goal::AmountAtMost {
                amount: "idle sandbox".to_owned(),
                limit: 2 << 20,
            },
            Goal::AtMost {
                row: "hostler, cold".to_owned(),
                figure: crate::Figure::P50,
                limit: Duration::from_millis(4),
            },
            Goal::Below {
                row: "hostler, cold".to_owned(),
                other: "crun".to_owned(),
            },
        ])
    }

    #[test]
    fn the_table_says_what_was_reached_and_what_was_not_measured() {
        let text = report().render();
        for wanted in [
            "hostler, cold      1     3.500",
            "idle sandbox      3.00 MiB",
            "not measured: crun: not installed",
            "NOT REACHED   idle sandbox: at most 2.00 MiB  3.00 MiB",
            "reached       hostler, cold: p50 of at most 4.00 ms  3.50 ms",
            "not measured  hostler, cold: p50 below that of crun",
        ] {
            assert!(text.contains(wanted), "{wanted:?} in\n{text}");
        }
        assert!(!report().reached());
    }

    #[test]
    fn the_json_holds_machine_figures_and_verdicts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bench.json");
        report().write_json(&path).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(json["rows"][0]["figures"]["p50"], 3500.0);
        assert_eq!(json["amounts"][0]["unit"], "bytes");
        assert_eq!(json["goals"][0]["reached"], false);
        assert_eq!(json["goals"][2]["reached"], serde_json::Value::Null);
        assert_eq!(json["machine"]["cpus"], 2);
    }
}
