//! The processes of a data directory, found by what the machine and the jailer say of them.

use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(2);
/// What was killed and is still there after this is told.
const PATIENCE: Duration = Duration::from_secs(10);
const RUNTIME: &str = "hostler-agent";

#[derive(Debug, Clone)]
pub(crate) struct Victims {
    data: PathBuf,
}

impl Victims {
    pub(crate) fn of(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
        }
    }

    /// The jailer, and whoever watches over it.
    pub(crate) fn jailers(&self) -> Vec<i32> {
        let data = self.data.to_string_lossy();
        let is_jailer = |words: &[String]| {
            words.get(1).is_some_and(|word| word == "jailer") && words.iter().any(|word| *word == data)
        };
        processes().filter(|pid| is_jailer(&words(*pid))).collect()
    }

    /// The first processes of the sandboxes, as the jailer has written them down.
    pub(crate) fn guests(&self) -> Vec<i32> {
        let Some(records) = self.records() else {
            return Vec::new();
        };
        let entries = std::fs::read_dir(records).into_iter().flatten().flatten();
        let pid = |path: PathBuf| -> Option<i32> {
            let record: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
            i32::try_from(record["pid"].as_i64()?).ok()
        };
        entries
            .filter_map(|entry| pid(entry.path()))
            .filter(|pid| words(*pid).get(1).is_some_and(|word| word == "guest"))
            .collect()
    }

    /// The agents in them.
    pub(crate) fn runtimes(&self) -> Vec<i32> {
        let guests = self.guests();
        let is_runtime = |pid: &i32| {
            words(*pid).first().is_some_and(|word| word.ends_with(RUNTIME))
                && parent(*pid).is_some_and(|parent| guests.contains(&parent))
        };
        processes().filter(is_runtime).collect()
    }

    /// Everybody but the server.
    pub(crate) fn all(&self) -> Vec<i32> {
        [self.jailers(), self.guests()].concat()
    }

    /// As root below `/run`, by the directory's identity.
    fn records(&self) -> Option<PathBuf> {
        if !rustix::process::geteuid().is_root() {
            return Some(self.data.join("records"));
        }
        let found = std::fs::metadata(&self.data).ok()?;
        let instance = format!("service_{:x}_{:x}", found.dev(), found.ino());
        Some(Path::new("/run/hostler/records").join(instance))
    }
}

/// Kills what is found until nothing is. Says whether that came to an end.
pub(crate) async fn kill_all(find: impl Fn() -> Vec<i32>) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = find();
        if found.is_empty() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        found.into_iter().for_each(kill);
        tokio::time::sleep(PAUSE).await;
    }
}

pub(crate) fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // Whoever is gone already is as it shall be.
        kill_process(pid, Signal::KILL).ok();
    }
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Nothing of one that has ended and was not waited for.
fn words(pid: i32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|byte| *byte == 0);
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// A process whose arguments are these.
    fn waits(arguments: &[&str]) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read line", "sh"]).args(arguments);
        command.stdin(Stdio::piped()).spawn().unwrap()
    }

    #[tokio::test]
    async fn only_what_is_of_the_directory_is_found_and_killed() {
        let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = ours.path().to_str().unwrap();
        let found = |pid| words(pid).iter().any(|word| word == path);
        let mut mine = waits(&["jailer", "--data", path]);
        let mut theirs = waits(&["jailer", "--data", other.path().to_str().unwrap()]);
        let pid = mine.id().cast_signed();
        let find = || processes().filter(|pid| found(*pid)).collect::<Vec<i32>>();
        assert_eq!(find(), [pid]);
        assert_eq!(parent(pid), Some(std::process::id().cast_signed()));
        assert!(kill_all(find).await);
        assert!(!mine.wait().unwrap().success());
        assert!(theirs.try_wait().unwrap().is_none());
        theirs.kill().unwrap();
        theirs.wait().unwrap();
        // The shell's first argument is no role of ours.
        assert_eq!(Victims::of(ours.path()).jailers(), Vec::<i32>::new());
        assert_eq!(Victims::of(ours.path()).guests(), Vec::<i32>::new());
        assert_eq!(Victims::of(ours.path()).runtimes(), Vec::<i32>::new());
    }
}
