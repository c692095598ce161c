//! What an apply leaves in the workspace, and what it leaves out.

use crate::support::{EVERYTHING, Fixture, Report};
use change_set::{Allowed, ApplyError, Faults, Options, RelativePath, Source, SourceError};
use guest_protocol::Change;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::atomic::Ordering;

fn everything() -> (Fixture, Report) {
    let fixture = Fixture::with(&[
        ("edit", "old\n"),
        ("gone", "x"),
        ("tree/a/b", "x"),
        ("tree/c", "x"),
        ("was-directory/x", "x"),
        ("was-file", "x"),
    ]);
    let report = Report::default()
        .edited("edit", "new\n")
        .removed("gone")
        .removed("tree")
        .file("was-directory", "file\n")
        .directory("was-file")
        .file("was-file/x", "deep\n")
        .directory("empty")
        .symlink("link", "was-file/x");
    (fixture, report)
}

#[tokio::test]
async fn every_kind_of_change_arrives() {
    let (fixture, report) = everything();
    let applied = fixture.apply(&report).await.unwrap();
    assert_eq!((applied.paths.len(), applied.leftover), (12, None));
    let picture: Vec<_> = fixture
        .picture()
        .into_iter()
        .map(|(path, what)| format!("{path}: {what}"))
        .collect();
    assert_eq!(
        picture,
        [
            "edit: new\n",
            "empty: directory",
            "link: -> was-file/x",
            "was-directory: file\n",
            "was-file: directory",
            "was-file/x: deep\n",
        ]
    );
    let left: Vec<_> = fs::read_dir(fixture.data.join("applies"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| name == "lock" || name.to_string_lossy().starts_with("touched-")),
        "{left:?}"
    );
}

#[tokio::test]
async fn what_needs_a_flag_of_its_own_stays_behind_without_it() {
    let report = Report::default()
        .directory(".git")
        .directory(".git/hooks")
        .file_as(".git/hooks/post-checkout", "#!/bin/sh\n", 0o755, false)
        .file(".git/config", "[core]\n")
        .symlink("out", "/etc/passwd")
        .file_as("tool", "#!/bin/sh\n", 0o755, false)
        .special("pipe")
        .file("plain", "p");
    let table = [
        (Allowed::default(), vec!["plain"]),
        (
            Allowed {
                git: true,
                ..Allowed::default()
            },
            vec![".git", ".git/config", ".git/hooks", "plain"],
        ),
        (
            Allowed {
                symlinks: true,
                ..Allowed::default()
            },
            vec!["out", "plain"],
        ),
        (
            Allowed {
                executables: true,
                ..Allowed::default()
            },
            vec!["plain", "tool"],
        ),
        (
            EVERYTHING,
            vec![
                ".git",
                ".git/config",
                ".git/hooks",
                ".git/hooks/post-checkout",
                "out",
                "plain",
                "tool",
            ],
        ),
    ];
    for (allowed, paths) in table {
        let fixture = Fixture::new();
        fixture
            .apply_with(&report, allowed, Faults::default())
            .await
            .unwrap();
        assert_eq!(
            fixture.picture().into_keys().collect::<Vec<_>>(),
            paths,
            "{allowed:?}"
        );
    }
}

#[tokio::test]
async fn a_directory_stays_with_what_may_not_be_removed() {
    let fixture = Fixture::with(&[("lib/.git/config", "c"), ("lib/code", "x"), ("lib/sub/y", "y")]);
    fixture.apply(&Report::default().removed("lib")).await.unwrap();
    let left: Vec<_> = fixture.picture().into_keys().collect();
    assert_eq!(left, ["lib", "lib/.git", "lib/.git/config"]);
    fixture
        .apply_with(
            &Report::default().removed("lib"),
            Allowed {
                git: true,
                ..Allowed::default()
            },
            Faults::default(),
        )
        .await
        .unwrap();
    assert_eq!(fixture.picture().len(), 0);
}

#[tokio::test]
async fn a_directory_that_may_not_be_replaced_keeps_all_that_is_in_it() {
    let fixture = Fixture::with(&[("d/a", "a"), ("e/.git/config", "c"), ("e/b", "b")]);
    let before = fixture.picture();
    let report = Report::default().symlink("d", "/etc").file("e", "now a file");
    let applied = fixture.apply(&report).await.unwrap();
    assert_eq!((applied.paths.len(), fixture.picture()), (0, before));
}

#[tokio::test]
async fn an_edited_file_keeps_owner_and_mode_and_new_ones_get_the_workspace_s() {
    let mut fixture = Fixture::with(&[("edit", "old\n"), ("suid", "old\n")]);
    fs::set_permissions(fixture.workspace.join("edit"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(fixture.workspace.join("suid"), fs::Permissions::from_mode(0o4755)).unwrap();
    let root = rustix::process::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(&fixture.workspace, Some(1234), Some(4321)).unwrap();
        std::os::unix::fs::chown(fixture.workspace.join("edit"), Some(77), Some(88)).unwrap();
    }
    fixture.begin();
    let report = Report::default()
        .edited("edit", "new\n")
        .file_as("suid", "new\n", 0o4755, true)
        .directory("d")
        .file_as("d/plain", "n", 0o666, false)
        .file_as("d/tool", "n", 0o6711, false)
        .symlink("link", "d");
    fixture
        .apply_with(&report, EVERYTHING, Faults::default())
        .await
        .unwrap();
    let metadata = |path: &str| fs::symlink_metadata(fixture.workspace.join(path)).unwrap();
    let mode = |path: &str| metadata(path).mode() & 0o7777;
    assert_eq!(
        [
            mode("edit"),
            mode("suid"),
            mode("d"),
            mode("d/plain"),
            mode("d/tool")
        ],
        [0o640, 0o755, 0o755, 0o644, 0o755]
    );
    if root {
        assert_eq!((metadata("edit").uid(), metadata("edit").gid()), (77, 88));
        for path in ["d", "d/plain", "d/tool", "link"] {
            assert_eq!(
                (metadata(path).uid(), metadata(path).gid()),
                (1234, 4321),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn attributes_that_the_user_set_stay_on_an_edited_file() {
    let mut fixture = Fixture::with(&[("f", "old\n")]);
    let set = rustix::fs::setxattr(
        fixture.workspace.join("f"),
        "user.origin",
        b"https://example.com",
        rustix::fs::XattrFlags::empty(),
    );
    if let Err(error) = set {
        println!(
            "SKIP applying::attributes_that_the_user_set_stay_on_an_edited_file: no user attributes here: {error}"
        );
        return;
    }
    fixture.begin();
    fixture
        .apply(&Report::default().edited("f", "new\n"))
        .await
        .unwrap();
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(fixture.workspace.join("f"), "user.origin", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"https://example.com");
}

#[tokio::test]
async fn a_hard_link_is_broken_and_its_other_name_keeps_the_old_content() {
    let mut fixture = Fixture::with(&[("f", "old\n")]);
    let outside = fixture.base.join("outside");
    fs::hard_link(fixture.workspace.join("f"), &outside).unwrap();
    fixture.begin();
    fixture
        .apply(&Report::default().edited("f", "agent\n"))
        .await
        .unwrap();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "old\n");
    assert_eq!(fixture.picture()["f"], "agent\n");
}

#[tokio::test]
async fn an_interrupt_stops_before_the_first_byte_and_between_steps() {
    let (fixture, report) = everything();
    let before = fixture.picture();
    let set = fixture.collect(&report).await.unwrap();
    let options = fixture.options(EVERYTHING, Faults::default());
    options.interrupted.store(true, Ordering::SeqCst);
    let error = change_set::apply(&report, &set, &options).await.unwrap_err();
    assert!(matches!(error, ApplyError::Interrupted), "{error}");
    assert_eq!(fixture.picture(), before);

    let options = fixture.options(EVERYTHING, Faults::default());
    let flag = std::sync::Arc::clone(&options.interrupted);
    let faults = Faults::new(move |call| {
        if call == "exchange" {
            flag.store(true, Ordering::SeqCst);
        }
        Ok(())
    });
    let error = change_set::apply(&report, &set, &Options { faults, ..options })
        .await
        .unwrap_err();
    assert!(matches!(error, ApplyError::Interrupted), "{error}");
    assert_eq!(fixture.picture(), before);
}

/// A reader that shows one content at the review and another when it is applied.
struct Fickle {
    report: Report,
    reads: std::sync::atomic::AtomicUsize,
}

#[async_trait::async_trait]
impl Source for Fickle {
    async fn entries(
        &self,
        visit: &mut (dyn FnMut(Change) -> ControlFlow<()> + Send),
    ) -> Result<(), SourceError> {
        self.report.entries(visit).await
    }

    async fn read(&self, path: &RelativePath, offset: u64, limit: usize) -> Result<Vec<u8>, SourceError> {
        let mut content = self.report.read(path, offset, limit).await?;
        if self.reads.fetch_add(1, Ordering::SeqCst) > 1
            && let Some(first) = content.first_mut()
        {
            *first = b'!';
        }
        Ok(content)
    }
}

#[tokio::test]
async fn only_what_was_reviewed_is_applied() {
    let fixture = Fixture::with(&[("f", "old\n")]);
    let source = Fickle {
        report: Report::default().edited("f", "harmless\n"),
        reads: 0.into(),
    };
    let error = fixture.apply(&source).await.unwrap_err();
    assert!(
        matches!(error, ApplyError::Source(SourceError::Changed { .. })),
        "{error}"
    );
    assert_eq!(
        fixture.picture().into_iter().collect::<Vec<_>>(),
        [("f".to_owned(), "old\n".to_owned())]
    );
}

#[tokio::test]
async fn a_change_set_of_many_files_arrives_whole() {
    let mut fixture = Fixture::new();
    for index in 0..300 {
        fixture.write(&format!("old/{index}"), "x\n");
    }
    symlink("nowhere", fixture.workspace.join("dangling")).unwrap();
    fixture.begin();
    let report = (0..300).fold(
        Report::default()
            .removed("old")
            .removed("dangling")
            .directory("new"),
        |report, index| {
            report
                .directory(format!("new/{index}"))
                .file(format!("new/{index}/f"), format!("{index}"))
        },
    );
    fixture.apply(&report).await.unwrap();
    let picture = fixture.picture();
    assert_eq!(picture.len(), 601);
    assert_eq!(picture["new/299/f"], "299");
}
