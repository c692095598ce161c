//! Archives that want more than to bring one executable.

use crate::registry::{ARCHIVE, Answer, Npm, answer, archive, brisk, client, native, script};
use runtimes::{Limits, Runtimes, Wanted};
use std::path::Path;
use std::time::Duration;

async fn installed(data: &Path, archive: &[u8], limits: Limits) -> Result<Vec<u8>, String> {
    let npm = Npm::with(&["2.1.5"], archive).await;
    let (runtimes, registry) = (Runtimes::new(data), client(&npm, "", limits).await);
    match runtimes.install(&registry, &Wanted::latest(), &()).await {
        Ok(done) => Ok(std::fs::read(runtimes.executable(&done.about.version)).unwrap()),
        Err(error) => {
            assert!(runtimes.installed().unwrap().is_empty());
            let left = |name| {
                std::fs::read_dir(data.join("runtimes/claude").join(name))
                    .unwrap()
                    .count()
            };
            assert_eq!((left("making"), left("partial")), (0, 0), "{error}");
            Err(error.to_string())
        }
    }
}

#[tokio::test]
async fn only_the_executable_is_taken_whatever_else_there_is() {
    let data = tempfile::tempdir().unwrap();
    let executable = script(5000);
    let packed = archive(&[
        ("../../../../escaped", b"1"),
        ("/tmp/hostler-runtimes-escaped", b"2"),
        ("package/../../claude", b"3"),
        ("package/bin/claude", b"4"),
        ("claude", b"5"),
        ("package/claude", &executable),
        ("package/claude.exe", b"6"),
    ]);
    assert!(installed(data.path(), &packed, brisk()).await.unwrap() == executable);
    let version = data.path().join("runtimes/claude/2.1.5");
    let mut names: Vec<_> = std::fs::read_dir(version)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["about.json", "claude"]);
    assert!(!data.path().join("escaped").exists());
    assert!(!Path::new("/tmp/hostler-runtimes-escaped").exists());
}

#[tokio::test]
async fn what_is_not_one_executable_of_that_version_is_refused() {
    let executable = script(5000);
    let mut link = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    link.append_link(&mut header, "package/claude", "/bin/sh")
        .unwrap();
    let link = {
        use std::io::Write as _;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&link.into_inner().unwrap()).unwrap();
        packer.finish().unwrap()
    };
    let whole = native("2.1.5", &executable);
    for (packed, reason) in [
        (
            archive(&[("package/cli.js", b"x")]),
            "holds no executable `claude`",
        ),
        (link, "holds no executable `claude`"),
        (
            archive(&[("package/claude", &executable), ("other/claude", &executable)]),
            "holds `claude` twice",
        ),
        (native("2.1.4", &executable), "says it is version 2.1.4"),
        (archive(&[("package/claude", b"MZ")]), "is no executable"),
        (whole[..whole.len() / 2].to_vec(), "is no archive of npm"),
        (b"not packed".to_vec(), "is no archive of npm"),
    ] {
        let data = tempfile::tempdir().unwrap();
        let error = installed(data.path(), &packed, brisk()).await.unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_not_taken() {
    let data = tempfile::tempdir().unwrap();
    let bomb = native("2.1.5", &vec![b'#'; 3 << 20]);
    let limits = Limits {
        executable_bytes: 1 << 20,
        ..brisk()
    };
    let error = installed(data.path(), &bomb, limits).await.unwrap_err();
    assert!(error.contains("holds more than 1048576 bytes"), "{error}");

    let limits = Limits {
        archive_bytes: 1000,
        ..brisk()
    };
    let error = installed(data.path(), &native("2.1.5", &script(5000)), limits)
        .await
        .unwrap_err();
    assert!(error.contains("is larger than 1000 bytes"), "{error}");

    let npm = Npm::with(&["2.1.5"], b"").await;
    npm.route(ARCHIVE, |_| {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        Answer::Endless(
            head,
            [b"1000\r\n".to_vec(), vec![0; 4096], b"\r\n".to_vec()].concat(),
        )
    });
    let limits = Limits {
        archive_bytes: 1 << 20,
        ..brisk()
    };
    let (runtimes, registry) = (Runtimes::new(data.path()), client(&npm, "", limits).await);
    let error = runtimes
        .install(&registry, &Wanted::latest(), &())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("is larger than 1048576 bytes"), "{error}");
    npm.route(ARCHIVE, |_| Answer::Silent(answer("200 OK", "", 1000, b"a")));
    let hasty = Limits {
        archive: Duration::from_millis(100),
        ..brisk()
    };
    let hasty = client(&npm, "", hasty).await;
    let error = runtimes
        .install(&hasty, &Wanted::latest(), &())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("was not here whole within 0.1 s"), "{error}");
    npm.route(ARCHIVE, |_| Answer::Bytes(answer("200 OK", "", 1 << 40, b"")));
    let error = runtimes
        .install(&registry, &Wanted::latest(), &())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("is larger than 1048576 bytes"), "{error}");
}
