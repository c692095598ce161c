//! SIGUSR2: this program is started again, as the one that takes over. It may be another version by now.

use crate::settings::ServeSettings;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use terminal::Failure;
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The word by which the binary starts itself with the arguments that follow, as nobody's child.
pub const APART: &str = "apart";
const TAKE_OVER: &str = "--take-over";
const MOST_DIGITS: u64 = 32;

pub(super) struct Upgrades {
    asked: Signal,
    /// Where this program was when it started; another may lie there now.
    program: PathBuf,
    /// Where this server found what the successor, who may be another user by now, would look for elsewhere.
    places: Vec<(&'static str, PathBuf)>,
}

impl Upgrades {
    pub(super) fn of_process(settings: &ServeSettings) -> Result<Self, Failure> {
        let file = settings.file.clone().map(|file| ("HOSTLER_CONFIG", file));
        let data = ("HOSTLER_DATA", settings.data.clone());
        let opened = || -> io::Result<Self> {
            Ok(Self {
                asked: signal(SignalKind::user_defined2())?,
                program: std::env::current_exe()?,
                places: file.into_iter().chain([data]).collect(),
            })
        };
        opened().map_err(|error| Failure::failed("start", error))
    }

    /// Waits for the next one. May be dropped while it waits.
    pub(super) async fn next(&mut self) {
        if self.asked.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Starts the successor, which asks for everything itself. Where it cannot, this server stays.
    pub(super) fn start_successor(&self) {
        let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        if !arguments.iter().any(|argument| argument == TAKE_OVER) {
            arguments.push(TAKE_OVER.into());
        }
        let (program, places) = (self.program.clone(), self.places.clone());
        tokio::spawn(async move {
            match start(&program, arguments, places).await {
                Ok(successor) => {
                    tracing::info!(pid = successor.as_raw_nonzero(), "a successor is started");
                    watch(successor);
                }
                Err(error) => {
                    tracing::error!(program = %program.display(), %error, "no successor can be started");
                }
            }
        });
    }
}

/// As nobody's child: see [`APART`].
async fn start(
    program: &Path,
    arguments: Vec<OsString>,
    places: Vec<(&'static str, PathBuf)>,
) -> io::Result<Pid> {
    let (ours, theirs) = UnixStream::pair()?;
    // Descriptors of a service manager are this process's; the successor gets them from it.
    let mut between = Command::new(program)
        .arg(APART)
        .args(arguments)
        .envs(places)
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_PID")
        .stdin(OwnedFd::from(theirs))
        .spawn()?;
    let status = between.wait().await?;
    let mut said = String::new();
    // Who could say more has ended.
    (&ours).take(MOST_DIGITS).read_to_string(&mut said)?;
    let number = said.trim().parse().ok().and_then(Pid::from_raw);
    match number {
        Some(number) if status.success() => Ok(number),
        _ => Err(io::Error::other(status.to_string())),
    }
}

/// Tells of its end, from a thread that ends with this process: nothing here waits for it.
fn watch(successor: Pid) {
    let watching = std::thread::Builder::new().name("successor".to_owned());
    let watched = watching.spawn(move || match ended(successor) {
        Ok(()) => tracing::warn!("the successor has ended before this server"),
        Err(error) => tracing::debug!(%error, "the successor cannot be watched"),
    });
    if let Err(error) = watched {
        tracing::debug!(%error, "the successor cannot be watched");
    }
}

fn ended(process: Pid) -> io::Result<()> {
    let process = match rustix::process::pidfd_open(process, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        opened => opened?,
    };
    let mut wait = [PollFd::new(&process, PollFlags::IN)];
    loop {
        match poll(&mut wait, None) {
            Err(Errno::INTR) => {}
            polled => return Ok(polled.map(drop)?),
        }
    }
}
