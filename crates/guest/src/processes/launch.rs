//! Starting a program: its pipes or its terminal, its directory, its user.
//!
//! A program gets descriptors 0, 1 and 2 and nothing else of the guest, a session and process group of its own, and
//! exactly the environment that was asked for.

use super::input::Input;
use super::process::window;
use crate::agent_user::AgentUser;
use crate::output::Source;
use crate::refusal::Refusal;
use crate::sys::{self, Becoming};
use guest_protocol::{ErrorKind, Spawn, Stdio, Stream, TerminalSize};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{DumpableBehavior, Pid};
use rustix::pty::OpenptFlags;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

/// How much sooner the kernel ends a program than the guest when memory runs out.
const SCORE: &[u8] = b"500";

pub(super) struct Launch {
    user: AgentUser,
    /// The default, then the one for where that is missing.
    directories: [String; 2],
    score: Option<Score>,
}

pub(super) struct Launched {
    pub(super) pid: Pid,
    pub(super) sources: Vec<Source>,
    pub(super) input: Input,
    pub(super) terminal: Option<OwnedFd>,
}

/// The guest's own `oom_score_adj`, which a program inherits at its start, and what it is otherwise.
struct Score {
    file: File,
    own: Vec<u8>,
}

/// The guest's ends and the program's.
struct Channels {
    input: OwnedFd,
    outputs: Vec<(OwnedFd, Stream)>,
    program: [OwnedFd; 3],
    terminal: Option<OwnedFd>,
}

impl Launch {
    pub(super) fn new(user: AgentUser, directories: [String; 2]) -> Self {
        Self {
            user,
            directories,
            score: Score::open().ok(),
        }
    }

    pub(super) fn start(&self, spawn: &Spawn) -> Result<Launched, Refusal> {
        let program = spawn.argv.first().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| Refusal::invalid("argv names no program"))?;
        check_environment(spawn)?;
        let cwd = self.user.acting(|| self.open_directory(spawn.cwd.as_deref()))?;
        let failed = |error: io::Error| Refusal::of_system("make the channels of a process", &error);
        let channels = match spawn.stdio {
            Stdio::Pipes => pipes(),
            // The terminal's owner is who opens it.
            Stdio::Terminal(size) => self.user.acting(|| Ok(terminal(size)))?,
        };
        let Channels {
            input,
            outputs,
            program: [stdin, stdout, stderr],
            terminal,
        } = channels.map_err(failed)?;
        let is_terminal = terminal.is_some();
        let input = Input::new(input, is_terminal).map_err(failed)?;
        let sources = outputs
            .into_iter()
            .map(|(fd, stream)| Source::new(fd, stream, spawn.framing));
        let sources = sources.collect::<io::Result<Vec<_>>>().map_err(failed)?;

        let mut command = Command::new(program);
        command
            .args(&spawn.argv[1..])
            .env_clear()
            .envs(&spawn.env)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr);
        let becoming = Becoming {
            terminal: is_terminal,
            user: self.user.switch(),
            cwd,
        };
        if let Some(score) = &self.score {
            score.write(SCORE);
        }
        let started = sys::start(&mut command, becoming);
        if let Some(score) = &self.score {
            score.write(&score.own);
        }
        let child = started.map_err(|error| not_started(program, &error))?;
        let pid = Pid::from_child(&child);
        Ok(Launched {
            pid,
            sources,
            input,
            terminal,
        })
    }

    /// Asked for, it must be there; the default may be missing.
    fn open_directory(&self, asked: Option<&str>) -> Result<OwnedFd, Refusal> {
        if let Some(path) = asked {
            return directory(path)
                .map_err(|error| Refusal::of_system(&format!("start in {path}"), &error.into()));
        }
        let [first, second] = &self.directories;
        directory(first)
            .or_else(|_| directory(second))
            .map_err(|error| Refusal::of_system(&format!("start in {first} or {second}"), &error.into()))
    }
}

impl Score {
    /// Nothing without `/proc`. A process that cannot be traced cannot open this file of its own; nothing of the agent
    /// runs yet when the guest can be for this moment.
    fn open() -> io::Result<Self> {
        let before = rustix::process::dumpable_behavior()?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        let file = File::options()
            .read(true)
            .write(true)
            .open("/proc/self/oom_score_adj");
        rustix::process::set_dumpable_behavior(match before {
            DumpableBehavior::Dumpable => DumpableBehavior::Dumpable,
            _ => DumpableBehavior::NotDumpable,
        })?;
        let file = file?;
        let mut own = vec![0; 8];
        let length = file.read_at(&mut own, 0)?;
        own.truncate(length);
        Ok(Self { file, own })
    }

    fn write(&self, score: &[u8]) {
        // Without it a program is ended no sooner than the guest, which is no reason not to start it.
        let _ = self.file.write_at(score, 0);
    }
}

fn check_environment(spawn: &Spawn) -> Result<(), Refusal> {
    let bad_name = |name: &String| name.is_empty() || name.contains(['=', '\0']);
    if let Some(name) = spawn.env.keys().find(|name| bad_name(name)) {
        return Err(Refusal::invalid(format!(
            "{name:?} cannot name an environment variable"
        )));
    }
    let mut texts = spawn.argv.iter().chain(spawn.env.values()).chain(&spawn.cwd);
    if texts.any(|text| text.contains('\0')) {
        return Err(Refusal::invalid(
            "a zero byte in an argument, an environment value or the directory",
        ));
    }
    Ok(())
}

fn directory(path: impl AsRef<OsStr>) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path.as_ref(), flags, Mode::empty())
}

fn pipes() -> io::Result<Channels> {
    let (stdin, input) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (out, stdout) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (err, stderr) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // The guest's ends only: the program's are other descriptions.
    for fd in [&input, &out, &err] {
        rustix::io::ioctl_fionbio(fd, true)?;
    }
    let outputs = vec![(out, Stream::Stdout), (err, Stream::Stderr)];
    Ok(Channels {
        input,
        outputs,
        program: [stdin, stdout, stderr],
        terminal: None,
    })
}

fn terminal(size: TerminalSize) -> io::Result<Channels> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let host = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&host)?;
    let program = rustix::pty::ioctl_tiocgptpeer(&host, flags)?;
    rustix::termios::tcsetwinsize(&host, window(size))?;
    rustix::io::ioctl_fionbio(&host, true)?;
    let again = |fd: &OwnedFd| fd.as_fd().try_clone_to_owned();
    Ok(Channels {
        input: again(&host)?,
        outputs: vec![(again(&host)?, Stream::Stdout)],
        program: [again(&program)?, again(&program)?, program],
        terminal: Some(host),
    })
}

fn not_started(program: &str, error: &io::Error) -> Refusal {
    let doing = format!("start {program}");
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOMEM) => {
            let message = format!("cannot {doing}: the sandbox is at its limit of processes or memory");
            Refusal::new(ErrorKind::NoSpace, message)
        }
        _ => Refusal::of_system(&doing, error),
    }
}
