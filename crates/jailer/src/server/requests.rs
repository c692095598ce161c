//! What the client asks for: each request is answered at once, or put where an event will finish it.

use super::{Ending, Entering, JailerError, PATIENCE, Server, Waiting};
use crate::channel;
use crate::claim::{Claim, Purpose};
use crate::disk;
use crate::error::StepError;
use crate::protocol::{Envelope, FailureKind, Observation, Reply, Request, Spec};
use crate::request;
use crate::shells::Shell;
use crate::workshop::Workshop;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::time::Timespec;
use std::time::{Duration, Instant};

const FREEZE_PATIENCE: Duration = Duration::from_secs(5);

impl Server {
    pub(super) fn handle(&mut self, envelope: Envelope<Request>) -> Result<(), JailerError> {
        let number = envelope.number;
        match envelope.body {
            Request::Create(spec) => self.create(number, spec),
            Request::ReadChanges { id, reader } => {
                let checked = request::check_id(&id).and_then(|()| request::check_id(&reader));
                match checked {
                    Ok(()) if self.is_known(&id) => {
                        self.refuse(number, "read changes", "the sandbox must be destroyed first")
                    }
                    Ok(()) if !disk::is_there(&self.workshop.sandboxes, &id) => {
                        self.reply(number, &not_found(&id), &[])
                    }
                    Ok(()) => self.demand(number, Purpose::Reader { id: reader, of: id }),
                    Err(reason) => self.refuse(number, "read changes", &reason),
                }
            }
            Request::Observe { id } => {
                let reply = self
                    .running
                    .get(&id)
                    .map(|claim| Reply::Observed(self.observe(claim)));
                self.reply(number, &reply.unwrap_or_else(|| not_found(&id)), &[])
            }
            Request::Freeze { id } => self.on_group(number, &id, |workshop, group| {
                workshop.cgroups.freeze(group, FREEZE_PATIENCE)
            }),
            Request::Thaw { id } => {
                self.on_group(number, &id, |workshop, group| workshop.cgroups.thaw(group))
            }
            Request::Destroy { id } => self.destroy(number, &id),
            Request::RemoveFiles { id } => self.remove_files(number, &id),
        }
    }

    pub(super) fn remove_files(&mut self, number: u64, id: &str) -> Result<(), JailerError> {
        match request::check_id(id) {
            Ok(()) if self.is_known(id) => {
                self.refuse(number, "remove files", "the sandbox must be destroyed first")
            }
            Ok(()) => match self.workshop.start_removal(id) {
                Ok(child) => {
                    self.removing.push((number, child));
                    Ok(())
                }
                Err(error) => self.reply(number, &failed(FailureKind::Step, &error), &[]),
            },
            Err(reason) => self.refuse(number, "remove files", &reason),
        }
    }

    pub(super) fn is_known(&self, id: &str) -> bool {
        self.running.contains_key(id)
            || self.entering.iter().any(|entering| entering.claim.id() == id)
            || self.ending.iter().any(|ending| ending.claim.id() == id)
            || self.waiting.iter().any(|waiting| waiting.purpose.id() == id)
    }

    pub(super) fn create(&mut self, number: u64, spec: Spec) -> Result<(), JailerError> {
        match request::check_spec(&spec) {
            Ok(()) if self.is_known(&spec.id) => {
                self.refuse(number, "create", "there is a sandbox of this id")
            }
            Ok(()) => self.demand(number, Purpose::Sandbox(spec)),
            Err(reason) => self.refuse(number, "create", &reason),
        }
    }

    /// Gives a shell to a request, or lets it wait for one.
    pub(super) fn demand(&mut self, number: u64, purpose: Purpose) -> Result<(), JailerError> {
        if let Some(shell) = self.ready.pop_front() {
            return self.enter(number, shell, purpose);
        }
        if self.preparing.len() <= self.waiting.len()
            && let Err(error) = self.start_shell()
        {
            return self.reply(number, &failed(FailureKind::Step, &error), &[]);
        }
        self.waiting.push_back(Waiting { number, purpose });
        Ok(())
    }

    pub(super) fn enter(&mut self, number: u64, shell: Shell, purpose: Purpose) -> Result<(), JailerError> {
        match self.workshop.claim(shell, purpose) {
            Ok(claim) => {
                self.entering.push(Entering {
                    number,
                    claim,
                    deadline: Instant::now() + PATIENCE,
                });
                Ok(())
            }
            Err(error) => self.reply(number, &failed(FailureKind::Step, &error), &[]),
        }
    }

    pub(super) fn destroy(&mut self, number: u64, id: &str) -> Result<(), JailerError> {
        if let Some(ending) = self.ending.iter_mut().find(|ending| ending.claim.id() == id) {
            ending.numbers.push(number);
            return Ok(());
        }
        let Some(claim) = self.running.remove(id) else {
            return self.reply(number, &Reply::Done, &[]);
        };
        self.workshop.kill(&claim.shell);
        self.ending.push(Ending {
            numbers: vec![number],
            claim,
        });
        Ok(())
    }

    pub(super) fn observe(&self, claim: &Claim) -> Observation {
        let mut observation = Observation {
            alive: is_alive(claim),
            ..Observation::default()
        };
        if self.workshop.machine.has_cgroups {
            self.workshop.cgroups.observe(&claim.shell.name, &mut observation);
        }
        observation
    }

    pub(super) fn on_group(
        &mut self,
        number: u64,
        id: &str,
        action: impl FnOnce(&Workshop, &str) -> Result<(), StepError>,
    ) -> Result<(), JailerError> {
        let reply = match self
            .running
            .get(id)
            .map(|claim| action(&self.workshop, &claim.shell.name))
        {
            None => not_found(id),
            Some(Ok(())) => Reply::Done,
            Some(Err(error)) => failed(FailureKind::Step, &error),
        };
        self.reply(number, &reply, &[])
    }

    pub(super) fn refuse(&mut self, number: u64, step: &str, reason: &str) -> Result<(), JailerError> {
        let reply = Reply::Failed {
            kind: FailureKind::Request,
            step: step.to_owned(),
            reason: reason.to_owned(),
        };
        self.reply(number, &reply, &[])
    }

    pub(super) fn reply(&mut self, number: u64, reply: &Reply, fds: &[OwnedFd]) -> Result<(), JailerError> {
        let borrowed: Vec<_> = fds.iter().map(OwnedFd::as_fd).collect();
        Ok(channel::send(
            &self.client,
            &Envelope { number, body: reply },
            &borrowed,
        )?)
    }
}

fn is_alive(claim: &Claim) -> bool {
    let Some(child) = &claim.shell.child else {
        return false;
    };
    let mut fds = [PollFd::new(&child.pidfd, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().is_empty()
}

pub(super) fn failed(kind: FailureKind, error: &StepError) -> Reply {
    Reply::Failed {
        kind,
        step: error.step.to_owned(),
        reason: format!("{}: {}", error.what, error.source),
    }
}

fn not_found(id: &str) -> Reply {
    Reply::Failed {
        kind: FailureKind::NotFound,
        step: "find".to_owned(),
        reason: format!("no sandbox {id}"),
    }
}
