//! Wrong calls: each ends with 2, says what is wrong and what to do, and starts nothing.

use crate::support::{Broken, Host};
use std::fs;
use std::sync::atomic::Ordering;

async fn refused(host: &Host, arguments: &[&str], reason: &str) {
    let called = host.call(arguments).await;
    assert_eq!(called.exit, 2, "{arguments:?}: {}", called.err);
    assert!(called.err.starts_with("error: "), "{}", called.err);
    assert!(called.err.contains(reason), "{arguments:?}: {}", called.err);
    assert!(!called.err.contains("secret"), "{}", called.err);
    assert_eq!(called.out, "");
    assert_eq!(host.broken.starts.load(Ordering::SeqCst), 0, "nothing is started");
    assert!(!host.path("data").exists(), "not even the data directory is made");
}

#[tokio::test]
async fn a_wrong_call_says_what_is_wrong() {
    let host = Host::new(Broken::default());
    let file = host.path("file");
    fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap().to_owned();
    let long = "x".repeat(10 << 20);
    for (arguments, reason) in [
        (
            &["run", "--workspace", "/nowhere/at/all", "x"][..],
            "does not exist",
        ),
        (&["run", "--workspace", &file, "x"], "is a file"),
        (
            &["run", "--workspace", "/", "x"],
            "must not work on the whole machine",
        ),
        (&["run", ""], "the prompt is empty"),
        (&["run", &long], "the prompt is longer than"),
        (&["run", "a\0b"], "NUL"),
        (&["run", "--model", "gpt-9", "x"], "there is no model \"gpt-9\""),
        (&["run", "--allow-host", "http://x.example/", "x"], "host"),
        (&["run", "--allow-host", "*", "x"], "host"),
        (&["run", "--image", "debian", "x"], "images are not there yet"),
        (&["run", "--memory", "1M", "x"], "memory_bytes"),
        (&["run", "--apply", "x"], "--apply needs a --workspace"),
        (&["run", "--simulate", "/nowhere.json", "x"], "cannot be read"),
    ] {
        refused(&host, arguments, reason).await;
    }
}

#[tokio::test]
async fn without_a_key_there_is_a_hint_and_no_pretending() {
    let mut host = Host::new(Broken::default());
    host.environment.api_key = None;
    refused(
        &host,
        &["run", "x"],
        "ANTHROPIC_API_KEY is not set\nhint: set it to your key",
    )
    .await;
}

#[tokio::test]
async fn what_a_server_elsewhere_cannot_do_is_refused_by_name() {
    let mut host = Host::new(Broken::default());
    host.environment.server_url = Some("http://127.0.0.1:8700".into());
    refused(&host, &["run", "x"], "HOSTLER_API_KEY is not").await;
    host.environment.server_key = Some("a-key-of-that-server".into());
    for (arguments, reason) in [
        (
            &["run", "--workspace", ".", "x"][..],
            "--workspace does not work with HOSTLER_URL",
        ),
        (&["run", "--apply", "x"], "--apply does not work with HOSTLER_URL"),
        (
            &["run", "--simulate", "s.json", "x"],
            "--simulate does not work with HOSTLER_URL",
        ),
        (&["run", "--image", "debian", "x"], "images are not there yet"),
        (&["run", "--max-budget", "0.001", "x"], "whole cents"),
        (&["run", "--memory", "1M", "x"], "memory_bytes"),
        (&["run", ""], "the prompt is empty"),
    ] {
        refused(&host, arguments, reason).await;
    }
}

#[tokio::test]
async fn in_json_a_wrong_call_is_an_object_too() {
    let host = Host::new(Broken::default());
    let called = host.call(&["run", "--json", "--model", "gpt-9", "x"]).await;
    let json = called.json();
    assert_eq!(called.exit, 2);
    assert_eq!(json["error"]["type"], "usage");
    assert!(json["error"]["message"].as_str().unwrap().contains("gpt-9"));
    assert!(json["error"]["hint"].as_str().unwrap().contains("claude-"));
    for key in [
        "result",
        "session_id",
        "usage",
        "list_cost",
        "duration_ms",
        "changes",
    ] {
        assert!(json.get(key).is_some(), "{key} is always there");
    }
}

#[tokio::test]
async fn the_example_is_played_without_a_key_and_says_so() {
    let mut host = Host::new(Broken {
        start: true,
        ..Broken::default()
    });
    host.environment.api_key = None;
    let copy = host.path("copy");
    fs::create_dir(&copy).unwrap();
    fs::write(copy.join(".hostler-example"), "bugfix\n").unwrap();
    let called = host
        .call(&["run", "--workspace", copy.to_str().unwrap(), "fix it"])
        .await;
    assert!(
        called.err.starts_with("no ANTHROPIC_API_KEY is set. "),
        "{}",
        called.err
    );
    assert_eq!(host.broken.starts.load(Ordering::SeqCst), 1);
}
