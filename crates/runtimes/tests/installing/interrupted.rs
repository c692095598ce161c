//! Downloads that stall, break, cannot be continued or are the wrong bytes.

use crate::registry::{ARCHIVE, Answer, Npm, answer, brisk, client, file, integrity, native, script};
use runtimes::{DownloadError, InstallError, Progress, RegistryError, Runtimes, Step, Wanted};
use std::sync::Mutex;

#[derive(Default)]
struct Steps(Mutex<Vec<Step>>);

impl Progress for Steps {
    fn at(&self, step: Step) {
        self.0.lock().unwrap().push(step);
    }
}

fn partial(data: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(data.join("runtimes/claude/partial")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_registry_that_stalls_is_an_error_and_the_next_attempt_goes_on_from_there() {
    let data = tempfile::tempdir().unwrap();
    let executable = script(300_000);
    let archive = native("2.1.5", &executable);
    let npm = Npm::with(&["2.1.5"], &archive).await;
    let whole = archive.clone();
    npm.route(ARCHIVE, move |asked| match asked.nth {
        0 => Answer::Silent(answer(
            "200 OK",
            "etag: \"one\"\r\n",
            whole.len(),
            &whole[..100_000],
        )),
        _ => file(asked, &whole),
    });
    let (runtimes, registry) = (Runtimes::new(data.path()), client(&npm, "", brisk()).await);
    let error = runtimes
        .install(&registry, &Wanted::latest(), &())
        .await
        .unwrap_err();
    assert!(
        matches!(
            &error,
            InstallError::Download(DownloadError::Registry(RegistryError::Silent { .. }))
        ),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("said nothing for 0.3 s; what came is kept, so try again"),
        "{error}"
    );
    assert_eq!(partial(data.path()), ["2.1.5.json", "2.1.5.part"]);

    let steps = Steps::default();
    let done = runtimes
        .install(&registry, &Wanted::latest(), &steps)
        .await
        .unwrap();
    let asked = npm.asked(ARCHIVE);
    assert!(asked[1].contains("range: bytes=100000-"), "{}", asked[1]);
    assert!(asked[1].contains("if-range: \"one\""), "{}", asked[1]);
    assert!(std::fs::read(runtimes.executable(&done.about.version)).unwrap() == executable);
    let total = Some(archive.len() as u64);
    let steps = steps.0.into_inner().unwrap();
    assert!(
        steps.contains(&Step::Downloading { done: 100_000, total }),
        "{steps:?}"
    );
    assert!(
        steps.contains(&Step::Downloading {
            done: archive.len() as u64,
            total
        }),
        "{steps:?}"
    );
    assert!(partial(data.path()).is_empty());
}

#[tokio::test]
async fn a_connection_that_breaks_is_followed_by_another_in_the_same_installation() {
    let data = tempfile::tempdir().unwrap();
    let executable = script(300_000);
    let archive = native("2.1.5", &executable);
    let npm = Npm::with(&["2.1.5"], &archive).await;
    npm.route(ARCHIVE, move |asked| {
        let at = asked.range().unwrap_or(0);
        let end = archive.len().min(at + 90_000);
        let range = format!(
            "content-range: bytes {at}-{}/{}\r\n",
            archive.len() - 1,
            archive.len()
        );
        let (status, range) = if at == 0 {
            ("200 OK", "")
        } else {
            ("206 Partial Content", range.as_str())
        };
        Answer::Bytes(answer(status, range, archive.len() - at, &archive[at..end]))
    });
    let (runtimes, registry) = (Runtimes::new(data.path()), client(&npm, "", brisk()).await);
    let done = runtimes.install(&registry, &Wanted::latest(), &()).await.unwrap();
    assert!(std::fs::read(runtimes.executable(&done.about.version)).unwrap() == executable);
    let asked = npm.asked(ARCHIVE);
    assert_eq!(asked.len(), 4);
    assert!(
        !asked[1].contains("if-range"),
        "the server gave nothing to know the file by"
    );
}

#[tokio::test]
async fn a_connection_that_always_breaks_is_an_error() {
    let data = tempfile::tempdir().unwrap();
    let archive = native("2.1.5", &script(300_000));
    let npm = Npm::with(&["2.1.5"], &archive).await;
    npm.route(ARCHIVE, move |_| {
        Answer::Bytes(answer("200 OK", "", archive.len(), &archive[..1000]))
    });
    let (runtimes, registry) = (Runtimes::new(data.path()), client(&npm, "", brisk()).await);
    let error = runtimes
        .install(&registry, &Wanted::latest(), &())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("broke off"), "{error}");
    assert_eq!(npm.asked(ARCHIVE).len(), 8);
}

#[tokio::test]
async fn a_server_that_cannot_continue_starts_over() {
    let executable = script(300_000);
    let archive = native("2.1.5", &executable);
    for refusing in ["ignores", "another place", "cannot"] {
        let data = tempfile::tempdir().unwrap();
        let npm = Npm::with(&["2.1.5"], &archive).await;
        let whole = archive.clone();
        npm.route(ARCHIVE, move |asked| match (asked.nth, asked.range(), refusing) {
            (0, ..) => Answer::Bytes(answer("200 OK", "", whole.len(), &whole[..100_000])),
            (_, Some(_), "another place") => {
                let range = format!("content-range: bytes 5-{}/{}\r\n", whole.len() - 1, whole.len());
                Answer::of("206 Partial Content", &range, &whole[5..])
            }
            (_, Some(_), "cannot") => Answer::of("416 Range Not Satisfiable", "", b""),
            _ => Answer::of("200 OK", "", &whole),
        });
        let (runtimes, registry) = (Runtimes::new(data.path()), client(&npm, "", brisk()).await);
        let done = runtimes.install(&registry, &Wanted::latest(), &()).await.unwrap();
        assert!(
            std::fs::read(runtimes.executable(&done.about.version)).unwrap() == executable,
            "{refusing}"
        );
        assert!(
            npm.asked(ARCHIVE)[1].contains("range: bytes=100000-"),
            "{refusing}"
        );
    }
}

#[tokio::test]
async fn what_was_downloaded_whole_is_not_downloaded_again() {
    let data = tempfile::tempdir().unwrap();
    let archive = native("2.1.5", &script(300_000));
    let npm = Npm::with(&["2.1.5"], &archive).await;
    let whole = archive.clone();
    // All bytes, and then the end of them is not told.
    npm.route(ARCHIVE, move |asked| match asked.nth {
        0 => {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
            let size = format!("{:x}\r\n", whole.len()).into_bytes();
            Answer::Silent([head, size, whole.clone(), b"\r\n".to_vec()].concat())
        }
        _ => file(asked, &whole),
    });
    let (runtimes, registry) = (Runtimes::new(data.path()), client(&npm, "", brisk()).await);
    runtimes
        .install(&registry, &Wanted::latest(), &())
        .await
        .unwrap_err();
    runtimes.install(&registry, &Wanted::latest(), &()).await.unwrap();
    let asked = npm.asked(ARCHIVE);
    assert!(
        asked[1].contains(&format!("range: bytes={}-", archive.len())),
        "{}",
        asked[1]
    );
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn a_wrong_sum_is_told_with_both_and_nothing_of_it_is_kept() {
    let data = tempfile::tempdir().unwrap();
    let (right, wrong) = (native("2.1.5", &script(1000)), native("2.1.5", &script(2000)));
    let npm = Npm::with(&["2.1.5"], &right).await;
    let sent = wrong.clone();
    npm.route(ARCHIVE, move |asked| file(asked, &sent));
    let (runtimes, registry) = (Runtimes::new(data.path()), client(&npm, "", brisk()).await);
    let error = runtimes
        .install(&registry, &Wanted::latest(), &())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!(
            "expected {}, got {}",
            integrity(&right),
            integrity(&wrong)
        )),
        "{error}"
    );
    assert!(partial(data.path()).is_empty());
    assert!(runtimes.installed().unwrap().is_empty());
    npm.route(ARCHIVE, move |asked| file(asked, &right));
    runtimes.install(&registry, &Wanted::latest(), &()).await.unwrap();
}

#[tokio::test]
async fn bytes_of_another_archive_are_not_continued() {
    let data = tempfile::tempdir().unwrap();
    let archive = native("2.1.5", &script(300_000));
    let npm = Npm::with(&["2.1.5"], &archive).await;
    let cut = archive.clone();
    npm.route(ARCHIVE, move |_| {
        Answer::Silent(answer("200 OK", "", cut.len(), &cut[..1000]))
    });
    let (runtimes, registry) = (Runtimes::new(data.path()), client(&npm, "", brisk()).await);
    runtimes
        .install(&registry, &Wanted::latest(), &())
        .await
        .unwrap_err();
    let other = native("2.1.5", &script(200_000));
    npm.publish(&["2.1.5"], &integrity(&other));
    npm.route(ARCHIVE, move |asked| file(asked, &other));
    runtimes.install(&registry, &Wanted::latest(), &()).await.unwrap();
    assert!(!npm.asked(ARCHIVE)[1].contains("range:"));
}

#[tokio::test]
async fn what_this_machine_could_not_write_is_not_downloaded_again() {
    let data = tempfile::tempdir().unwrap();
    let archive = native("2.1.5", &script(300_000));
    let npm = Npm::with(&["2.1.5"], &archive).await;
    let (runtimes, registry) = (Runtimes::new(data.path()), client(&npm, "", brisk()).await);
    let making = data.path().join("runtimes/claude/making");
    let (whole, blocked) = (archive.clone(), making.clone());
    npm.route(ARCHIVE, move |asked| {
        if asked.nth == 0 {
            std::fs::remove_dir(&blocked).unwrap();
            std::fs::write(&blocked, "in the way").unwrap();
        }
        file(asked, &whole)
    });
    let error = runtimes
        .install(&registry, &Wanted::latest(), &())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("making cannot be written"), "{error}");
    std::fs::remove_file(&making).unwrap();
    assert!(
        runtimes
            .install(&registry, &Wanted::latest(), &())
            .await
            .unwrap()
            .is_new
    );
    let asked = npm.asked(ARCHIVE);
    assert!(
        asked[1].contains(&format!("range: bytes={}-", archive.len())),
        "{}",
        asked[1]
    );
}
