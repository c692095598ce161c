//! The jailer's loop: one client, one thread, no waiting for anything but the next event.
//!
//! ```text
//! shells:     preparing --Ready--> ready --claim--> entering --Entered--> running --kill--> ending --> gone
//! ```
//!
//! A request that needs a shell waits in line while one prepares. Whatever fails is undone and answered; a shell that
//! says nothing for [`PATIENCE`] has failed.

mod progress;
mod requests;

use crate::channel::{self, ChannelError};
use crate::claim::{Claim, Purpose};
use crate::error::{During as _, StepError};
use crate::machine::DiskMeans;
use crate::protocol::{Envelope, Hello, Request, VERSION, Welcome};
use crate::shells::Shell;
use crate::sys::{self, Child};
use crate::workshop::Workshop;
use crate::{identity, request};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::time::Timespec;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

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
        self.shells_are_short() || self.disks_are_short()
    }

    fn shells_are_short(&self) -> bool {
        self.ready.len() + self.preparing.len() < self.waiting.len() + self.hello.shells as usize
    }

    fn disks_are_short(&self) -> bool {
        self.workshop.machine.disk == DiskMeans::Loop
            && self.workshop.disks.spares() < self.hello.disks as usize
    }

    /// One shell or one disk at a time, so that a request never waits for more. What cannot be made ahead of demand will
    /// say why when it is asked for.
    fn fill_pool(&mut self) {
        if self.shells_are_short() {
            if self.start_shell().is_err() {
                self.hello.shells = 0;
            }
        } else if self.disks_are_short() {
            let bytes = self.hello.limits.disk_bytes;
            if self
                .workshop
                .disks
                .make_spare(&self.workshop.rooms, bytes)
                .is_err()
            {
                self.hello.disks = 0;
            }
        }
    }

    fn start_shell(&mut self) -> Result<(), StepError> {
        let shell = self.workshop.make_shell(self.hello.limits)?;
        self.preparing.push((shell, Instant::now() + PATIENCE));
        Ok(())
    }

    /// The client is gone: so is everything but files.
    fn end_everything(&mut self) {
        for claim in self.running.values() {
            self.workshop.kill(&claim.shell);
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
    }
}

/// The role `jailer`: serves the channel that this process was started with, its standard input.
pub fn main() -> Result<(), JailerError> {
    run(sys::inherited_fd(0).during("take channel", || "standard input".to_owned())?)
}
