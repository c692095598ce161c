//! Finds what a call started, so that it can be ended: nothing more, and nothing less.
//!
//! A process belongs to a call if it descends from the shell through a child that was not there when the call began,
//! or carries the call's tag in its environment, or holds one of the call's pipes, or is of the shell's process group
//! and younger than the call. The tag and the pipes find what left the shell's tree by a double fork or `setsid`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal};

use super::dialect::TAG_VARIABLE;

/// Start time in clock ticks since boot tells a process from a later one with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    pub(crate) started: u64,
}

#[derive(Debug, Clone, Copy)]
struct Process {
    identity: Identity,
    parent: i32,
    group: i32,
    zombie: bool,
}

/// By what the processes of a call are known.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    /// `None` where it has ended: then nothing descends from it any more.
    pub(crate) shell: Option<i32>,
    /// The shell's children when the call began.
    pub(crate) earlier: HashSet<Identity>,
    /// The newest process that was there when the call began cannot be younger than this.
    pub(crate) since: u64,
    /// A tag, or with `any_call` the beginning of the tags of all calls.
    pub(crate) tag: String,
    /// Pipes of the call, or with `any_call` their directory.
    pub(crate) pipes: Vec<PathBuf>,
    pub(crate) any_call: bool,
}

impl Marks {
    /// The living processes that bear the marks, without the shell itself.
    pub(crate) fn processes(&self) -> Vec<Identity> {
        let all = all();
        let own = std::process::id() as i32;
        let program = fs::read_link("/proc/self/exe").ok();
        let mut found = Vec::new();
        for process in all.values() {
            let pid = process.identity.pid;
            if Some(pid) == self.shell || pid == own || process.zombie {
                continue;
            }
            if self.descends(process, &all)
                || self.is_young_member(process, &all)
                || self.is_tagged(pid)
                || self.holds_pipe(pid, program.as_ref())
            {
                found.push(process.identity);
            }
        }
        found
    }

    fn descends(&self, process: &Process, all: &HashMap<i32, Process>) -> bool {
        self.root(process, all)
            .is_some_and(|root| self.any_call || !self.earlier.contains(&root))
    }

    /// The shell's child that the process descends from.
    fn root(&self, process: &Process, all: &HashMap<i32, Process>) -> Option<Identity> {
        let mut current = process;
        // A tree read while it changes may hold a loop.
        for _ in 0..all.len() {
            if Some(current.parent) == self.shell {
                return Some(current.identity);
            }
            current = all.get(&current.parent)?;
        }
        None
    }

    fn is_young_member(&self, process: &Process, all: &HashMap<i32, Process>) -> bool {
        Some(process.group) == self.shell
            && self.root(process, all).is_none()
            && (self.any_call || process.identity.started > self.since)
    }

    fn is_tagged(&self, pid: i32) -> bool {
        let mut environment = Vec::new();
        let Ok(file) = fs::File::open(format!("/proc/{pid}/environ")) else {
            return false;
        };
        if file.take(ENVIRONMENT_READ).read_to_end(&mut environment).is_err() {
            return false;
        }
        environment.split(|byte| *byte == 0).any(|variable| {
            let value = variable
                .strip_prefix(TAG_VARIABLE.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="));
            value.is_some_and(|value| {
                if self.any_call {
                    value.starts_with(self.tag.as_bytes())
                } else {
                    value == self.tag.as_bytes()
                }
            })
        })
    }

    /// A child of this program has this program's descriptors until it executes its own; `program` tells it.
    fn holds_pipe(&self, pid: i32, program: Option<&PathBuf>) -> bool {
        if fs::read_link(format!("/proc/{pid}/exe")).ok().as_ref() == program {
            return false;
        }
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        descriptors
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|target| {
                self.pipes.iter().any(|pipe| {
                    if self.any_call {
                        target.starts_with(pipe)
                    } else {
                        is_pipe(&target, pipe)
                    }
                })
            })
    }
}

/// What the kernel tells to programs, whatever its own clock is.
const TICKS_PER_SECOND: u64 = 100;

/// No environment that was given to a process by execve is longer than its argument limit.
const ENVIRONMENT_READ: u64 = 8 << 20;

fn is_pipe(target: &Path, pipe: &Path) -> bool {
    let target = target.as_os_str().as_bytes();
    target.strip_suffix(b" (deleted)").unwrap_or(target) == pipe.as_os_str().as_bytes()
}

/// The direct children of a process, as cheaply as the kernel tells them: each thread has a list of its own.
pub(crate) fn children(pid: i32) -> HashSet<Identity> {
    children_of_threads(pid).unwrap_or_else(|_| {
        all()
            .into_values()
            .filter(|process| process.parent == pid)
            .map(|process| process.identity)
            .collect()
    })
}

fn children_of_threads(pid: i32) -> io::Result<HashSet<Identity>> {
    let mut children = HashSet::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let list = fs::read_to_string(thread?.path().join("children"))?;
        let pids = list
            .split_ascii_whitespace()
            .filter_map(|number| number.parse().ok());
        children.extend(pids.filter_map(read).map(|process| process.identity));
    }
    Ok(children)
}

pub(crate) fn identity(pid: i32) -> Option<Identity> {
    read(pid).map(|process| process.identity)
}

/// Now, in the clock ticks that start times are told in.
pub(crate) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * TICKS_PER_SECOND + now.tv_nsec as u64 * TICKS_PER_SECOND / 1_000_000_000
}

/// Sends a signal to exactly this process, never to a later one with its number.
pub(crate) fn signal(identity: Identity, signal: Signal) {
    let Some(pid) = Pid::from_raw(identity.pid) else {
        return;
    };
    let descriptor = rustix::process::pidfd_open(pid, PidfdFlags::empty());
    if read(identity.pid).is_none_or(|process| process.identity != identity) {
        return;
    }
    // A process that has just ended is what a signal was to bring about.
    let sent = match descriptor {
        Ok(descriptor) => rustix::process::pidfd_send_signal(&descriptor, signal),
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => rustix::process::kill_process(pid, signal),
        Err(_) => return,
    };
    if let Err(error) = sent
        && error != rustix::io::Errno::SRCH
    {
        tracing::debug!(%error, pid = identity.pid, "a process could not be signalled");
    }
}

fn all() -> HashMap<i32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return HashMap::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(read)
        .map(|process| (process.identity.pid, process))
        .collect()
}

fn read(pid: i32) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(pid, &stat)
}

/// The name, in parentheses, may itself hold spaces and parentheses; the fields follow the last one.
fn parse(pid: i32, stat: &[u8]) -> Option<Process> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields: Vec<&str> = std::str::from_utf8(&stat[end + 1..])
        .ok()?
        .split_ascii_whitespace()
        .collect();
    Some(Process {
        identity: Identity {
            pid,
            started: fields.get(19)?.parse().ok()?,
        },
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        zombie: matches!(*fields.first()?, "Z" | "X"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = b"7 (a) R 1 (b) S 3 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2\n";
        let process = parse(7, stat).unwrap();
        assert_eq!(
            (
                process.parent,
                process.group,
                process.identity.started,
                process.zombie
            ),
            (3, 5, 4711, false)
        );
        for broken in [&b""[..], b"7 (x", b"7 (x) S", b"7 (x) S 1 2 3 \xff"] {
            assert!(parse(7, broken).is_none());
        }
    }

    #[test]
    fn this_process_is_found_and_is_not_younger_than_now() {
        let own = read(std::process::id() as i32).unwrap();
        assert!(own.identity.started <= now());
        assert!(children(own.parent).contains(&own.identity));
    }

    #[test]
    fn without_a_shell_nothing_descends_and_this_program_holds_no_pipe() {
        let mut marks = Marks {
            shell: None,
            earlier: HashSet::new(),
            since: 0,
            tag: "no process has this tag".to_owned(),
            pipes: Vec::new(),
            any_call: true,
        };
        assert_eq!(marks.processes(), []);
        let file = tempfile::NamedTempFile::new().unwrap();
        marks.pipes.push(file.path().to_owned());
        let own = std::process::id() as i32;
        assert!(marks.holds_pipe(own, None));
        assert!(!marks.holds_pipe(own, fs::read_link("/proc/self/exe").ok().as_ref()));
    }

    #[test]
    fn a_deleted_pipe_is_still_that_pipe() {
        let pipe = Path::new("/tmp/d/out-1");
        assert!(is_pipe(Path::new("/tmp/d/out-1"), pipe));
        assert!(is_pipe(Path::new("/tmp/d/out-1 (deleted)"), pipe));
        assert!(!is_pipe(Path::new("/tmp/d/out-12"), pipe));
    }
}
