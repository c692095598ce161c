//! A full disk under a session: what cannot be stored is not shown, waits in the guest, and comes when there is room.
//!
//! The disk is a small tmpfs in a mount namespace of a child process.

use crate::runtime::Gate;
use crate::stage::{Stage, hosted, message, settings, until, within};
use control::{AccessError, SendError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const CHILD: &str = "HOSTLER_CONTROL_FULL_CHILD";

fn fill(ballast: &Path) {
    let mut file = std::fs::File::create(ballast).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
}

/// Not a test of its own: what the child on the small disk does.
#[tokio::test]
async fn child_fills_its_disk() {
    let Some(directory) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let ballast = directory.join("ballast");
    let gate = Gate::default();
    let stage = Stage::with(gate.script(), gate, settings()).await;
    let id = stage.session().await;
    let big = "x".repeat(500 << 10);
    stage.turn(&id, "say:before").await;
    let before = stage.told(&id).await;

    // A message that cannot be stored is refused, and the agent does not hear of it.
    fill(&ballast);
    let refused = stage.control.send(&id, vec![message(&big)]).await;
    assert!(
        matches!(
            refused,
            Err(SendError::Access(AccessError::Store(store::Error::DiskFull)))
        ),
        "{refused:?}"
    );
    assert_eq!((stage.told(&id).await, stage.gate.messages().len()), (before, 1));
    std::fs::remove_file(&ballast).unwrap();

    // What the agent does while the disk is full waits.
    stage.send(&id, &format!("wait say:{big} say:after")).await;
    stage.gate.reached.notified().await;
    fill(&ballast);
    stage.gate.open.notify_one();
    let early = tokio::time::timeout(Duration::from_millis(700), stage.control.wait_idle(&id)).await;
    assert!(early.is_err(), "the turn cannot end while nothing can be stored");
    assert_eq!(
        stage
            .store
            .last_event(&id, "agent.message")
            .await
            .unwrap()
            .unwrap()
            .seq,
        4
    );
    std::fs::remove_file(&ballast).unwrap();
    let idle = within(stage.control.wait_idle(&id)).await.unwrap();
    assert_eq!(idle.error, None);
    let told = stage.told(&id).await;
    let said: Vec<usize> = told
        .iter()
        .filter(|word| word.starts_with("agent("))
        .map(String::len)
        .collect();
    assert_eq!(
        said,
        [
            "agent(before)".len(),
            big.len() + "agent()".len(),
            "agent(after)".len()
        ]
    );

    // A disk that stays full ends the agent, and the log is finished when there is room.
    let mut short = settings();
    short.deadlines.store = Duration::from_millis(300);
    drop(stage);
    let gate = Gate::default();
    let stage = Stage::with(gate.script(), gate, short).await;
    let id = stage.session().await;
    stage.send(&id, &format!("say:x start:open wait say:{big}")).await;
    stage.logged(&id, "agent.tool_use").await;
    fill(&ballast);
    stage.gate.open.notify_one();
    let gone = within(stage.control.wait_idle(&id)).await;
    assert!(matches!(gone, Err(AccessError::OwnerGone { .. })), "{gone:?}");
    assert_eq!(stage.machine.alive(), 0);
    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(stage.turn(&id, "say:again").await.error, None);
    let told = stage.told(&id).await;
    let cut = told
        .iter()
        .position(|word| word.starts_with("failed(The call was interrupted"))
        .unwrap();
    assert_eq!(
        told[cut + 1..cut + 4],
        ["error(unknown_error)", "usage", "idle(retries_exhausted)"]
    );
    assert!(told.contains(&"agent(again)".to_owned()));
    drop(stage);
    goes_on_by_itself(&ballast).await;
    eprintln!("THE CHILD PASSED");
}

/// Where sessions outlive their hosts, a turn goes on when there is room, with no word from anybody.
async fn goes_on_by_itself(ballast: &Path) {
    let mut short = hosted();
    short.deadlines.store = Duration::from_millis(300);
    let gate = Gate::default();
    let stage = Stage::with(gate.script(), gate, short).await;
    let id = stage.session().await;
    let big = "x".repeat(500 << 10);
    stage.send(&id, &format!("say:x start:open wait say:{big}")).await;
    stage.logged(&id, "agent.tool_use").await;
    fill(ballast);
    stage.gate.open.notify_one();
    until("the agent is stopped", || stage.machine.alive() == 0).await;
    let refused = stage.control.send(&id, vec![message(&big)]).await;
    assert!(
        matches!(
            refused,
            Err(SendError::Access(AccessError::Store(store::Error::DiskFull)))
        ),
        "{refused:?}"
    );
    std::fs::remove_file(ballast).unwrap();
    let idle = stage.idle(&id).await;
    let told = stage.told(&id).await;
    assert_eq!(idle.stop_reason, Some(wire::StopReason::EndTurn), "{told:?}");
    assert!(told.contains(&"status_rescheduled".to_owned()), "{told:?}");
    assert_eq!(stage.machine.specs().len(), 2);
}

#[test]
fn a_full_disk_holds_the_session_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=8m none \"$0\" && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(directory.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "disk_full::child_fills_its_disk", "--nocapture"])
        .env(CHILD, directory.path())
        .env("TMPDIR", directory.path())
        .output()
        .expect("unshare (util-linux) is needed for this test");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if err.contains("unshare failed") || err.contains("Operation not permitted") {
        eprintln!("skipped: this machine gives an ordinary user no mount namespace: {err}");
        return;
    }
    assert!(
        output.status.success() && err.contains("THE CHILD PASSED"),
        "{out}\n{err}"
    );
}
