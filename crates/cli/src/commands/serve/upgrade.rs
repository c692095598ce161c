//! SIGUSR2: this program is started again, as the one that takes over. It may be another version by now.

use crate::failure::Failure;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};

const TAKE_OVER: &str = "--take-over";

pub(super) struct Upgrades {
    asked: Signal,
    /// Where this program was when it started; another may lie there now.
    program: PathBuf,
}

impl Upgrades {
    pub(super) fn of_process() -> Result<Self, Failure> {
        let opened = || -> io::Result<Self> {
            Ok(Self {
                asked: signal(SignalKind::user_defined2())?,
                program: std::env::current_exe()?,
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
        // Descriptors of a service manager are this process's; the successor gets them from it.
        let started = Command::new(&self.program)
            .args(arguments)
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .spawn();
        match started {
            Ok(mut successor) => {
                tracing::info!(pid = successor.id(), "a successor is started");
                tokio::spawn(async move {
                    if let Ok(status) = successor.wait().await {
                        tracing::warn!(%status, "the successor has ended before this server");
                    }
                });
            }
            Err(error) => {
                tracing::error!(program = %self.program.display(), %error, "no successor can be started");
            }
        }
    }
}
