//! One of those who take turns: does its work once and says how long the parts took.

use crate::Failure;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

type Once = Pin<Box<dyn Future<Output = Result<Vec<Duration>, Failure>> + Send>>;

/// Does its work, and cleans up after it, each time it is asked. It takes the times itself, so that cleaning up and
/// preparing do not count.
pub(crate) struct Candidate {
    pub(crate) name: String,
    /// What the durations are, in the order in which they are returned.
    pub(crate) measures: Vec<String>,
    work: Box<dyn FnMut() -> Once + Send>,
}

impl Candidate {
    /// `work` returns one duration for each of `measures`.
    pub fn new<W, F>(name: impl Into<String>, measures: &[&str], mut work: W) -> Self
    where
        W: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<Vec<Duration>, Failure>> + Send + 'static,
    {
        let measures = measures.iter().map(|measure| (*measure).to_owned()).collect();
        Self {
            name: name.into(),
            measures,
            work: Box::new(move || Box::pin(work())),
        }
    }

    /// The name of a row of the report.
    pub(crate) fn row(&self, measure: &str) -> String {
        row(&self.name, measure)
    }

    pub(crate) async fn once(&mut self) -> Result<Vec<Duration>, Failure> {
        let durations = (self.work)().await?;
        if durations.len() == self.measures.len() {
            return Ok(durations);
        }
        let reason = format!(
            "{} durations for {} measures",
            durations.len(),
            self.measures.len()
        );
        Err(Failure::Step {
            step: self.name.clone(),
            reason,
        })
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Candidate")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// How a candidate's measure is called in tables and goals.
pub(crate) fn row(name: &str, measure: &str) -> String {
    if measure.is_empty() {
        name.to_owned()
    } else {
        format!("{name}: {measure}")
    }
}
