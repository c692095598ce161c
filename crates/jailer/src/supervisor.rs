//! Where no service manager does it: the parent of a jailer that stays, which starts it again when it dies.
//!
//! It is in a session of its own, so it survives the server that started it and that server's terminal. It ends when the
//! jailer ends by itself: because it was told to, or because it cannot start. There is one for a data directory, by a
//! lock on the directory of disks.

use crate::disk;
use crate::error::{During as _, StepError};
use crate::service::Service;
use crate::sys;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{WaitOptions, WaitStatus};
use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A jailer that lived so long did not die of its start.
const SETTLED: Duration = Duration::from_secs(1);
/// What a jailer ends with where another would end so, too.
pub const CANNOT: i32 = 1;
const MISUSED: i32 = 2;

/// Goes on in the background; returns in the process that was started, as soon as it is certain that somebody watches.
pub fn run(service: &Service) -> Result<(), StepError> {
    // What a service manager gave the server that started this one would stay open as long as this stays.
    sys::close_from(3).during("close what was open", String::new)?;
    let disks = disk::directory(&disk::open_directory(&service.data)?, "disks")?;
    match flock(&disks, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
        locked => locked.during("watch over the jailer", || service.data.display().to_string())?,
    }
    if sys::clone3(0, None)
        .during("go to the background", String::new)?
        .is_some()
    {
        return Ok(());
    }
    let watched = detach().and_then(|()| watch(service));
    sys::exit_now(i32::from(watched.is_err()))
}

fn detach() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    // What a jailer leaves when it is killed becomes a child of this process, which buries it.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

fn watch(service: &Service) -> io::Result<()> {
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let jailer = command(service).spawn()?;
        let status = bury_until(jailer.id())?;
        if matches!(status.exit_status(), Some(0 | CANNOT | MISUSED)) {
            return Ok(());
        }
        std::thread::sleep(pause);
        pause = if started.elapsed() > SETTLED {
            FIRST_PAUSE
        } else {
            (pause * 2).min(LONGEST_PAUSE)
        };
    }
}

/// The same program, also where another is installed under its name meanwhile.
fn command(service: &Service) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .args(["jailer", "--data"])
        .arg(&service.data);
    if let Some(user) = service.user {
        command.arg("--user").arg(format!("{}:{}", user.uid, user.gid));
    }
    command
}

/// Takes note of the ends of children, until it is that of this one.
fn bury_until(pid: u32) -> io::Result<WaitStatus> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((ended, status))) if ended.as_raw_nonzero().get().cast_unsigned() == pid => {
                return Ok(status);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
