//! What happens to shells and sandboxes between a request and its answer.

use super::requests::failed;
use super::{Ending, Entering, JailerError, PATIENCE, Server};
use crate::channel;
use crate::error::{During as _, StepError};
use crate::identity;
use crate::protocol::{Envelope, FailureKind, Reply};
use crate::shell::Report;
use crate::shells::Shell;
use rustix::fd::{AsFd as _, OwnedFd};
use std::time::Instant;

impl Server {
    pub(super) fn removed(&mut self, index: usize) -> Result<(), JailerError> {
        let (number, child) = self.removing.swap_remove(index);
        let reply = if let Ok(Some(0)) = identity::reap(&child.pidfd) {
            Reply::Done
        } else {
            let source = std::io::Error::other("files are left; is the disk damaged?");
            failed(
                FailureKind::Step,
                &StepError {
                    step: "remove files",
                    what: "sandbox".to_owned(),
                    source,
                },
            )
        };
        self.reply(number, &reply, &[])
    }

    /// A shell is ready, or has failed.
    pub(super) fn prepared(&mut self, index: usize) -> Result<(), JailerError> {
        let (mut shell, _) = self.preparing.swap_remove(index);
        match report(&shell) {
            Ok(listeners) => {
                shell.listeners = listeners;
                let Some(waiting) = self.waiting.pop_front() else {
                    self.ready.push_back(shell);
                    return Ok(());
                };
                self.enter(waiting.number, shell, waiting.purpose)
            }
            Err(error) => self.shell_failed(shell, &error),
        }
    }

    /// The one who waits longest is told; a pool that nobody waits for is not filled further.
    pub(super) fn shell_failed(&mut self, shell: Shell, error: &StepError) -> Result<(), JailerError> {
        self.workshop.end_shell(shell);
        let Some(waiting) = self.waiting.pop_front() else {
            self.hello.shells = 0;
            return Ok(());
        };
        self.reply(waiting.number, &failed(FailureKind::Step, error), &[])
    }

    /// A sandbox is one, or has failed to become it.
    pub(super) fn entered(&mut self, index: usize) -> Result<(), JailerError> {
        let Entering {
            number, mut claim, ..
        } = self.entering.swap_remove(index);
        match report(&claim.shell) {
            Ok(extra) => {
                claim.shell.listeners.extend(extra);
                let reply = Reply::Created {
                    guest_socket: self.workshop.socket_path(claim.id()),
                };
                let listeners: Vec<_> = claim.shell.listeners.iter().map(OwnedFd::as_fd).collect();
                channel::send(&self.client, &Envelope { number, body: reply }, &listeners)?;
                self.running.insert(claim.id().to_owned(), claim);
                Ok(())
            }
            Err(error) => {
                self.workshop.discard(claim);
                self.reply(number, &failed(FailureKind::Step, &error), &[])
            }
        }
    }

    /// The processes of a sandbox are gone.
    pub(super) fn ended(&mut self, index: usize) -> Result<(), JailerError> {
        let Ending { numbers, claim } = self.ending.swap_remove(index);
        let errors = self.workshop.unclaim(claim);
        let reply = errors
            .first()
            .map_or(Reply::Done, |error| failed(FailureKind::Step, error));
        numbers
            .into_iter()
            .try_for_each(|number| self.reply(number, &reply, &[]))
    }

    pub(super) fn give_up_on_the_late(&mut self) -> Result<(), JailerError> {
        let now = Instant::now();
        while let Some(index) = self.preparing.iter().position(|(_, deadline)| *deadline < now) {
            let (shell, _) = self.preparing.swap_remove(index);
            self.shell_failed(shell, &late("prepare shell"))?;
        }
        while let Some(index) = self.entering.iter().position(|entering| entering.deadline < now) {
            let Entering { number, claim, .. } = self.entering.swap_remove(index);
            self.workshop.discard(claim);
            self.reply(number, &failed(FailureKind::Step, &late("enter sandbox")), &[])?;
        }
        Ok(())
    }
}

/// What a shell says, as a result.
fn report(shell: &Shell) -> Result<Vec<OwnedFd>, StepError> {
    match channel::receive::<Report>(&shell.channel) {
        Ok((Report::Ready | Report::Entered, listeners)) => Ok(listeners),
        Ok((Report::Failed { step, reason }, _)) => {
            Err(std::io::Error::other(reason)).during("shell", || step)
        }
        Err(error) => {
            Err(std::io::Error::other(error)).during("shell", || "it ended without a word".to_owned())
        }
    }
}

fn late(step: &'static str) -> StepError {
    StepError {
        step,
        what: format!("{} s have passed", PATIENCE.as_secs()),
        source: std::io::ErrorKind::TimedOut.into(),
    }
}
