//! The jailer's loop: one client, one thread, no waiting for anything but the next event.
//!
//! ```text
//! shells:     preparing --Ready--> ready --claim--> entering --Entered--> running --kill--> ending --> gone
//! ```
//!
//! A request that needs a shell waits in line while one prepares. Whatever fails is undone and answered; a shell that
//! says nothing for [`PATIENCE`] has failed.

use crate::channel::{self, ChannelError};
use crate::claim::{Claim, Purpose};
use crate::error::{During as _, StepError};
use crate::protocol::{Envelope, FailureKind, Hello, Observation, Reply, Request, Spec, VERSION, Welcome};
use crate::shell::Report;
use crate::shells::Shell;
use crate::sys::{self, Child};
use crate::workshop::Workshop;
use crate::{identity, request};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::time::Timespec;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a shell may take to prepare or to enter.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing may have happened before something is made ahead of demand.
const QUIET: Duration = Duration::from_millis(4);
const FREEZE_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum JailerError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Step(#[from] StepError),
    #[error("the server speaks version {theirs} of the jailer's protocol, this is version {VERSION}")]
    Version { theirs: u32 },
}

/// A request for a shell, waiting.
#[derive(Debug)]
struct Waiting {
    number: u64,
    purpose: Purpose,
}

/// A claim under way, and whom to tell.
#[derive(Debug)]
struct Entering {
    number: u64,
    claim: Claim,
    deadline: Instant,
}

/// A sandbox whose processes were killed, and whom to tell when they are gone.
#[derive(Debug)]
struct Ending {
    numbers: Vec<u64>,
    claim: Claim,
}

#[derive(Debug)]
pub struct Server {
    workshop: Workshop,
    client: OwnedFd,
    hello: Hello,
    preparing: Vec<(Shell, Instant)>,
    ready: VecDeque<Shell>,
    waiting: VecDeque<Waiting>,
    entering: Vec<Entering>,
    running: BTreeMap<String, Claim>,
    ending: Vec<Ending>,
    removing: Vec<(u64, Child)>,
}

/// Serves the client on this channel until it closes it, then ends every sandbox.
pub fn run(client: OwnedFd) -> Result<(), JailerError> {
    let (hello, _) = channel::receive::<Hello>(&client)?;
    if hello.version != VERSION {
        return Err(JailerError::Version {
            theirs: hello.version,
        });
    }
    request::check_hello(&hello)?;
    rustix::process::setsid().ok();
    request::raise_descriptor_limit();
    let workshop = match Workshop::open(&hello) {
        Ok(workshop) => workshop,
        Err(error) => {
            let refusal = Welcome {
                findings: Vec::new(),
                refused: Some(error.to_string()),
            };
            channel::send(&client, &refusal, &[])?;
            return Err(error.into());
        }
    };
    let welcome = Welcome {
        findings: workshop.machine.findings(&workshop.cgroups),
        refused: None,
    };
    channel::send(&client, &welcome, &[])?;
    let mut server = Server {
        workshop,
        client,
        hello,
        preparing: Vec::new(),
        ready: VecDeque::new(),
        waiting: VecDeque::new(),
        entering: Vec::new(),
        running: BTreeMap::new(),
        ending: Vec::new(),
        removing: Vec::new(),
    };
    let result = server.serve();
    server.end_everything();
    result
}

/// What became readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Client,
    Preparing(usize),
    Entering(usize),
    Ending(usize),
    Removing(usize),
}

impl Server {
    fn serve(&mut self) -> Result<(), JailerError> {
        loop {
            // From the back, so that what is taken out does not move what is still to be looked at.
            let mut events = self.wait()?;
            events.reverse();
            let idle = events.is_empty();
            for event in events {
                match event {
                    Event::Client => match channel::receive::<Envelope<Request>>(&self.client) {
                        Ok((envelope, _)) => self.handle(envelope)?,
                        Err(ChannelError::Closed) => return Ok(()),
                        Err(error) => return Err(error.into()),
                    },
                    Event::Preparing(index) => self.prepared(index)?,
                    Event::Entering(index) => self.entered(index)?,
                    Event::Ending(index) => self.ended(index)?,
                    Event::Removing(index) => self.removed(index)?,
                }
            }
            self.give_up_on_the_late()?;
            if idle && self.entering.is_empty() && self.waiting.is_empty() {
                self.workshop.reap_holders();
                self.fill_pool();
            }
        }
    }

    /// Waits for the next event; no longer than a moment if the pool is not full.
    fn wait(&self) -> Result<Vec<Event>, JailerError> {
        let mut fds = vec![PollFd::new(&self.client, PollFlags::IN)];
        let mut events = vec![Event::Client];
        for (index, (shell, _)) in self.preparing.iter().enumerate() {
            fds.push(PollFd::new(&shell.channel, PollFlags::IN));
            events.push(Event::Preparing(index));
        }
        for (index, entering) in self.entering.iter().enumerate() {
            fds.push(PollFd::new(&entering.claim.shell.channel, PollFlags::IN));
            events.push(Event::Entering(index));
        }
        for (index, ending) in self.ending.iter().enumerate() {
            if let Some(child) = &ending.claim.shell.child {
                fds.push(PollFd::new(&child.pidfd, PollFlags::IN));
                events.push(Event::Ending(index));
            }
        }
        for (index, (_, child)) in self.removing.iter().enumerate() {
            fds.push(PollFd::new(&child.pidfd, PollFlags::IN));
            events.push(Event::Removing(index));
        }
        let timeout = if self.pool_is_short() {
            QUIET
        } else {
            Duration::from_secs(1)
        };
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(ChannelError::from(errno).into()),
        }
        let happened = fds.iter().zip(events).filter(|(fd, _)| !fd.revents().is_empty());
        Ok(happened.map(|(_, event)| event).collect())
    }

    fn pool_is_short(&self) -> bool {
        self.ready.len() + self.preparing.len() < self.waiting.len() + self.hello.pool as usize
            || self.workshop.disks.spares() < self.hello.pool as usize
                && self.workshop.machine.disk == crate::machine::DiskMeans::Loop
    }

    /// One shell or one disk at a time, so that a request never waits for more.
    fn fill_pool(&mut self) {
        if !self.pool_is_short() {
            return;
        }
        let made = if self.ready.len() + self.preparing.len() < self.hello.pool as usize {
            self.start_shell()
        } else {
            self.workshop
                .disks
                .make_spare(&self.workshop.rooms, self.hello.limits.disk_bytes)
        };
        if made.is_err() {
            // What cannot be made ahead of demand will say why when it is asked for.
            self.hello.pool = 0;
        }
    }

    fn start_shell(&mut self) -> Result<(), StepError> {
        let shell = self.workshop.make_shell(self.hello.limits)?;
        self.preparing.push((shell, Instant::now() + PATIENCE));
        Ok(())
    }

    fn handle(&mut self, envelope: Envelope<Request>) -> Result<(), JailerError> {
        let number = envelope.number;
        match envelope.body {
            Request::Create(spec) => self.create(number, spec),
            Request::ReadChanges { id, reader } => {
                let checked = request::check_id(&id).and_then(|()| request::check_id(&reader));
                match checked {
                    Ok(()) if self.is_known(&id) => {
                        self.refuse(number, "read changes", "the sandbox must be destroyed first")
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

    fn remove_files(&mut self, number: u64, id: &str) -> Result<(), JailerError> {
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

    fn removed(&mut self, index: usize) -> Result<(), JailerError> {
        let (number, child) = self.removing.swap_remove(index);
        let reply = match identity::reap(&child.pidfd) {
            Ok(Some(0)) => Reply::Done,
            _ => {
                let error = std::io::Error::other("files are left; is the disk damaged?");
                failed(
                    FailureKind::Step,
                    &StepError {
                        step: "remove files",
                        what: "sandbox".to_owned(),
                        source: error,
                    },
                )
            }
        };
        self.reply(number, &reply, &[])
    }

    fn is_known(&self, id: &str) -> bool {
        self.running.contains_key(id)
            || self.entering.iter().any(|entering| entering.claim.id() == id)
            || self.ending.iter().any(|ending| ending.claim.id() == id)
            || self.waiting.iter().any(|waiting| waiting.purpose.id() == id)
    }

    fn create(&mut self, number: u64, spec: Spec) -> Result<(), JailerError> {
        match request::check_spec(&spec) {
            Ok(()) if self.is_known(&spec.id) => {
                self.refuse(number, "create", "there is a sandbox of this id")
            }
            Ok(()) => self.demand(number, Purpose::Sandbox(spec)),
            Err(reason) => self.refuse(number, "create", &reason),
        }
    }

    /// Gives a shell to a request, or lets it wait for one.
    fn demand(&mut self, number: u64, purpose: Purpose) -> Result<(), JailerError> {
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

    fn enter(&mut self, number: u64, shell: Shell, purpose: Purpose) -> Result<(), JailerError> {
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

    /// A shell is ready, or has failed.
    fn prepared(&mut self, index: usize) -> Result<(), JailerError> {
        let (mut shell, _) = self.preparing.swap_remove(index);
        match report(&shell) {
            Ok(listeners) => {
                shell.listeners = listeners;
                match self.waiting.pop_front() {
                    Some(waiting) => self.enter(waiting.number, shell, waiting.purpose),
                    None => {
                        self.ready.push_back(shell);
                        Ok(())
                    }
                }
            }
            Err(error) => self.shell_failed(shell, &error),
        }
    }

    /// The one who waits longest is told; a pool that nobody waits for is not filled further.
    fn shell_failed(&mut self, shell: Shell, error: &StepError) -> Result<(), JailerError> {
        self.workshop.end_shell(shell);
        match self.waiting.pop_front() {
            Some(waiting) => self.reply(waiting.number, &failed(FailureKind::Step, error), &[]),
            None => {
                self.hello.pool = 0;
                Ok(())
            }
        }
    }

    /// A sandbox is one, or has failed to become it.
    fn entered(&mut self, index: usize) -> Result<(), JailerError> {
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

    fn destroy(&mut self, number: u64, id: &str) -> Result<(), JailerError> {
        if let Some(ending) = self.ending.iter_mut().find(|ending| ending.claim.id() == id) {
            ending.numbers.push(number);
            return Ok(());
        }
        let Some(claim) = self.running.remove(id) else {
            return self.reply(number, &Reply::Done, &[]);
        };
        // A group that cannot be killed still loses its process 1, and with it all others.
        self.workshop.kill(&claim.shell).ok();
        self.ending.push(Ending {
            numbers: vec![number],
            claim,
        });
        Ok(())
    }

    /// The processes of a sandbox are gone.
    fn ended(&mut self, index: usize) -> Result<(), JailerError> {
        let Ending { numbers, claim } = self.ending.swap_remove(index);
        let errors = self.workshop.unclaim(claim);
        let reply = errors
            .first()
            .map_or(Reply::Done, |error| failed(FailureKind::Step, error));
        numbers
            .into_iter()
            .try_for_each(|number| self.reply(number, &reply, &[]))
    }

    fn give_up_on_the_late(&mut self) -> Result<(), JailerError> {
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

    fn observe(&self, claim: &Claim) -> Observation {
        let mut observation = Observation {
            alive: is_alive(claim),
            ..Observation::default()
        };
        if self.workshop.machine.has_cgroups {
            self.workshop.cgroups.observe(&claim.shell.name, &mut observation);
        }
        observation
    }

    fn on_group(
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

    fn refuse(&mut self, number: u64, step: &str, reason: &str) -> Result<(), JailerError> {
        let reply = Reply::Failed {
            kind: FailureKind::Request,
            step: step.to_owned(),
            reason: reason.to_owned(),
        };
        self.reply(number, &reply, &[])
    }

    fn reply(&mut self, number: u64, reply: &Reply, fds: &[OwnedFd]) -> Result<(), JailerError> {
        let borrowed: Vec<_> = fds.iter().map(OwnedFd::as_fd).collect();
        Ok(channel::send(
            &self.client,
            &Envelope { number, body: reply },
            &borrowed,
        )?)
    }

    /// The client is gone: so is everything but files.
    fn end_everything(&mut self) {
        for claim in self.running.values() {
            self.workshop.kill(&claim.shell).ok();
        }
        let running = std::mem::take(&mut self.running).into_values();
        let ending = self.ending.drain(..).map(|ending| ending.claim);
        for claim in running.chain(ending).collect::<Vec<_>>() {
            self.workshop.unclaim(claim);
        }
        for entering in std::mem::take(&mut self.entering) {
            self.workshop.discard(entering.claim);
        }
        let preparing = self.preparing.drain(..).map(|(shell, _)| shell);
        for shell in preparing.chain(self.ready.drain(..)).collect::<Vec<_>>() {
            self.workshop.end_shell(shell);
        }
        for (_, child) in self.removing.drain(..) {
            // What it cannot finish stays with its session and is removed the next time.
            identity::reap(&child.pidfd).ok();
        }
        self.workshop.reap_holders();
        self.workshop.close();
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

fn late(step: &'static str) -> StepError {
    StepError {
        step,
        what: format!("{} s have passed", PATIENCE.as_secs()),
        source: std::io::ErrorKind::TimedOut.into(),
    }
}

fn failed(kind: FailureKind, error: &StepError) -> Reply {
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

/// The role `jailer`: serves the channel that this process was started with, its standard input.
pub fn main() -> Result<(), JailerError> {
    run(sys::inherited_fd(0).during("take channel", || "standard input".to_owned())?)
}
