//! Every call of an apply fails once, or is the last one that ever ran: afterwards the workspace is as it was, or as
//! it was to become, and nothing else is left in it.

use crate::support::{EVERYTHING, Fixture, Picture, Report};
use change_set::{ApplyError, Faults, Outcome, recover, recover_with};
use domain::SessionId;
use rustix::io::Errno;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn scenario() -> (Fixture, Report) {
    let fixture = Fixture::with(&[
        ("edit", "old\n"),
        ("sub/edit", "old\n"),
        ("gone", "x"),
        ("tree/b", "x"),
        ("was-directory/x", "x"),
        ("was-file", "x"),
    ]);
    (fixture, report())
}

fn report() -> Report {
    Report::default()
        .edited("edit", "new\n")
        .directory("sub")
        .edited("sub/edit", "new\n")
        .removed("gone")
        .removed("tree")
        .file("was-directory", "file\n")
        .directory("was-file")
        .file("was-file/x", "deep\n")
        .symlink("link", "was-file/x")
}

/// Fails the call with this number or, with `dead`, it and all that follow, as if the process had been killed.
fn fault(at: usize, dead: bool, no_exchange: bool) -> (Faults, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let faults = Faults::new(move |call| {
        let now = counter.fetch_add(1, Ordering::SeqCst);
        if now == at || (dead && now > at) {
            return Err(Errno::NOSPC.into());
        }
        if no_exchange && call == "exchange" {
            return Err(Errno::INVAL.into());
        }
        Ok(())
    });
    (faults, count)
}

async fn outcome_without_faults() -> (Picture, Picture) {
    let (fixture, report) = scenario();
    let before = fixture.picture();
    fixture
        .apply_with(&report, EVERYTHING, Faults::default())
        .await
        .unwrap();
    (before, fixture.picture())
}

fn assert_nothing_left(fixture: &Fixture, context: &str) {
    let applies = fixture.data.join("applies");
    if applies.is_dir() {
        for entry in fs::read_dir(applies).unwrap() {
            let entry = entry.unwrap();
            assert!(
                !entry.path().is_dir(),
                "{context}: {} is left",
                entry.path().display()
            );
        }
    }
    assert!(
        recover(&fixture.data).is_empty(),
        "{context}: a second recovery has nothing to do"
    );
}

#[tokio::test]
async fn any_call_that_fails_undoes_everything_before_it() {
    let (before, after) = outcome_without_faults().await;
    for no_exchange in [false, true] {
        let mut at = 0;
        loop {
            let context = format!("call {at} failed, no exchange: {no_exchange}");
            let (fixture, report) = scenario();
            let (faults, count) = fault(at, false, no_exchange);
            match fixture.apply_with(&report, EVERYTHING, faults).await {
                Ok(_) => {}
                Err(ApplyError::RollbackIncomplete { source, .. }) => panic!("{context}: {source}"),
                Err(_) => assert_eq!(fixture.picture(), before, "{context}"),
            }
            recover(&fixture.data);
            let picture = fixture.picture();
            assert!(picture == before || picture == after, "{context}: {picture:#?}");
            assert_nothing_left(&fixture, &context);
            if count.load(Ordering::SeqCst) <= at {
                assert_eq!(picture, after, "without a fault it is applied");
                assert!(at > 50, "every call was tried, not only {at}");
                break;
            }
            at += 1;
        }
    }
}

#[tokio::test]
async fn whatever_call_was_the_last_the_next_start_ends_it() {
    let (before, after) = outcome_without_faults().await;
    for no_exchange in [false, true] {
        let (mut at, mut seen_before, mut seen_after) = (0, 0, 0);
        loop {
            let context = format!("dead from call {at}, no exchange: {no_exchange}");
            let (fixture, report) = scenario();
            let (faults, count) = fault(at, true, no_exchange);
            let _ = fixture.apply_with(&report, EVERYTHING, faults).await;
            for recovered in recover(&fixture.data) {
                let recovered = recovered.unwrap();
                assert!(
                    !matches!(recovered.outcome, Outcome::Kept { .. }),
                    "{context}: {:?}",
                    recovered.outcome
                );
            }
            let picture = fixture.picture();
            assert!(picture == before || picture == after, "{context}: {picture:#?}");
            seen_before += usize::from(picture == before);
            seen_after += usize::from(picture == after);
            assert_nothing_left(&fixture, &context);
            if count.load(Ordering::SeqCst) <= at {
                break;
            }
            at += 1;
        }
        assert!(
            seen_before > 40 && seen_after > 5,
            "both sides of the commit were reached"
        );
    }
}

#[tokio::test]
async fn a_recovery_that_dies_at_any_call_is_ended_by_the_next() {
    let (before, after) = outcome_without_faults().await;
    let mut at = 0;
    loop {
        let mut again = 0;
        let finished = loop {
            let context = format!("dead from call {at}, its recovery from {again}");
            let (fixture, report) = scenario();
            let (faults, count) = fault(at, true, at % 2 == 0);
            let _ = fixture.apply_with(&report, EVERYTHING, faults).await;
            let (faults, recovering) = fault(again, true, false);
            recover_with(&fixture.data, &faults);
            for recovered in recover(&fixture.data) {
                assert!(
                    !matches!(recovered.unwrap().outcome, Outcome::Kept { .. }),
                    "{context}"
                );
            }
            let picture = fixture.picture();
            assert!(picture == before || picture == after, "{context}: {picture:#?}");
            assert_nothing_left(&fixture, &context);
            if recovering.load(Ordering::SeqCst) <= again {
                break count.load(Ordering::SeqCst) <= at;
            }
            again += 5;
        };
        if finished {
            break;
        }
        at += 6;
    }
}

/// The real thing: a process that ends by SIGKILL right before its n-th call, for every n. The process is this test
/// again, with a number to die at.
#[tokio::test]
async fn a_killed_process_leaves_all_or_nothing() {
    if let Ok(kill_at) = std::env::var(KILL_AT) {
        return apply_and_be_killed(kill_at.parse().unwrap()).await;
    }
    let (before, after) = outcome_without_faults().await;
    let mut at = 0;
    loop {
        let (fixture, _) = scenario();
        let started = fixture.started.duration_since(UNIX_EPOCH).unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "crashes::a_killed_process_leaves_all_or_nothing",
                "--quiet",
            ])
            .env(KILL_AT, at.to_string())
            .env("CHANGE_SET_TEST_BASE", &fixture.base)
            .env("CHANGE_SET_TEST_SESSION", fixture.session.as_str())
            .env(
                "CHANGE_SET_TEST_STARTED",
                format!("{} {}", started.as_secs(), started.subsec_nanos()),
            )
            .output()
            .unwrap()
            .status;
        for recovered in recover(&fixture.data) {
            recovered.unwrap();
        }
        let picture = fixture.picture();
        assert!(
            picture == before || picture == after,
            "killed at {at}: {picture:#?}"
        );
        assert_nothing_left(&fixture, &format!("killed at {at}"));
        if status.success() {
            assert_eq!(picture, after);
            assert!(at > 50, "it was killed at every call");
            break;
        }
        assert_eq!(
            status.signal(),
            Some(9),
            "killed at {at}: it ends by the signal and not by an error"
        );
        at += 1;
    }
}

const KILL_AT: &str = "CHANGE_SET_TEST_KILL_AT";

async fn apply_and_be_killed(kill_at: usize) {
    let variable = |name: &str| std::env::var(name).unwrap();
    let base = PathBuf::from(variable("CHANGE_SET_TEST_BASE"));
    let session: SessionId = variable("CHANGE_SET_TEST_SESSION").parse().unwrap();
    let time = variable("CHANGE_SET_TEST_STARTED");
    let (seconds, nanoseconds) = time.split_once(' ').unwrap();
    let started: SystemTime =
        UNIX_EPOCH + Duration::new(seconds.parse().unwrap(), nanoseconds.parse().unwrap());
    let count = AtomicUsize::new(0);
    let faults = Faults::new(move |_| {
        if count.fetch_add(1, Ordering::SeqCst) == kill_at {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
        }
        Ok(())
    });
    let (workspace, data) = (base.join("workspace"), base.join("data"));
    let view = change_set::View {
        workspace,
        masked: Vec::new(),
        started,
        data: data.clone(),
        session: session.clone(),
    };
    let report = report();
    let set = change_set::collect(&report, &view).await.unwrap();
    let interrupted = Arc::default();
    let options = change_set::Options {
        data,
        session,
        allowed: EVERYTHING,
        interrupted,
        faults,
    };
    change_set::apply(&report, &set, &options).await.unwrap();
}

/// Dies in the middle of the steps, before the commit.
async fn cut_in_the_middle(fixture: &Fixture, report: &Report, exchanges: usize) {
    let count = AtomicUsize::new(0);
    let dead = std::sync::atomic::AtomicBool::new(false);
    let faults = Faults::new(move |call| {
        if call == "exchange" && count.fetch_add(1, Ordering::SeqCst) == exchanges {
            dead.store(true, Ordering::SeqCst);
        }
        if dead.load(Ordering::SeqCst) {
            Err(Errno::IO.into())
        } else {
            Ok(())
        }
    });
    let error = fixture.apply_with(report, EVERYTHING, faults).await.unwrap_err();
    assert!(matches!(error, ApplyError::RollbackIncomplete { .. }), "{error}");
}

fn only_outcome(data: &Path) -> Outcome {
    let mut recovered = recover(data);
    assert_eq!(recovered.len(), 1);
    recovered.remove(0).unwrap().outcome
}

#[tokio::test]
async fn what_the_user_wrote_after_a_crash_is_kept_and_the_old_content_too() {
    let fixture = Fixture::with(&[("a", "old a\n"), ("b", "old b\n"), ("c", "old c\n")]);
    let report = Report::default()
        .edited("a", "new\n")
        .edited("b", "new\n")
        .edited("c", "new\n");
    cut_in_the_middle(&fixture, &report, 2).await;
    assert_eq!(
        fixture.picture()["b"],
        "new\n",
        "the crash left a half-applied change set"
    );
    fs::write(fixture.workspace.join("a"), "the user's\n").unwrap();
    let Outcome::Kept { paths, staging } = only_outcome(&fixture.data) else {
        panic!("it says what it kept")
    };
    assert_eq!(paths.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a"]);
    let picture = fixture.picture();
    assert_eq!(
        [&picture["a"], &picture["b"], &picture["c"]],
        ["the user's\n", "old b\n", "old c\n"]
    );
    let kept: Vec<_> = fs::read_dir(staging)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(fs::read_to_string(&kept[0]).unwrap(), "old a\n");
    assert!(recover(&fixture.data).is_empty());
}

#[tokio::test]
async fn files_that_the_user_put_into_a_half_applied_directory_are_kept() {
    let fixture = Fixture::with(&[("z", "old\n")]);
    let report = Report::default()
        .directory("d")
        .file("d/agents", "new\n")
        .edited("z", "new\n");
    cut_in_the_middle(&fixture, &report, 0).await;
    fs::write(fixture.workspace.join("d/users"), "the user's\n").unwrap();
    assert!(matches!(only_outcome(&fixture.data), Outcome::Kept { .. }));
    let picture = fixture.picture();
    assert_eq!([&picture["d/users"], &picture["z"]], ["the user's\n", "old\n"]);
    assert!(!picture.contains_key("d/agents"));
}

#[tokio::test]
async fn a_file_that_the_user_removed_after_a_crash_comes_back_as_it_was() {
    let fixture = Fixture::with(&[("a", "old a\n"), ("b", "old b\n")]);
    let report = Report::default().edited("a", "new\n").edited("b", "new\n");
    cut_in_the_middle(&fixture, &report, 1).await;
    fs::remove_file(fixture.workspace.join("a")).unwrap();
    assert!(matches!(only_outcome(&fixture.data), Outcome::RolledBack));
    assert_eq!(fixture.picture()["a"], "old a\n");
}

#[tokio::test]
async fn an_unfinished_apply_waits_until_its_workspace_is_there_again() {
    let fixture = Fixture::with(&[("a", "old a\n"), ("b", "old b\n")]);
    let report = Report::default().edited("a", "new\n").edited("b", "new\n");
    cut_in_the_middle(&fixture, &report, 1).await;
    let moved = fixture.base.join("moved");
    fs::rename(&fixture.workspace, &moved).unwrap();
    assert!(recover(&fixture.data)[0].is_err());
    fs::create_dir(&fixture.workspace).unwrap();
    assert!(
        recover(&fixture.data)[0].is_err(),
        "another directory by that name is not it"
    );
    fs::remove_dir(&fixture.workspace).unwrap();
    fs::rename(&moved, &fixture.workspace).unwrap();
    assert!(matches!(only_outcome(&fixture.data), Outcome::RolledBack));
    assert_eq!(fixture.picture()["a"], "old a\n");
}

#[tokio::test]
async fn an_apply_under_way_is_not_recovered_by_another_start() {
    let (fixture, report) = scenario();
    let data = fixture.data.clone();
    let found = Arc::new(AtomicUsize::new(0));
    let counter = found.clone();
    let faults = Faults::new(move |call| {
        if call == "exchange" {
            counter.fetch_add(recover(&data).len(), Ordering::SeqCst);
        }
        Ok(())
    });
    fixture.apply_with(&report, EVERYTHING, faults).await.unwrap();
    assert_eq!(found.load(Ordering::SeqCst), 0);
}

#[test]
fn a_directory_that_cannot_be_written_rolls_back_and_says_which() {
    as_ordinary_user(async {
        let (fixture, report) = scenario();
        let before = fixture.picture();
        let sub = fixture.workspace.join("sub");
        fs::set_permissions(&sub, fs::Permissions::from_mode(0o555)).unwrap();
        let error = fixture
            .apply_with(&report, EVERYTHING, Faults::default())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("sub/edit"), "{error}");
        assert_eq!(fixture.picture(), before);
        assert_nothing_left(&fixture, "a directory cannot be written");
        fs::set_permissions(&sub, fs::Permissions::from_mode(0o755)).unwrap();
    });
}

/// Runs a test in a thread that is nobody, whoever runs the tests; the threads that it starts are nobody too.
fn as_ordinary_user(test: impl Future<Output = ()> + Send + 'static) {
    let thread = std::thread::spawn(|| {
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = (
                rustix::process::Uid::from_raw(65534),
                rustix::process::Gid::from_raw(65534),
            );
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        }
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test);
    });
    thread.join().unwrap();
}
