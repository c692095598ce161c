//! Editing: exactly one match or all of them, and everything else as it was.
#![allow(clippy::unwrap_used, clippy::type_complexity)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::json;

use crate::fixture::{Fixture, text};

async fn edit(fixture: &Fixture, name: &str, old: &str, new: &str) -> agent_tools::Outcome {
    fixture
        .call(
            "Edit",
            json!({"file_path": name, "old_string": old, "new_string": new}),
        )
        .await
}

#[tokio::test]
async fn one_match_is_replaced_and_the_change_told() {
    let fixture = Fixture::new();
    let path = fixture.write("a.sh", "#!/bin/sh\r\necho one\r\necho two\r\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    fixture.call("Read", json!({"file_path": "a.sh"})).await;
    let outcome = edit(&fixture, "a.sh", "echo one\necho two", "echo 1\necho 2").await;
    assert!(!outcome.is_error, "{outcome:?}");
    assert_eq!(fixture.content("a.sh"), "#!/bin/sh\r\necho 1\r\necho 2\r\n");
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o755);
    assert_eq!(
        outcome.result["originalFile"],
        json!("#!/bin/sh\r\necho one\r\necho two\r\n")
    );
    assert_eq!(outcome.result["replaceAll"], json!(false));
    assert_eq!(outcome.result["oldString"], json!("echo one\necho two"));
    assert_eq!(outcome.result["structuredPatch"][0]["oldLines"], json!(3));
    assert!(
        !edit(&fixture, "a.sh", "echo 1", "echo i").await.is_error,
        "an edit is known as well"
    );
}

#[tokio::test]
async fn what_cannot_be_edited_is_told() {
    let fixture = Fixture::new();
    fixture.write("known", "a b a\n");
    fixture.write("unknown", "a\n");
    fixture.bash("mkdir dir; mkfifo fifo").await;
    fixture.call("Read", json!({"file_path": "known"})).await;
    for (name, old, new, part) in [
        (
            "known",
            "x",
            "y",
            "String to replace not found in file.\nString: x",
        ),
        (
            "known",
            "a",
            "y",
            "Found 2 matches of the string to replace, but replace_all is false",
        ),
        ("known", "a", "a", "exactly the same"),
        ("known", "", "a", "already exists"),
        ("unknown", "a", "b", "File has not been read yet"),
        ("knwon", "a", "b", "Did you mean"),
        ("dir", "a", "b", "is a directory"),
        ("fifo", "a", "b", "is a named pipe"),
    ] {
        let outcome = edit(&fixture, name, old, new).await;
        assert!(
            outcome.is_error && text(&outcome).contains(part),
            "{name}: {outcome:?}"
        );
        assert!(text(&outcome).starts_with("<tool_use_error>"));
    }
    fixture.write("known", "changed a\n");
    assert!(text(&edit(&fixture, "known", "a", "b").await).contains("modified since it was read"));
    assert_eq!(fixture.content("known"), "changed a\n");
    fixture.end().await;
}

#[tokio::test]
async fn replace_all_replaces_all_and_an_empty_old_string_makes_a_file() {
    let fixture = Fixture::new();
    fixture.write("a", "x y x");
    fixture.call("Read", json!({"file_path": "a"})).await;
    let input = json!({"file_path": "a", "old_string": "x", "new_string": "", "replace_all": true});
    assert!(!fixture.call("Edit", input).await.is_error);
    assert_eq!(fixture.content("a"), " y ");
    let outcome = edit(&fixture, "new/file", "", "made\n").await;
    assert!(
        text(&outcome).starts_with("File created successfully"),
        "{outcome:?}"
    );
    assert_eq!(fixture.content("new/file"), "made\n");
}
