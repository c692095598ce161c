//! The model's server refuses, breaks off or talks nonsense.

use crate::product::{KEY, Product, Ran, ran};
use serde_json::{Value, json};
use simulated_model::{Options, Script, Server};

/// Runs a session against a model whose one answer has this fault.
async fn with_fault(fault: Value) -> (Product, Ran) {
    let product = Product::new();
    let script = product.path().join("fault.json");
    let turns = json!([
        {"reply": [{"tool_use": {"name": "Bash", "input": {"command": "echo done > /workspace/file"}}}]},
        {"reply": [{"text": "All is well that ends well."}], "fault": fault},
    ]);
    std::fs::write(&script, json!({"name": "fault", "turns": turns}).to_string()).unwrap();
    let command = product.command(&[], &["--simulate", script.to_str().unwrap()]);
    let ran = ran(command).await;
    (product, ran)
}

/// The session failed with these words, and what the agent had done before is there to be looked at.
#[track_caller]
fn failed(name: &str, ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, Some(1), "{name}: {ran:?}");
    let error = ran.object["error"].to_string();
    for word in words {
        assert!(error.contains(word), "{name} says {word}: {error}");
    }
    let changes = ran.object["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{name}: {ran:?}");
    assert_eq!(changes[0]["path"], "file", "{name}");
}

#[tokio::test]
async fn a_rejected_key_is_named() {
    let product = Product::new();
    let script =
        Script::parse(&json!({"name": "key", "turns": [{"reply": [{"text": "hello"}]}]}).to_string());
    let options = Options {
        api_key: Some(format!("{KEY}-and-another")),
        ..Options::default()
    };
    let server = Server::bind("127.0.0.1:0", script.unwrap(), options)
        .await
        .unwrap();
    let ran = product.against(&server.base_url(), &[]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let error = ran.object["error"].to_string();
    assert!(error.contains("ANTHROPIC_API_KEY"), "the hint: {error}");
    assert!(!error.contains(KEY), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn refusals_of_the_server_are_passed_on() {
    let refusals = [
        (
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the API.",
        ),
        (403, "permission_error", "This organization has been disabled."),
        (404, "not_found_error", "model: no-such-model"),
        (413, "request_too_large", "Request exceeds the maximum size"),
    ];
    for (status, kind, message) in refusals {
        let fault = json!({"kind": "error", "status": status, "error_type": kind, "message": message});
        let (_product, ran) = with_fault(fault).await;
        failed(kind, &ran, &[message]);
    }
}

#[tokio::test]
async fn what_passes_by_itself_is_tried_again() {
    let faults = [
        json!({"kind": "error", "status": 529, "error_type": "overloaded_error", "message": "Overloaded", "times": 2}),
        json!({"kind": "error", "status": 429, "error_type": "rate_limit_error", "message": "slow", "retry_after_seconds": 1, "times": 1}),
        json!({"kind": "error", "status": 500, "error_type": "api_error", "message": "Internal", "times": 1}),
        json!({"kind": "close", "times": 1}),
        json!({"kind": "drop", "after_events": 3, "times": 1}),
        json!({"kind": "stream_error", "after_events": 2, "error_type": "overloaded_error", "message": "Overloaded", "times": 1}),
    ];
    for fault in faults {
        let (_product, ran) = with_fault(fault.clone()).await;
        assert_eq!(ran.code, Some(0), "{fault}: {ran:?}");
        assert_eq!(ran.said(), "All is well that ends well.", "{fault}");
    }
}

#[tokio::test]
async fn a_server_that_stays_overloaded_ends_the_session() {
    let fault = json!({"kind": "error", "status": 529, "error_type": "overloaded_error", "message": "Overloaded", "retry_after_seconds": 0});
    let (_product, ran) = with_fault(fault).await;
    failed("overloaded", &ran, &["Overloaded"]);
}

#[tokio::test]
async fn a_stream_of_nonsense_ends_the_session() {
    let text = "event: nonsense\ndata: \u{fffd}{{{\n\nHTTP/1.1 200 OK\r\n\r\n";
    let (_product, ran) = with_fault(json!({"kind": "raw", "after_events": 0, "text": text})).await;
    failed("raw", &ran, &["message"]);
}

#[tokio::test]
async fn an_endless_line_ends_the_session() {
    let fault = json!({"kind": "endless", "after_events": 2, "what": "line", "interval_ms": 0});
    let (_product, ran) = with_fault(fault).await;
    failed("endless line", &ran, &["message"]);
}

#[tokio::test]
async fn an_endless_text_ends_the_session() {
    let fault = json!({"kind": "endless", "after_events": 3, "what": "text", "interval_ms": 0});
    let (_product, ran) = with_fault(fault).await;
    failed("endless text", &ran, &["message"]);
}
