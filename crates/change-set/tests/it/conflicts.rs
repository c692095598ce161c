//! What the user did meanwhile is never lost.

use crate::support::{Fixture, Report, summary};
use change_set::{ApplyError, ConflictReason, Faults};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use std::fs;
use std::path::Path;

async fn refused(fixture: &Fixture, report: &Report) -> Vec<(String, ConflictReason)> {
    let before = fixture.picture();
    let error = fixture.apply(report).await.unwrap_err();
    assert_eq!(fixture.picture(), before, "nothing is touched");
    let ApplyError::Conflicts { conflicts } = error else {
        panic!("a conflict, not: {error}")
    };
    conflicts
        .into_iter()
        .map(|conflict| (conflict.path.to_string(), conflict.reason))
        .collect()
}

fn changed(path: &str) -> Vec<(String, ConflictReason)> {
    vec![(path.to_owned(), ConflictReason::Changed)]
}

#[tokio::test]
async fn a_file_that_both_edited_refuses_everything() {
    let fixture = Fixture::with(&[("both", "old\n"), ("other", "old\n")]);
    fixture.meanwhile(|workspace| fs::write(workspace.join("both"), "user\n").unwrap());
    let report = Report::default()
        .edited("both", "agent\n")
        .edited("other", "agent\n");
    assert_eq!(refused(&fixture, &report).await, changed("both"));
}

#[tokio::test]
async fn an_edit_with_the_old_modification_time_is_still_seen() {
    let fixture = Fixture::with(&[("f", "old\n")]);
    fixture.meanwhile(|workspace| {
        let path = workspace.join("f");
        fs::write(&path, "usr\n").unwrap();
        let time = Timespec {
            tv_sec: 1_000_000_000,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
    });
    assert_eq!(
        refused(&fixture, &Report::default().edited("f", "agent\n")).await,
        changed("f")
    );
}

#[tokio::test]
async fn an_added_file_that_the_user_added_too_is_a_conflict_unless_it_is_the_same() {
    let fixture = Fixture::with(&[]);
    fixture.meanwhile(|workspace| {
        fs::write(workspace.join("new"), "user\n").unwrap();
        fs::write(workspace.join("same"), "s").unwrap();
    });
    let report = Report::default().file("new", "agent\n").file("same", "s");
    assert_eq!(refused(&fixture, &report).await, changed("new"));
}

#[tokio::test]
async fn an_edited_file_that_the_user_removed_is_a_conflict() {
    let fixture = Fixture::with(&[("f", "old\n")]);
    fixture.meanwhile(|workspace| fs::remove_file(workspace.join("f")).unwrap());
    let expected = vec![("f".to_owned(), ConflictReason::Vanished)];
    assert_eq!(
        refused(&fixture, &Report::default().edited("f", "agent\n")).await,
        expected
    );
}

#[tokio::test]
async fn a_file_added_to_a_directory_that_the_agent_removed_is_a_conflict() {
    let fixture = Fixture::with(&[("d/a", "a")]);
    fixture.meanwhile(|workspace| fs::write(workspace.join("d/users"), "work").unwrap());
    let conflicts = refused(&fixture, &Report::default().removed("d")).await;
    assert!(
        conflicts.contains(&("d/users".to_owned(), ConflictReason::Changed)),
        "{conflicts:?}"
    );
    assert!(!conflicts.iter().any(|(path, _)| path == "d/a"), "{conflicts:?}");
}

#[tokio::test]
async fn edits_of_other_files_are_no_conflict() {
    let fixture = Fixture::with(&[("agents", "old\n"), ("users", "old\n")]);
    fixture.meanwhile(|workspace| {
        fs::write(workspace.join("users"), "user\n").unwrap();
        fs::write(workspace.join("users-too"), "user\n").unwrap();
    });
    fixture
        .apply(&Report::default().edited("agents", "agent\n").file("new", "n"))
        .await
        .unwrap();
    assert_eq!(fixture.picture()["agents"], "agent\n");
    assert_eq!(fixture.picture()["users"], "user\n");
}

#[tokio::test]
async fn a_change_between_the_review_and_the_apply_is_seen() {
    let fixture = Fixture::with(&[("f", "old\n"), ("d/x", "x")]);
    for act in [
        (|workspace: &Path| fs::write(workspace.join("f"), "user\n").unwrap()) as fn(&Path),
        |workspace| fs::write(workspace.join("new"), "user\n").unwrap(),
        |workspace| fs::remove_file(workspace.join("d/x")).unwrap(),
    ] {
        let report = Report::default()
            .edited("f", "agent\n")
            .file("new", "n")
            .removed("d");
        let set = fixture.collect(&report).await.unwrap();
        fixture.meanwhile(act);
        let before = fixture.picture();
        let options = fixture.options(change_set::Allowed::default(), Faults::default());
        let error = change_set::apply(&report, &set, &options).await.unwrap_err();
        assert!(matches!(error, ApplyError::Conflicts { .. }), "{error}");
        assert_eq!(fixture.picture(), before);
    }
}

/// The narrowest moment: the user writes while the steps are being done, right before the one that takes the file.
#[tokio::test]
async fn a_write_in_the_middle_of_the_apply_rolls_everything_back_and_keeps_the_user_s_version() {
    let names = ["a", "b", "c"];
    for unsupported in [false, true] {
        for victim in names {
            let fixture = Fixture::with(&names.map(|name| (name, "old\n")));
            let report = names
                .iter()
                .fold(Report::default(), |report, name| report.edited(name, "agent\n"));
            let path = fixture.workspace.join(victim);
            let turn = std::sync::atomic::AtomicUsize::new(0);
            let index = names.iter().position(|name| *name == victim).unwrap();
            let faults = Faults::new(move |call| {
                if call == "exchange" {
                    let now = turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    if now == index {
                        // By rename, as editors do: the file that was checked is not the one that is taken.
                        fs::write(path.with_extension("tmp"), "user\n").unwrap();
                        fs::rename(path.with_extension("tmp"), &path).unwrap();
                    }
                    if unsupported {
                        return Err(rustix::io::Errno::INVAL.into());
                    }
                }
                Ok(())
            });
            let error = fixture
                .apply_with(&report, change_set::Allowed::default(), faults)
                .await
                .unwrap_err();
            assert!(matches!(error, ApplyError::Conflicts { .. }), "{error}");
            let picture = fixture.picture();
            for name in names {
                let expected = if name == victim { "user\n" } else { "old\n" };
                assert_eq!(picture[name], expected, "{name} with {victim} changed");
            }
            assert_eq!(picture.len(), 3, "{picture:?}");
        }
    }
}

#[tokio::test]
async fn an_apply_that_failed_and_was_undone_can_be_tried_again() {
    let fixture = Fixture::with(&[("a", "old\n"), ("d/b", "old\n"), ("d/c", "old\n")]);
    let report = Report::default().edited("a", "agent\n").removed("d");
    let failing = Faults::new(|call| match call {
        "exchange" => Err(rustix::io::Errno::ACCESS.into()),
        _ => Ok(()),
    });
    let error = fixture
        .apply_with(&report, change_set::Allowed::default(), failing)
        .await
        .unwrap_err();
    assert!(matches!(error, ApplyError::Step { .. }), "{error}");
    let set = fixture.collect(&report).await.unwrap();
    assert_eq!(
        summary(&set),
        ["~ a +1 -1", "- d", "- d/b +0 -1", "- d/c +0 -1"],
        "no conflict with ourselves"
    );
    fixture.apply(&report).await.unwrap();
    assert_eq!(
        fixture.picture().into_iter().collect::<Vec<_>>(),
        [("a".to_owned(), "agent\n".to_owned())]
    );
    assert!(
        fixture.collect(&report).await.unwrap().is_empty(),
        "what is applied is no change any more"
    );
}

#[tokio::test]
async fn a_file_that_the_agent_moved_is_no_conflict_though_the_user_worked_beside_it() {
    let fixture = Fixture::with(&[("from", "x\n"), ("f", "old\n")]);
    fixture.meanwhile(|workspace| fs::write(workspace.join("users"), "user\n").unwrap());
    fixture
        .apply(&Report::default().removed("from").edited("to", "x\n"))
        .await
        .unwrap();
    assert_eq!(
        fixture.picture().into_keys().collect::<Vec<_>>(),
        ["f", "to", "users"]
    );
}
