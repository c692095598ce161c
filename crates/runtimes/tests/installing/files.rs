//! Installing from a file that somebody already has.

use crate::registry::{archive, native, script};
use runtimes::{Limits, Origin, Runtimes, Version};
use std::path::PathBuf;
use tempfile::TempDir;

struct Files {
    directory: TempDir,
    runtimes: Runtimes,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            runtimes: Runtimes::new(directory.path()),
            directory,
        }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    async fn install(&self, path: &std::path::Path, given: Option<&str>) -> Result<String, String> {
        let version: Option<Version> = given.map(|given| given.parse().unwrap());
        match self
            .runtimes
            .install_file(path, version, Limits::default(), &())
            .await
        {
            Ok(done) => {
                assert!(done.is_new);
                assert_eq!(
                    done.about.origin,
                    Origin::File {
                        path: path.to_owned()
                    }
                );
                Ok(done.about.version.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

#[tokio::test]
async fn archives_and_bare_executables_are_installed() {
    let files = Files::new();
    let archive = files.file("a.tgz", &native("2.1.5", &script(1000)));
    assert_eq!(files.install(&archive, None).await.as_deref(), Ok("2.1.5"));
    let bare = files.file("bare", &script(2000));
    assert_eq!(files.install(&bare, Some("2.1.6")).await.as_deref(), Ok("2.1.6"));
    let telling = files.file("telling", b"#!/bin/sh\n# claude-code VERSION:\"2.1.7\"\n");
    assert_eq!(files.install(&telling, None).await.as_deref(), Ok("2.1.7"));
    assert_eq!(files.runtimes.installed().unwrap().len(), 3);
    let default = files
        .runtimes
        .channel()
        .unwrap()
        .default_version()
        .unwrap()
        .to_string();
    assert_eq!(default, "2.1.5", "the first one, until somebody changes it");
}

#[tokio::test]
async fn what_cannot_be_installed_is_told() {
    let files = Files::new();
    let bare = files.file("bare", &script(2000));
    files.install(&bare, Some("2.1.6")).await.unwrap();
    let nameless = archive(&[("package/claude", &script(10))]);
    for (name, content, given, reason) in [
        (
            "a.tgz",
            native("2.1.5", &script(1000)),
            Some("2.1.4"),
            "says it is 2.1.5, and 2.1.4 was said",
        ),
        ("b.tgz", nameless, None, "does not say which version it is"),
        ("c", script(2000), None, "does not say which version it is"),
        (
            "d",
            script(2000),
            Some("2.1.6"),
            "claude 2.1.6 is installed already: remove it first",
        ),
        ("e", b"plain text".to_vec(), Some("2.1.7"), "is no executable"),
        ("f", Vec::new(), Some("2.1.7"), "is no executable"),
    ] {
        let error = files
            .install(&files.file(name, &content), given)
            .await
            .unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    let missing = files.directory.path().join("missing");
    let error = files.install(&missing, None).await.unwrap_err();
    assert!(error.contains("missing cannot be read"), "{error}");
    assert_eq!(files.runtimes.installed().unwrap().len(), 1);
    assert_eq!(
        std::fs::read_dir(files.directory.path().join("runtimes/claude/making"))
            .unwrap()
            .count(),
        0
    );
}
