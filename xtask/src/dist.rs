//! `cargo xtask dist`: the binary that is handed out, at `target/dist/hostler`. What lands there has been checked.

use crate::static_elf;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) struct Built {
    pub(crate) path: PathBuf,
    pub(crate) bytes: usize,
}

/// Builds with the profile `dist`, checks the file and moves it into place in one step.
pub(crate) fn build(root: &Path) -> Result<Built> {
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--profile",
            "dist",
            "--package",
            "hostler",
            "--bin",
            "hostler",
        ])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the build failed");
    let executable = executable(&String::from_utf8_lossy(&output.stdout))
        .context("cargo did not say where it put the binary")?;
    let binary =
        std::fs::read(&executable).with_context(|| format!("cannot read {}", executable.display()))?;
    if let Some(reason) = static_elf::refuse(&binary) {
        bail!("{} would not start everywhere: {reason}", executable.display());
    }
    let path = root.join("target/dist/hostler");
    place(&executable, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Built {
        path,
        bytes: binary.len(),
    })
}

/// Where cargo put the binary, from its messages.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "hostler")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// Copies beside the target and renames, so that a running hostler keeps its file and nobody sees half of one.
fn place(from: &Path, to: &Path) -> std::io::Result<()> {
    if let Some(directory) = to.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let staged = to.with_extension("new");
    std::fs::copy(from, &staged)?;
    std::fs::rename(&staged, to)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_found_among_the_messages() {
        let messages = [
            r#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"hostler"},"executable":"/t/dist/hostler"}"#,
            r#"{"reason":"build-finished","success":true}"#,
        ];
        assert_eq!(
            executable(&messages.join("\n")),
            Some(PathBuf::from("/t/dist/hostler"))
        );
        assert_eq!(executable(messages[0]), None);
    }

    #[test]
    fn placing_replaces_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (
            directory.path().join("built"),
            directory.path().join("dist/hostler"),
        );
        for content in ["one", "two"] {
            std::fs::write(&from, content).unwrap();
            place(&from, &to).unwrap();
            assert_eq!(std::fs::read_to_string(&to).unwrap(), content);
        }
        assert_eq!(
            std::fs::read_dir(directory.path().join("dist")).unwrap().count(),
            1
        );
    }
}
