//! The persistent shell: one owner task holds it and runs one command at a time.
//!
//! ```text
//!            Request                  driver lines on fd 0        per call: two named pipes for stdout and stderr
//!  Shell ───────────────> Owner ──> Session (bash) ───────────> command and what it starts
//!        <─────────────── (task)  <── status lines on fd 1
//!            Ran | Failure
//! ```
//!
//! Directory, variables, functions, aliases, options and background jobs live in the shell process, so they survive
//! from call to call. A command's status comes on a descriptor that the command does not hold. What a call started
//! dies with its timeout or interrupt; the shell and what earlier calls started do not.

mod capture;
mod dialect;
mod directory;
mod job;
mod kept;
mod owner;
mod processes;
mod session;
mod stop;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use capture::Output;

use crate::Settings;
use crate::place::Place;
use owner::Owner;

/// Ending everything takes at most this long.
const END_WITHIN: Duration = Duration::from_secs(10);

pub(crate) struct Shell {
    settings: Arc<Settings>,
    place: Arc<Place>,
    started: Mutex<OnceLock<Started>>,
}

struct Started {
    requests: owner::Requests,
    ending: CancellationToken,
    task: JoinHandle<()>,
}

pub(crate) struct Request {
    pub(crate) command: String,
    pub(crate) timeout: Duration,
    pub(crate) in_background: bool,
    pub(crate) cancel: CancellationToken,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With the shell's `$?`.
    Status(i32),
    TimedOut(Duration),
    Interrupted,
}

/// What became of the shell during the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survival {
    Lives,
    /// A new one takes over variables, functions, aliases, options and directory; not the job table.
    Replaced,
    /// A new one starts in the same directory, and only that.
    Lost,
}

#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) end: End,
    pub(crate) survival: Survival,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
    /// The whole output, where it was too long for memory or for the model.
    pub(crate) kept: Option<kept::Kept>,
    /// Where output goes that background processes of the command write from now on.
    pub(crate) later: Option<PathBuf>,
    pub(crate) background: Option<Background>,
    /// What could not be done on the way, for the model to know.
    pub(crate) notes: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Background {
    pub(crate) id: String,
    pub(crate) output: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the shell could not be started: {program}")]
    Start {
        program: PathBuf,
        source: std::io::Error,
    },
    #[error("no shell was found: neither bash nor sh is in /bin or in PATH")]
    NoShell,
    #[error("the pipes of the command could not be made in {directory}")]
    Pipes {
        directory: PathBuf,
        source: std::io::Error,
    },
    #[error("the working directory {directory} does not exist any more, nor does any above it")]
    NoDirectory { directory: PathBuf },
    #[error("the shell has ended")]
    Ended,
}

impl Shell {
    pub(crate) fn new(settings: Arc<Settings>, place: Arc<Place>) -> Self {
        Self {
            settings,
            place,
            started: Mutex::default(),
        }
    }

    /// Runs one command after those asked for before it. Dropping the future interrupts the command.
    pub(crate) async fn run(&self, request: Request) -> Result<Ran, Failure> {
        let (answer, answered) = oneshot::channel();
        let requests = self.requests();
        requests
            .send((request, answer))
            .await
            .map_err(|_| Failure::Ended)?;
        answered.await.map_err(|_| Failure::Ended)?
    }

    /// Ends the shell and what it started; a later command starts a new one.
    pub(crate) async fn end(&self) {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut started) = started else { return };
        started.ending.cancel();
        if tokio::time::timeout(END_WITHIN, &mut started.task).await.is_err() {
            tracing::warn!("the shell did not end in time");
            started.task.abort();
        }
    }

    fn requests(&self) -> owner::Requests {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.get_or_init(|| self.start()).requests.clone()
    }

    /// The owner task ends when asked to, or when this handle is gone; either way it takes its processes with it.
    fn start(&self) -> Started {
        let (requests, received) = mpsc::channel(1);
        let ending = CancellationToken::new();
        let owner = Owner::new(
            Arc::clone(&self.settings),
            Arc::clone(&self.place),
            ending.clone(),
        );
        Started {
            requests,
            ending,
            task: tokio::spawn(owner.run(received)),
        }
    }
}
