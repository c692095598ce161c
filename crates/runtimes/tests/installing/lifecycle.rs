//! From the first installation to the removal: what lies on the disk, who gets what, who keeps what.

use crate::registry::{ARCHIVE, Npm, brisk, client, file, integrity, native, script};
use runtimes::{
    Holders, How, InstallError, Limits, Origin, Reason, Runtimes, Tally, Trial, Upgraded, Verdict, Version,
    Wanted,
};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn wanted(text: &str) -> Wanted {
    text.parse().unwrap()
}

/// Publishes one more version, the newest, with an archive of its own.
fn publish(npm: &Npm, versions: &[&str]) {
    let archive = native(versions.last().unwrap(), &script(2000));
    npm.publish(versions, &integrity(&archive));
    npm.route(ARCHIVE, move |asked| file(asked, &archive));
}

#[tokio::test]
async fn an_installed_version_is_one_read_only_file_and_what_is_known_of_it() {
    let data = tempfile::tempdir().unwrap();
    let executable = script(100_000);
    let archive = native("2.1.5", &executable);
    let npm = Npm::with(&["2.1.4", "2.1.5"], &archive).await;
    let (runtimes, registry) = (Runtimes::new(data.path()), client(&npm, "", brisk()).await);
    let done = runtimes.install(&registry, &wanted("~2.1.4"), &()).await.unwrap();
    assert!(done.is_new);
    let path = data.path().join("runtimes/claude/2.1.5/claude");
    assert_eq!(runtimes.executable(&version("2.1.5")), path);
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(
        (metadata.permissions().mode() & 0o7777, metadata.len()),
        (0o555, executable.len() as u64)
    );
    let about = &done.about;
    assert_eq!(
        (about.size, &about.integrity),
        (executable.len() as u64, &integrity(&archive))
    );
    let Origin::Registry { registry: from, .. } = &about.origin else {
        panic!("{about:?}");
    };
    assert_eq!(from, &format!("{}/", npm.base));

    let again = runtimes.install(&registry, &wanted("2.1.5"), &()).await.unwrap();
    assert_eq!((again.is_new, &again.about), (false, about));
    assert_eq!(npm.asked(ARCHIVE).len(), 1);
}

#[tokio::test]
async fn installations_of_the_same_version_at_the_same_time_are_one() {
    let data = tempfile::tempdir().unwrap();
    let npm = Npm::with(&["2.1.5"], &native("2.1.5", &script(500_000))).await;
    let runtimes = Runtimes::new(data.path());
    let registry = client(&npm, "", Limits::default()).await;
    let latest = Wanted::latest();
    let install = || runtimes.install(&registry, &latest, &());
    let (one, two, three) = tokio::join!(install(), install(), install());
    let new = [one, two, three].map(|done| done.unwrap().is_new);
    assert_eq!(new.iter().filter(|new| **new).count(), 1);
    assert_eq!(npm.asked(ARCHIVE).len(), 1);
}

#[tokio::test]
async fn what_an_installation_left_half_made_is_cleared_by_the_next() {
    let data = tempfile::tempdir().unwrap();
    let root = data.path().join("runtimes/claude");
    for directory in ["making/making-x", "making/removed-y/2.0.0", "2.1.5", "partial"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    for file in [
        "making/making-x/claude",
        "making/removed-y/2.0.0/claude",
        "partial/2.0.0.part",
    ] {
        std::fs::write(root.join(file), "half").unwrap();
    }
    let runtimes = Runtimes::new(data.path());
    assert!(runtimes.installed().unwrap().is_empty());
    let npm = Npm::with(&["2.1.5"], &native("2.1.5", &script(1000))).await;
    let registry = client(&npm, "", brisk()).await;
    assert!(
        runtimes
            .install(&registry, &Wanted::latest(), &())
            .await
            .unwrap()
            .is_new
    );
    for directory in ["making", "partial"] {
        assert_eq!(
            std::fs::read_dir(root.join(directory)).unwrap().count(),
            0,
            "{directory}"
        );
    }
}

#[tokio::test]
async fn an_upgrade_is_tried_promoted_and_taken_back() {
    let data = tempfile::tempdir().unwrap();
    let npm = Npm::start().await;
    let (runtimes, registry) = (Runtimes::new(data.path()), client(&npm, "", brisk()).await);
    let trial = Trial {
        share_percent: 100,
        sessions: 10,
    };
    let upgrade = |to: Option<&'static str>, how| {
        let (runtimes, registry) = (runtimes.clone(), &registry);
        async move {
            runtimes
                .upgrade(registry, to.map(wanted).as_ref(), how, &())
                .await
        }
    };
    let canary = How::Canary(trial);
    publish(&npm, &["2.1.5"]);
    let first = Upgraded::Default {
        version: version("2.1.5"),
    };
    assert_eq!(upgrade(None, canary).await.unwrap(), first);
    let none = Upgraded::Already {
        version: version("2.1.5"),
    };
    assert_eq!(upgrade(None, canary).await.unwrap(), none);

    publish(&npm, &["2.1.5", "3.0.0"]);
    assert_eq!(
        upgrade(None, canary).await.unwrap(),
        none,
        "a major version is not taken by itself"
    );
    let error = upgrade(Some("latest"), canary).await.unwrap_err().to_string();
    assert!(
        error.contains("3.0.0 is another major version than the default 2.1.5"),
        "{error}"
    );
    assert_eq!(
        runtimes.installed().unwrap().len(),
        1,
        "what is not taken is not downloaded"
    );

    publish(&npm, &["2.1.5", "2.1.6"]);
    assert!(
        matches!(upgrade(None, canary).await.unwrap(), Upgraded::Canary(canary) if canary.version == version("2.1.6"))
    );
    let (choice, path) = runtimes.choose(None, "session_1").unwrap();
    assert_eq!(
        (choice.reason, path),
        (Reason::Canary, runtimes.executable(&version("2.1.6")))
    );
    let tally = Tally {
        sessions: 10,
        errors: 0,
    };
    assert_eq!(runtimes.observe(&version("2.1.5"), tally).unwrap(), None);
    assert_eq!(
        runtimes.observe(&version("2.1.6"), tally).unwrap(),
        Some(Verdict::Promoted)
    );
    assert_eq!(
        runtimes.choose(None, "session_1").unwrap().0.reason,
        Reason::Default
    );

    let back = runtimes.roll_back().unwrap();
    assert_eq!((back.from, back.to), (version("2.1.6"), version("2.1.5")));
    let error = upgrade(None, canary).await.unwrap_err().to_string();
    assert!(
        error.contains("2.1.6 is out of use: it was rolled back"),
        "{error}"
    );
    let now = Upgraded::Default {
        version: version("2.1.6"),
    };
    assert_eq!(upgrade(None, How::Now).await.unwrap(), now);
}

#[tokio::test]
async fn what_somebody_needs_is_not_removed() {
    let data = tempfile::tempdir().unwrap();
    let runtimes = Runtimes::new(data.path());
    let source = data.path().join("claude");
    std::fs::write(&source, script(1000)).unwrap();
    for text in ["2.1.1", "2.1.2", "2.1.3", "2.1.4"] {
        let done = runtimes
            .install_file(&source, Some(version(text)), Limits::default(), &())
            .await;
        done.unwrap();
    }
    runtimes.pin(Some(wanted("2.1.4"))).unwrap();
    let holders = Holders {
        sessions: BTreeSet::from([version("2.1.3")]),
        pins: vec![
            ("mail".to_owned(), wanted("2.1.2")),
            ("site".to_owned(), wanted("^2.1")),
        ],
    };
    let refused = |text: &str| runtimes.remove(&version(text), &holders).unwrap_err().to_string();
    assert!(refused("2.1.4").contains("is the default of new sessions"));
    assert!(refused("2.1.3").contains("is used by a session"));
    assert!(refused("2.1.2").contains("is pinned by mail, and nothing else"));
    assert!(refused("2.1.9").contains("is not installed; installed: 2.1.1, 2.1.2, 2.1.3, 2.1.4"));
    runtimes.remove(&version("2.1.1"), &holders).unwrap();
    runtimes.remove(&version("2.1.2"), &Holders::default()).unwrap();

    let listed = runtimes.list(&holders).unwrap();
    let shown: Vec<_> = listed
        .iter()
        .map(|entry| {
            (
                entry.version.to_string(),
                entry.is_default,
                entry.is_in_use,
                entry.pinned_by.join(" "),
            )
        })
        .collect();
    let expected = [
        ("2.1.4".to_owned(), true, false, "site".to_owned()),
        ("2.1.3".to_owned(), false, true, String::new()),
    ];
    assert_eq!(shown, expected);
    assert_eq!(listed[0].about.as_ref().unwrap().size, script(1000).len() as u64);
}

#[tokio::test]
async fn damage_to_one_version_is_told_and_hides_no_other() {
    let data = tempfile::tempdir().unwrap();
    let npm = Npm::with(&["2.1.5"], &native("2.1.5", &script(1000))).await;
    let (runtimes, registry) = (Runtimes::new(data.path()), client(&npm, "", brisk()).await);
    runtimes.install(&registry, &Wanted::latest(), &()).await.unwrap();
    let source = data.path().join("claude");
    std::fs::write(&source, script(1000)).unwrap();
    runtimes
        .install_file(&source, Some(version("2.1.6")), Limits::default(), &())
        .await
        .unwrap();
    std::fs::write(data.path().join("runtimes/claude/2.1.6/other"), "").unwrap();
    let about = data.path().join("runtimes/claude/2.1.6/about.json");
    std::fs::remove_file(&about).unwrap();
    std::fs::write(&about, "{").unwrap();
    let listed = runtimes.list(&Holders::default()).unwrap();
    assert!(listed[1].about.is_ok());
    let error = listed[0].about.as_ref().unwrap_err().to_string();
    assert!(
        error.contains("about.json is damaged") && error.contains("remove this version"),
        "{error}"
    );
    let again: Result<_, InstallError> = runtimes.install(&registry, &wanted("2.1.6"), &()).await;
    assert!(again.is_err());
    runtimes.remove(&version("2.1.6"), &Holders::default()).unwrap();
}
