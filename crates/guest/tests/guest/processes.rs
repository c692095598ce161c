//! Starting, signalling and ending programs.

use crate::alone::{Alone, DEADLINE, eventually, exit, program, records, shell, text};
use guest_protocol::{ErrorKind, Exit, ProcessState, Signal, Stream};
use tokio::time::timeout;

#[tokio::test]
async fn a_program_gets_exactly_what_was_asked_for() {
    let guest = Alone::start().await;
    let mut spawn = program("env", &["/usr/bin/env"]);
    spawn.env.insert("A B".to_owned(), "c\nd=\u{e9}".to_owned());
    guest.client.spawn(&spawn).await.unwrap();
    let output = text(&records(&guest.client, "env", 0).await, Stream::Stdout);
    assert_eq!(output, "A B=c\nd=\u{e9}\nPATH=/usr/bin:/bin\n");

    let (output, _) = guest.shell("cwd", "pwd").await;
    assert_eq!(output.trim_end(), guest.work().to_str().unwrap());

    let mut elsewhere = program("elsewhere", &["pwd"]);
    elsewhere.cwd = Some("/usr".to_owned());
    guest.client.spawn(&elsewhere).await.unwrap();
    assert_eq!(
        text(&records(&guest.client, "elsewhere", 0).await, Stream::Stdout),
        "/usr\n"
    );
}

#[tokio::test]
async fn a_program_inherits_nothing_of_the_guest() {
    let guest = Alone::start().await;
    guest
        .client
        .spawn(&program("fds", &["ls", "/proc/self/fd"]))
        .await
        .unwrap();
    // The last is the directory that ls itself reads.
    assert_eq!(
        text(&records(&guest.client, "fds", 0).await, Stream::Stdout),
        "0\n1\n2\n3\n"
    );

    guest
        .client
        .spawn(&program(
            "status",
            &["cat", "/proc/self/status", "/proc/self/oom_score_adj"],
        ))
        .await
        .unwrap();
    let status = text(&records(&guest.client, "status", 0).await, Stream::Stdout);
    let none = "0000000000000000";
    for (field, value) in [
        ("SigBlk", none),
        ("SigIgn", none),
        ("SigCgt", none),
        ("NoNewPrivs", "1"),
    ] {
        assert!(
            status.contains(&format!("{field}:\t{value}\n")),
            "{field} in {status}"
        );
    }
    assert!(status.ends_with("\n500\n"), "{status}");
    let own = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", guest.child.id())).unwrap();
    assert_ne!(own.trim(), "500", "the guest takes its own score back");
}

#[tokio::test]
async fn a_program_leads_its_own_session_and_group() {
    let guest = Alone::start().await;
    let (output, _) = guest.shell("x", "cut -d' ' -f1,5,6 /proc/$$/stat").await;
    let numbers: Vec<&str> = output.split_ascii_whitespace().collect();
    assert_eq!(numbers[0], numbers[1]);
    assert_eq!(numbers[0], numbers[2]);
}

#[tokio::test]
async fn exits_are_told_as_they_were() {
    let guest = Alone::start().await;
    assert_eq!(guest.shell("zero", "exit 0").await.1, Exit::Code(0));
    assert_eq!(guest.shell("most", "exit 255").await.1, Exit::Code(255));
    assert_eq!(guest.shell("killed", "kill -9 $$").await.1, Exit::Signal(9));
    assert_eq!(guest.shell("term", "kill -TERM $$").await.1, Exit::Signal(15));
    let process = guest.client.process("killed").await.unwrap();
    assert_eq!(process.state, ProcessState::Exited(Exit::Signal(9)));
    assert_eq!(guest.client.health().await.unwrap().processes, 0);
    assert_eq!(guest.client.processes().await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_hundred_short_programs_all_end_with_their_own_exit() {
    let guest = Alone::start().await;
    for round in 0..10 {
        let ids: Vec<String> = (0..10).map(|number| format!("p{round}-{number}")).collect();
        for (number, id) in ids.iter().enumerate() {
            guest
                .client
                .spawn(&shell(id, &format!("(exit 7) & exit {}", round * 10 + number)))
                .await
                .unwrap();
        }
        for (number, id) in ids.iter().enumerate() {
            let code = (round * 10 + number) as i32;
            assert_eq!(exit(&records(&guest.client, id, 0).await), Exit::Code(code));
            guest.client.remove(id).await.unwrap();
        }
    }
    let children = format!("/proc/{0}/task/{0}/children", guest.child.id());
    eventually("nothing is left to reap", || {
        std::fs::read_to_string(&children).unwrap().is_empty()
    })
    .await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let guest = Alone::start().await;
    std::fs::write(guest.path("plain"), "#!/bin/sh\n").unwrap();
    let table: [(&[&str], ErrorKind, &str); 6] = [
        (&["no-such-program"], ErrorKind::NotFound, "start no-such-program"),
        (
            &["/no/such/program"],
            ErrorKind::NotFound,
            "start /no/such/program",
        ),
        (&[&guest.path("plain")], ErrorKind::Denied, "Permission denied"),
        (&[], ErrorKind::InvalidRequest, "names no program"),
        (&[""], ErrorKind::InvalidRequest, "names no program"),
        (&["/bin/echo", "a\0b"], ErrorKind::InvalidRequest, "zero byte"),
    ];
    for (argv, kind, message) in table {
        let error = guest.client.spawn(&program("x", argv)).await.unwrap_err();
        assert_eq!(error.kind(), Some(kind), "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
    let mut nowhere = shell("x", "true");
    nowhere.cwd = Some("/no/such/directory".to_owned());
    let error = guest.client.spawn(&nowhere).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::NotFound));
    assert!(
        error.to_string().contains("start in /no/such/directory"),
        "{error}"
    );
    for id in ["", "a/b", "a b", &"x".repeat(65)] {
        let error = guest.client.spawn(&shell(id, "true")).await.unwrap_err();
        assert_eq!(error.kind(), Some(ErrorKind::InvalidRequest), "{id}: {error}");
    }
    assert_eq!(guest.client.processes().await.unwrap(), []);
}

#[tokio::test]
async fn a_repeated_spawn_finds_the_process_and_another_one_is_a_conflict() {
    let guest = Alone::start().await;
    let first = guest
        .client
        .spawn(&shell("x", "echo once >> count; cat"))
        .await
        .unwrap();
    let again = guest
        .client
        .spawn(&shell("x", "echo once >> count; cat"))
        .await
        .unwrap();
    assert_eq!(first.pid, again.pid);
    let error = guest
        .client
        .spawn(&shell("x", "something else"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Conflict));
    guest
        .client
        .input("x", 1, bytes::Bytes::new(), true)
        .await
        .unwrap();
    records(&guest.client, "x", 0).await;
    assert_eq!(std::fs::read_to_string(guest.path("count")).unwrap(), "once\n");
}

#[tokio::test]
async fn signals_reach_the_process_or_the_group() {
    let guest = Alone::start().await;
    let script = "trap 'echo one' USR1; (trap 'echo child; exit' USR1; echo ready; while :; do sleep 0.01; done) & \
                  while wait; [ $? -gt 128 ]; do :; done";
    guest.client.spawn(&shell("x", script)).await.unwrap();
    crate::alone::read_until(&guest.client, "x", "ready").await;
    guest
        .client
        .signal(
            "x",
            Signal {
                signal: 10,
                group: false,
            },
        )
        .await
        .unwrap();
    crate::alone::read_until(&guest.client, "x", "one").await;
    guest
        .client
        .signal(
            "x",
            Signal {
                signal: 10,
                group: true,
            },
        )
        .await
        .unwrap();
    let found = crate::alone::read_until(&guest.client, "x", "child").await;
    assert_eq!(found.matches("child").count(), 1);

    for signal in [0, -1, 65] {
        let error = guest
            .client
            .signal("x", Signal { signal, group: true })
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Some(ErrorKind::InvalidRequest));
    }
    guest
        .client
        .signal(
            "x",
            Signal {
                signal: 9,
                group: true,
            },
        )
        .await
        .unwrap();
    records(&guest.client, "x", 0).await;
    let error = guest
        .client
        .signal(
            "x",
            Signal {
                signal: 9,
                group: false,
            },
        )
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Conflict));
}

#[tokio::test]
async fn removing_a_process_kills_its_group() {
    let guest = Alone::start().await;
    guest
        .client
        .spawn(&shell("x", "sleep 1000 & echo $!; wait"))
        .await
        .unwrap();
    let pid = crate::alone::read_until(&guest.client, "x", "\n").await;
    let grandchild = format!("/proc/{}", pid.trim());
    let mut follower = guest.client.output("x", 1, true).await.unwrap();
    guest.client.remove("x").await.unwrap();
    let ended = timeout(DEADLINE, follower.next()).await.unwrap();
    assert!(
        ended.is_err(),
        "the follower learns that there is no exit to come: {ended:?}"
    );
    // Outside a pid namespace an orphan is reaped by the test's own ancestors, in their time.
    eventually("the group is killed", || {
        let stat = std::fs::read_to_string(format!("{grandchild}/stat"));
        stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
    })
    .await;
    assert_eq!(
        guest.client.process("x").await.unwrap_err().kind(),
        Some(ErrorKind::NotFound)
    );
    guest.client.spawn(&shell("x", "true")).await.unwrap();
}

#[tokio::test]
async fn there_is_a_limit_of_processes() {
    let guest = Alone::start().await;
    for number in 0..64 {
        guest
            .client
            .spawn(&shell(&format!("p{number}"), "exit 0"))
            .await
            .unwrap();
    }
    let error = guest
        .client
        .spawn(&shell("one-more", "exit 0"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("remove one"), "{error}");
    guest.client.remove("p7").await.unwrap();
    guest.client.spawn(&shell("one-more", "exit 0")).await.unwrap();
}
