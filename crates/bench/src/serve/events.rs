//! From a runtime's line to the reader of a stream, while many sessions are at work.
//!
//! A tool's last act is to print the time. What is between that and the reader's hands: the shell tells the agent that
//! the command is over, the agent writes its line, the guest keeps it, the server takes it, stores it on the disk, and
//! sends it. That is a little more than from the line on. The event says when the server took the line: the rest is ours.

use super::Bench;
use super::scene::{PATIENCE, Scene, works};
use crate::goal::Figure;
use serde_json::Value;
use stage::{Failure, Following, Setup};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Before each command.
const THINKS: Duration = Duration::from_secs(2);
const PRINT_TIME: &str = "echo $EPOCHREALTIME";
const MEASURED: Duration = Duration::from_secs(30);

/// Of one result: since the tool printed, and since the server took the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lag {
    pub(super) printed: Duration,
    pub(super) taken: Duration,
}

impl Bench<'_> {
    pub(super) async fn events(&mut self) -> Result<(), Failure> {
        let active = self.options.active;
        self.progress.at("sessions at work, and a reader for each");
        let scene = Scene::open(self.program, &works(PRINT_TIME, THINKS), Setup::POOL, active).await?;
        let (measuring, measures) = watch::channel(false);
        let mut readers = JoinSet::new();
        for number in 0..active {
            let api = scene.client(number);
            let session = api.session(&scene.made, Some(&format!("work-{number}"))).await?;
            let following = Following::open(api, &session, None).await?;
            readers.spawn(lags(following, measures.clone()));
            self.progress.step(number as u64 + 1, active as u64);
        }
        scene.asked(&format!("work-{}", active - 1)).await?;
        tokio::time::sleep(2 * THINKS).await;
        measuring.send_replace(true);
        tokio::time::sleep(MEASURED).await;
        drop(measuring);
        let lags = all(readers).await?;
        scene.end().await?;
        let row = |what: &str| format!("event to a reader, {active} sessions at work: {what}");
        let printed: Vec<Duration> = lags.iter().map(|lag| lag.printed).collect();
        let taken: Vec<Duration> = lags.iter().map(|lag| lag.taken).collect();
        self.report.add_series(row("since the tool printed it"), &printed);
        self.report
            .add_series(row("since the server had the line"), &taken);
        self.at_most(
            row("since the tool printed it"),
            Figure::P50,
            Duration::from_millis(2),
        );
        Ok(())
    }
}

/// What all readers have seen; nothing where one of them has not seen all.
pub(super) async fn all(readers: JoinSet<Result<Vec<Lag>, Failure>>) -> Result<Vec<Lag>, Failure> {
    let lags: Result<Vec<Vec<Lag>>, Failure> = readers.join_all().await.into_iter().collect();
    Ok(lags?.concat())
}

/// Of each result that comes while it is measured; ends with the measuring.
pub(super) async fn lags(
    mut following: Following,
    mut measures: watch::Receiver<bool>,
) -> Result<Vec<Lag>, Failure> {
    let mut lags = Vec::new();
    loop {
        let record = tokio::select! {
            changed = measures.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Ok(lags),
            },
            record = following.next() => record?,
        };
        if record.kind == "agent.tool_result" && *measures.borrow() {
            lags.extend(lag(&record.json, SystemTime::now()));
        }
    }
}

/// Nothing where the clock does not say: it was set meanwhile, or it is another tool's result.
fn lag(data: &str, now: SystemTime) -> Option<Lag> {
    let event: Value = serde_json::from_str(data).ok()?;
    let now = now.duration_since(UNIX_EPOCH).ok()?;
    let printed = event["content"][0]["text"].as_str()?.split_whitespace().last()?;
    let printed = Duration::try_from_secs_f64(printed.parse().ok()?).ok()?;
    let taken = OffsetDateTime::parse(event["processed_at"].as_str()?, &Rfc3339).ok()?;
    let taken = Duration::from_nanos(u64::try_from(taken.unix_timestamp_nanos()).ok()?);
    Some(Lag {
        printed: now.checked_sub(printed)?,
        taken: now.checked_sub(taken)?,
    })
}

/// How long somebody waits for a first result.
pub(super) async fn first_result(following: &mut Following) -> Result<(), Failure> {
    let found = tokio::time::timeout(PATIENCE, following.until("agent.tool_result")).await;
    let late = |_| Failure::Late {
        what: "a first result of a tool comes".to_owned(),
        seconds: PATIENCE.as_secs(),
    };
    found.map_err(late)?.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_says_when_it_was_printed_and_when_it_was_taken() {
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_010);
        let event = |text: &str, at: &str| {
            format!(r#"{{"processed_at":"{at}","content":[{{"type":"text","text":"{text}"}}]}}"#)
        };
        let found = lag(&event("x 1700000000.004", "2023-11-14T22:13:20.008Z"), now).unwrap();
        let millis = |duration: Duration| duration.as_micros() / 1000;
        assert_eq!((millis(found.printed), millis(found.taken)), (6, 2));
        for wrong in [
            event("nothing", "2023-11-14T22:13:20.008Z"),
            event("1700000001.0", "2023-11-14T22:13:20.008Z"),
            event("1700000000.004", "yesterday"),
            "{}".to_owned(),
        ] {
            assert_eq!(lag(&wrong, now), None, "{wrong}");
        }
    }
}
