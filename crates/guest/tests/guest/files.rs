//! Files: read, written, listed and removed, and what must not be opened.

use crate::alone::{Alone, DEADLINE, exists};
use bytes::Bytes;
use guest_protocol::ErrorKind;
use guest_protocol::file::FileKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use tokio::time::timeout;

#[tokio::test]
async fn a_file_is_written_whole_and_read_in_parts() {
    let guest = Alone::start().await;
    let path = guest.path("a file \u{e9} &#%");
    let data: Bytes = (0..1_000_003_u32)
        .map(|number| (number / 5) as u8)
        .collect::<Vec<u8>>()
        .into();
    guest.client.write_file(&path, 0o640, data.clone()).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), data);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o640
    );
    let mut copy = Vec::new();
    assert_eq!(
        guest.client.download(&path, &mut copy, 2_000_000).await.unwrap(),
        data.len() as u64
    );
    assert_eq!(copy, data);
    assert_eq!(
        guest.client.read_file(&path, 1_000_000, 100).await.unwrap(),
        data.slice(1_000_000..)
    );
    assert_eq!(
        guest.client.read_file(&path, 9, 3).await.unwrap(),
        data.slice(9..12)
    );
    assert_eq!(guest.client.read_file(&path, u64::MAX, 3).await.unwrap(), "");
    guest.client.delete_file(&path).await.unwrap();
    assert!(!exists(path.as_ref()));

    // Relative to where programs start.
    guest
        .client
        .write_file("relative", 0o600, Bytes::from_static(b"x"))
        .await
        .unwrap();
    assert_eq!(std::fs::read(guest.path("relative")).unwrap(), b"x");
    assert_eq!(guest.client.read_file("./relative", 0, 9).await.unwrap(), "x");
}

#[tokio::test]
async fn a_name_of_any_bytes_works() {
    let guest = Alone::start().await;
    let path = [guest.work().as_os_str().as_bytes(), b"/\xff\xfe"].concat();
    guest
        .client
        .write_file(&path, 0o600, Bytes::from_static(b"x"))
        .await
        .unwrap();
    assert_eq!(guest.client.read_file(&path, 0, 10).await.unwrap(), "x");
}

#[tokio::test]
async fn writing_replaces_what_was_there_and_never_writes_through_a_link() {
    let guest = Alone::start().await;
    std::fs::write(guest.path("target"), "old").unwrap();
    symlink("target", guest.path("link")).unwrap();
    guest
        .client
        .write_file(guest.path("link"), 0o600, Bytes::from_static(b"new"))
        .await
        .unwrap();
    assert_eq!(std::fs::read(guest.path("target")).unwrap(), b"old");
    assert_eq!(std::fs::read(guest.path("link")).unwrap(), b"new");
    assert!(
        !std::fs::symlink_metadata(guest.path("link"))
            .unwrap()
            .is_symlink()
    );
}

#[tokio::test]
async fn what_is_no_regular_file_is_neither_read_nor_waited_for() {
    let guest = Alone::start().await;
    assert!(
        Command::new("mkfifo")
            .arg(guest.path("fifo"))
            .status()
            .unwrap()
            .success()
    );
    let _listener = std::os::unix::net::UnixListener::bind(guest.path("socket")).unwrap();
    symlink("/proc/self/environ", guest.path("environ")).unwrap();
    symlink("/proc/self/mem", guest.path("mem")).unwrap();
    let mut refused = vec![
        guest.path("fifo"),
        guest.path("socket"),
        guest.path("."),
        "/dev/zero".to_owned(),
    ];
    refused.extend([
        guest.path("environ"),
        guest.path("mem"),
        "/proc/self/status".to_owned(),
    ]);
    // The guest's own descriptors, its outbox among them.
    refused.extend((0..16).map(|fd| format!("/proc/self/fd/{fd}")));
    for path in refused {
        let result = timeout(DEADLINE, guest.client.read_file(&path, 0, 10))
            .await
            .expect("it does not block");
        assert!(
            matches!(result, Err(ref error) if error.kind().is_some()),
            "{path}: {result:?}"
        );
    }
    let error = guest
        .client
        .read_file(guest.path("missing"), 0, 1)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::NotFound));
}

#[tokio::test]
async fn what_cannot_be_written_or_removed_says_why() {
    let guest = Alone::start().await;
    std::fs::create_dir_all(guest.path("full/inner")).unwrap();
    let data = Bytes::from_static(b"x");
    let table = [
        (guest.path("no/such/file"), ErrorKind::NotFound),
        (guest.path("full"), ErrorKind::InvalidRequest),
        ("/".to_owned(), ErrorKind::InvalidRequest),
        (String::new(), ErrorKind::InvalidRequest),
        ("x".repeat(5000), ErrorKind::InvalidRequest),
        (guest.path(&"x".repeat(300)), ErrorKind::InvalidRequest),
        (guest.path("zero\0byte"), ErrorKind::InvalidRequest),
    ];
    for (path, kind) in table {
        let error = guest
            .client
            .write_file(&path, 0o600, data.clone())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Some(kind), "{path}: {error}");
    }
    let error = guest
        .client
        .write_file(guest.path("set-uid"), 0o4755, data)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::InvalidRequest));
    let error = guest.client.delete_file(guest.path("full")).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::InvalidRequest));
    guest.client.delete_file(guest.path("full/inner")).await.unwrap();
    guest.client.delete_file(guest.path("full")).await.unwrap();
    assert_eq!(
        std::fs::read_dir(guest.work()).unwrap().count(),
        0,
        "no temporary file is left"
    );
}

#[tokio::test]
async fn a_directory_is_listed_by_name() {
    let guest = Alone::start().await;
    std::fs::write(guest.path("b"), "four").unwrap();
    std::fs::create_dir(guest.path("a")).unwrap();
    symlink("nowhere", guest.path("c")).unwrap();
    std::fs::set_permissions(guest.path("b"), std::fs::Permissions::from_mode(0o604)).unwrap();
    let entries = guest.client.list(guest.path(".")).await.unwrap();
    let found: Vec<_> = entries
        .iter()
        .map(|entry| (entry.name.as_str(), entry.kind))
        .collect();
    assert_eq!(
        found,
        [
            ("a", FileKind::Directory),
            ("b", FileKind::File),
            ("c", FileKind::Symlink)
        ]
    );
    assert_eq!((entries[1].size, entries[1].mode), (4, 0o604));
    assert!(entries[1].modified > 1_600_000_000);
    let error = guest.client.list(guest.path("b")).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::InvalidRequest));
    let error = guest.client.list(guest.path("missing")).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::NotFound));
}

#[tokio::test]
async fn a_directory_with_too_many_entries_is_refused() {
    let guest = Alone::start().await;
    for number in 0..=100_000 {
        std::fs::File::create(guest.path(&number.to_string())).unwrap();
    }
    let error = guest.client.list(guest.path(".")).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::TooLarge), "{error}");
    std::fs::remove_file(guest.path("7")).unwrap();
    assert_eq!(guest.client.list(guest.path(".")).await.unwrap().len(), 100_000);
}

#[tokio::test]
async fn a_full_disk_is_told_and_keeps_what_was_there() {
    let unshared = ["unshare", "--user", "--map-root-user", "--mount"];
    let can = Command::new(unshared[0])
        .args(&unshared[1..])
        .args(["mount", "-t", "tmpfs", "none", "/mnt"])
        .output();
    if !can.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this machine lets no user namespace mount a tmpfs: {can:?}");
        return;
    }
    let script = r#"mount -t tmpfs -o size=1m none "$2" && exec "$0" "$@""#;
    let before = [&unshared[..], &["sh", "-c", script]].concat();
    let guest = Alone::with(&before, &["0"]).await;
    guest
        .client
        .write_file(guest.path("kept"), 0o600, Bytes::from_static(b"old"))
        .await
        .unwrap();
    let large = Bytes::from(vec![1; 3 << 20]);
    let error = guest
        .client
        .write_file(guest.path("kept"), 0o600, large)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::NoSpace), "{error}");
    assert_eq!(
        guest.client.read_file(guest.path("kept"), 0, 10).await.unwrap(),
        "old"
    );
    assert_eq!(
        guest.client.list(guest.path(".")).await.unwrap().len(),
        1,
        "no temporary file is left"
    );
    guest
        .client
        .write_file(guest.path("more"), 0o600, Bytes::from(vec![1; 500 << 10]))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_upload_that_is_cut_off_leaves_nothing() {
    use tokio::io::AsyncWriteExt as _;
    let guest = Alone::start().await;
    let socket = guest.directory.path().join("guest.socket");
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let head = format!(
        "PUT /v1/files?path={} HTTP/1.1\r\nhost: g\r\ncontent-length: 99\r\n\r\npart",
        guest.path("new")
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let work = guest.work();
    let entries = || std::fs::read_dir(&work).unwrap().count();
    crate::alone::eventually("the upload begins", || entries() == 1).await;
    drop(stream);
    crate::alone::eventually("the temporary file goes", || entries() == 0).await;
}
