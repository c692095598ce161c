//! A new sandbox goes on with the files of a destroyed one, and whatever happens, one of the two has them.

use crate::place::{Place, Sandbox, is_root, skip, until};
use domain::SandboxId;
use sandbox::{Backend as _, Error, Spec, Workspace};
use sandbox_linux::LinuxBackend;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

const WRITE: &str =
    "cd /workspace; echo work > new; mkdir d; echo deep > d/e; rm old; ln -s new link; chmod 750 d;
    echo home > ~/file; echo temporary > /tmp/file";
const READ: &str =
    "cd /workspace; cat new d/e link ~/file /tmp/file; ls; stat -c '%a %u' d new; test ! -e old;
    echo more >> new; echo > ~/another; rmdir ~/another 2>/dev/null; rm ~/another";

/// What [`READ`] prints where it ran so many times before.
fn seen(times: usize) -> String {
    let new = format!("work\n{}", "more\n".repeat(times));
    format!("{new}deep\n{new}home\ntemporary\nd\nlink\nnew\nstays\n750 1000\n644 1000\n")
}

/// A destroyed sandbox that left what [`WRITE`] writes.
async fn left(place: &Place, backend: &LinuxBackend) -> SandboxId {
    std::fs::write(place.workspace.path().join("old"), "old").unwrap();
    std::fs::write(place.workspace.path().join("stays"), "stays").unwrap();
    let sandbox = place.create(backend).await;
    sandbox.sh(WRITE).await;
    backend.destroy(&sandbox.id).await.unwrap();
    sandbox.id
}

fn going_on(place: &Place, old: &SandboxId) -> Spec {
    Spec {
        files_from: Some(old.clone()),
        ..place.spec()
    }
}

#[tokio::test]
async fn a_new_sandbox_goes_on_with_the_files_of_a_destroyed_one() {
    let place = Place::new();
    let (backend, _) = place.connect().await;
    let mut old = left(&place, &backend).await;
    for generation in 0..3 {
        let spec = going_on(&place, &old);
        let sandbox = place.create_with(&backend, &spec).await;
        assert_eq!(sandbox.sh(READ).await, seen(generation));
        // They are the old one's no more.
        assert!(matches!(
            backend.read_changes(&old).await,
            Err(Error::NotFound { .. })
        ));
        let refused = backend.create(&going_on(&place, &old)).await;
        assert!(
            matches!(&refused, Err(Error::Spec { reason }) if reason.contains("must be destroyed")),
            "{refused:?}"
        );
        backend.destroy(&spec.id).await.unwrap();
        old = spec.id;
        if generation == 1 {
            assert!(place.kill_jailer());
            assert_eq!(backend.survivors().await.unwrap(), []);
        }
    }
    drop(backend.read_changes(&old).await.unwrap());
    backend.remove_files(&old).await.unwrap();
    for without in [old, SandboxId::random()] {
        let gone = backend.create(&going_on(&place, &without)).await;
        assert!(matches!(&gone, Err(Error::NotFound { .. })), "{gone:?}");
    }
}

#[tokio::test]
async fn where_making_the_new_one_fails_the_old_one_has_its_files() {
    let place = Place::new();
    let (backend, _) = place.connect().await;
    let old = left(&place, &backend).await;
    let nowhere = Workspace {
        path: place.path().join("nowhere"),
        masked: Vec::new(),
    };
    let spec = Spec {
        workspace: Some(nowhere),
        ..going_on(&place, &old)
    };
    let failed = backend.create(&spec).await;
    assert!(matches!(failed, Err(Error::Build { .. })), "{failed:?}");
    drop(backend.read_changes(&old).await.unwrap());
    let sandbox = place.create_with(&backend, &going_on(&place, &old)).await;
    assert_eq!(sandbox.sh(READ).await, seen(0));
}

#[tokio::test]
async fn files_of_a_sandbox_that_is_there_cannot_be_taken() {
    let place = Place::new();
    let (backend, _) = place.connect().await;
    let sandbox = place.create(&backend).await;
    let refused = backend.create(&going_on(&place, &sandbox.id)).await;
    assert!(
        matches!(&refused, Err(Error::Spec { reason }) if reason.contains("must be destroyed first")),
        "{refused:?}"
    );
    sandbox.sh("true").await;
}

#[tokio::test]
async fn killed_at_any_moment_the_files_are_the_old_ones_or_the_new_ones() {
    const KILLS: u64 = 20;
    const LONGEST_MICROS: u64 = 20_000;
    let place = Place::new();
    let (backend, _) = place.connect().await;
    let mut old = left(&place, &backend).await;
    let mut told = 0;
    for kill in 0..KILLS {
        let micros = RandomState::new().hash_one(kill) % LONGEST_MICROS;
        let spec = going_on(&place, &old);
        let killing = async {
            tokio::time::sleep(Duration::from_micros(micros)).await;
            until("a jailer", || place.kill_jailer()).await;
        };
        let (created, ()) = tokio::join!(backend.create(&spec), killing);
        let (id, created) = match created {
            Ok(created) => {
                told += 1;
                (spec.id, created)
            }
            Err(Error::BackendLost { .. }) => {
                backend.survivors().await.unwrap();
                let spec = going_on(&place, &old);
                (spec.id.clone(), backend.create(&spec).await.unwrap())
            }
            Err(error) => panic!("kill {kill} after {micros} us: {error}"),
        };
        let sandbox = Sandbox::of(&id, created).await;
        assert_eq!(
            sandbox.sh("cat /workspace/d/e ~/file /tmp/file").await,
            "deep\nhome\ntemporary\n"
        );
        backend.destroy(&id).await.unwrap();
        old = id;
    }
    println!("{told} of {KILLS} were told of before the kill");
}

#[tokio::test]
async fn the_next_server_finds_the_files_where_nobody_was_told_who_has_them() {
    let place = Place::new();
    let (backend, _) = place.connect().await;
    let old = left(&place, &backend).await;
    let lost = place.create_with(&backend, &going_on(&place, &old)).await;
    // As though the answer had never come: this server does not know of the new one, and only ends what it does not know.
    backend.leave();
    let (backend, there) = place.connect().await;
    assert_eq!(there, std::slice::from_ref(&lost.id));
    backend.destroy(&lost.id).await.unwrap();
    let sandbox = place.create_with(&backend, &going_on(&place, &old)).await;
    assert_eq!(sandbox.sh(READ).await, seen(0));
}

fn disk(place: &Place, id: &SandboxId) -> PathBuf {
    place.path().join("sandboxes").join(id.as_str()).join("disk")
}

/// The disk of a running sandbox as a power cut would leave it, as that of a destroyed one.
async fn cut_off(place: &Place, backend: &LinuxBackend) -> SandboxId {
    let sandbox = place.create(backend).await;
    sandbox.sh(&format!("{WRITE}; sync")).await;
    let old = SandboxId::random();
    let copy = disk(place, &old);
    std::fs::create_dir(copy.parent().unwrap()).unwrap();
    let copied = std::process::Command::new("cp")
        .arg("--sparse=always")
        .args([disk(place, &sandbox.id), copy])
        .status()
        .unwrap();
    assert!(copied.success());
    backend.destroy(&sandbox.id).await.unwrap();
    old
}

#[tokio::test]
async fn a_disk_that_a_power_cut_left_is_mended_before_it_is_used() {
    if !is_root() {
        skip(
            "a_disk_that_a_power_cut_left_is_mended_before_it_is_used",
            "an ordinary user has no disk of its own",
        );
        return;
    }
    let place = Place::new();
    std::fs::write(place.workspace.path().join("old"), "old").unwrap();
    std::fs::write(place.workspace.path().join("stays"), "stays").unwrap();
    let (backend, _) = place.connect().await;
    let old = cut_off(&place, &backend).await;
    let state = |id| {
        let mut byte = [0];
        let file = std::fs::File::open(disk(&place, id)).unwrap();
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut byte, 1024 + 0x3A).unwrap();
        byte[0]
    };
    assert_eq!(state(&old), 0, "the disk of a running sandbox is not clean");
    let sandbox = place.create_with(&backend, &going_on(&place, &old)).await;
    assert_eq!(sandbox.sh(READ).await, seen(0));
    backend.destroy(&sandbox.id).await.unwrap();
    assert_eq!(
        state(&sandbox.id),
        1,
        "a sandbox that was destroyed lets go of its disk in order"
    );
}

#[tokio::test]
async fn a_damaged_disk_is_told_and_stays_where_it_was() {
    if !is_root() {
        skip(
            "a_damaged_disk_is_told_and_stays_where_it_was",
            "an ordinary user has no disk of its own",
        );
        return;
    }
    let place = Place::new();
    std::fs::write(place.workspace.path().join("old"), "old").unwrap();
    let (backend, _) = place.connect().await;
    let old = cut_off(&place, &backend).await;
    // The superblock.
    overwrite(&disk(&place, &old), 1024, &[0x55; 2048]);
    let failed = backend.create(&going_on(&place, &old)).await;
    assert!(
        matches!(&failed, Err(Error::Build { reason, .. }) if reason.contains("damaged")),
        "{failed:?}"
    );
    assert!(disk(&place, &old).exists());
}

#[tokio::test]
async fn a_directory_that_was_never_written_is_lost_and_the_rest_is_not() {
    if !is_root() {
        skip(
            "a_directory_that_was_never_written_is_lost_and_the_rest_is_not",
            "an ordinary user has no disk of its own",
        );
        return;
    }
    let place = Place::new();
    let (backend, _) = place.connect().await;
    let sandbox = place.create(&backend).await;
    sandbox
        .sh("echo kept > /workspace/file; mkdir /workspace/gone; touch /workspace/gone/file; sync")
        .await;
    backend.destroy(&sandbox.id).await.unwrap();
    let image = disk(&place, &sandbox.id);
    let asked = std::process::Command::new("debugfs")
        .args(["-R", "blocks /workspace/upper/gone"])
        .arg(&image)
        .output()
        .unwrap();
    let block: u64 = String::from_utf8_lossy(&asked.stdout).trim().parse().unwrap();
    overwrite(&image, block * 4096, &[0; 4096]);
    // As the kernel marks a disk when it comes upon that.
    overwrite(&image, 1024 + 0x3A, &[3, 0]);
    let next = place.create_with(&backend, &going_on(&place, &sandbox.id)).await;
    assert_eq!(next.sh("cat /workspace/file").await, "kept\n");
    assert_eq!(next.sh("ls /workspace/gone 2>/dev/null").await, "");
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}
