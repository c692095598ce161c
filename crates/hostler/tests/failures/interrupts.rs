//! Ctrl-C at any moment: once ends the agent's work and keeps its changes, twice ends everything at once.

use crate::product::{Product, at_work, endless, says};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::process::Child;

const DEADLINE: Duration = Duration::from_mins(1);

/// Starts an agent that writes a file and then does not end.
fn start(product: &Product, command: &str) -> Child {
    let script = product.path().join("endless.json");
    std::fs::write(&script, says(command).to_string()).unwrap();
    product
        .command(&[], &["--simulate", script.to_str().unwrap(), "--apply"])
        .spawn()
        .unwrap()
}

/// Waits until the agent is at work on its endless command.
async fn works(mark: &str) {
    let end = Instant::now() + DEADLINE;
    while at_work(mark) == 0 {
        assert!(Instant::now() < end, "the agent does not begin");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

async fn end(child: Child) -> (Option<i32>, serde_json::Value) {
    let output = tokio::time::timeout(DEADLINE, child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let object = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok());
    (output.status.code(), object.unwrap_or_default())
}

/// Tells this test's processes from all others.
fn unique_mark() -> String {
    format!("mark-of-{}", domain::SandboxId::random())
}

fn is_empty(workspace: &Path) -> bool {
    std::fs::read_dir(workspace).unwrap().next().is_none()
}

#[tokio::test]
async fn one_interrupt_keeps_the_changes_for_review() {
    let product = Product::new();
    let mark = unique_mark();
    let child = start(
        &product,
        &format!("echo kept > /workspace/file; {}", endless(&mark)),
    );
    works(&mark).await;
    interrupt(&child);
    let (code, object) = end(child).await;
    assert_eq!(code, Some(1), "{object}");
    assert_eq!(object["changes"][0]["path"], "file", "{object}");
    assert_eq!(
        object["changes"][0]["applied"], false,
        "--apply does not apply what was interrupted: {object}"
    );
    assert!(is_empty(product.workspace.path()));
    let id = object["session_id"].as_str().unwrap();
    let (code, text) = product.hostler(&["sessions", "apply", id]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(
        std::fs::read_to_string(product.workspace.path().join("file")).unwrap(),
        "kept\n"
    );
}

#[tokio::test]
async fn two_interrupts_end_at_once_and_lose_nothing() {
    let product = Product::new();
    let mark = unique_mark();
    let child = start(
        &product,
        &format!(
            "echo kept > /workspace/file; trap '' INT TERM; {}",
            endless(&mark)
        ),
    );
    works(&mark).await;
    interrupt(&child);
    interrupt(&child);
    let (code, object) = end(child).await;
    assert!(code != Some(0), "{object}");
    assert!(is_empty(product.workspace.path()));
    let (code, listed) = product.hostler(&["sessions", "list", "--json"]).await;
    assert_eq!(code, Some(0), "{listed}");
    let id = listed.split('"').find(|word| word.starts_with("sesn_")).unwrap();
    let (code, diff) = product.hostler(&["sessions", "diff", id]).await;
    assert!(code == Some(0) && diff.contains("+kept"), "{diff}");
}

/// At moments all over a session's start and work.
#[tokio::test]
async fn an_interrupt_at_any_moment_ends_cleanly() {
    let product = Product::new();
    for step in 0..12 {
        let child = start(&product, "echo kept > /workspace/file; sleep 600");
        tokio::time::sleep(Duration::from_millis(step * 60)).await;
        interrupt(&child);
        let (code, object) = end(child).await;
        // Before it has its handler in place, the process ends by the signal, having done nothing.
        assert!(
            matches!(code, Some(1) | None),
            "after {} ms: {code:?} {object}",
            step * 60
        );
        assert!(is_empty(product.workspace.path()), "after {} ms", step * 60);
    }
    let (code, listed) = product.hostler(&["sessions", "list"]).await;
    assert_eq!(code, Some(0), "{listed}");
}
