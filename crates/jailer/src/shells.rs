//! Making and ending shells: each step and its undo.

use crate::capabilities;
use crate::error::{During as _, StepError};
use crate::identity;
use crate::machine::{Identity, Machine};
use crate::plan::{self, ShellStep};
use crate::protocol::Limits;
use crate::record::Record;
use crate::registry::Range;
use crate::shell::{CHANNEL_FD, Order, Part, Parts, Report};
use crate::sys::{self, Child};
use crate::workshop::Workshop;
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::{Gid, Signal, Uid, pidfd_send_signal};
use std::time::Duration;

/// How long the kernel may take to empty a group whose processes were killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// This binary, where a shell sees it before it has a root.
const PROGRAM: &std::ffi::CStr = c"/image/.hostler/hostler-agent";

const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// What the names of shells begin with, of their groups and of their directories.
pub const PREFIX: &str = "shell_";
/// The guest's socket in its sandbox's directory.
pub const SOCKET: &str = "guest.sock";
const BACKLOG: i32 = 128;

/// A shell, whole or half made.
#[derive(Debug)]
pub struct Shell {
    /// Of its cgroup.
    pub name: String,
    pub limits: Limits,
    pub range: Option<Range>,
    pub child: Option<Child>,
    /// Until the shell is a sandbox.
    pub channel: Option<OwnedFd>,
    pub listeners: Vec<OwnedFd>,
    pub user_namespace: Option<OwnedFd>,
    /// `DATA/sandboxes/<name>`, until a sandbox's name is given to it.
    pub directory: Option<OwnedFd>,
    /// The guest's socket and outbox.
    pub parts: Parts,
    /// In the order in which they were done.
    done: Vec<ShellStep>,
}

impl Shell {
    /// Where its users start outside.
    pub fn base(&self) -> u32 {
        self.range.map_or(0, Range::base)
    }

    pub fn pid(&self) -> i32 {
        self.child.as_ref().map_or(-1, |child| child.pid)
    }

    /// A shell that another jailer made, and that is a sandbox.
    pub fn adopted(record: &Record, child: Child, machine: &Machine) -> Self {
        Self {
            name: record.name.clone(),
            limits: record.limits,
            range: record.range.map(|number| Range { number }),
            child: Some(child),
            channel: None,
            listeners: Vec::new(),
            user_namespace: None,
            directory: None,
            parts: Parts::new(),
            done: plan::shell(machine),
        }
    }

    /// The number in its name.
    pub fn number(name: &str) -> u64 {
        let number = name.strip_prefix(PREFIX).and_then(|number| number.parse().ok());
        number.unwrap_or(0)
    }

    pub fn send(&self, order: &Order, descriptors: &[BorrowedFd<'_>]) -> Result<(), StepError> {
        let gone = || std::io::Error::from(std::io::ErrorKind::NotConnected);
        let channel = self.channel.as_ref().ok_or_else(gone);
        channel
            .and_then(|channel| channel::send(channel, order, descriptors).map_err(std::io::Error::other))
            .during("tell shell", || self.name.clone())
    }
}

impl Workshop {
    /// A shell that is preparing itself; it says on its channel when it is ready.
    pub fn make_shell(&mut self, limits: Limits) -> Result<Shell, StepError> {
        self.next += 1;
        let (own, theirs) = channel::pair().during("make channel", String::new)?;
        let mut shell = Shell {
            name: format!("{PREFIX}{}", self.next),
            limits,
            range: None,
            child: None,
            channel: Some(own),
            listeners: Vec::new(),
            user_namespace: None,
            directory: None,
            parts: Parts::new(),
            done: Vec::new(),
        };
        for step in plan::shell(&self.machine) {
            if let Err(error) = self.shell_step(step, &mut shell, &theirs) {
                self.end_shell(shell);
                return Err(error);
            }
            shell.done.push(step);
        }
        Ok(shell)
    }

    fn shell_step(&mut self, step: ShellStep, shell: &mut Shell, theirs: &OwnedFd) -> Result<(), StepError> {
        match step {
            ShellStep::Directory => self.make_directory(shell),
            ShellStep::ReserveRange => {
                shell.range = self
                    .registry
                    .as_mut()
                    .map(crate::registry::Registry::reserve)
                    .transpose()?;
                Ok(())
            }
            ShellStep::MakeCgroup => self.cgroups.make(&shell.name, &shell.limits),
            ShellStep::CloneNamespaces => {
                let group = if self.machine.has_cgroups {
                    self.cgroups.clone_target(&shell.name)?
                } else {
                    None
                };
                // What namespaces and their watches take is charged to their maker, and message queues belong to it: no
                // two ranges share a maker.
                if let Some(range) = shell.range {
                    identity::act_as(range.base())?;
                }
                let cloned = sys::clone3(NAMESPACES as u64, group.as_ref().map(|group| group.as_fd()));
                if matches!(cloned, Ok(None)) {
                    become_shell(theirs);
                }
                if shell.range.is_some() {
                    identity::act_as_root();
                }
                shell.child = cloned.during("clone namespaces", || {
                    "are user namespaces allowed here?".to_owned()
                })?;
                Ok(())
            }
            ShellStep::MapIds => {
                let map = identity::sandbox_map(self.machine.identity, shell.base());
                identity::write_maps(shell.pid(), &map, &map)?;
                if self.machine.identity == Identity::Ranges {
                    shell.user_namespace = Some(identity::user_namespace(shell.pid())?);
                }
                Ok(())
            }
            ShellStep::JoinCgroup => self.cgroups.join(&shell.name, shell.pid()),
            ShellStep::StartShell => {
                let uid = identity::shell_user(self.machine.identity);
                let orders = [
                    Order::Go { uid },
                    Order::Prepare {
                        steps: plan::prepare(),
                    },
                ];
                orders.iter().try_for_each(|order| shell.send(order, &[]))
            }
        }
    }

    fn make_directory(&self, shell: &mut Shell) -> Result<(), StepError> {
        let name = &shell.name;
        rustix::fs::mkdirat(&self.sandboxes, name, Mode::from_raw_mode(0o700))
            .during("make directory", || name.clone())?;
        let directory = self.open_directory(name)?;
        let socket = guest_socket(&directory)?;
        if let Some(user) = &self.user {
            user.let_in(&directory, SOCKET)?;
        }
        shell.parts.insert(Part::GuestSocket, socket);
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let outbox = rustix::fs::openat(&directory, ".", flags, Mode::from_raw_mode(0o600))
            .during("make outbox", || name.clone())?;
        shell.parts.insert(Part::Outbox, outbox);
        shell.directory = Some(directory);
        Ok(())
    }

    /// Kills a shell, or the sandbox that it became, and undoes every step. What could not be undone is returned.
    pub fn end_shell(&mut self, mut shell: Shell) -> Vec<StepError> {
        let mut failed = Vec::new();
        // A clone that never got so far as to be done is still a child.
        if shell.child.is_some() && !shell.done.contains(&ShellStep::CloneNamespaces) {
            shell.done.push(ShellStep::CloneNamespaces);
        }
        while let Some(step) = shell.done.pop() {
            failed.extend(self.undo_shell_step(step, &mut shell).err());
        }
        failed
    }

    fn undo_shell_step(&mut self, step: ShellStep, shell: &mut Shell) -> Result<(), StepError> {
        match step {
            ShellStep::Directory => {
                // A sandbox has it under another name.
                let name = &shell.name;
                rustix::fs::unlinkat(&self.sandboxes, format!("{name}/{SOCKET}"), AtFlags::empty()).ok();
                rustix::fs::unlinkat(&self.sandboxes, name, AtFlags::REMOVEDIR).ok();
                Ok(())
            }
            ShellStep::ReserveRange => match (&self.registry, shell.range) {
                (Some(registry), Some(range)) => registry.release(range),
                _ => Ok(()),
            },
            ShellStep::MakeCgroup => self.cgroups.remove(&shell.name, PATIENCE),
            ShellStep::CloneNamespaces => {
                let Some(child) = shell.child.take() else {
                    return Ok(());
                };
                pidfd_send_signal(&child.pidfd, Signal::KILL).ok();
                identity::reap(&child.pidfd)
                    .map(drop)
                    .during("reap", || shell.name.clone())
            }
            ShellStep::JoinCgroup => {
                self.kill(shell);
                Ok(())
            }
            ShellStep::MapIds | ShellStep::StartShell => Ok(()),
        }
    }

    /// Sends every process of a shell or sandbox its end, without waiting for it. A group that cannot be killed still
    /// loses its process 1, and with it all others.
    pub fn kill(&self, shell: &Shell) {
        if let Some(child) = &shell.child {
            pidfd_send_signal(&child.pidfd, Signal::KILL).ok();
        }
        if self.machine.has_cgroups {
            self.cgroups.kill(&shell.name);
        }
    }
}

/// Bound through the directory's descriptor: the path of a socket may have 107 bytes only.
fn guest_socket(directory: &OwnedFd) -> Result<OwnedFd, StepError> {
    let path = format!("/proc/self/fd/{}/{SOCKET}", crate::sys::number_of(directory));
    let make = || -> rustix::io::Result<OwnedFd> {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        bind(&socket, &SocketAddrUnix::new(path.as_str())?)?;
        rustix::fs::chmodat(directory, SOCKET, Mode::from_raw_mode(0o600), AtFlags::empty())?;
        listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    make().during("bind guest socket", || SOCKET.to_owned())
}

/// The child's side: waits for its ids, then runs this binary anew, so that nothing of the jailer's memory is left.
fn become_shell(theirs: &OwnedFd) -> ! {
    let Ok(channel) = keep_only(theirs) else {
        sys::exit_now(71);
    };
    if let Err(error) = start_program(&channel) {
        let reason = format!("{}: {}", error.what, error.source);
        let report = Report::Failed {
            step: error.step.to_owned(),
            reason,
        };
        channel::send(&channel, &report, &[]).ok();
    }
    sys::exit_now(71)
}

/// Closes everything but the channel. A jailer that is killed now must leave none of its locks with a shell, nor the
/// other end of the channel, whose closing is how a shell hears of it.
fn keep_only(channel: &OwnedFd) -> std::io::Result<OwnedFd> {
    sys::place_fd(channel.as_fd(), CHANNEL_FD)?;
    sys::close_from(CHANNEL_FD as u32 + 1)?;
    sys::inherited_fd(CHANNEL_FD)
}

fn start_program(channel: &OwnedFd) -> Result<(), StepError> {
    let received = channel::receive::<Order>(channel).map_err(std::io::Error::other);
    let (Order::Go { uid }, _) = received.during("receive order", String::new)? else {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidData))
            .during("receive order", String::new);
    };
    rustix::process::setsid().during("make session", String::new)?;
    // Where groups cannot be changed there are none to drop.
    rustix::thread::set_thread_groups(&[]).ok();
    let (group, user) = (Gid::from_raw(uid), Uid::from_raw(uid));
    rustix::thread::set_thread_res_gid(group, group, group).during("set group", || uid.to_string())?;
    rustix::thread::set_thread_res_uid(user, user, user).during("set user", || uid.to_string())?;
    if uid != 0 {
        capabilities::keep_over_exec()?;
    }
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null");
    let null = OwnedFd::from(null.during("open", || "/dev/null".to_owned())?);
    for number in 0..CHANNEL_FD {
        sys::place_fd(null.as_fd(), number).during("place descriptor", || number.to_string())?;
    }
    sys::place_fd(channel.as_fd(), CHANNEL_FD).during("keep channel", String::new)?;
    sys::close_from(CHANNEL_FD as u32 + 1).during("close descriptors", String::new)?;
    Err(sys::execve(PROGRAM, &[c"hostler", c"guest"], &[])).during("exec", || "hostler-agent".to_owned())
}
