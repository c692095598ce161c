//! `hostler bench session` and `gateway`: what needs the whole stack, which the binary puts together and hands in.

use crate::candidate::{Candidate, row};
use crate::density::{self, Held};
use crate::failure::Failure;
use crate::goal::{Figure, Goal};
use crate::options::Options;
use crate::report::Report;
use crate::rounds::take_turns;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

const NATIVE: &str = "session, native runtime";
const FIRST_MODEL_REQUEST: &str = "to first model request";
const DIRECT: &str = "direct";
const THROUGH: &str = "through the gateway";
const FIRST_BYTE: &str = "to first byte";
const IDLE_BYTES: u64 = 8 << 20;

type Opening = Pin<Box<dyn Future<Output = Result<Held, Failure>> + Send>>;

/// Opens sessions that have had a turn and wait for the next.
pub struct IdleSessions {
    open: Box<dyn FnMut() -> Opening + Send>,
}

impl IdleSessions {
    pub fn new<O, F>(mut open: O) -> Self
    where
        O: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<Held, Failure>> + Send + 'static,
    {
        Self {
            open: Box::new(move || Box::pin(open())),
        }
    }
}

impl fmt::Debug for IdleSessions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("IdleSessions").finish_non_exhaustive()
    }
}

/// `first_request` runs a session until the model is asked for the first time, and returns how long that took.
pub async fn session<W, F>(first_request: W, mut idle: IdleSessions, options: &Options) -> Report
where
    W: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<Duration, Failure>> + Send + 'static,
{
    let mut report = options.report("session");
    density::allow_many_descriptors();
    report.add(
        take_turns(
            &mut [one(NATIVE, FIRST_MODEL_REQUEST, first_request)],
            options.plan(),
        )
        .await,
    );
    let held = density::hold("session", options, || (idle.open)(), &mut report).await;
    density::release("session", held, &mut report).await;
    let at_most = |figure, millis| Goal::AtMost {
        row: row(NATIVE, FIRST_MODEL_REQUEST),
        figure,
        limit: Duration::from_millis(millis),
    };
    report.judge(&[
        at_most(Figure::P50, 25),
        at_most(Figure::P99, 100),
        Goal::AmountAtMost {
            amount: density::together("session"),
            limit: IDLE_BYTES,
        },
    ])
}

/// Both send the same request to the same model, and return the time to the first byte of the answer's body.
pub async fn gateway<D, DF, T, TF>(direct: D, through: T, options: &Options) -> Report
where
    D: FnMut() -> DF + Send + 'static,
    DF: Future<Output = Result<Duration, Failure>> + Send + 'static,
    T: FnMut() -> TF + Send + 'static,
    TF: Future<Output = Result<Duration, Failure>> + Send + 'static,
{
    let mut report = options.report("gateway");
    let mut candidates = [one(DIRECT, FIRST_BYTE, direct), one(THROUGH, FIRST_BYTE, through)];
    report.add(take_turns(&mut candidates, options.plan()).await);
    report.judge(&[Goal::Added {
        row: row(THROUGH, FIRST_BYTE),
        base: row(DIRECT, FIRST_BYTE),
        limit: Duration::from_millis(1),
    }])
}

/// A candidate with one measure.
pub(crate) fn one<W, F>(name: &str, measure: &str, mut work: W) -> Candidate
where
    W: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<Duration, Failure>> + Send + 'static,
{
    Candidate::new(name, &[measure], move || {
        let work = work();
        async move { Ok(vec![work.await?]) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_gateway_adds_is_judged() {
        let options = Options {
            iterations: 3,
            warm_up: 0,
            ..Options::default()
        };
        for (added, reached) in [(900, true), (1100, false)] {
            let direct = || async { Ok(Duration::from_millis(5)) };
            let through = move || async move { Ok(Duration::from_micros(5000 + added)) };
            assert_eq!(
                gateway(direct, through, &options).await.reached(),
                reached,
                "{added}"
            );
        }
    }

    #[tokio::test]
    async fn sessions_are_timed_held_and_closed() {
        let options = Options {
            iterations: 3,
            warm_up: 0,
            density: 5,
            settle: Duration::ZERO,
            json: None,
        };
        let idle = IdleSessions::new(|| async { Ok(Held::new(async { Ok(()) })) });
        let report = session(|| async { Ok(Duration::from_millis(20)) }, idle, &options).await;
        let text = report.render();
        assert!(
            text.contains("session, native runtime: to first model request"),
            "{text}"
        );
        assert!(text.contains("session, held at once"), "{text}");
    }
}
