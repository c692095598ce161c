//! The jailer's loop: one client, one thread, no waiting for anything but the next event.
//!
//! ```text
//! shells:     preparing --Ready--> ready --claim--> entering --Entered--> running --kill--> ending --> gone
//! ```
//!
//! A request that needs a shell waits in line while one prepares. Whatever fails is undone and answered; a shell that
//! says nothing for [`PATIENCE`] has failed.

mod attaching;
mod clients;
mod progress;
mod requests;

use crate::claim::{Claim, Purpose};
use crate::error::{During as _, StepError};
use crate::machine::DiskMeans;
use crate::protocol::{Hello, Limits, VERSION, Welcome};
use crate::shells::Shell;
use crate::sys::{self, Child};
use crate::workshop::{self, Form, Image, Site, Workshop};
use crate::{identity, request};
use attaching::Attaching;
use channel::ChannelError;
use clients::{Clients, Ticket};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::time::Timespec;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

pub use clients::Door;

/// How long a shell may take to prepare or to enter.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing may have happened before something is made ahead of demand.
const QUIET: Duration = Duration::from_millis(4);

#[derive(Debug, thiserror::Error)]
pub enum JailerError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Step(#[from] StepError),
    #[error("the server speaks version {theirs} of the jailer's protocol, this is version {VERSION}")]
    Version { theirs: u32 },
    #[error("the host image cannot be built: {reason}")]
    Image { reason: String },
}

impl JailerError {
    /// Starting again would come to the same. What goes wrong in a jailer that runs does not.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Channel(_))
    }
}

/// A request for a shell, waiting.
#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    purpose: Purpose,
}

/// A claim under way, and whom to tell.
#[derive(Debug)]
struct Entering {
    ticket: Ticket,
    claim: Claim,
    deadline: Instant,
    /// Whoever asked for it was not told, and wants it no more.
    discarded: bool,
}

/// A sandbox whose processes were killed, and whom to tell when they are gone.
#[derive(Debug)]
struct Ending {
    tickets: Vec<Ticket>,
    claim: Claim,
    /// Its files go as well, as those of one that never came to be.
    discarded: bool,
}

/// Files on their way out, and whom to tell.
#[derive(Debug)]
struct Removing {
    ticket: Ticket,
    id: String,
    child: Child,
}

/// What is made ahead of demand.
#[derive(Debug, Clone, Copy)]
struct Pool {
    shells: u32,
    disks: u32,
    limits: Limits,
}

impl From<&Hello> for Pool {
    fn from(hello: &Hello) -> Self {
        Self {
            shells: hello.shells,
            disks: hello.disks,
            limits: hello.limits,
        }
    }
}

#[derive(Debug)]
pub struct Server {
    workshop: Workshop,
    clients: Clients,
    /// None before the first client.
    pool: Option<Pool>,
    preparing: Vec<(Shell, Instant)>,
    ready: VecDeque<Shell>,
    waiting: VecDeque<Waiting>,
    entering: Vec<Entering>,
    running: BTreeMap<String, Claim>,
    attaching: Attaching,
    ending: Vec<Ending>,
    removing: Vec<Removing>,
    stopping: Option<Ticket>,
}

/// Serves the client on this channel until it closes it, then ends every sandbox.
pub fn run(channel: OwnedFd) -> Result<(), JailerError> {
    let (hello, _) = channel::receive::<Hello>(&channel)?;
    if !crate::protocol::speaks(hello.version) {
        return Err(JailerError::Version {
            theirs: hello.version,
        });
    }
    request::check_hello(&hello)?;
    rustix::process::setsid().ok();
    request::prepare_process();
    let site = Site {
        instance: hello.instance.clone(),
        data: hello.data.clone(),
        image: Image::At(hello.image.clone()),
        form: Form::Child,
    };
    let opened = workshop::take(&site.data).and_then(|lock| Workshop::open(&site, lock));
    let (workshop, _) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            channel::send(&channel, &Welcome::refusal(error.to_string()), &[])?;
            return Err(error.into());
        }
    };
    channel::send(&channel, &welcome(&workshop), &[])?;
    let mut server = Server::new(workshop, Clients::only(channel));
    server.pool = Some(Pool::from(&hello));
    let result = server.serve();
    server.end_everything();
    result
}

fn welcome(workshop: &Workshop) -> Welcome {
    Welcome {
        version: VERSION,
        findings: workshop.machine.findings(&workshop.cgroups),
        refused: None,
    }
}

/// What became readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Of this name: another may be the current one by now.
    Client(u64),
    Preparing(usize),
    Entering(usize),
    Ending(usize),
    Removing(usize),
    Greeting(usize),
    Door,
}

impl Server {
    fn new(workshop: Workshop, clients: Clients) -> Self {
        Self {
            workshop,
            clients,
            pool: None,
            preparing: Vec::new(),
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            entering: Vec::new(),
            running: BTreeMap::new(),
            attaching: Attaching::default(),
            ending: Vec::new(),
            removing: Vec::new(),
            stopping: None,
        }
    }

    /// A service: goes on with these sandboxes, and with whoever comes to the door, until it is told to stop.
    pub fn serve_door(workshop: Workshop, door: Door, survivors: Vec<Claim>) -> Result<(), JailerError> {
        let mut server = Self::new(workshop, Clients::through(door));
        for claim in survivors {
            let id = claim.id().to_owned();
            server.attaching.lacks(&id);
            server.running.insert(id, claim);
        }
        server.serve()?;
        server.end_everything();
        if let Some(ticket) = server.stopping {
            // Whoever asked may be gone; that everything is, is what counts.
            server
                .clients
                .send(ticket, &crate::protocol::Reply::Done, &[])
                .ok();
        }
        Ok(())
    }

    fn serve(&mut self) -> Result<(), JailerError> {
        while self.stopping.is_none() {
            // From the back, so that what is taken out does not move what is still to be looked at.
            let mut events = self.wait()?;
            events.reverse();
            let idle = events.is_empty();
            for event in events {
                match event {
                    Event::Client(name) => {
                        if !self.hear(name)? {
                            return Ok(());
                        }
                    }
                    Event::Preparing(index) => self.prepared(index)?,
                    Event::Entering(index) => self.entered(index)?,
                    Event::Ending(index) => self.ended(index)?,
                    Event::Removing(index) => self.removed(index)?,
                    Event::Greeting(index) => self.greeted(index),
                    Event::Door => self.clients.open_door(),
                }
            }
            self.give_up_on_the_late()?;
            self.attach()?;
            if idle && self.entering.is_empty() && self.waiting.is_empty() {
                self.workshop.reap_holders();
                self.fill_pool();
            }
        }
        Ok(())
    }

    /// Waits for the next event; no longer than a moment if the pool is not full.
    fn wait(&self) -> Result<Vec<Event>, JailerError> {
        let mut fds = Vec::new();
        let mut events = Vec::new();
        let mut watch = |fd, event| {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            events.push(event);
        };
        if let Some(client) = &self.clients.current {
            watch(client.channel.as_fd(), Event::Client(client.name));
        }
        for (index, (shell, _)) in self.preparing.iter().enumerate() {
            if let Some(channel) = &shell.channel {
                watch(channel.as_fd(), Event::Preparing(index));
            }
        }
        for (index, entering) in self.entering.iter().enumerate() {
            if let Some(channel) = &entering.claim.shell.channel {
                watch(channel.as_fd(), Event::Entering(index));
            }
        }
        for (index, ending) in self.ending.iter().enumerate() {
            if let Some(child) = &ending.claim.shell.child {
                watch(child.pidfd.as_fd(), Event::Ending(index));
            }
        }
        for (index, removing) in self.removing.iter().enumerate() {
            watch(removing.child.pidfd.as_fd(), Event::Removing(index));
        }
        for (index, channel) in self.clients.greeting().enumerate() {
            watch(channel, Event::Greeting(index));
        }
        if let Some(listener) = self.clients.listener() {
            watch(listener, Event::Door);
        }
        let timeout = self.longest_wait();
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

    fn longest_wait(&self) -> Duration {
        let most = if self.shells_are_short() || self.disks_are_short() {
            QUIET
        } else {
            Duration::from_secs(1)
        };
        self.attaching
            .next_try(Instant::now())
            .map_or(most, |next| next.min(most))
    }

    fn shells_are_short(&self) -> bool {
        let wanted = self.pool.map_or(0, |pool| pool.shells as usize);
        self.ready.len() + self.preparing.len() < self.waiting.len() + wanted
    }

    fn disks_are_short(&self) -> bool {
        self.pool.is_some_and(|pool| {
            self.workshop.machine.disk == DiskMeans::Loop
                && self.workshop.disks.spares(pool.limits.disk_bytes) < pool.disks as usize
        })
    }

    /// One shell or one disk at a time, so that a request never waits for more. What cannot be made ahead of demand will
    /// say why when it is asked for.
    fn fill_pool(&mut self) {
        let (shells, disks) = (self.shells_are_short(), self.disks_are_short());
        let Some(pool) = &mut self.pool else { return };
        let limits = pool.limits;
        if shells {
            if self.start_shell(limits).is_err() {
                self.make_no_shells();
            }
        } else if disks {
            let made = self
                .workshop
                .disks
                .make_spare(&self.workshop.rooms, limits.disk_bytes);
            if made.is_err() {
                pool.disks = 0;
            }
        }
    }

    fn make_no_shells(&mut self) {
        if let Some(pool) = &mut self.pool {
            pool.shells = 0;
        }
    }

    fn start_shell(&mut self, limits: Limits) -> Result<(), StepError> {
        let shell = self.workshop.make_shell(limits)?;
        self.preparing.push((shell, Instant::now() + PATIENCE));
        Ok(())
    }

    /// All is to end: everything but files.
    fn end_everything(&mut self) {
        for claim in self.running.values() {
            self.workshop.begin_end(claim);
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
        for removing in self.removing.drain(..) {
            // What it cannot finish stays with its session and is removed the next time.
            identity::reap(&removing.child.pidfd).ok();
        }
        self.workshop.reap_holders();
    }
}

/// The role `jailer` without a data directory: serves the channel that this process was started with, its standard
/// input.
pub fn main() -> Result<(), JailerError> {
    run(sys::inherited_fd(0).during("take channel", || "standard input".to_owned())?)
}
