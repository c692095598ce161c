//! The product's own tools under the loop: a shell that persists, files, and an interrupt that really kills.

use crate::host::{Options, Place, result, start_with, tool_results};
use crate::server::{Server, call, calls, said};
use serde_json::json;

const REAL: Options<'_> = Options {
    arguments: &["--permission-mode", "bypassPermissions"],
    environment: &[],
    real_tools: true,
};

#[tokio::test]
async fn the_shell_persists_and_files_are_written_read_and_edited() {
    let place = Place::new();
    let path = place.work().join("a.txt").to_string_lossy().into_owned();
    let answers = vec![
        calls(&[call(
            "t1",
            "Bash",
            json!({"command":"greeting=hello; mkdir sub && cd sub"}),
        )]),
        calls(&[call(
            "t2",
            "Bash",
            json!({"command":"echo $greeting from $(basename $PWD)"}),
        )]),
        calls(&[call(
            "t3",
            "Write",
            json!({"file_path":path,"content":"one\ntwo\n"}),
        )]),
        calls(&[call(
            "t4",
            "Edit",
            json!({"file_path":path,"old_string":"two","new_string":"three"}),
        )]),
        calls(&[
            call("t5", "Read", json!({"file_path":path})),
            call("t6", "Grep", json!({"pattern":"thr","path":place.work()})),
        ]),
        said("done"),
    ];
    let server = Server::start(answers).await;
    let mut host = start_with(&place, &server, &REAL);
    host.prompt("go").await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["result"], "done");
    let results = tool_results(&frames);
    let of = |id: &str| results.iter().find(|(found, ..)| found == id).unwrap();
    assert!(results.iter().all(|(.., is_error)| !is_error), "{results:?}");
    assert!(of("t2").1.contains("hello from sub"), "{:?}", of("t2"));
    assert!(of("t5").1.contains("three"));
    assert!(of("t6").1.contains("a.txt"));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "one\nthree\n");
    assert_eq!(host.finish().await.1.code, 0);
}

#[tokio::test]
async fn an_interrupt_kills_the_command_and_the_shell_lives_on() {
    let place = Place::new();
    let answers = vec![
        calls(&[call("t1", "Bash", json!({"command":"kept=yes"}))]),
        calls(&[call(
            "t2",
            "Bash",
            json!({"command":"touch started; tail -f /dev/null"}),
        )]),
        calls(&[call("t3", "Bash", json!({"command":"echo still $kept"}))]),
        said("done"),
    ];
    let server = Server::start(answers).await;
    let mut host = start_with(&place, &server, &REAL);
    host.prompt("go").await;
    host.until(|frame| frame["message"]["content"][0]["id"] == "t2")
        .await;
    let started = place.work().join("started");
    let wait = async {
        while !started.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), wait)
        .await
        .expect("the command runs");
    host.control("stop", json!({"subtype":"interrupt"})).await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["terminal_reason"], "aborted_tools");
    host.prompt("again").await;
    let frames = host.until_result().await;
    assert!(tool_results(&frames)[0].1.contains("still yes"), "{frames:?}");
}

#[tokio::test]
async fn sigterm_leaves_no_command_behind() {
    let place = Place::new();
    let pids = place.work().join("pids");
    let command = "tail -f /dev/null & echo $! > pids.new; sh -c 'echo $$ >> pids.new; mv pids.new pids; exec tail -f /dev/null'";
    let server = Server::start(vec![calls(&[call("t1", "Bash", json!({"command":command}))])]).await;
    let mut host = start_with(&place, &server, &REAL);
    host.prompt("go").await;
    let wait = async {
        while !pids.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), wait)
        .await
        .expect("the commands run");
    host.signals.send(agent::Signal::Terminate).await.unwrap();
    assert_eq!(host.finish_without_closing().await.1.code, 143);
    for pid in std::fs::read_to_string(pids).unwrap().lines() {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
    }
}
