//! What is counted, as it is read: every line of the text is one that the format has.
#![allow(clippy::unwrap_used)]

use domain::{Cost, SandboxState, SessionStatus, Usage};
use metrics::Metrics;
use std::collections::BTreeMap;
use std::time::Duration;

/// The samples of a text by name and labels, each under a family that was declared before it.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut family = "";
    let mut samples = BTreeMap::new();
    let mut lines = text.lines();
    assert_eq!(lines.next_back(), Some("# EOF"));
    for line in lines {
        if let Some(declared) = line.strip_prefix("# ") {
            let (_, rest) = declared.split_once(' ').unwrap();
            family = rest.split_once(' ').unwrap().0;
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with(family), "{line} is not of {family}");
        assert_eq!(
            samples.insert(name.to_owned(), value.parse().unwrap()),
            None,
            "{line}"
        );
    }
    samples
}

#[test]
fn what_was_counted_is_what_is_read() {
    let metrics = Metrics::new("1.2.3");
    let route = metrics.http.route("GET", "/v1/sessions/{session_id}");
    route.answered(200, Duration::from_millis(3));
    route.answered(404, Duration::from_secs(400));
    let usage = Usage {
        input_tokens: 7,
        output_tokens: 11,
        ..Usage::default()
    };
    let cost = Some(Cost::from_usd(0.25));
    metrics
        .models
        .ended("completed", Duration::from_secs(1), &usage, cost);
    metrics
        .models
        .ended("completed", Duration::from_secs(1), &usage, None);
    metrics.egress.decided(false);
    metrics.sessions.sandbox_started(Duration::from_micros(2500));
    metrics.sessions.sandbox_failed();
    let [first, _second] = [metrics.http.stream(), metrics.http.stream()];
    drop(first);
    let text = metrics.text(&[(SessionStatus::Idle, 4)], &[(SandboxState::Running, 2)], 5);
    let read = samples(&text.unwrap());
    let of = "method=\"GET\",route=\"/v1/sessions/{session_id}\"";
    for (name, value) in [
        ("hostler_build_info{version=\"1.2.3\"}".to_owned(), 1.0),
        ("hostler_sessions{status=\"idle\"}".to_owned(), 4.0),
        ("hostler_sessions{status=\"running\"}".to_owned(), 0.0),
        ("hostler_sandboxes{state=\"running\"}".to_owned(), 2.0),
        ("hostler_sandboxes{state=\"spare\"}".to_owned(), 5.0),
        (format!("hostler_http_requests_total{{{of},status=\"2xx\"}}"), 1.0),
        (format!("hostler_http_requests_total{{{of},status=\"4xx\"}}"), 1.0),
        (format!("hostler_http_request_seconds_count{{{of}}}"), 2.0),
        (format!("hostler_http_request_seconds_sum{{{of}}}"), 400.003),
        (
            format!("hostler_http_request_seconds_bucket{{le=\"0.0025\",{of}}}"),
            0.0,
        ),
        (
            format!("hostler_http_request_seconds_bucket{{le=\"0.005\",{of}}}"),
            1.0,
        ),
        (
            format!("hostler_http_request_seconds_bucket{{le=\"300.0\",{of}}}"),
            1.0,
        ),
        (
            format!("hostler_http_request_seconds_bucket{{le=\"+Inf\",{of}}}"),
            2.0,
        ),
        (
            "hostler_model_requests_total{outcome=\"completed\"}".to_owned(),
            2.0,
        ),
        ("hostler_model_tokens_total{kind=\"output\"}".to_owned(), 22.0),
        ("hostler_model_cost_usd_total".to_owned(), 0.25),
        (
            "hostler_egress_decisions_total{decision=\"allowed\"}".to_owned(),
            0.0,
        ),
        (
            "hostler_egress_decisions_total{decision=\"refused\"}".to_owned(),
            1.0,
        ),
        (
            "hostler_sandbox_start_seconds_bucket{le=\"0.0025\"}".to_owned(),
            1.0,
        ),
        ("hostler_sandbox_start_failures_total".to_owned(), 1.0),
        ("hostler_event_append_lag_seconds_count".to_owned(), 0.0),
        ("hostler_open_streams".to_owned(), 1.0),
    ] {
        assert_eq!(read.get(&name), Some(&value), "{name} in {read:#?}");
    }
}

#[test]
fn what_is_not_there_any_more_is_not_told_as_it_was() {
    let metrics = Metrics::new("1");
    let before = metrics.text(&[(SessionStatus::Running, 3)], &[(SandboxState::Idle, 3)], 0);
    let (running, idle) = (
        "hostler_sessions{status=\"running\"}",
        "hostler_sandboxes{state=\"idle\"}",
    );
    assert_eq!(samples(&before.unwrap()).get(idle), Some(&3.0));
    let after = samples(&metrics.text(&[], &[], 0).unwrap());
    assert_eq!((after.get(running), after.get(idle)), (Some(&0.0), Some(&0.0)));
}
