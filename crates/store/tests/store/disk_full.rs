//! A full disk: a typed error, nothing that was acknowledged lost, and work again when there is room.
//!
//! The disk is a small tmpfs in a mount namespace of a child process.

use crate::{append, open, said, session, whole_log};
use std::path::PathBuf;
use std::process::Command;
use store::Error;

const CHILD: &str = "HOSTLER_STORE_FULL_CHILD";

/// Not a test of its own: what the child on the small disk does.
#[tokio::test]
async fn child_fills_its_disk() {
    let Some(directory) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let store = open(&directory).await;
    let session = session(&store).await;
    let big = "x".repeat(64 << 10);
    let mut acknowledged = 0;
    let error = loop {
        match store.append(append(&session, &[&big, "end"])).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "the disk never filled");
    };
    assert!(matches!(error, Error::DiskFull), "{error:?}");
    assert!(acknowledged > 0);
    // Still full, also for many at once; reading goes on.
    let many = (0..5).map(|_| store.append(append(&session, &[&big])));
    for answer in futures_util::future::join_all(many).await {
        assert!(matches!(answer, Err(Error::DiskFull)), "{answer:?}");
    }
    assert_eq!(whole_log(&store, &session.id).await.len(), 2 * acknowledged);
    std::fs::remove_file(directory.join("ballast")).unwrap();
    store.append(append(&session, &["room again"])).await.unwrap();
    let log = whole_log(&store, &session.id).await;
    assert_eq!(
        (log.len(), said(log.last().unwrap())),
        (2 * acknowledged + 1, "room again")
    );
    assert!(log.iter().zip(1..).all(|(event, seq)| event.seq == seq));
    store.close().await;
    drop(store);
    let store = open(&directory).await;
    assert_eq!(whole_log(&store, &session.id).await.len(), 2 * acknowledged + 1);
    eprintln!("THE CHILD PASSED");
}

#[test]
fn a_full_disk_is_told_and_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let script =
        "mount -t tmpfs -o size=6m none \"$0\" && head -c 3000000 /dev/zero > \"$0/ballast\" && exec \"$@\"";
    let unshare = |program: &mut Command| {
        program
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .arg(directory.path())
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "disk_full::child_fills_its_disk", "--nocapture"])
            .env(CHILD, directory.path())
            .output()
    };
    let output = unshare(&mut Command::new("unshare")).expect("unshare (util-linux) is needed for this test");
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
