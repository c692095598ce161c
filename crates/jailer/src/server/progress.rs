//! What happens to shells and sandboxes between a request and its answer.

use super::requests::failed;
use super::{Ending, Entering, JailerError, PATIENCE, Removing, Server};
use crate::error::{During as _, StepError};
use crate::identity;
use crate::protocol::{FailureKind, Reply};
use crate::shell::Report;
use crate::shells::Shell;
use rustix::fd::OwnedFd;
use std::time::Instant;

impl Server {
    pub(super) fn removed(&mut self, index: usize) -> Result<(), JailerError> {
        let Removing { ticket, id, child } = self.removing.swap_remove(index);
        let reply = if let Ok(Some(0)) = identity::reap(&child.pidfd) {
            Reply::Done
        } else {
            let source = std::io::Error::other("files are left; is the disk damaged?");
            failed(
                FailureKind::Step,
                &StepError {
                    step: "remove files",
                    what: id,
                    source,
                },
            )
        };
        self.reply(ticket, &reply)
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
                self.enter(waiting.ticket, shell, waiting.purpose)
            }
            Err(error) => self.shell_failed(shell, &error),
        }
    }

    /// The one who waits longest is told; a pool that nobody waits for is not filled further.
    pub(super) fn shell_failed(&mut self, shell: Shell, error: &StepError) -> Result<(), JailerError> {
        self.workshop.end_shell(shell);
        let Some(waiting) = self.waiting.pop_front() else {
            self.make_no_shells();
            return Ok(());
        };
        self.reply(waiting.ticket, &failed(FailureKind::Step, error))
    }

    /// A sandbox is one, or has failed to become it. One that nobody can be told of goes again.
    pub(super) fn entered(&mut self, index: usize) -> Result<(), JailerError> {
        let Entering {
            ticket,
            mut claim,
            discarded,
            ..
        } = self.entering.swap_remove(index);
        let reported = report(&claim.shell);
        if discarded || !self.clients.knows(ticket) {
            let errors = self.workshop.discard(claim);
            return self.reply(ticket, &outcome(&errors));
        }
        let committed = reported.and_then(|extra| {
            claim.shell.listeners.extend(extra);
            self.workshop.commit(&mut claim)
        });
        if let Err(error) = committed {
            self.workshop.discard(claim);
            return self.reply(ticket, &failed(FailureKind::Step, &error));
        }
        let id = claim.id().to_owned();
        self.running.insert(id.clone(), claim);
        if !self.give_out(ticket, &id)? {
            self.end(&id, None, true);
        }
        Ok(())
    }

    /// The processes of a sandbox are gone.
    pub(super) fn ended(&mut self, index: usize) -> Result<(), JailerError> {
        let Ending {
            tickets,
            claim,
            discarded,
        } = self.ending.swap_remove(index);
        let errors = if discarded {
            self.workshop.discard(claim)
        } else {
            self.workshop.unclaim(claim)
        };
        let reply = outcome(&errors);
        tickets
            .into_iter()
            .try_for_each(|ticket| self.reply(ticket, &reply))
    }

    pub(super) fn give_up_on_the_late(&mut self) -> Result<(), JailerError> {
        let now = Instant::now();
        self.clients.let_go_of_the_silent(now);
        while let Some(index) = self.preparing.iter().position(|(_, deadline)| *deadline < now) {
            let (shell, _) = self.preparing.swap_remove(index);
            self.shell_failed(shell, &late("prepare shell"))?;
        }
        while let Some(index) = self.entering.iter().position(|entering| entering.deadline < now) {
            let Entering { ticket, claim, .. } = self.entering.swap_remove(index);
            self.workshop.discard(claim);
            self.reply(ticket, &failed(FailureKind::Step, &late("enter sandbox")))?;
        }
        Ok(())
    }
}

fn outcome(errors: &[StepError]) -> Reply {
    errors
        .first()
        .map_or(Reply::Done, |error| failed(FailureKind::Step, error))
}

/// What a shell says, as a result.
fn report(shell: &Shell) -> Result<Vec<OwnedFd>, StepError> {
    let gone = || std::io::Error::from(std::io::ErrorKind::NotConnected);
    let channel = shell
        .channel
        .as_ref()
        .ok_or_else(gone)
        .during("hear shell", || shell.name.clone())?;
    match channel::receive::<Report>(channel) {
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
