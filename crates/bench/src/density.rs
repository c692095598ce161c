//! Many at once: how many hold, how fast they start, and what each keeps in memory while nothing happens.

use crate::failure::Failure;
use crate::memory::{Growth, Snapshot};
use crate::options::Options;
use crate::report::{Amount, Report, Unit};
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Opened or closed at the same time.
const IN_FLIGHT: usize = 4;

type Close = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Something idle that is there until it is closed.
pub struct Held {
    close: Close,
}

impl Held {
    pub fn new(close: impl Future<Output = Result<(), Failure>> + Send + 'static) -> Self {
        Self {
            close: Box::pin(close),
        }
    }
}

/// The amount that says how many there were.
pub(crate) fn at_once(what: &str) -> String {
    format!("{what}, held at once")
}

/// The amount that says what one of them weighs.
pub(crate) fn together(what: &str) -> String {
    format!("{what}, idle: processes and kernel")
}

/// Opens as many as the options want; the first that fails ends it, and is reported.
pub(crate) async fn hold<O, F>(what: &str, options: &Options, mut open: O, report: &mut Report) -> Vec<Held>
where
    O: FnMut() -> F,
    F: Future<Output = Result<Held, Failure>> + Send + 'static,
{
    let count = options.density;
    let before = Snapshot::take();
    let started = Instant::now();
    let mut opening = JoinSet::new();
    let mut held = Vec::with_capacity(count);
    let mut failure = None;
    let mut asked = 0;
    loop {
        while asked < count && opening.len() < IN_FLIGHT && failure.is_none() {
            opening.spawn(open());
            asked += 1;
        }
        match opening.join_next().await {
            Some(Ok(Ok(one))) => held.push(one),
            Some(Ok(Err(error))) => failure = Some(error.in_full()),
            Some(Err(error)) => failure = Some(error.to_string()),
            None => break,
        }
    }
    let elapsed = started.elapsed();
    if let Some(reason) = failure {
        report.not_measured(format!("{what} number {}", held.len() + 1), reason);
    }
    sleep(options.settle).await;
    report.add_amounts(amounts(what, held.len(), elapsed, before.growth()));
    held
}

/// Closes all of them, also where some cannot be closed.
pub(crate) async fn release(what: &str, held: Vec<Held>, report: &mut Report) {
    let count = held.len();
    let started = Instant::now();
    let mut waiting = held.into_iter();
    let mut closing = JoinSet::new();
    let mut failures = Vec::new();
    loop {
        while closing.len() < IN_FLIGHT {
            let Some(one) = waiting.next() else { break };
            closing.spawn(one.close);
        }
        match closing.join_next().await {
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => failures.push(error.in_full()),
            Some(Err(error)) => failures.push(error.to_string()),
            None => break,
        }
    }
    if let Some(first) = failures.first() {
        report.not_measured(format!("ending {} of {count}", failures.len()), first.clone());
    }
    report.add_amounts(vec![rate(format!("{what}, ended"), count, started.elapsed())]);
}

fn amounts(what: &str, count: usize, elapsed: Duration, growth: Growth) -> Vec<Amount> {
    let mut amounts = vec![
        Amount {
            name: at_once(what),
            value: count as u64,
            unit: Unit::Count,
        },
        rate(format!("{what}, started"), count, elapsed),
    ];
    let each = count as u64;
    let Some(kernel) = growth.kernel_bytes.checked_div(each) else {
        return amounts;
    };
    let mut weigh = |name: String, value| {
        amounts.push(Amount {
            name,
            value,
            unit: Unit::Bytes,
        });
    };
    weigh(format!("{what}, idle: kernel"), kernel);
    if let Some(processes) = growth.proportional_bytes.map(|bytes| bytes / each) {
        weigh(format!("{what}, idle: processes"), processes);
        weigh(together(what), processes + kernel);
    }
    amounts
}

fn rate(name: String, count: usize, elapsed: Duration) -> Amount {
    let value = (count as f64 / elapsed.as_secs_f64().max(1e-9)) as u64;
    Amount {
        name,
        value,
        unit: Unit::PerSecond,
    }
}

/// Each sandbox is held by several descriptors. Where this is refused, the run says how many it could hold.
pub(crate) fn allow_many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn report() -> Report {
        Report::new("sandbox", 0, 0, Machine::for_tests())
    }

    fn failure() -> Failure {
        Failure::Step {
            step: "create".to_owned(),
            reason: "no more".to_owned(),
        }
    }

    #[tokio::test]
    async fn all_that_were_opened_are_closed_also_after_a_failure() {
        let open = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&open);
        let mut asked = 0;
        let next = move || {
            asked += 1;
            let (counter, works) = (Arc::clone(&counter), asked <= 10);
            async move {
                if !works {
                    return Err(failure());
                }
                counter.fetch_add(1, Ordering::SeqCst);
                Ok(Held::new(async move {
                    counter.fetch_sub(1, Ordering::SeqCst);
                    Err(failure())
                }))
            }
        };
        let mut report = report();
        let options = Options {
            density: 50,
            settle: Duration::ZERO,
            ..Options::default()
        };
        let held = hold("sandbox", &options, next, &mut report).await;
        assert_eq!((held.len(), open.load(Ordering::SeqCst)), (10, 10));
        release("sandbox", held, &mut report).await;
        assert_eq!(open.load(Ordering::SeqCst), 0);
        let text = report.render();
        for wanted in [
            "sandbox number 11: create: no more",
            "ending 10 of 10: create: no more",
        ] {
            assert!(text.contains(wanted), "{wanted:?} in\n{text}");
        }
    }

    #[test]
    fn the_weight_is_that_of_one() {
        let growth = Growth {
            proportional_bytes: Some(1000),
            kernel_bytes: 4000,
        };
        let amounts = amounts("sandbox", 10, Duration::from_secs(2), growth);
        let values: Vec<u64> = amounts.iter().map(|amount| amount.value).collect();
        assert_eq!(values, [10, 5, 400, 100, 500]);
        assert_eq!(amounts[4].name, together("sandbox"));
    }

    #[test]
    fn nothing_held_weighs_nothing_and_divides_nothing() {
        let growth = Growth {
            proportional_bytes: None,
            kernel_bytes: 4000,
        };
        assert_eq!(amounts("sandbox", 0, Duration::ZERO, growth).len(), 2);
    }
}
