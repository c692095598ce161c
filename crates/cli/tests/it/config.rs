//! `hostler config`, and what a server makes of flags, variables and the file.

use crate::support::{Broken, Host};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

fn written(host: &Host, name: &str, text: &str) -> String {
    let path = host.path(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_reference_is_printed_and_is_a_file_that_can_be_used() {
    let host = Host::new(Broken::default());
    let printed = host.call(&["config", "default"]).await;
    assert_eq!((printed.exit, printed.err.as_str()), (0, ""));
    let file = written(&host, "hostler.toml", &printed.out);
    let checked = host.call(&["config", "check", &file]).await;
    assert_eq!(checked.exit, 0, "{}", checked.err);
    assert!(!checked.out.contains("# line"), "{}", checked.out);
}

#[tokio::test]
async fn a_check_says_what_is_in_force_and_from_where() {
    let mut host = Host::new(Broken::default());
    host.environment.api_key = None;
    host.environment.data = None;
    let model = written(&host, "model.key", "sk-secret\n");
    let admin = written(&host, "admin.key", "hk_secret-of-an-admin");
    let text = format!(
        "pool = 3\ndata = \"/nowhere/of/the/file\"\nadmin_key_file = \"{admin}\"\n[limits]\nping = \"5s\"\n[upstream]\n\
         api_key_file = \"{model}\"\n"
    );
    let file = written(&host, "hostler.toml", &text);
    let checked = host.call(&["config", "check", &file]).await;
    assert_eq!(checked.exit, 0, "{}", checked.err);
    let has = |line: &str| {
        assert!(
            checked.out.lines().any(|found| found.trim_end() == line),
            "{line}: {}",
            checked.out
        );
    };
    has(&format!("# {file}"));
    has("listen = \"127.0.0.1:8700\"");
    has(&format!("{:<46}  # line 1", "pool = 3"));
    has(&format!("{:<46}  # line 2", "data = \"/nowhere/of/the/file\""));
    has(&format!("{:<46}  # line 5", "ping = \"5s\""));
    assert!(checked.out.find("[upstream]").unwrap() < checked.out.find("[limits]").unwrap());
    assert!(checked.err.contains("`upstream.api_key_file`") && checked.err.contains("`admin_key_file`"));
    assert!(!checked.out.contains("secret") && !checked.err.contains("secret"));

    host.environment.config = Some(file.into());
    host.environment.listen = Some("127.0.0.1:9,[::1]:9".into());
    host.environment.data = Some("/nowhere/of/the/variable".into());
    host.environment.api_key = Some("sk-other".into());
    let checked = host.call(&["config", "check"]).await;
    let listen = "listen = [\"127.0.0.1:9\", \"[::1]:9\"]";
    assert!(
        checked.out.contains(&format!("{listen:<46}  # HOSTLER_LISTEN\n")),
        "{}",
        checked.out
    );
    let data = "data = \"/nowhere/of/the/variable\"";
    assert!(
        checked.out.contains(&format!("{data:<46}  # HOSTLER_DATA\n")),
        "{}",
        checked.out
    );
    assert!(checked.err.contains("ANTHROPIC_API_KEY"), "{}", checked.err);
}

#[tokio::test]
async fn a_server_with_a_wrong_configuration_starts_nothing() {
    let mut host = Host::new(Broken::default());
    host.environment.api_key = None;
    let open = written(&host, "open.key", "sk-secret");
    fs::set_permissions(&open, Permissions::from_mode(0o644)).unwrap();
    let short = written(&host, "short.key", "secret");
    for (text, reason) in [
        (
            "pool = 99".to_owned(),
            "line 1: `pool` must be a whole number from 0 to 64, and not 99",
        ),
        (
            "[limits]\n\nsilence = \"15s\"".to_owned(),
            "line 3: `limits.silence` must be longer than `limits.ping`",
        ),
        (
            "limits.body_deadline = \"1s\"".to_owned(),
            "line 1: `limits.body_deadline` must not be shorter than `limits.body_pause`, which is ",
        ),
        (
            "limits.ping = \"1m\"".to_owned(),
            "line 1: `limits.ping` must be shorter than `limits.silence`, which is \"1m\"",
        ),
        (
            format!("[upstream]\napi_key_file = \"{open}\""),
            "line 2: `upstream.api_key_file` names",
        ),
        (format!("[upstream]\napi_key_file = \"{open}\""), "chmod o="),
        (
            "upstream.api_key_file = \"/nowhere/key\"".to_owned(),
            "which cannot be read",
        ),
        (
            format!("admin_key_file = \"{short}\""),
            "line 1: `admin_key_file` names",
        ),
        (
            "upstream.api_key = \"sk-secret\"".to_owned(),
            "a key does not belong in this file",
        ),
        (String::new(), "ANTHROPIC_API_KEY is not set"),
    ] {
        let file = written(&host, "hostler.toml", &text);
        if !text.contains("admin") {
            let called = host.call(&["serve", "--config", &file]).await;
            assert_eq!(called.exit, 2, "{text}: {}", called.err);
            assert!(called.err.contains(reason), "{text}: {}", called.err);
            assert!(!called.err.contains("secret"), "{}", called.err);
        }
        let checked = host.call(&["config", "check", &file]).await;
        assert_eq!(
            checked.exit,
            if text.is_empty() { 0 } else { 2 },
            "{text}: {}",
            checked.err
        );
    }
    let absent = host.call(&["serve", "--config", "/nowhere/hostler.toml"]).await;
    assert!(
        absent.exit == 2 && absent.err.contains("cannot be read"),
        "{}",
        absent.err
    );
    assert!(!host.path("data").exists());
}

#[tokio::test]
async fn a_file_at_the_usual_place_need_not_be_there() {
    let mut host = Host::new(Broken {
        start: true,
        ..Broken::default()
    });
    host.environment.usual_config = Some(host.path("usual.toml"));
    let called = host.call(&["serve", "--listen", "127.0.0.1:0"]).await;
    assert!(called.err.contains("no port is free"), "{}", called.err);
    written(&host, "usual.toml", "pol = 1");
    let called = host.call(&["serve", "--listen", "127.0.0.1:0"]).await;
    assert!(called.err.contains("did you mean `pool`?"), "{}", called.err);
    // What else looks for the data directory reads it, too.
    host.environment.data = None;
    let called = host.call(&["keys", "list"]).await;
    assert!(
        called.exit == 2 && called.err.contains("did you mean `pool`?"),
        "{}",
        called.err
    );
    written(
        &host,
        "usual.toml",
        &format!("data = \"{}\"", host.path("other").display()),
    );
    let called = host.call(&["keys", "list"]).await;
    assert!(called.exit == 0 && host.path("other").exists(), "{}", called.err);
}
