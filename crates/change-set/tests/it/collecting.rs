//! What a report becomes when it is held against the workspace.

use crate::support::{Fixture, Report, summary};
use change_set::{CollectError, SourceError};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::symlink;

#[tokio::test]
async fn edits_additions_and_removals_are_told_apart_with_their_lines() {
    let fixture = Fixture::with(&[
        ("edit", "one\ntwo\n"),
        ("same", "s"),
        ("gone", "a\nb\nc\n"),
        ("d/keep", "k"),
    ]);
    let report = Report::default()
        .edited("edit", "one\n2\nthree\n")
        .edited("same", "s")
        .removed("gone")
        .directory("d")
        .file("d/new", "n\n")
        .directory("e")
        .file("e/binary", b"\0\x01");
    let set = fixture.collect(&report).await.unwrap();
    assert_eq!(
        summary(&set),
        [
            "+ d/new +1 -0",
            "+ e",
            "+ e/binary binary",
            "~ edit +2 -1",
            "- gone +0 -3"
        ]
    );
}

#[tokio::test]
async fn a_removed_directory_is_expanded_against_what_is_there_now() {
    let fixture = Fixture::with(&[("d/a", "1\n"), ("d/e/b", "2\n"), ("d.txt", "x")]);
    let set = fixture
        .collect(&Report::default().removed("d").removed("never-there"))
        .await
        .unwrap();
    assert_eq!(summary(&set), ["- d", "- d/a +0 -1", "- d/e", "- d/e/b +0 -1"]);
}

#[tokio::test]
async fn below_an_opaque_directory_only_what_was_reported_is_left() {
    let fixture = Fixture::with(&[("d/a", "1\n"), ("d/b", "2\n"), ("d/e/c", "3\n"), ("d/e/d", "4\n")]);
    let report = Report::default()
        .opaque("d")
        .file("d/a", "1\n")
        .directory("d/e")
        .file("d/e/c", "three\n");
    let set = fixture.collect(&report).await.unwrap();
    assert_eq!(summary(&set), ["- d/b +0 -1", "~ d/e/c +1 -1", "- d/e/d +0 -1"]);
}

#[tokio::test]
async fn one_kind_of_thing_in_place_of_another_is_a_replacement() {
    let fixture = Fixture::with(&[("d/a", "1\n"), ("file", "2\n"), ("other", "3\n")]);
    let report = Report::default()
        .file("d", "now a file\n")
        .directory("file")
        .file("file/x", "")
        .symlink("other", "d");
    let set = fixture.collect(&report).await.unwrap();
    assert_eq!(
        summary(&set),
        ["= d +1 -0", "- d/a +0 -1", "= file", "+ file/x +0 -0", "= other"]
    );
}

#[tokio::test]
async fn a_mode_that_git_would_not_keep_is_no_change() {
    let fixture = Fixture::with(&[("a", "a"), ("b", "b"), ("run", "r")]);
    fs::set_permissions(fixture.workspace.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut fixture = fixture;
    fixture.begin();
    let report = Report::default()
        .file_as("a", "a", 0o600, true)
        .file_as("b", "b", 0o755, true)
        .file_as("run", "r", 0o644, true);
    let set = fixture.collect(&report).await.unwrap();
    assert_eq!(summary(&set), ["x b executable", "x run"]);
}

#[tokio::test]
async fn a_symlink_that_is_the_same_is_no_change_and_one_that_leads_out_is_marked() {
    let fixture = Fixture::new();
    symlink("a", fixture.workspace.join("same")).unwrap();
    symlink("a", fixture.workspace.join("turned")).unwrap();
    let report = Report::default()
        .symlink("same", "a")
        .symlink("turned", "/etc")
        .symlink("in", "same");
    let set = fixture.collect(&report).await.unwrap();
    assert_eq!(summary(&set), ["+ in", "~ turned symlink"]);
}

#[tokio::test]
async fn a_large_file_is_compared_without_counting_its_lines() {
    let large = "x".repeat(5 << 20);
    let fixture = Fixture::with(&[("same", &large), ("other", &large)]);
    let mut changed = large.clone().into_bytes();
    changed[4 << 20] = b'y';
    let report = Report::default()
        .edited("same", &large)
        .edited("other", changed)
        .file("new", &large);
    let set = fixture.collect(&report).await.unwrap();
    assert_eq!(summary(&set), ["+ new uncounted", "~ other uncounted"]);
}

#[tokio::test]
async fn a_file_that_is_not_as_long_as_was_reported_is_an_error() {
    for length in [2, 4] {
        let fixture = Fixture::new();
        let mut report = Report::default().file("f", "abc");
        report.contents.insert(b"f".to_vec(), vec![b'x'; length]);
        let error = fixture.collect(&report).await.err().unwrap();
        assert!(
            matches!(error, CollectError::Source(SourceError::Size { reported: 3, .. })),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_the_agent_could_not_see_is_neither_removed_nor_written() {
    let fixture = Fixture::with(&[("d/data/journal", "j"), ("d/x", "x\n")]);
    let mut view = fixture.view();
    view.masked = vec![fixture.workspace.join("d/data")];
    let set = change_set::collect(&Report::default().removed("d"), &view)
        .await
        .unwrap();
    assert_eq!(summary(&set), ["- d/x +0 -1"]);
    let report = Report::default()
        .directory("d")
        .directory("d/data")
        .file("d/data/journal", "forged");
    let set = change_set::collect(&report, &view).await.unwrap();
    assert_eq!((summary(&set).len(), set.refused.count), (0, 2));
    let set = change_set::collect(&Report::default().file("d", "file"), &view)
        .await
        .unwrap();
    assert_eq!(
        (summary(&set), set.refused.count),
        (vec!["- d/x +0 -1".to_owned()], 1)
    );
}
