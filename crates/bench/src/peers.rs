//! The alternatives: what is installed of them, and how each is asked for the same work as we do.
//!
//! A peer that does not work here is left out with its own words, never counted as slow.

mod oci;
mod shell;

use crate::candidate::Candidate;
use crate::failure::Failure;
use crate::sandboxes::{COMMAND, FIRST_COMMAND};
use crate::stack::one;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::Command;

const BUBBLEWRAP: &str = "bubblewrap";
const CRUN: &str = "crun";
const RUNC: &str = "runc";
/// In the order of the table.
pub(crate) const SANDBOXES: [&str; 3] = [BUBBLEWRAP, CRUN, RUNC];

/// Where programs of the administrator lie, which are not in everybody's `PATH`.
const ALSO: [&str; 2] = ["/usr/sbin", "/sbin"];

#[derive(Debug, Default)]
pub(crate) struct Peers {
    pub(crate) candidates: Vec<Candidate>,
    /// Name and reason.
    pub(crate) missing: Vec<(&'static str, String)>,
}

/// The sandboxes that work here: each is tried once.
pub(crate) async fn sandboxes() -> Peers {
    let mut peers = Peers::default();
    let found = [
        bubblewrap().await,
        oci::runtime(CRUN).await,
        oci::runtime(RUNC).await,
    ];
    for (name, found) in SANDBOXES.into_iter().zip(found) {
        match found {
            Ok(Some(candidate)) => peers.candidates.push(candidate),
            Ok(None) => peers.missing.push((name, "not installed".to_owned())),
            Err(failure) => peers.missing.push((name, failure.in_full())),
        }
    }
    peers
}

/// A program in `PATH` or where the administrator's lie.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(ALSO.map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// All namespaces, a read-only `/usr`, new `/proc`, `/dev` and `/tmp`; no cgroup, no overlay, no filter.
async fn bubblewrap() -> Result<Option<Candidate>, Failure> {
    let Some(program) = find("bwrap") else {
        return Ok(None);
    };
    let mut arguments = vec!["--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr"];
    for (target, link) in [("usr/bin", "/bin"), ("usr/lib", "/lib"), ("usr/lib64", "/lib64")] {
        if Path::new("/").join(target).is_dir() {
            arguments.extend(["--symlink", target, link]);
        }
    }
    arguments.extend(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", COMMAND]);
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    attempt(&program, &arguments).await?;
    let arguments = Arc::new(arguments);
    Ok(Some(one(BUBBLEWRAP, FIRST_COMMAND, move || {
        let (program, arguments) = (program.clone(), Arc::clone(&arguments));
        async move { time(&program, &arguments).await }
    })))
}

/// Runs it once and keeps what it says, to find out whether it works at all.
async fn attempt(program: &Path, arguments: &[String]) -> Result<(), Failure> {
    let run = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = run.await.map_err(|source| Failure::Run {
        program: program.display().to_string(),
        source,
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first: String = said
        .lines()
        .next()
        .unwrap_or("it says nothing")
        .chars()
        .take(200)
        .collect();
    Err(Failure::Program {
        program: program.display().to_string(),
        reason: first,
    })
}

/// From spawning it until its exit is known.
async fn time(program: &Path, arguments: &[String]) -> Result<Duration, Failure> {
    let started = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await;
    let elapsed = started.elapsed();
    let program = program.display().to_string();
    match status {
        Ok(status) if status.success() => Ok(elapsed),
        Ok(status) => Err(Failure::Program {
            program,
            reason: status.to_string(),
        }),
        Err(source) => Err(Failure::Run { program, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
    }

    #[tokio::test]
    async fn a_peer_that_fails_says_why() {
        let arguments = ["-c".to_owned(), "echo no namespaces here >&2; exit 3".to_owned()];
        let failure = attempt(Path::new("/bin/sh"), &arguments).await.err().unwrap();
        assert!(
            failure.in_full().ends_with("no namespaces here"),
            "{}",
            failure.in_full()
        );
        assert!(time(Path::new("/bin/sh"), &arguments).await.is_err());
        assert!(time(Path::new("/bin/true"), &[]).await.unwrap() > Duration::ZERO);
    }

    #[tokio::test]
    async fn a_peer_is_either_measured_or_has_a_reason() {
        let peers = sandboxes().await;
        assert_eq!(peers.candidates.len() + peers.missing.len(), SANDBOXES.len());
        for mut candidate in peers.candidates {
            assert_eq!(candidate.once().await.unwrap().len(), 1, "{candidate:?}");
        }
        assert!(peers.missing.iter().all(|(_, reason)| !reason.is_empty()));
    }
}
