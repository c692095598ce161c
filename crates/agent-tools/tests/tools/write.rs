//! Writing: whole or not at all, and nothing that the model does not know is overwritten.
#![allow(clippy::unwrap_used, clippy::type_complexity)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::json;

use crate::fixture::{Fixture, text};

async fn write(fixture: &Fixture, name: &str, content: &str) -> agent_tools::Outcome {
    fixture
        .call("Write", json!({"file_path": name, "content": content}))
        .await
}

#[tokio::test]
async fn a_new_file_is_made_with_its_directories() {
    let fixture = Fixture::new();
    let outcome = write(&fixture, "a/b/c.txt", "hello\n").await;
    let path = fixture.path().join("a/b/c.txt");
    assert_eq!(
        text(&outcome),
        format!("File created successfully at: {}", path.display())
    );
    assert_eq!(
        outcome.result,
        json!({
            "type": "create", "filePath": path, "content": "hello\n", "structuredPatch": [], "originalFile": null, "userModified": false,
        })
    );
    assert_eq!(fixture.content("a/b/c.txt"), "hello\n");
    let umask = fixture.bash("umask").await;
    let umask = u32::from_str_radix(text(&umask).trim(), 8).unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o666 & !umask);
    assert!(
        !write(&fixture, "a/b/c.txt", "what was written is known")
            .await
            .is_error
    );
    fixture.end().await;
}

#[tokio::test]
async fn an_existing_file_must_be_known_as_it_is() {
    let fixture = Fixture::new();
    let path = fixture.write("a", "one\n");
    let outcome = write(&fixture, "a", "two\n").await;
    assert!(
        outcome.is_error && text(&outcome).contains("File has not been read yet"),
        "{outcome:?}"
    );
    fixture.call("Read", json!({"file_path": path})).await;
    fixture.write("a", "changed\n");
    let outcome = write(&fixture, "a", "two\n").await;
    assert!(
        outcome.is_error && text(&outcome).contains("modified since it was read"),
        "{outcome:?}"
    );
    assert_eq!(fixture.content("a"), "changed\n");
    fixture.toolbox.note_files_read([path.clone()]);
    let outcome = write(&fixture, "a", "two\n").await;
    assert_eq!(outcome.result["type"], json!("update"));
    assert_eq!(outcome.result["originalFile"], json!("changed\n"));
    assert_eq!(
        outcome.result["structuredPatch"],
        json!([
            {"oldStart": 1, "oldLines": 1, "newStart": 1, "newLines": 1, "lines": ["-changed", "+two"]},
        ])
    );
}

#[tokio::test]
async fn mode_and_symlinks_stay() {
    let fixture = Fixture::new();
    let path = fixture.write("real", "old");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::symlink("real", fixture.path().join("link")).unwrap();
    std::os::unix::fs::symlink("dir/new", fixture.path().join("dangling")).unwrap();
    fixture.call("Read", json!({"file_path": "real"})).await;
    assert!(!write(&fixture, "link", "new").await.is_error);
    assert_eq!(
        (
            fixture.content("real").as_str(),
            path.metadata().unwrap().mode() & 0o7777
        ),
        ("new", 0o750)
    );
    assert!(fixture.path().join("link").is_symlink());
    assert!(!write(&fixture, "dangling", "made").await.is_error);
    assert_eq!(fixture.content("dir/new"), "made");
    assert!(fixture.path().join("dangling").is_symlink());
}

#[tokio::test]
async fn what_cannot_be_written_is_an_error_and_leaves_nothing() {
    let fixture = Fixture::new();
    fixture.write("file", "x");
    fixture.bash("mkfifo fifo; mkdir dir; ln -s loop loop").await;
    for (name, part) in [
        ("dir", "is a directory"),
        ("fifo", "is a named pipe"),
        ("/dev/null", "is a device"),
        ("loop", "too many levels"),
        ("file/x", "file"),
        ("/proc/nothing", "/proc"),
        (&"n".repeat(300), "File name too long"),
        ("a\0b", "NUL"),
    ] {
        let outcome = write(&fixture, name, "content").await;
        assert!(
            outcome.is_error && text(&outcome).contains(part),
            "{name}: {outcome:?}"
        );
    }
    assert_eq!(
        std::fs::read_dir(fixture.path()).unwrap().count(),
        4,
        "no temporary file stays"
    );
    fixture.end().await;
}

/// A limit on file size stands for the full disk: in a process of its own, for it holds for a whole process.
#[test]
fn a_write_that_fails_half_way_leaves_the_old_file_whole() {
    if std::env::var_os("WRITE_WITH_LIMIT").is_none() {
        let exe = std::env::current_exe().unwrap();
        let name = "write::a_write_that_fails_half_way_leaves_the_old_file_whole";
        let script = format!(
            "trap '' XFSZ; ulimit -f 8; exec '{}' --exact {name} --nocapture",
            exe.display()
        );
        let done = std::process::Command::new("sh")
            .args(["-c", &script])
            .env("WRITE_WITH_LIMIT", "1")
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let fixture = Fixture::new();
        fixture.write("file", "old");
        fixture.call("Read", json!({"file_path": "file"})).await;
        let outcome = write(&fixture, "file", &"x".repeat(100_000)).await;
        assert!(
            outcome.is_error && text(&outcome).contains("is as it was before"),
            "{outcome:?}"
        );
        let input = json!({"file_path": "file", "old_string": "old", "new_string": "y".repeat(100_000)});
        assert!(fixture.call("Edit", input).await.is_error);
        assert_eq!(fixture.content("file"), "old");
        assert_eq!(std::fs::read_dir(fixture.path()).unwrap().count(), 1);
    });
}
