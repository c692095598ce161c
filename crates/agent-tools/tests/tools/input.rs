//! What does not fit is refused in words the model can act on.
#![allow(clippy::unwrap_used, clippy::type_complexity)]

use agent_tools::{Concurrency, Kind};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, text};

#[tokio::test]
async fn an_unknown_tool_is_named() {
    let fixture = Fixture::new();
    let outcome = fixture.call("Teleport", json!({})).await;
    assert!(outcome.is_error);
    assert_eq!(
        text(&outcome),
        "<tool_use_error>Error: No such tool available: Teleport</tool_use_error>"
    );
}

#[tokio::test]
async fn every_tool_refuses_what_does_not_fit_its_schema_and_names_the_field() {
    let fixture = Fixture::new();
    for definition in fixture.toolbox.definitions() {
        let name = definition.name;
        assert_eq!(
            definition.input_schema["additionalProperties"],
            json!(false),
            "{name}"
        );
        let required = definition.input_schema["required"][0]
            .as_str()
            .unwrap()
            .to_owned();
        for (input, field) in [
            (json!({}), required.as_str()),
            (json!({ (required.clone()): 7 }), required.as_str()),
            (json!({ (required.clone()): "x", "bogus": 1 }), "bogus"),
        ] {
            let outcome = fixture.call(name, input).await;
            assert!(outcome.is_error, "{name}");
            assert!(
                text(&outcome).starts_with("<tool_use_error>InputValidationError: "),
                "{outcome:?}"
            );
            assert!(text(&outcome).contains(&format!("`{field}`")), "{outcome:?}");
            assert!(outcome.result.as_str().unwrap().starts_with("Error: "));
        }
        for (name, property) in definition.input_schema["properties"].as_object().unwrap() {
            let kind = property["type"].as_str().unwrap();
            assert!(
                ["string", "integer", "boolean"].contains(&kind),
                "{name} is of a type that is not checked"
            );
        }
    }
}

#[tokio::test]
async fn readers_are_safe_side_by_side_and_others_exclusive() {
    let kinds: Vec<_> = Fixture::new()
        .toolbox
        .definitions()
        .into_iter()
        .map(|it| (it.name, it.concurrency, it.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            ("Bash", Concurrency::Exclusive, Kind::Execute),
            ("Read", Concurrency::Safe, Kind::Read),
            ("Write", Concurrency::Exclusive, Kind::Edit),
            ("Edit", Concurrency::Exclusive, Kind::Edit),
            ("Glob", Concurrency::Safe, Kind::Read),
            ("Grep", Concurrency::Safe, Kind::Read),
        ]
    );
}

#[tokio::test]
async fn a_call_that_is_cancelled_beforehand_does_nothing() {
    let fixture = Fixture::new();
    let cancel = CancellationToken::new();
    cancel.cancel();
    for (name, input) in [
        ("Write", json!({"file_path": "a", "content": "x"})),
        ("Bash", json!({"command": "touch a"})),
        ("Grep", json!({"pattern": "x"})),
    ] {
        let outcome = fixture.toolbox.call(name, input, cancel.clone()).await;
        assert!(
            outcome.is_error && text(&outcome).contains("interrupted"),
            "{outcome:?}"
        );
    }
    assert!(!fixture.path().join("a").exists());
}
