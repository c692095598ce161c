//! What `hostler bench` is asked for.

use crate::machine::Machine;
use crate::report::Report;
use crate::rounds::Plan;
use clap::{Args, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Long enough to fill a pool again, and for the kernel to clean up after a network namespace or two.
const BETWEEN_TURNS: Duration = Duration::from_millis(20);
/// For what many starts left behind, before memory is looked at.
const BEFORE_WEIGHING: Duration = Duration::from_secs(2);
/// For one iteration; whoever takes longer is out.
const PATIENCE: Duration = Duration::from_mins(1);

/// Each with what it is measured by.
#[derive(Debug, Clone, Subcommand)]
pub enum What {
    /// Create to first command, cold and from the pool; many at once; memory
    Sandbox(Options),
    /// Create to first model request; an idle session's memory
    Session(Options),
    /// Spawn to initialize answered; Bash round trips
    Runtime(Options),
    /// Added time to first byte
    Gateway(Options),
    /// A server over HTTP: creates, bursts, events, idle sessions, readers
    Serve(ServeOptions),
}

impl What {
    /// Where the JSON goes.
    pub fn json_path(&self) -> PathBuf {
        let (name, json) = match self {
            Self::Sandbox(options) => ("sandbox", &options.json),
            Self::Session(options) => ("session", &options.json),
            Self::Runtime(options) => ("runtime", &options.json),
            Self::Gateway(options) => ("gateway", &options.json),
            Self::Serve(options) => ("serve", &options.json),
        };
        json_path(name, json.as_deref())
    }
}

/// The file that was named, or the one of this bench.
pub fn json_path(bench: &str, named: Option<&Path>) -> PathBuf {
    named.map_or_else(|| format!("hostler-bench-{bench}.json").into(), Path::to_owned)
}

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How often each candidate is measured
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = between::<1, 1_000_000>)]
    pub iterations: usize,
    /// How often each candidate runs before it counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = between::<0, 1_000>)]
    pub warm_up: usize,
    /// How many sandboxes or sessions are held at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = between::<1, 10_000>)]
    pub density: usize,
    /// Where the JSON goes [default: hostler-bench-WHAT.json]
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// How long what was started is left alone before it is weighed
    #[arg(skip = BEFORE_WEIGHING)]
    pub settle: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            iterations: 100,
            warm_up: 5,
            density: 100,
            json: None,
            settle: BEFORE_WEIGHING,
        }
    }
}

impl Options {
    pub(crate) fn report(&self, bench: &'static str) -> Report {
        Report::new(bench, self.warm_up, self.iterations, Machine::observe())
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan {
            warm_up: self.warm_up,
            iterations: self.iterations,
            settle: BETWEEN_TURNS,
            patience: PATIENCE,
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct ServeOptions {
    /// How often a create, and a message to an idle session, is measured
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = between::<1, 100_000>)]
    pub iterations: usize,
    /// How often before it counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = between::<0, 1_000>)]
    pub warm_up: usize,
    /// Idle sessions that are held at once
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = between::<1, 100_000>)]
    pub sessions: usize,
    /// Sessions at work while events are timed
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = between::<1, 10_000>)]
    pub active: usize,
    /// Sessions that are created at the same moment
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = between::<1, 250>)]
    pub burst: usize,
    /// Readers of one session
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = between::<1, 4_000>)]
    pub readers: usize,
    /// Measures this alone; may be repeated
    #[arg(long, value_name = "PART")]
    pub only: Vec<Part>,
    /// Where the JSON goes [default: hostler-bench-serve.json]
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Each with a server of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Create,
    Burst,
    Events,
    Appends,
    Idle,
    Readers,
}

impl Part {
    pub(crate) const ALL: [Self; 6] = [
        Self::Create,
        Self::Burst,
        Self::Events,
        Self::Appends,
        Self::Idle,
        Self::Readers,
    ];

    /// As it is asked for.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Burst => "burst",
            Self::Events => "events",
            Self::Appends => "appends",
            Self::Idle => "idle",
            Self::Readers => "readers",
        }
    }
}

impl ServeOptions {
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn between<const LEAST: usize, const MOST: usize>(text: &str) -> Result<usize, String> {
    let wrong = || format!("use a number from {LEAST} to {MOST}");
    let number = text.parse().map_err(|_| wrong())?;
    if (LEAST..=MOST).contains(&number) {
        Ok(number)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        what: What,
    }

    #[test]
    fn defaults_are_the_same_in_both_ways() {
        let Line { what } = Line::try_parse_from(["bench", "sandbox"]).unwrap();
        let Options {
            iterations,
            warm_up,
            density,
            json,
            settle,
        } = Options::default();
        assert_eq!(what.json_path(), PathBuf::from("hostler-bench-sandbox.json"));
        let What::Sandbox(parsed) = what else {
            panic!("{what:?}")
        };
        assert_eq!(
            (parsed.iterations, parsed.warm_up, parsed.density),
            (iterations, warm_up, density)
        );
        assert_eq!((parsed.json, parsed.settle), (json, settle));
    }

    #[test]
    fn parts_are_measured_alone_or_all_of_them() {
        for (line, expected) in [
            (&["bench", "serve"][..], [true, true]),
            (&["bench", "serve", "--only", "burst"], [true, false]),
            (
                &["bench", "serve", "--only", "idle", "--only", "burst"],
                [true, true],
            ),
        ] {
            let Ok(Line {
                what: What::Serve(options),
            }) = Line::try_parse_from(line)
            else {
                panic!("{line:?}")
            };
            assert_eq!(
                [Part::Burst, Part::Idle].map(|part| options.wants(part)),
                expected,
                "{line:?}"
            );
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for line in [
            ["bench", "sandbox", "--iterations", "0"],
            ["bench", "sandbox", "--density", "100000"],
            ["bench", "sandbox", "--warm-up", "-1"],
            ["bench", "kernel", "--warm-up", "1"],
        ] {
            assert!(Line::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
