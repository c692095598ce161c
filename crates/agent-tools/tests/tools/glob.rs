//! Finding files by name.
#![allow(clippy::unwrap_used, clippy::type_complexity)]

use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, text};

fn aged(path: &std::path::Path, seconds: u64) {
    let file = std::fs::File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
        .unwrap();
}

#[tokio::test]
async fn the_newest_come_first_and_ignored_files_not_at_all() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path().join(".git")).unwrap();
    fixture.write(".gitignore", "target\n*.log\n");
    for (name, age) in [
        ("old.rs", 300),
        ("src/new.rs", 10),
        (".hidden/mid.rs", 100),
        ("target/x.rs", 1),
        (".git/y.rs", 1),
    ] {
        aged(&fixture.write(name, ""), age);
    }
    let outcome = fixture.call("Glob", json!({"pattern": "**/*.rs"})).await;
    assert_eq!(text(&outcome), "src/new.rs\n.hidden/mid.rs\nold.rs");
    assert_eq!(
        outcome.result["filenames"],
        json!(["src/new.rs", ".hidden/mid.rs", "old.rs"])
    );
    assert_eq!(
        (
            &outcome.result["numFiles"],
            &outcome.result["truncated"],
            &outcome.result["totalMatches"],
            &outcome.result["countIsComplete"]
        ),
        (&json!(3), &json!(false), &json!(3), &json!(true))
    );
    assert_eq!(
        text(
            &fixture
                .call("Glob", json!({"pattern": "*.rs", "path": "src"}))
                .await
        ),
        "src/new.rs"
    );
    assert_eq!(
        text(
            &fixture
                .call(
                    "Glob",
                    json!({"pattern": format!("{}/src/*", fixture.path().display())})
                )
                .await
        ),
        "src/new.rs"
    );
    fixture.bash("cd src").await;
    assert_eq!(
        text(&fixture.call("Glob", json!({"pattern": "*"})).await),
        "new.rs"
    );
    fixture.end().await;
}

#[tokio::test]
async fn many_matches_are_cut_to_the_newest_hundred() {
    let fixture = Fixture::new();
    for number in 0..250 {
        aged(&fixture.write(&format!("d{}/f{number}", number % 7), ""), number);
    }
    let outcome = fixture.call("Glob", json!({"pattern": "**/f*"})).await;
    let names = outcome.result["filenames"].as_array().unwrap();
    assert_eq!(
        (names.len(), &names[0], &names[99]),
        (100, &json!("d0/f0"), &json!("d1/f99"))
    );
    assert_eq!(
        (&outcome.result["truncated"], &outcome.result["totalMatches"]),
        (&json!(true), &json!(250))
    );
    assert!(text(&outcome).contains("newest 100 of 250"));
}

#[tokio::test]
async fn bad_patterns_strange_names_and_loops_do_no_harm() {
    let fixture = Fixture::new();
    fixture
        .bash("ln -s . loop; ln -s / out; touch $'a\\nb.x' $'\\377.x'; mkfifo pipe.x")
        .await;
    for (pattern, path, part, is_error) in [
        ("a[", None, "not valid", true),
        ("{a", None, "not valid", true),
        ("", None, "empty", true),
        ("**", Some("nowhere"), "does not exist", true),
        ("nothing", None, "No files found", false),
        ("none/*.rs", None, "No files found", false),
        ("**/etc/passwd", None, "No files found", false),
        ("*.x", None, "\u{FFFD}.x", false),
    ] {
        let outcome = fixture
            .call("Glob", json!({"pattern": pattern, "path": path.unwrap_or(".")}))
            .await;
        assert!(
            outcome.is_error == is_error && text(&outcome).contains(part),
            "{pattern}: {outcome:?}"
        );
    }
    fixture.end().await;
}

#[tokio::test]
async fn an_interrupt_ends_a_long_walk() {
    let fixture = Fixture::new();
    let cancel = CancellationToken::new();
    let call = fixture.toolbox.call(
        "Glob",
        json!({"pattern": "**/nothing-is-called-this", "path": "/"}),
        cancel.clone(),
    );
    let begun = std::time::Instant::now();
    let (outcome, ()) = tokio::join!(call, async { cancel.cancel() });
    assert!(
        outcome.is_error && begun.elapsed() < Duration::from_secs(2),
        "{outcome:?}"
    );
}
