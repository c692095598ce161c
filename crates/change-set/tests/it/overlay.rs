//! Against the kernel: an agent does random things in a real overlay, and applying what its upper directory says makes
//! the workspace the same as what the agent saw.

use crate::support::{EVERYTHING, Fixture, picture};
use async_trait::async_trait;
use change_set::{Faults, RelativePath, Source, SourceError};
use guest_protocol::{Change, ChangeKind};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Reads an upper directory as the reader guest does.
struct Upper(PathBuf);

impl Upper {
    fn walk(&self, directory: &Path, visit: &mut (dyn FnMut(Change) -> ControlFlow<()> + Send)) {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        for path in names {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let kind = if metadata.is_dir() {
                let opaque = attribute(&path, "user.overlay.opaque").is_some_and(|value| value == b"y");
                ChangeKind::Directory {
                    mode: metadata.mode() & 0o7777,
                    opaque,
                }
            } else if metadata.is_symlink() {
                ChangeKind::Symlink {
                    target: fs::read_link(&path).unwrap().to_str().unwrap().to_owned(),
                }
            } else if metadata.is_file() {
                let copied_up = attribute(&path, "user.overlay.origin").is_some();
                ChangeKind::File {
                    size: metadata.len(),
                    mode: metadata.mode() & 0o7777,
                    copied_up,
                }
            } else if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
                ChangeKind::Removed
            } else {
                ChangeKind::Special
            };
            let relative = path.strip_prefix(&self.0).unwrap().to_str().unwrap().to_owned();
            let _ = visit(Change {
                path: Some(relative),
                path_base64: None,
                kind,
            });
            if metadata.is_dir() {
                self.walk(&path, visit);
            }
        }
    }
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

#[async_trait]
impl Source for Upper {
    async fn entries(
        &self,
        visit: &mut (dyn FnMut(Change) -> ControlFlow<()> + Send),
    ) -> Result<(), SourceError> {
        self.walk(&self.0, visit);
        Ok(())
    }

    async fn read(&self, path: &RelativePath, offset: u64, limit: usize) -> Result<Vec<u8>, SourceError> {
        let mut file = fs::File::open(self.0.join(path.as_path())).unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        let mut bytes = Vec::new();
        file.take(limit as u64).read_to_end(&mut bytes).unwrap();
        Ok(bytes)
    }
}

/// A small generator: the same numbers each time, so that a failure can be looked at.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn path(&mut self) -> String {
        let names = ["a", "b", "c", "d"];
        let depth = 1 + self.below(3);
        (0..depth)
            .map(|_| names[self.below(names.len())])
            .collect::<Vec<_>>()
            .join("/")
    }

    /// A shell command; one that fails, as many do, is no harm.
    fn command(&mut self) -> String {
        let (one, other) = (self.path(), self.path());
        let text = self.below(1000);
        match self.below(10) {
            0 | 1 => format!("mkdir -p {one}"),
            2 | 3 => format!("echo {text} > {one}"),
            4 => format!("echo {text} >> {one}"),
            5 => format!("rm -rf {one}"),
            6 => format!("mv -T {one} {other}"),
            7 => format!("rm -rf {one}; mkdir -p {one} && echo {text} > {one}/a"),
            8 => format!("ln -s a {one}"),
            // A directory without its bits could be read by root only.
            _ => format!("[ -d {one} ] || chmod {} {one}", ["644", "755"][text % 2]),
        }
    }

    fn script(&mut self, commands: usize) -> String {
        let mut script = String::new();
        for _ in 0..commands {
            let _ = writeln!(script, "( {} ) 2>/dev/null", self.command());
        }
        script
    }
}

fn shell(directory: &Path, script: &str) {
    let status = Command::new("sh")
        .args(["-c", script])
        .current_dir(directory)
        .status()
        .unwrap();
    assert!(status.code().is_some());
}

/// Runs a script in an overlay over the workspace and copies what it saw.
fn in_overlay(base: &Path, script: &str) -> Result<(), String> {
    for name in ["upper", "work", "merged"] {
        fs::create_dir(base.join(name)).unwrap();
    }
    fs::write(base.join("script"), script).unwrap();
    let mount = "mount -t overlay overlay -o userxattr,lowerdir=workspace,upperdir=upper,workdir=work merged \
                 && echo mounted && cd merged && sh ../script; cd .. && cp -a merged seen";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", mount])
        .current_dir(base)
        .output()
        .map_err(|error| error.to_string())?;
    if String::from_utf8_lossy(&output.stdout).contains("mounted") {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[tokio::test]
async fn the_workspace_becomes_what_the_agent_saw() {
    for seed in 0..40 {
        let mut numbers = Numbers(seed);
        let mut fixture = Fixture::new();
        shell(&fixture.workspace, &numbers.script(40));
        fixture.begin();
        let script = numbers.script(40);
        if let Err(reason) = in_overlay(&fixture.base, &script) {
            println!(
                "SKIP overlay::the_workspace_becomes_what_the_agent_saw: no overlay in a user namespace here: {reason}"
            );
            return;
        }
        let source = Upper(fixture.base.join("upper"));
        let before = fixture.picture();
        let applied = fixture.apply_with(&source, EVERYTHING, Faults::default()).await;
        let applied =
            applied.unwrap_or_else(|error| panic!("seed {seed}: {error:?}\n{script}\nfrom {before:#?}"));
        assert_eq!(
            fixture.picture(),
            picture(&fixture.base.join("seen")),
            "seed {seed}:\n{script}\nfrom {before:#?}"
        );
        assert_eq!(applied.leftover, None);
        let again = fixture.collect(&source).await.unwrap();
        assert!(again.is_empty(), "seed {seed}: {:?}", again.entries);
    }
}
