//! The guest as process 1 of a pid namespace, and as root who acts for another user.

use crate::alone::{Alone, eventually};
use bytes::Bytes;
use guest_protocol::{ErrorKind, Exit};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

const NAMESPACES: [&str; 7] = [
    "unshare",
    "--user",
    "--map-root-user",
    "--pid",
    "--mount-proc",
    "--fork",
    "--kill-child",
];

/// Whether a command line succeeds here; says what it said otherwise.
fn possible(words: &[&str]) -> bool {
    let output = Command::new(words[0]).args(&words[1..]).arg("true").output();
    let possible = output.as_ref().is_ok_and(|output| output.status.success());
    if !possible {
        eprintln!("skipped: {} does not work here: {output:?}", words.join(" "));
    }
    possible
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can become another user");
    }
    root
}

#[tokio::test]
async fn process_one_reaps_orphans_and_keeps_the_exits_of_its_own() {
    if !possible(&NAMESPACES) {
        return;
    }
    let guest = Alone::with(&NAMESPACES, &["0"]).await;
    let (output, exit) = guest
        .shell(
            "x",
            "for i in 1 2 3 4 5 6 7 8 9; do (sh -c 'sleep 0.01; exit 3' &) ; done; echo $PPID; exit 42",
        )
        .await;
    assert_eq!((output.as_str(), exit), ("1\n", Exit::Code(42)));
    let mut round = 0;
    loop {
        round += 1;
        let script = "cat /proc/[0-9]*/stat | grep -c ') [ZS] 1 '";
        let (output, _) = guest.shell(&format!("count{round}"), script).await;
        // The counting shell is the only child that is left.
        if output == "1\n" || output == "0\n" {
            break;
        }
        assert!(round < 60, "orphans stay: {output}");
    }
}

#[tokio::test]
async fn nothing_inside_can_end_process_one() {
    if !possible(&NAMESPACES) {
        return;
    }
    let guest = Alone::with(&NAMESPACES, &["0"]).await;
    let script =
        "for s in TERM KILL INT HUP STOP CHLD SEGV; do kill -s $s 1; done; kill -s TERM 1; echo tried";
    assert_eq!(guest.shell("x", script).await.0, "tried\n");
    assert_eq!(guest.shell("y", "echo alive").await.0, "alive\n");
}

#[tokio::test]
async fn programs_and_files_are_the_agents() {
    if !is_root() {
        return;
    }
    let guest = Alone::with(&[], &["1234"]).await;
    for path in [guest.directory.path(), &guest.work()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o711)).unwrap();
    }
    std::fs::create_dir(guest.path("own")).unwrap();
    std::os::unix::fs::chown(guest.path("own"), Some(1234), Some(1234)).unwrap();
    let script =
        "id -u; id -g; id -G; grep -E '^Cap(Eff|Prm|Inh|Amb)' /proc/self/status | tr -d '[:alpha:]:\\t\\n'";
    let (output, _) = guest.shell("x", script).await;
    assert_eq!(output, format!("1234\n1234\n1234\n{}", "0".repeat(64)));

    // Written by the guest, owned by the agent.
    guest
        .client
        .write_file(guest.path("own/file"), 0o600, Bytes::from_static(b"x"))
        .await
        .unwrap();
    let metadata = std::fs::metadata(guest.path("own/file")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (1234, 1234));

    // What is root's stays root's.
    std::fs::write(guest.path("secret"), "root's").unwrap();
    std::fs::set_permissions(guest.path("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    for error in [
        guest
            .client
            .read_file(guest.path("secret"), 0, 10)
            .await
            .unwrap_err(),
        guest
            .client
            .write_file(guest.path("secret"), 0o600, Bytes::new())
            .await
            .unwrap_err(),
        guest.client.delete_file(guest.path("secret")).await.unwrap_err(),
        guest.client.list("/root").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), Some(ErrorKind::Denied), "{error}");
    }
    // And the guest is itself again afterwards.
    let status = std::fs::read_to_string(format!("/proc/{}/status", guest.child.id())).unwrap();
    assert!(
        status.contains("Uid:\t0\t0\t0\t0\n") && status.contains("Gid:\t0\t0\t0\t0\n"),
        "{status}"
    );
    guest
        .client
        .spawn(&crate::alone::shell("sleeper", "sleep 1000 & wait"))
        .await
        .unwrap();
    guest.client.remove("sleeper").await.unwrap();
    eventually("the guest may end the agent's programs", || {
        let children = format!("/proc/{0}/task/{0}/children", guest.child.id());
        std::fs::read_to_string(children).unwrap().is_empty()
    })
    .await;
}

#[tokio::test]
async fn the_agent_cannot_start_where_only_root_may_go() {
    if !is_root() {
        return;
    }
    let guest = Alone::with(&[], &["1234"]).await;
    let mut spawn = crate::alone::shell("x", "pwd");
    spawn.cwd = Some("/root".to_owned());
    let started = guest.client.spawn(&spawn).await;
    assert_eq!(started.unwrap_err().kind(), Some(ErrorKind::Denied));
}

#[tokio::test]
async fn the_agents_terminal_belongs_to_the_agent() {
    if !is_root() {
        return;
    }
    let guest = Alone::with(&[], &["1234"]).await;
    for path in [guest.directory.path(), &guest.work()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o711)).unwrap();
    }
    let mut spawn = crate::alone::shell("x", "stat -c %u $(tty)");
    spawn.stdio = guest_protocol::Stdio::Terminal(guest_protocol::TerminalSize { rows: 9, columns: 9 });
    guest.client.spawn(&spawn).await.unwrap();
    crate::alone::read_until(&guest.client, "x", "1234").await;
}
