//! The processes that the host started, by its ids, from their start until it removes them.
//!
//! A process is reaped by [`Processes::reap`] alone. An entry stays after the exit, with its output, until it is removed.

mod exit;
mod input;
mod launch;
mod process;

pub(crate) use exit::ExitCell;
pub(crate) use process::Process;

use crate::agent_user::AgentUser;
use crate::output::{Log, Outbox, Pump};
use crate::refusal::Refusal;
use crate::sys;
use guest_protocol::{Exit, Spawn};
use launch::{Launch, Launched};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, WaitOptions, WaitStatus};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;

/// Entries, running or not, at one time.
const MAX_PROCESSES: usize = 64;

const SIGKILL: i32 = 9;

pub(crate) struct Processes {
    launch: Launch,
    outbox: Rc<RefCell<Outbox>>,
    entries: RefCell<BTreeMap<String, Rc<Process>>>,
}

impl Processes {
    pub(crate) fn new(outbox: Option<OwnedFd>, user: AgentUser, directories: [String; 2]) -> Self {
        Self {
            launch: Launch::new(user, directories),
            outbox: Rc::new(RefCell::new(Outbox::new(outbox))),
            entries: RefCell::new(BTreeMap::new()),
        }
    }

    /// Starts a process, or finds the one that the same request started before.
    pub(crate) fn spawn(&self, spawn: &Spawn) -> Result<Rc<Process>, Refusal> {
        check_id(&spawn.id)?;
        let request = fingerprint(spawn);
        if let Some(process) = self.entries.borrow().get(&spawn.id) {
            return if process.request() == request {
                Ok(Rc::clone(process))
            } else {
                Err(Refusal::conflict(format!(
                    "another process has the id {}",
                    spawn.id
                )))
            };
        }
        if self.entries.borrow().len() >= MAX_PROCESSES {
            let message = format!("there are {MAX_PROCESSES} processes: remove one that has exited");
            return Err(Refusal::invalid(message));
        }
        let Launched {
            pid,
            sources,
            input,
            terminal,
        } = self.launch.start(spawn)?;
        let log = Rc::new(RefCell::new(Log::new(Rc::clone(&self.outbox))));
        let exit = Rc::new(ExitCell::default());
        // Its owner is the entry: the task ends when the entry is removed.
        let pump = tokio::task::spawn_local(Pump::new(Rc::clone(&log), Rc::clone(&exit), sources).run())
            .abort_handle();
        let process = Rc::new(Process::new(
            spawn.id.clone(),
            (pid, request),
            log,
            exit,
            (input, terminal, pump),
        ));
        self.entries
            .borrow_mut()
            .insert(spawn.id.clone(), Rc::clone(&process));
        Ok(process)
    }

    pub(crate) fn find(&self, id: &str) -> Result<Rc<Process>, Refusal> {
        let found = self.entries.borrow().get(id).cloned();
        found.ok_or_else(|| Refusal::not_found("no process has this id"))
    }

    pub(crate) fn all(&self) -> Vec<guest_protocol::Process> {
        self.entries
            .borrow()
            .values()
            .map(|process| process.describe())
            .collect()
    }

    pub(crate) fn running(&self) -> u32 {
        self.entries
            .borrow()
            .values()
            .filter(|process| process.exit().is_none())
            .count() as u32
    }

    /// Kills the whole group and forgets the output.
    pub(crate) fn remove(&self, id: &str) -> Result<(), Refusal> {
        let process = self.find(id)?;
        process.kill_group(SIGKILL)?;
        self.entries.borrow_mut().remove(id);
        process.close();
        Ok(())
    }

    /// Reaps whatever has ended: the host's processes, and the orphans of the sandbox, which nobody else would.
    pub(crate) fn reap(&self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let Some(exit) = exit_of(status) else {
                continue;
            };
            let entries = self.entries.borrow();
            let own = entries
                .values()
                .find(|process| process.exit().is_none() && process.pid() == pid);
            if let Some(process) = own {
                process.ended(exit);
            }
        }
    }
}

fn exit_of(status: WaitStatus) -> Option<Exit> {
    status
        .exit_status()
        .map(Exit::Code)
        .or_else(|| status.terminating_signal().map(Exit::Signal))
}

fn check_id(id: &str) -> Result<(), Refusal> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=64).contains(&id.len()) && id.bytes().all(allowed) {
        return Ok(());
    }
    Err(Refusal::invalid("a process id is 1 to 64 of A-Z a-z 0-9 _ -"))
}

/// Tells the same request from another one with the same id. Both are the host's: no adversary chooses them.
fn fingerprint(spawn: &Spawn) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{spawn:?}").hash(&mut hasher);
    hasher.finish()
}

/// Kills what is left of a process's group; a group that is empty by now is killed already.
fn kill_group(pid: Pid, signal: i32) -> Result<(), Refusal> {
    match sys::kill(pid, signal, true) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        result => result.map_err(|error| Refusal::of_system("signal the process group", &error)),
    }
}
