//! One shell process: its start, its input lines, its status lines.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::Failure;
use super::dialect::{Dialect, candidates};
use super::processes::Identity;
use crate::Settings;

/// A shell that has not answered by then is given up.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// In the shell's environment: the shell to use instead of the one that would be found.
const SHELL_VARIABLE: &str = "HOSTLER_SHELL";
/// A status line is shorter; longer lines are not ours.
const LONGEST_LINE: usize = 4096;

pub(crate) struct Session {
    child: Child,
    pub(crate) identity: Identity,
    pub(crate) dialect: Dialect,
    input: Option<ChildStdin>,
    unsent: Vec<u8>,
    status: ChildStdout,
    line: Vec<u8>,
}

/// What a shell does.
pub(crate) enum Event {
    Written,
    Status(i32),
    /// No status will come any more: the shell has ended, or another program has taken its place.
    Silent,
    Ended(i32),
}

impl Session {
    /// Starts a shell in `directory` and waits until it answers. `restore` takes over the state of the one before.
    pub(crate) async fn start(
        settings: &Settings,
        directory: &Path,
        state: &Path,
        restore: bool,
    ) -> Result<Self, Failure> {
        let program = program(settings).ok_or(Failure::NoShell)?;
        let dialect = Dialect::of(&program);
        let mut session =
            Self::spawn(settings, directory, &program, dialect).map_err(|source| Failure::Start {
                program: program.clone(),
                source,
            })?;
        session.send(dialect.opening(state, restore).as_bytes());
        session.send(&dialect.status("ready"));
        match tokio::time::timeout(READY_WITHIN, session.ready()).await {
            Ok(Ok(())) => Ok(session),
            Ok(Err(source)) => Err(Failure::Start { program, source }),
            Err(_) => Err(Failure::Start {
                program,
                source: io::ErrorKind::TimedOut.into(),
            }),
        }
    }

    fn spawn(settings: &Settings, directory: &Path, program: &Path, dialect: Dialect) -> io::Result<Self> {
        let mut command = leading(program);
        let mut child = command
            .args(dialect.arguments())
            .env_clear()
            // Keeps an interactive shell from reading or writing the user's history; unset again in its first lines.
            .env("HISTFILE", "/dev/null")
            .envs(
                settings
                    .shell_environment
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .env("PWD", directory)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let ended = || io::Error::from(io::ErrorKind::BrokenPipe);
        let pid = child.id().ok_or_else(ended)? as i32;
        let started = super::processes::identity(pid).map_or(0, |identity| identity.started);
        Ok(Self {
            input: child.stdin.take(),
            status: child.stdout.take().ok_or_else(ended)?,
            child,
            identity: Identity { pid, started },
            dialect,
            unsent: Vec::new(),
            line: Vec::new(),
        })
    }

    async fn ready(&mut self) -> io::Result<()> {
        loop {
            match self.next("ready", true).await {
                Event::Written => {}
                Event::Status(_) => return Ok(()),
                Event::Silent | Event::Ended(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Lines for the shell; [`Session::next`] carries them over.
    pub(crate) fn send(&mut self, lines: &[u8]) {
        self.unsent.extend_from_slice(lines);
    }

    /// Waits for what happens next. `answers` is false when no status is expected. Nothing is lost if the future is
    /// dropped.
    pub(crate) async fn next(&mut self, marker: &str, answers: bool) -> Event {
        let Self {
            child,
            input,
            unsent,
            status,
            line,
            ..
        } = self;
        tokio::select! {
            biased;
            answer = next_status(status, line, marker), if answers => answer.map_or(Event::Silent, Event::Status),
            exit = child.wait() => Event::Ended(exit.map_or(-1, number_of)),
            written = write_some(input.as_mut(), unsent), if !unsent.is_empty() => {
                // What cannot be written will never be: the end of the process tells the rest.
                let length = written.unwrap_or(unsent.len());
                unsent.drain(..length);
                Event::Written
            }
        }
    }

    pub(crate) fn directory(&self) -> Option<PathBuf> {
        let directory = std::fs::read_link(format!("/proc/{}/cwd", self.identity.pid)).ok()?;
        directory.is_dir().then_some(directory)
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|exit| exit.is_some())
    }

    /// The shell sees the end of its input, and ends.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    pub(crate) async fn kill(mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::debug!(%error, "the shell was gone already");
        }
    }
}

fn program(settings: &Settings) -> Option<PathBuf> {
    let variable = |wanted: &str| {
        settings
            .shell_environment
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_os_str())
    };
    let chosen = variable(SHELL_VARIABLE).map(PathBuf::from).into_iter();
    chosen
        .chain(candidates(variable("PATH")))
        .find(|program| program.is_file())
}

/// The shell leads its own process group, out of reach of signals for ours. With a terminal it must leave the session
/// too: an interactive shell in the background of a terminal would stop.
fn leading(program: &Path) -> Command {
    let setsid = Path::new("/usr/bin/setsid");
    if std::fs::File::open("/dev/tty").is_err() {
        let mut command = Command::new(program);
        command.process_group(0);
        command
    } else if setsid.is_file() {
        let mut command = Command::new(setsid);
        command.arg(program);
        command
    } else {
        Command::new(program)
    }
}

async fn write_some(input: Option<&mut ChildStdin>, unsent: &[u8]) -> io::Result<usize> {
    match input {
        Some(input) => input.write(unsent).await,
        None => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// Lines that are not the marker's are what hooks of the user's print.
async fn next_status(status: &mut ChildStdout, line: &mut Vec<u8>, marker: &str) -> io::Result<i32> {
    loop {
        while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            let whole: Vec<u8> = line.drain(..=end).collect();
            if let Some(number) = parse_status(&whole, marker) {
                return Ok(number);
            }
        }
        if line.len() > LONGEST_LINE {
            line.clear();
        }
        if status.read_buf(line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// As a shell tells it.
fn number_of(exit: ExitStatus) -> i32 {
    exit.code()
        .or_else(|| exit.signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}

fn parse_status(line: &[u8], marker: &str) -> Option<i32> {
    std::str::from_utf8(line)
        .ok()?
        .trim_end()
        .strip_prefix(marker)?
        .strip_prefix(' ')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_status_line_of_the_marker_is_a_status() {
        for (line, expected) in [
            ("m-1 0\n", Some(0)),
            ("m-1 130\n", Some(130)),
            ("m-12 0\n", None),
            (" m-1 0\n", None),
            ("m-1\n", None),
            ("m-1 x\n", None),
            ("\n", None),
        ] {
            assert_eq!(parse_status(line.as_bytes(), "m-1"), expected, "{line:?}");
        }
        assert_eq!(parse_status(b"m-1 \xff\n", "m-1"), None);
    }
}
