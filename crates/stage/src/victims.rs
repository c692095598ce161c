//! The processes of a data directory, found by what the machine and the jailer say of them, and killed.
//!
//! A process is held by a descriptor of its own while it is dealt with: what is killed, and what is known to be gone, is
//! the one that was found, whoever has its number by then.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What was killed and is still there after this is told.
const PATIENCE: Duration = Duration::from_secs(10);
const RUNTIME: &str = "hostler-agent";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Server,
    /// And whoever watches over it.
    Jailer,
    /// The first process of a sandbox, as the jailer has written it down.
    Guest,
    /// The agent in it.
    Runtime,
}

/// Where to look.
#[derive(Debug, Clone)]
pub struct Victims {
    data: PathBuf,
}

/// A process that was there.
#[derive(Debug)]
pub struct Victim {
    pid: i32,
    process: OwnedFd,
}

impl Victims {
    /// Everything but the runtimes, which end with their guests.
    pub const ALL: [Kind; 3] = [Kind::Server, Kind::Jailer, Kind::Guest];

    pub fn of(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
        }
    }

    pub fn find(&self, kind: Kind) -> Vec<Victim> {
        match kind {
            Kind::Server => self.with_role("serve"),
            Kind::Jailer => self.with_role("jailer"),
            Kind::Guest => self.guests(),
            Kind::Runtime => self.runtimes(),
        }
    }

    /// Kills all of these kinds until none is there. Says how many died, or which would not.
    pub fn end(&self, kinds: &[Kind]) -> Result<u64, Vec<i32>> {
        let end = Instant::now() + PATIENCE;
        end_all(|| kinds.iter().flat_map(|kind| self.find(*kind)).collect(), end)
    }

    fn with_role(&self, role: &str) -> Vec<Victim> {
        let data = self.data.to_string_lossy();
        let has = |words: &[String]| {
            words.get(1).is_some_and(|word| word == role) && words.iter().any(|word| *word == data)
        };
        processes().filter_map(|pid| Victim::hold(pid, has)).collect()
    }

    fn guests(&self) -> Vec<Victim> {
        let Some(records) = self.records() else {
            return Vec::new();
        };
        let entries = std::fs::read_dir(records).into_iter().flatten().flatten();
        let pid = |path: PathBuf| -> Option<i32> {
            let record: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
            i32::try_from(record["pid"].as_i64()?).ok()
        };
        let is_guest = |words: &[String]| words.get(1).is_some_and(|word| word == "guest");
        entries
            .filter_map(|entry| Victim::hold(pid(entry.path())?, is_guest))
            .collect()
    }

    fn runtimes(&self) -> Vec<Victim> {
        let guests: Vec<i32> = self.guests().iter().map(|guest| guest.pid).collect();
        let is_runtime = |words: &[String]| words.first().is_some_and(|word| word.ends_with(RUNTIME));
        processes()
            .filter(|pid| parent(*pid).is_some_and(|parent| guests.contains(&parent)))
            .filter_map(|pid| Victim::hold(pid, is_runtime))
            .collect()
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

impl Victim {
    /// The process of this number, if its command line is as it shall be.
    fn hold(pid: i32, is_it: impl Fn(&[String]) -> bool) -> Option<Self> {
        if !is_it(&words(pid)) {
            return None;
        }
        let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        // Another one may have had the number when it was opened.
        is_it(&words(pid)).then_some(Self { pid, process })
    }

    /// Says whether it was there and is dead now.
    pub fn kill(&self) -> bool {
        !self.is_gone(Duration::ZERO)
            && pidfd_send_signal(&self.process, Signal::KILL).is_ok()
            && self.is_gone(PATIENCE)
    }

    fn is_gone(&self, within: Duration) -> bool {
        let mut descriptors = [PollFd::new(&self.process, PollFlags::IN)];
        let within = Timespec::try_from(within).ok();
        matches!(poll(&mut descriptors, within.as_ref()), Ok(1..))
    }
}

fn end_all(find: impl Fn() -> Vec<Victim>, end: Instant) -> Result<u64, Vec<i32>> {
    let mut died = 0;
    loop {
        let found = find();
        if found.is_empty() {
            return Ok(died);
        }
        if Instant::now() > end {
            return Err(found.iter().map(|victim| victim.pid).collect());
        }
        died += found.iter().filter(|victim| victim.kill()).count() as u64;
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::process::{Child, Command, Stdio};

    /// A process whose arguments are these, once it runs.
    fn waits(arguments: &[&str]) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo; read line", "sh"]).args(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        child
    }

    /// Those whose command line has this word.
    fn with(word: &str) -> Vec<Victim> {
        let has = |words: &[String]| words.iter().any(|each| each == word);
        processes().filter_map(|pid| Victim::hold(pid, has)).collect()
    }

    #[test]
    fn only_what_is_of_the_directory_is_found_and_killed() {
        let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = ours.path().to_str().unwrap();
        let mut mine = waits(&["jailer", "--data", path]);
        let mut theirs = waits(&["jailer", "--data", other.path().to_str().unwrap()]);
        let pid = mine.id().cast_signed();
        let found: Vec<i32> = with(path).iter().map(|victim| victim.pid).collect();
        assert_eq!(found, [pid]);
        assert_eq!(parent(pid), Some(std::process::id().cast_signed()));
        assert_eq!(end_all(|| with(path), Instant::now() + PATIENCE), Ok(1));
        assert!(!mine.wait().unwrap().success());
        assert!(theirs.try_wait().unwrap().is_none());
        theirs.kill().unwrap();
        theirs.wait().unwrap();
        // The shell's first argument is no role of ours.
        for kind in [Kind::Server, Kind::Jailer, Kind::Guest, Kind::Runtime] {
            assert!(Victims::of(ours.path()).find(kind).is_empty(), "{kind:?}");
        }
    }

    #[test]
    fn who_was_gone_before_was_not_killed() {
        let ours = tempfile::tempdir().unwrap();
        let path = ours.path().to_str().unwrap();
        let mut child = waits(&[path]);
        let [victim] = <[Victim; 1]>::try_from(with(path)).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!victim.kill());
        assert_eq!(end_all(|| with(path), Instant::now() + PATIENCE), Ok(0));
    }
}
