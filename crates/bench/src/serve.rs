//! `hostler bench serve`: a real server on loopback, asked over HTTP as its users ask it, against the simulated model.
//!
//! The model is in this process, the server is a process of its own with its own data directory and jailer, and each part
//! has a server of its own. Clients, readers and the model take their share of the same processors.

mod appends;
mod creates;
mod events;
mod idle;
mod readers;
mod scene;

use crate::density::allow_many_descriptors;
use crate::goal::{Figure, Goal};
use crate::machine::Machine;
use crate::options::{Part, ServeOptions};
use crate::report::Report;
use stage::{Failure, Progress};
use std::path::Path;
use std::time::Duration;

/// Shells that are kept ready for a burst: as many as a server may keep.
const LARGE_POOL: u32 = 64;

/// What all parts have.
struct Bench<'a> {
    program: &'a Path,
    options: &'a ServeOptions,
    progress: &'a dyn Progress,
    report: Report,
    goals: Vec<Goal>,
}

/// `program` is the hostler binary that serves.
pub async fn serve(program: &Path, options: &ServeOptions, progress: &dyn Progress) -> Report {
    let mut bench = Bench {
        program,
        options,
        progress,
        report: Report::new("serve", options.warm_up, options.iterations, Machine::observe()),
        goals: Vec::new(),
    };
    // The server inherits it.
    allow_many_descriptors();
    for part in Part::ALL.into_iter().filter(|part| options.wants(*part)) {
        if let Err(failure) = bench.part(part).await {
            bench.report.not_measured(part.name(), failure.in_full());
        }
    }
    bench.report.judge(&bench.goals)
}

impl Bench<'_> {
    async fn part(&mut self, part: Part) -> Result<(), Failure> {
        match part {
            Part::Create => self.creates().await,
            Part::Burst => self.bursts().await,
            Part::Events => self.events().await,
            Part::Appends => self.appends().await,
            Part::Idle => self.idle().await,
            Part::Readers => self.readers().await,
        }
    }

    fn at_most(&mut self, row: impl Into<String>, figure: Figure, limit: Duration) {
        let row = row.into();
        self.goals.push(Goal::AtMost { row, figure, limit });
    }
}
