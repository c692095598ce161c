//! What goes wrong after a right call: exit code 1, a message, a way on, and nothing left running.

use crate::support::{Broken, Host};
use cli::Asked;
use std::sync::atomic::Ordering;

#[tokio::test]
async fn a_part_that_does_not_start_is_named() {
    let host = Host::new(Broken {
        start: true,
        ..Broken::default()
    });
    let id = "sesn_00000000000000000000000000";
    let nothing = host.call(&["sessions", "diff", id]).await;
    assert!(
        nothing.err.contains("there is nothing at ") && nothing.err.contains("hint: name the data directory"),
        "{}",
        nothing.err
    );
    assert_eq!(host.broken.starts.load(Ordering::SeqCst), 0);
    std::fs::create_dir(host.path("data")).unwrap();
    for arguments in [&["run", "x"][..], &["sessions", "diff", id], &["doctor"]] {
        let called = host.call(arguments).await;
        assert_eq!(called.exit, 1);
        assert!(
            called
                .err
                .contains("error: the gateway cannot start: no port is free"),
            "{}",
            called.err
        );
    }
}

#[tokio::test]
async fn an_interrupt_while_everything_starts_ends_at_once() {
    let host = Host::new(Broken {
        hangs: true,
        ..Broken::default()
    });
    for now in [false, true] {
        let called = host.call_with(&["run", "--json", "x"], &[Asked { now }]).await;
        assert_eq!(called.exit, 1);
        assert_eq!(called.json()["error"]["type"], "interrupted");
    }
}

#[tokio::test]
async fn a_machine_that_holds_no_sandbox_fails_the_session_and_keeps_its_row() {
    let host = Host::new(Broken::default());
    let called = host.call(&["run", "--json", "do it"]).await;
    let json = called.json();
    assert_eq!(called.exit, 1, "{}", called.err);
    assert!(
        json["error"]["message"]
            .as_str()
            .unwrap()
            .contains("user namespaces"),
        "{json}"
    );
    assert!(
        called
            .err
            .contains("not enforced on this machine: disk limit (hostler doctor says why)")
    );
    assert!(called.err.contains("sandbox: 1 CPU, 1 GiB memory, 5 GiB disk"));
    assert_eq!(
        host.broken.shutdowns.load(Ordering::SeqCst),
        1,
        "everything is ended"
    );

    let id = json["session_id"].as_str().unwrap();
    let listed = host.call(&["sessions", "list"]).await;
    assert!(
        listed.out.contains(id) && listed.out.contains("do it"),
        "{}",
        listed.out
    );
    let as_json = host.call(&["sessions", "list", "--json"]).await;
    assert_eq!(as_json.json()["id"], id);
    let shown = host.call(&["sessions", "show", id]).await;
    assert!(shown.out.contains("title       do it"), "{}", shown.out);
    assert!(shown.out.contains("> do it"), "{}", shown.out);
    assert!(shown.out.contains("user namespaces"), "{}", shown.out);
    for command in ["diff", "apply"] {
        let called = host.call(&["sessions", command, id]).await;
        assert_eq!((called.exit, called.err.as_str()), (0, "no changes\n"));
    }
    assert_eq!(host.call(&["sessions", "rm", id]).await.exit, 0);
    let again = host.call(&["sessions", "rm", id]).await;
    assert_eq!(again.exit, 1);
    assert!(again.err.contains("there is no session"), "{}", again.err);
    assert_eq!(host.call(&["sessions", "list"]).await.err, "no sessions\n");
}

#[tokio::test]
async fn the_doctor_lists_every_aspect_for_people_and_for_programs() {
    let host = Host::new(Broken::default());
    let called = host.call(&["doctor"]).await;
    assert_eq!(called.exit, 0);
    assert!(
        called.out.contains("disk limit       NOT enforced  needs root"),
        "{}",
        called.out
    );
    let json = host.call(&["doctor", "--json"]).await.json();
    assert_eq!(
        (&json["complete"], &json["aspects"][1]["detail"]),
        (&false.into(), &"needs root".into())
    );
    assert!(!json.to_string().contains("secret"), "the key is never shown");
}
