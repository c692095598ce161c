//! What `hostler bench` is asked for.

use crate::rounds::Plan;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Long enough to fill a pool again, and for the kernel to clean up after a network namespace or two.
const BETWEEN_TURNS: Duration = Duration::from_millis(20);
/// For what many starts left behind, before memory is looked at.
const BEFORE_WEIGHING: Duration = Duration::from_secs(2);
/// For one iteration; whoever takes longer is out.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// What to measure
    pub what: What,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Create to first command, cold and from the pool; many at once; memory
    Sandbox,
    /// Create to first model request; an idle session's memory
    Session,
    /// Spawn to initialize answered; Bash round trips
    Runtime,
    /// Added time to first byte
    Gateway,
}

impl What {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Session => "session",
            Self::Runtime => "runtime",
            Self::Gateway => "gateway",
        }
    }
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
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            warm_up: self.warm_up,
            iterations: self.iterations,
            settle: BETWEEN_TURNS,
            patience: PATIENCE,
        }
    }
}

impl Arguments {
    pub fn json_path(&self) -> PathBuf {
        let default = || PathBuf::from(format!("hostler-bench-{}.json", self.what.as_str()));
        self.options.json.clone().unwrap_or_else(default)
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
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn defaults_are_the_same_in_both_ways() {
        let Line { arguments } = Line::try_parse_from(["bench", "sandbox"]).unwrap();
        let Options {
            iterations,
            warm_up,
            density,
            json,
            settle,
        } = Options::default();
        let parsed = &arguments.options;
        assert_eq!(
            (parsed.iterations, parsed.warm_up, parsed.density),
            (iterations, warm_up, density)
        );
        assert_eq!((&parsed.json, parsed.settle), (&json, settle));
        assert_eq!(arguments.json_path(), PathBuf::from("hostler-bench-sandbox.json"));
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
