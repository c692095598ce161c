//! Searching in files.
#![allow(clippy::unwrap_used, clippy::type_complexity)]

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, text};

fn tree() -> Fixture {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path().join(".git")).unwrap();
    fixture.write(".gitignore", "ignored\n");
    fixture.write(
        "a.rs",
        "fn one() {}\nlet x = 1;\nfn two() {}\n// end\nlast\nFN three\n",
    );
    fixture.write("b/c.py", "def one():\r\n    pass\r\n");
    fixture.write("ignored/d.rs", "fn one() {}\n");
    fixture.write("binary", b"fn one\0\nfn two\n");
    fixture
}

async fn grep(fixture: &Fixture, pattern: &str, options: Value) -> agent_tools::Outcome {
    let mut input = json!({"pattern": pattern});
    for (name, value) in options.as_object().unwrap() {
        input[name] = value.clone();
    }
    fixture.call("Grep", input).await
}

#[tokio::test]
async fn options_do_what_they_say() {
    let fixture = tree();
    let content = |more: Value| {
        let mut options = json!({"output_mode": "content"});
        for (name, value) in more.as_object().unwrap() {
            options[name] = value.clone();
        }
        options
    };
    for (pattern, options, expected) in [
        ("fn (one|two)", json!({}), "Found 1 file\na.rs"),
        (
            "fn|def",
            json!({"output_mode": "count"}),
            "a.rs:2\nb/c.py:1\n\n3 matches in 2 files",
        ),
        ("fn", content(json!({})), "a.rs:1:fn one() {}\na.rs:3:fn two() {}"),
        (
            "fn",
            content(json!({"-n": false})),
            "a.rs:fn one() {}\na.rs:fn two() {}",
        ),
        (
            "fn",
            content(json!({"-i": true, "-o": true})),
            "a.rs:1:fn\na.rs:3:fn\na.rs:6:FN",
        ),
        ("one", content(json!({"type": "py"})), "b/c.py:1:def one():"),
        (
            "one",
            content(json!({"glob": "*.{py,js}"})),
            "b/c.py:1:def one():",
        ),
        ("one", content(json!({"glob": "!*.py"})), "a.rs:1:fn one() {}"),
        ("one", content(json!({"path": "a.rs"})), "1:fn one() {}"),
        ("one", content(json!({"path": "b"})), "b/c.py:1:def one():"),
        (
            "one",
            content(json!({"path": "ignored"})),
            "ignored/d.rs:1:fn one() {}",
        ),
        (
            "end",
            content(json!({"-A": 1, "-B": 1})),
            "a.rs-3-fn two() {}\na.rs:4:// end\na.rs-5-last",
        ),
        ("end|one", content(json!({"context": 1})), "a.rs-3-fn two() {}"),
        ("end|one", content(json!({"-C": 0})), "a.rs:4:// end"),
        (
            "x|last",
            content(json!({"-B": 1, "path": "a.rs"})),
            "1-fn one() {}\n2:let x = 1;\n--\n4-// end\n5:last",
        ),
        (
            "one.*?let",
            content(json!({"multiline": true})),
            "a.rs:1:fn one() {}\na.rs:2:let x = 1;",
        ),
        ("pass$", content(json!({"multiline": true})), "No matches found"),
        (
            "fn",
            content(json!({"head_limit": 1})),
            "a.rs:1:fn one() {}\n(There is more: use offset 1 to go on",
        ),
        (
            "fn",
            content(json!({"head_limit": 1, "offset": 1})),
            "a.rs:3:fn two() {}",
        ),
        ("fn", content(json!({"offset": 9})), "beyond the 2"),
        ("nothing here", json!({}), "No files found"),
        (
            "fn one",
            json!({"output_mode": "count", "path": "a.rs"}),
            "1\n\n1 matches in 1 files",
        ),
    ] {
        let outcome = grep(&fixture, pattern, options.clone()).await;
        assert!(
            !outcome.is_error && text(&outcome).contains(expected),
            "{pattern} {options}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn results_have_the_shape_of_the_protocol() {
    let fixture = tree();
    let outcome = grep(&fixture, "one", json!({})).await;
    assert_eq!(
        (&outcome.result["mode"], &outcome.result["numFiles"]),
        (&json!("files_with_matches"), &json!(2))
    );
    assert_eq!(outcome.result["filenames"].as_array().map(Vec::len), Some(2));
    let outcome = grep(&fixture, "fn", json!({"output_mode": "content", "head_limit": 1})).await;
    assert_eq!(outcome.result["content"], json!("a.rs:1:fn one() {}"));
    assert_eq!(
        (&outcome.result["numLines"], &outcome.result["appliedLimit"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test]
async fn wrong_options_are_told() {
    let fixture = tree();
    for (options, part) in [
        (json!({"pattern": "a("}), "not a valid regular expression"),
        (
            json!({"pattern": "a{99999999}"}),
            "not a valid regular expression",
        ),
        (json!({"pattern": "a\\nb"}), "needs multiline"),
        (json!({"pattern": "a", "type": "klingon"}), "klingon"),
        (json!({"pattern": "a", "glob": "a["}), "`glob` is not valid"),
        (json!({"pattern": "a", "path": "nowhere"}), "does not exist"),
        (json!({"pattern": "a", "output_mode": "poem"}), "`output_mode`"),
        (json!({"pattern": "a", "-A": -1}), "`-A`"),
    ] {
        let outcome = fixture.call("Grep", options.clone()).await;
        assert!(
            outcome.is_error && text(&outcome).contains(part),
            "{options}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn hostile_trees_are_searched_within_bounds() {
    let fixture = Fixture::new();
    fixture.write(
        "long-line",
        [vec![b'x'; 5_000_000], b"needle".to_vec(), vec![b'y'; 5_000_000]].concat(),
    );
    fixture.write("latin", b"needle caf\xe9\n");
    fixture.write("many", "needle\n".repeat(500_000));
    fixture.bash("ln -s . loop; ln -s /etc out; ln -s latin link; mkfifo fifo; touch $'odd\\nname'; echo needle > none; chmod 0 none").await;
    let outcome = grep(
        &fixture,
        "needle",
        json!({"output_mode": "content", "head_limit": 0}),
    )
    .await;
    assert!(text(&outcome).len() < 150_000, "{}", text(&outcome).len());
    assert!(text(&outcome).contains("latin:1:needle caf\u{FFFD}") && text(&outcome).contains("more bytes]"));
    assert!(!text(&outcome).contains("link:") && !text(&outcome).contains("out/"));
    let outcome = grep(&fixture, "root:", json!({})).await;
    assert_eq!(text(&outcome), "No files found");
    fixture.end().await;
}

#[tokio::test]
async fn an_interrupt_ends_the_search_of_an_endless_file() {
    let fixture = Fixture::new();
    let file = std::fs::File::create(fixture.path().join("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    // Lines, so that the file isn't taken for binary at once.
    fixture.write("text", "line\n".repeat(1000));
    let cancel = CancellationToken::new();
    let call = fixture
        .toolbox
        .call("Grep", json!({"pattern": "x.*y.*z"}), cancel.clone());
    let begun = std::time::Instant::now();
    let (outcome, ()) = tokio::join!(call, async { cancel.cancel() });
    assert!(outcome.is_error && begun.elapsed().as_secs() < 2, "{outcome:?}");
}
