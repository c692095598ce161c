//! A reader of what an overlay's upper directory holds.

use crate::alone::Alone;
use bytes::Bytes;
use guest_protocol::{Change, ChangeKind, ClientError, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

async fn reader(root: &Path) -> Alone {
    Alone::with(&[], &["0", root.to_str().unwrap()]).await
}

async fn changes(guest: &Alone) -> Result<Vec<Change>, ClientError> {
    let mut stream = guest.client.changes().await?;
    let mut changes = Vec::new();
    while let Some(change) = stream.next().await? {
        changes.push(change);
    }
    Ok(changes)
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn attribute(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
}

fn path_of(change: &Change) -> &str {
    change.path.as_deref().unwrap()
}

#[tokio::test]
async fn everything_in_the_upper_directory_is_told_parents_first() {
    let upper = tempfile::tempdir().unwrap();
    let at = |name: &str| upper.path().join(name);
    std::fs::create_dir_all(at("b/inner")).unwrap();
    std::fs::write(at("b/inner/file"), "four").unwrap();
    mode(&at("b/inner/file"), 0o755);
    mode(&at("b"), 0o701);
    std::fs::write(at("a"), "").unwrap();
    mode(&at("a"), 0o4644);
    symlink("../../etc/passwd", at("link")).unwrap();
    symlink(std::ffi::OsStr::from_bytes(b"\xff"), at("strange-link")).unwrap();
    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    std::fs::write(upper.path().join(std::ffi::OsStr::from_bytes(b"z\xff")), "").unwrap();
    let guest = reader(upper.path()).await;
    let found = changes(&guest).await.unwrap();
    let last = found.last().unwrap();
    assert_eq!(
        (last.path.as_deref(), last.path_bytes().unwrap()),
        (None, b"z\xff".to_vec())
    );
    let file = |size, mode| ChangeKind::File {
        size,
        mode,
        copied_up: false,
    };
    let directory = |mode| ChangeKind::Directory { mode, opaque: false };
    let inner = std::fs::metadata(at("b/inner")).unwrap().permissions().mode() & 0o7777;
    let expected = [
        ("a", file(0, 0o4644)),
        ("b", directory(0o701)),
        ("b/inner", directory(inner)),
        ("b/inner/file", file(4, 0o755)),
        ("fifo", ChangeKind::Special),
        (
            "link",
            ChangeKind::Symlink {
                target: "../../etc/passwd".to_owned(),
            },
        ),
        ("strange-link", ChangeKind::Special),
    ];
    assert_eq!(found.len(), expected.len() + 1);
    for (change, (path, kind)) in found.iter().zip(expected) {
        assert_eq!((path_of(change), &change.kind), (path, &kind));
    }
}

#[tokio::test]
async fn the_marks_of_an_overlay_are_understood() {
    let upper = tempfile::tempdir().unwrap();
    let at = |name: &str| upper.path().join(name);
    for (name, value) in [("hidden", &b"y"[..]), ("listed", b"x")] {
        std::fs::create_dir(at(name)).unwrap();
        attribute(&at(name), "user.overlay.opaque", value);
    }
    std::fs::write(at("copied"), "x").unwrap();
    attribute(&at("copied"), "user.overlay.origin", b"");
    std::fs::write(at("gone"), "").unwrap();
    attribute(&at("gone"), "user.overlay.whiteout", b"");
    std::fs::write(at("kept"), "not empty").unwrap();
    attribute(&at("kept"), "user.overlay.whiteout", b"");
    std::fs::write(at("other"), "").unwrap();
    for number in 0..20 {
        attribute(&at("other"), &format!("user.{}{number}", "x".repeat(100)), b"1");
    }
    attribute(&at("other"), "user.overlay.origin", b"");
    let guest = reader(upper.path()).await;
    let found = changes(&guest).await.unwrap();
    let kinds: Vec<_> = found
        .iter()
        .map(|change| (path_of(change), &change.kind))
        .collect();
    let copied = |name| {
        matches!(
            kinds.iter().find(|(path, _)| *path == name),
            Some((_, ChangeKind::File { copied_up: true, .. }))
        )
    };
    assert!(copied("copied") && copied("other") && !copied("kept"));
    assert!(kinds.contains(&("gone", &ChangeKind::Removed)));
    let opaque = |name| {
        matches!(
            kinds.iter().find(|(path, _)| *path == name),
            Some((_, ChangeKind::Directory { opaque: true, .. }))
        )
    };
    assert!(opaque("hidden") && !opaque("listed"));

    attribute(&at("copied"), "user.overlay.metacopy", b"");
    let error = changes(&guest).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::InvalidRequest), "{error}");
}

#[tokio::test]
async fn what_a_real_overlay_wrote_is_told() {
    let script = r"
        set -e
        cd $0; mkdir lower upper work merged
        mkdir lower/dir lower/replaced; echo 1 > lower/dir/file; echo 2 > lower/changed; echo 3 > lower/removed; echo 4 > lower/replaced/x
        mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr merged
        cd merged; rm removed; echo more >> changed; rm -r replaced; mkdir replaced; echo new > replaced/new; echo new > dir/new
    ";
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(directory.path())
        .output();
    if !output.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no overlay in a user namespace here: {output:?}");
        return;
    }
    let guest = reader(&directory.path().join("upper")).await;
    let found = changes(&guest).await.unwrap();
    let told: Vec<_> = found
        .iter()
        .map(|change| match &change.kind {
            ChangeKind::File { size, copied_up, .. } => format!("{} {size} {copied_up}", path_of(change)),
            ChangeKind::Directory { opaque, .. } => format!("{}/ {opaque}", path_of(change)),
            kind => format!("{} {kind:?}", path_of(change)),
        })
        .collect();
    let expected = [
        "changed 7 true",
        "dir/ false",
        "dir/new 4 false",
        "removed Removed",
        "replaced/ true",
        "replaced/new 4 false",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn modes_that_hide_from_their_owner_hide_nothing_and_stay_as_they_were() {
    let upper = tempfile::tempdir().unwrap();
    let hidden = upper.path().join("hidden");
    std::fs::create_dir_all(hidden.join("inner")).unwrap();
    std::fs::write(hidden.join("inner/file"), "secret").unwrap();
    for path in ["hidden/inner/file", "hidden/inner", "hidden"] {
        mode(&upper.path().join(path), 0);
    }
    // As an ordinary user even where the test is root, whom modes do not stop.
    let uid = if rustix::process::geteuid().is_root() {
        "1234"
    } else {
        "0"
    };
    if uid == "1234" {
        for path in ["", "hidden", "hidden/inner", "hidden/inner/file"] {
            std::os::unix::fs::chown(upper.path().join(path), Some(1234), Some(1234)).unwrap();
        }
    }
    let guest = Alone::with(&[], &[uid, upper.path().to_str().unwrap()]).await;
    for _ in 0..2 {
        let found = changes(&guest).await.unwrap();
        let modes: Vec<_> = found
            .iter()
            .map(|change| match change.kind {
                ChangeKind::File { mode, .. } | ChangeKind::Directory { mode, .. } => mode,
                _ => panic!("{change:?}"),
            })
            .collect();
        assert_eq!(modes, [0, 0, 0]);
        assert_eq!(
            guest.client.read_file("hidden/inner/file", 0, 100).await.unwrap(),
            "secret"
        );
        assert_eq!(guest.client.list("hidden/inner").await.unwrap().len(), 1);
    }
    let left = Command::new("stat")
        .args(["-c", "%a"])
        .arg(&hidden)
        .output()
        .unwrap();
    assert_eq!(left.stdout, b"0\n");
}

#[tokio::test]
async fn a_reader_reads_below_its_directory_and_nothing_else() {
    let upper = tempfile::tempdir().unwrap();
    let at = |name: &str| upper.path().join(name);
    std::fs::create_dir(at("dir")).unwrap();
    std::fs::write(at("dir/file"), "inside").unwrap();
    symlink("/etc", at("etc")).unwrap();
    symlink("/etc/passwd", at("passwd")).unwrap();
    symlink("file", at("dir/link")).unwrap();
    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    let guest = reader(upper.path()).await;
    for path in ["dir/file", "/dir/file", "./dir//file"] {
        assert_eq!(
            guest.client.read_file(path, 0, 100).await.unwrap(),
            "inside",
            "{path}"
        );
    }
    for path in [
        "/etc/passwd",
        "etc/passwd",
        "passwd",
        "../x",
        "dir/../../x",
        "dir/..",
        "dir/link",
        "fifo",
        "dir",
    ] {
        let error = guest.client.read_file(path, 0, 100).await.unwrap_err();
        assert!(error.kind().is_some(), "{path}: {error:?}");
    }
    assert_eq!(guest.client.list("/").await.unwrap().len(), 4);
    for error in [
        guest
            .client
            .write_file("dir/new", 0o600, Bytes::new())
            .await
            .unwrap_err(),
        guest.client.delete_file("dir/file").await.unwrap_err(),
        guest
            .client
            .spawn(&crate::alone::shell("x", "true"))
            .await
            .unwrap_err(),
        guest.client.processes().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), Some(ErrorKind::Denied), "{error}");
    }
}

#[tokio::test]
async fn a_tree_that_is_too_deep_ends_with_an_error_and_not_in_silence() {
    let upper = tempfile::tempdir().unwrap();
    let mut path = upper.path().to_owned();
    for _ in 0..300 {
        path.push("d");
        std::fs::create_dir(&path).unwrap();
    }
    let guest = reader(upper.path()).await;
    let error = changes(&guest).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::TooLarge), "{error}");
}
