//! P59: nothing is left behind, also where hostler had no time to tidy up.

use crate::left::{Left, entries};
use crate::product::{Product, at_work, endless, says};
use serde_json::Value;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_mins(1);
const KILLS: u64 = 100;
/// About twice as long as a session takes to come to its agent's command.
const LONGEST_MILLIS: u64 = 800;

/// The instance that has the data directory, or had it last.
fn instance(data: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data.join("instance.lock")).ok()?;
    let holder: Value = serde_json::from_str(&text).ok()?;
    Some(holder["instance"].as_str()?.to_owned())
}

/// What is there when nothing more goes away by itself.
async fn left(data: &Path, instances: &[String]) -> Left {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let left = Left::of(data, instances);
        if left == Left::default() || Instant::now() > end {
            return left;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let product = Product::new();
    let data = product.data.path().join("data");
    let ran = product
        .sh("setsid sleep 600 </dev/null >/dev/null 2>&1 & echo begun", &[])
        .await;
    assert!(ran.said().contains("begun"), "{ran:?}");
    let first = instance(&data).unwrap();
    assert_eq!(left(&data, &[first]).await, Left::default());

    let mut seen = Vec::new();
    for kill in 0..KILLS {
        let mark = format!("mark-of-{}", domain::SandboxId::random());
        // The last one is killed where there is the most to leave behind.
        let last = kill + 1 == KILLS;
        let millis = RandomState::new().hash_one(kill) % LONGEST_MILLIS;
        let context = format!("kill {kill} after {millis} ms");
        let instances = killed(&product, &mark, (!last).then_some(millis)).await;
        if at_work(&mark) > 0 {
            seen.push(mark.clone());
        }
        // Any command is a start; every now and then it is a whole session.
        if kill % 10 == 0 {
            let next = product.sh("true", &[]).await;
            assert_eq!(next.code, Some(0), "{context}: {next:?}");
        } else {
            let (code, listed) = product.hostler(&["sessions", "list"]).await;
            assert_eq!(code, Some(0), "{context}: {listed}");
        }
        assert_eq!(left(&data, &instances).await, Left::default(), "{context}");
        assert_eq!(at_work(&mark), 0, "{context}");
    }
    println!("{} of {KILLS} kills hit an agent at work", seen.len());

    // What each of those agents had done is still to be seen.
    let (code, listed) = product.hostler(&["sessions", "list", "--json"]).await;
    assert_eq!(code, Some(0), "{listed}");
    let mut diffs = String::new();
    for id in listed.split('"').filter(|word| word.starts_with("sesn_")) {
        let (code, diff) = product.hostler(&["sessions", "diff", id]).await;
        assert_eq!(code, Some(0), "{id}: {diff}");
        diffs += &diff;
    }
    for mark in seen {
        assert!(diffs.contains(&format!("+{mark}")), "{mark}: {diffs}");
    }
    // A removed session takes its directories along.
    for id in listed.split('"').filter(|word| word.starts_with("sesn_")) {
        let (code, said) = product.hostler(&["sessions", "rm", id]).await;
        assert_eq!(code, Some(0), "{id}: {said}");
    }
    assert_eq!(
        entries(&data.join("sandboxes")).collect::<Vec<_>>(),
        [] as [PathBuf; 0]
    );
}

/// Kills a session after a while, or when its agent is at work, and gives the instances that it may have left things of.
async fn killed(product: &Product, mark: &str, after_millis: Option<u64>) -> Vec<String> {
    let data = product.data.path().join("data");
    let script = product.path().join("long.json");
    let command = format!(
        "echo {mark} > /workspace/changed; setsid {} & sleep 600",
        endless(mark)
    );
    std::fs::write(&script, says(&command).to_string()).unwrap();
    let mut child = product
        .command(&[], &["--simulate", script.to_str().unwrap()])
        .spawn()
        .unwrap();
    if let Some(millis) = after_millis {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    } else {
        let end = Instant::now() + DEADLINE;
        while at_work(mark) == 0 {
            assert!(Instant::now() < end, "the agent does not begin");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The look sees what there is.
        let there = Left::of(&data, &[instance(&data).unwrap()]);
        assert!(!there.processes.is_empty(), "{there:?}");
        if crate::calls::is_root() {
            assert!(
                !there.cgroups.is_empty() && !there.ranges.is_empty() && !there.loop_devices.is_empty(),
                "{there:?}"
            );
        }
    }
    child.start_kill().unwrap();
    child.wait().await.unwrap();
    instance(&data).into_iter().collect()
}
