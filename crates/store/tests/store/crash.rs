//! SIGKILL in the middle of appends: what was acknowledged is there, once, and nothing is half there.

use crate::{append, open, said, session, whole_log};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use store::Store;

const CHILD: &str = "HOSTLER_STORE_CRASH_CHILD";
const ROUNDS: usize = 8;

/// Not a test of its own: what the killed child does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_appends_and_tells_what_was_acknowledged() {
    let Some(directory) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let store = open(&directory).await;
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(write_for_ever(store))
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn write_for_ever(store: Store) {
    let session = session(&store).await;
    for number in 0.. {
        let texts = [format!("{number}a"), format!("{number}b")];
        store
            .append(append(&session, &[&texts[0], &texts[1]]))
            .await
            .unwrap();
        let mut out = std::io::stdout().lock();
        // One write, so that a line is whole or not there.
        out.write_all(format!("\nACK {} {number}\n", session.id).as_bytes())
            .unwrap();
        out.flush().unwrap();
    }
}

fn killed_child(directory: &Path, acknowledgements: usize) -> BTreeSet<(String, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::child_appends_and_tells_what_was_acknowledged",
            "--nocapture",
        ])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = BTreeSet::new();
    let mut take = |line: String| {
        let mut words = line.split(' ');
        if words.next() == Some("ACK") {
            let session = words.next().unwrap().to_owned();
            acknowledged.insert((session, words.next().unwrap().parse().unwrap()));
        }
        acknowledged.len()
    };
    for line in lines.by_ref() {
        if take(line.unwrap()) >= acknowledgements {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had said before it died counts too.
    lines.map_while(Result::ok).for_each(|line| {
        take(line);
    });
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_by_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=ROUNDS {
        let path = directory.path().to_owned();
        let acknowledged = tokio::task::spawn_blocking(move || killed_child(&path, 20 * round))
            .await
            .unwrap();
        assert!(
            acknowledged.len() >= 20 * round,
            "the child was killed before it wrote anything"
        );
        let store = open(directory.path()).await;
        for session in store.sessions().await.unwrap() {
            let log = whole_log(&store, &session.id).await;
            assert!(log.iter().zip(1..).all(|(event, seq)| event.seq == seq));
            assert_eq!(log.len() as u64, session.last_seq);
            let texts: Vec<&str> = log.iter().map(said).collect();
            for (number, pair) in texts.chunks(2).enumerate() {
                assert_eq!(pair, [format!("{number}a"), format!("{number}b")]);
            }
            let count = texts.len() as u64 / 2;
            let lost = acknowledged
                .iter()
                .find(|(id, number)| id == session.id.as_str() && *number >= count);
            assert_eq!(lost, None, "round {round}: acknowledged and not there");
        }
        let known: BTreeSet<String> = store
            .sessions()
            .await
            .unwrap()
            .iter()
            .map(|session| session.id.to_string())
            .collect();
        assert!(acknowledged.iter().all(|(session, _)| known.contains(session)));
        store.close().await;
    }
}
