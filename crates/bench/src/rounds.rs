//! Turns: one iteration of each candidate, in an order that rotates, so that noise and warmth favour nobody.

use crate::candidate::Candidate;
use crate::failure::Failure;
use crate::report::{NotMeasured, Row};
use crate::statistics::Summary;
use std::time::Duration;
use tokio::time::{sleep, timeout};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) warm_up: usize,
    pub(crate) iterations: usize,
    /// Before each turn: what the one before left to be done in the background (a pool to fill, a namespace to clean
    /// up) is not charged to the next.
    pub(crate) settle: Duration,
    /// For one iteration.
    pub(crate) patience: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) rows: Vec<Row>,
    pub(crate) not_measured: Vec<NotMeasured>,
}

/// A candidate that fails once is out, with its reason; the others go on.
pub(crate) async fn take_turns(candidates: &mut [Candidate], plan: Plan) -> Outcome {
    let mut samples: Vec<Vec<Vec<Duration>>> = candidates
        .iter()
        .map(|candidate| vec![Vec::new(); candidate.measures.len()])
        .collect();
    let mut failures: Vec<Option<Failure>> = candidates.iter().map(|_| None).collect();
    for round in 0..plan.warm_up + plan.iterations {
        for turn in 0..candidates.len() {
            let index = (round + turn) % candidates.len();
            if failures[index].is_some() {
                continue;
            }
            sleep(plan.settle).await;
            match once(&mut candidates[index], plan.patience).await {
                Ok(durations) if round >= plan.warm_up => {
                    for (series, duration) in samples[index].iter_mut().zip(durations) {
                        series.push(duration);
                    }
                }
                Ok(_) => {}
                Err(failure) => failures[index] = Some(failure),
            }
        }
    }
    let mut outcome = Outcome::default();
    for ((candidate, samples), failure) in candidates.iter().zip(samples).zip(failures) {
        match failure {
            Some(failure) => outcome.not_measured.push(NotMeasured {
                name: candidate.name.clone(),
                reason: failure.in_full(),
            }),
            None => outcome
                .rows
                .extend(
                    candidate
                        .measures
                        .iter()
                        .zip(samples)
                        .filter_map(|(measure, samples)| {
                            Some(Row {
                                name: candidate.row(measure),
                                figures: Summary::of(&samples)?,
                            })
                        }),
                ),
        }
    }
    outcome
}

async fn once(candidate: &mut Candidate, patience: Duration) -> Result<Vec<Duration>, Failure> {
    let step = candidate.name.clone();
    match timeout(patience, candidate.once()).await {
        Ok(done) => done,
        Err(_) => Err(Failure::Deadline {
            step,
            seconds: patience.as_secs(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    const PLAN: Plan = Plan {
        warm_up: 1,
        iterations: 3,
        settle: Duration::ZERO,
        patience: Duration::from_mins(1),
    };

    #[tokio::test]
    async fn the_order_rotates_and_warm_up_does_not_count() {
        let order = Arc::new(Mutex::new(String::new()));
        let mut candidates = ["a", "b"].map(|name| {
            let order = Arc::clone(&order);
            let mut runs = 0;
            Candidate::new(name, &[""], move || {
                order.lock().unwrap().push_str(name);
                runs += 1;
                let duration = Duration::from_millis(if runs == 1 { 1000 } else { runs });
                async move { Ok(vec![duration]) }
            })
        });
        let outcome = take_turns(&mut candidates, PLAN).await;
        assert_eq!(*order.lock().unwrap(), "abbaabba");
        let figures: Vec<_> = outcome
            .rows
            .iter()
            .map(|row| (row.name.as_str(), row.figures))
            .collect();
        let expected = Summary::of(&[2, 3, 4].map(Duration::from_millis)).unwrap();
        assert_eq!(figures, [("a", expected), ("b", expected)]);
    }

    #[tokio::test]
    async fn who_fails_is_out_with_a_reason_and_the_others_go_on() {
        let fails = Candidate::new("fails", &[""], || async {
            Err(Failure::Step {
                step: "start".to_owned(),
                reason: "no such file".to_owned(),
            })
        });
        let short = Candidate::new("short", &["one", "two"], || async { Ok(vec![Duration::ZERO]) });
        let works = Candidate::new("works", &["one", "two"], || async { Ok(vec![Duration::ZERO; 2]) });
        let outcome = take_turns(&mut [fails, short, works], PLAN).await;
        let rows: Vec<&str> = outcome.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(rows, ["works: one", "works: two"]);
        let reasons: Vec<&str> = outcome
            .not_measured
            .iter()
            .map(|one| one.reason.as_str())
            .collect();
        assert_eq!(
            reasons,
            ["start: no such file", "short: 1 durations for 2 measures"]
        );
    }

    #[tokio::test]
    async fn who_hangs_is_out_after_a_deadline() {
        let hangs = Candidate::new("hangs", &[""], std::future::pending);
        let outcome = take_turns(
            &mut [hangs],
            Plan {
                patience: Duration::from_millis(20),
                ..PLAN
            },
        )
        .await;
        assert_eq!(outcome.not_measured.len(), 1);
    }
}
