//! Diffs that Git itself can read.

use crate::support::{EVERYTHING, Fixture, Report, picture};
use change_set::{Faults, unified};
use std::fs;
use std::process::Command;

async fn all_diffs(fixture: &Fixture, report: &Report) -> Vec<u8> {
    let set = fixture.collect(report).await.unwrap();
    let mut text = Vec::new();
    for entry in &set.entries {
        text.extend(unified(report, &set, entry).await.unwrap());
    }
    text
}

#[tokio::test]
async fn an_edit_is_shown_with_its_context() {
    let fixture = Fixture::with(&[("a.txt", "1\n2\n3\n4\n5\n6\n7\n8\n")]);
    let report = Report::default().edited("a.txt", "1\n2\n3\n4\nfive\n6\n7\n8");
    let text = String::from_utf8(all_diffs(&fixture, &report).await).unwrap();
    let expected = "diff --git a/a.txt b/a.txt\n--- a/a.txt\n+++ b/a.txt\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n-8\n+8\n\\ No newline at end of file\n";
    assert_eq!(text, expected);
}

#[tokio::test]
async fn binary_and_large_files_are_named_and_not_shown() {
    let fixture = Fixture::with(&[("bin", "\0old")]);
    let report = Report::default()
        .edited("bin", b"\0new")
        .file("large", "x".repeat(5 << 20));
    let text = String::from_utf8(all_diffs(&fixture, &report).await).unwrap();
    assert!(text.contains("Binary files a/bin and b/bin differ\n"), "{text}");
    assert!(
        text.contains("Files /dev/null and b/large differ and are too large to show\n"),
        "{text}"
    );
    assert!(text.len() < 500);
}

#[tokio::test]
async fn git_applies_the_diff_and_gets_what_hostler_applies() {
    let files = [
        ("edit", "one\ntwo\nthree\n"),
        ("gone", "x\n"),
        ("d/deep", "y"),
        ("run", "echo\n"),
        ("odd \"name\"", "o\n"),
    ];
    let fixture = Fixture::with(&files);
    let report = Report::default()
        .edited("edit", "one\n2\nthree\nfour")
        .removed("gone")
        .directory("d")
        .edited("d/deep", "y\nz\n")
        .file_as("run", "echo\n", 0o755, true)
        .edited("odd \"name\"", "odd\n")
        .file("caf\u{e9}\t", "new\n")
        .symlink("link", "d/deep");
    let diff = all_diffs(&fixture, &report).await;
    let copy = fixture.base.join("copy");
    for (path, content) in files {
        let path = copy.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let patch = fixture.base.join("patch");
    fs::write(&patch, &diff).unwrap();
    let git = Command::new("git")
        .args(["apply", "--whitespace=nowarn"])
        .arg(&patch)
        .current_dir(&copy)
        .output()
        .unwrap();
    assert!(git.status.success(), "{}", String::from_utf8_lossy(&git.stderr));
    fixture
        .apply_with(&report, EVERYTHING, Faults::default())
        .await
        .unwrap();
    assert_eq!(fixture.picture(), picture(&copy));
}
