//! Reports and workspaces made to lead an apply astray.

use crate::support::{EVERYTHING, Fixture, Report, picture, summary};
use change_set::{ApplyError, CollectError, Faults, RefusedReason, RelativePath, Source, SourceError};
use guest_protocol::{Change, ChangeKind};
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::Path;

#[tokio::test]
async fn paths_that_no_kernel_would_report_are_refused() {
    let fixture = Fixture::with(&[("f", "old\n")]);
    let report = Report::default()
        .file("../outside", "x")
        .file("/etc/cron.d/x", "x")
        .file("a/../../b", "x")
        .file("nul\0", "x")
        .file("", "x")
        .file("orphan/x", "x")
        .symlink("link", "/etc")
        .file("link/passwd", "x")
        .removed("gone")
        .file("gone/x", "x")
        .file("f", "one")
        .file("f", "two")
        .file("long/".repeat(1000), "x")
        .file(".hostler-apply-0/new-0", "x")
        .symlink("empty", "");
    let set = fixture.collect(&report).await.unwrap();
    assert_eq!(summary(&set), ["~ f +1 -1", "+ link symlink"]);
    assert_eq!(set.refused.count, 12);
    let reasons: Vec<_> = set.refused.shown.iter().map(|refused| refused.reason).collect();
    for reason in [
        RefusedReason::Orphan,
        RefusedReason::Twice,
        RefusedReason::Reserved,
        RefusedReason::Target,
    ] {
        assert!(reasons.contains(&reason), "{reason:?}");
    }
    fixture
        .apply_with(&report, EVERYTHING, Faults::default())
        .await
        .unwrap();
    assert_eq!(fixture.picture().into_keys().collect::<Vec<_>>(), ["f", "link"]);
    assert!(!fixture.base.join("outside").exists());
}

#[tokio::test]
async fn a_directory_in_place_of_the_user_s_symlink_is_not_written_through_it() {
    let mut fixture = Fixture::new();
    let outside = fixture.base.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "p").unwrap();
    symlink(&outside, fixture.workspace.join("d")).unwrap();
    fixture.begin();
    let report = Report::default()
        .opaque("d")
        .file("d/precious", "agent's")
        .file("d/new", "n");
    fixture.apply(&report).await.unwrap();
    assert_eq!(
        picture(&outside).into_iter().collect::<Vec<_>>(),
        [("precious".to_owned(), "p".to_owned())]
    );
    assert_eq!(fixture.picture()["d"], "directory");
    assert_eq!(fixture.picture()["d/precious"], "agent's");
}

#[tokio::test]
async fn a_file_in_place_of_the_user_s_symlink_does_not_reach_its_target() {
    let mut fixture = Fixture::new();
    let outside = fixture.base.join("outside");
    fs::write(&outside, "precious").unwrap();
    symlink(&outside, fixture.workspace.join("f")).unwrap();
    fixture.begin();
    fixture
        .apply(&Report::default().file("f", "agent's"))
        .await
        .unwrap();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
    assert_eq!(fixture.picture()["f"], "agent's");
}

#[tokio::test]
async fn git_in_any_spelling_needs_its_flag() {
    for name in [".GIT", ".Git", "git~1", ".git "] {
        let fixture = Fixture::new();
        let report = Report::default()
            .directory(name)
            .file(format!("{name}/config"), "[core]\nfsmonitor=evil\n");
        let set = fixture.collect(&report).await.unwrap();
        assert!(set.entries.iter().all(|entry| entry.class.git), "{name}");
        fixture.apply(&report).await.unwrap();
        assert_eq!(fixture.picture().len(), 0, "{name}");
    }
    let fixture = Fixture::with(&[(".gitmodules", "[submodule]\n"), (".git/HEAD", "ref: x\n")]);
    fixture
        .apply(
            &Report::default()
                .edited(".gitmodules", "[other]\n")
                .file(".gitignore", "x\n"),
        )
        .await
        .unwrap();
    assert_eq!(fixture.picture()[".gitmodules"], "[other]\n");
}

#[tokio::test]
async fn a_git_file_that_points_elsewhere_needs_the_flag_too() {
    let fixture = Fixture::new();
    let report = Report::default()
        .directory("sub")
        .file("sub/.git", "gitdir: ../evil\n")
        .file("sub/x", "x");
    fixture.apply(&report).await.unwrap();
    assert_eq!(
        fixture.picture().into_keys().collect::<Vec<_>>(),
        ["sub", "sub/x"]
    );
}

#[tokio::test]
async fn a_workspace_swapped_for_a_symlink_is_not_followed() {
    let mut fixture = Fixture::with(&[("f", "old\n")]);
    let outside = fixture.base.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("f"), "old\n").unwrap();
    let report = Report::default().edited("f", "agent\n");
    let set = fixture.collect(&report).await.unwrap();
    fs::rename(&fixture.workspace, fixture.base.join("moved")).unwrap();
    symlink(&outside, &fixture.workspace).unwrap();
    let options = fixture.options(EVERYTHING, Faults::default());
    let error = change_set::apply(&report, &set, &options).await.unwrap_err();
    assert!(matches!(error, ApplyError::Root(_)), "{error}");
    // Another directory in its place is not the workspace either.
    fs::remove_file(&fixture.workspace).unwrap();
    fs::rename(&outside, &fixture.workspace).unwrap();
    let error = change_set::apply(&report, &set, &options).await.unwrap_err();
    assert!(matches!(error, ApplyError::Root(_)), "{error}");
    assert_eq!(fixture.picture()["f"], "old\n");
    fixture.begin();
    assert!(
        matches!(fixture.collect(&report).await.map(|set| summary(&set)), Ok(lines) if lines == ["~ f +1 -1"])
    );
}

/// At every single call of an apply, someone swaps a directory on its way for a symlink that leads out.
#[tokio::test]
async fn a_directory_swapped_for_a_symlink_in_the_middle_leads_nowhere() {
    let mut at = 0;
    loop {
        let fixture = Fixture::with(&[("d/edit", "old\n"), ("d/gone", "old\n")]);
        let outside = fixture.base.join("outside");
        fs::create_dir(&outside).unwrap();
        for name in ["edit", "gone"] {
            fs::write(outside.join(name), "precious\n").unwrap();
        }
        let before = picture(&outside);
        let report = Report::default()
            .directory("d")
            .edited("d/edit", "agent\n")
            .removed("d/gone")
            .file("d/new", "n");
        let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (counter, workspace, target) = (count.clone(), fixture.workspace.clone(), outside.clone());
        let faults = Faults::new(move |_| {
            if counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == at {
                swap(&workspace, &target);
            }
            Ok(())
        });
        let _ = fixture.apply_with(&report, EVERYTHING, faults).await;
        assert_eq!(picture(&outside), before, "swapped before call {at}");
        if count.load(std::sync::atomic::Ordering::SeqCst) <= at {
            assert!(at > 20, "the swap was tried at every call");
            break;
        }
        at += 1;
    }
}

fn swap(workspace: &Path, target: &Path) {
    fs::rename(workspace.join("d"), workspace.join("was-d")).unwrap();
    symlink(target, workspace.join("d")).unwrap();
}

/// A report without end.
struct Endless {
    kind: ChangeKind,
    name_bytes: usize,
}

#[async_trait::async_trait]
impl Source for Endless {
    async fn entries(
        &self,
        visit: &mut (dyn FnMut(Change) -> ControlFlow<()> + Send),
    ) -> Result<(), SourceError> {
        let mut number = 0_u64;
        loop {
            let path = format!("{number:0>width$}", width = self.name_bytes);
            let change = Change {
                path: Some(path),
                path_base64: None,
                kind: self.kind.clone(),
            };
            if visit(change).is_break() {
                return Ok(());
            }
            number += 1;
        }
    }

    async fn read(&self, path: &RelativePath, _: u64, _: usize) -> Result<Vec<u8>, SourceError> {
        Err(SourceError::Read {
            path: path.clone(),
            reason: "never asked for".to_owned(),
        })
    }
}

#[tokio::test]
async fn a_report_without_end_is_refused() {
    let fixture = Fixture::new();
    let endless = |kind, name_bytes| Endless { kind, name_bytes };
    let error = fixture
        .collect(&endless(ChangeKind::Removed, 10))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, CollectError::Entries { .. }), "{error}");
    let error = fixture
        .collect(&endless(ChangeKind::Removed, 60_000))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, CollectError::Names { .. }), "{error}");
    let huge = ChangeKind::File {
        size: u64::MAX / 2,
        mode: 0,
        copied_up: false,
    };
    let error = fixture.collect(&endless(huge, 10)).await.err().unwrap();
    assert!(matches!(error, CollectError::Bytes { .. }), "{error}");
}

#[tokio::test]
async fn a_staging_directory_forged_by_someone_else_is_not_believed() {
    let fixture = Fixture::with(&[("f", "old\n")]);
    let forged = fixture.workspace.join(".hostler-apply-00");
    fs::create_dir(&forged).unwrap();
    fs::write(forged.join("new-0"), "x").unwrap();
    assert_eq!(
        change_set::recover(&fixture.data).len(),
        0,
        "without a journal there is nothing to recover"
    );
    assert!(forged.join("new-0").exists());
}
