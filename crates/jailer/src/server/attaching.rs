//! Giving a running sandbox out again, and the listeners that nobody holds any more.
//!
//! A jailer that is started after another was killed holds no listener of the sandboxes that it adopts. While their
//! server is there, that one does; when it goes, or another one asks for them, they are bound anew, as soon as nobody
//! listens in their place.

use super::requests::{failed, not_found};
use super::{JailerError, Server, Ticket};
use crate::claim::Claim;
use crate::error::StepError;
use crate::protocol::{FailureKind, Reply};
use rustix::fd::{AsFd as _, OwnedFd};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long whoever holds the old listeners may take to let go of them, once they are asked for.
const PATIENCE: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long binding may hold up everything else: with many sandboxes it is done bit by bit.
const SLICE: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Asked {
    ticket: Ticket,
    id: String,
    deadline: Instant,
}

#[derive(Debug, Default)]
pub struct Attaching {
    /// Sandboxes whose listeners the jailer does not hold.
    lacking: BTreeSet<String>,
    asked: Vec<Asked>,
    /// Nobody is there who could hold them.
    alone: bool,
    next_try: Option<Instant>,
    pause: Duration,
    /// The last one that was tried.
    last: String,
}

impl Attaching {
    pub fn lacks(&mut self, id: &str) {
        self.lacking.insert(id.to_owned());
        self.alone();
    }

    /// The client is gone: so are its listeners, soon.
    pub fn alone(&mut self) {
        self.alone = true;
        self.asked.clear();
        self.begin();
    }

    pub fn accompanied(&mut self) {
        self.alone = false;
    }

    fn begin(&mut self) {
        self.pause = FIRST_PAUSE;
        self.next_try = Some(Instant::now());
    }

    /// Whose listeners are to be bound: of those that somebody waits for, and, where nobody is there, of all.
    fn due(&self) -> Vec<String> {
        let asked = self.asked.iter().map(|asked| &asked.id);
        let asked = asked.filter(|id| self.lacking.contains(*id));
        let (before, behind): (Vec<_>, Vec<_>) = self
            .lacking
            .iter()
            .filter(|_| self.alone)
            .partition(|id| **id <= self.last);
        asked.chain(behind).chain(before).cloned().collect()
    }

    pub fn next_try(&self, now: Instant) -> Option<Duration> {
        self.next_try.map(|next| next.saturating_duration_since(now))
    }
}

impl Server {
    pub(super) fn attach_to(&mut self, ticket: Ticket, id: String) -> Result<(), JailerError> {
        if self.running.get(&id).is_none_or(Claim::is_reader) {
            return self.reply(ticket, &not_found(&id));
        }
        let deadline = Instant::now() + PATIENCE;
        self.attaching.asked.push(Asked { ticket, id, deadline });
        self.attaching.begin();
        Ok(())
    }

    /// Binds what is lacking, if it is time to try, and answers who asked for what is there.
    pub(super) fn attach(&mut self) -> Result<(), JailerError> {
        let now = Instant::now();
        if self.attaching.next_try.is_none_or(|next| next > now) {
            return Ok(());
        }
        let mut failures = BTreeMap::new();
        let mut is_cut_off = false;
        for id in self.attaching.due() {
            is_cut_off = now.elapsed() > SLICE;
            if is_cut_off {
                break;
            }
            if let Err(error) = self.bind(&id) {
                failures.insert(id.clone(), error);
            }
            self.attaching.last = id;
        }
        for asked in std::mem::take(&mut self.attaching.asked) {
            let failure = failures.get(&asked.id);
            self.answer(asked, now, failure)?;
        }
        let rest = &mut self.attaching;
        let is_open = !rest.asked.is_empty() || rest.alone && !rest.lacking.is_empty();
        let pause = if is_cut_off { Duration::ZERO } else { rest.pause };
        rest.next_try = is_open.then(|| now + pause);
        rest.pause = (rest.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    fn bind(&mut self, id: &str) -> Result<(), StepError> {
        let Some(claim) = self.running.get_mut(id) else {
            self.attaching.lacking.remove(id);
            return Ok(());
        };
        if !super::requests::is_alive(claim) {
            // Nobody will connect any more. Whoever asks is told what there is: a guest that is gone.
            self.attaching.lacking.remove(id);
            return Ok(());
        }
        let listeners = self
            .workshop
            .bind_listeners(&claim.shell, claim.purpose.spec()?)?;
        claim.shell.listeners = listeners;
        self.attaching.lacking.remove(id);
        Ok(())
    }

    fn answer(&mut self, asked: Asked, now: Instant, failure: Option<&StepError>) -> Result<(), JailerError> {
        let Asked { ticket, id, deadline } = asked;
        match (self.running.get(&id), failure) {
            (Some(claim), _) if !claim.shell.listeners.is_empty() => self.give_out(ticket, &id).map(drop),
            (Some(_), Some(error)) if deadline < now => self.reply(ticket, &failed(FailureKind::Step, error)),
            (Some(_), _) if self.attaching.lacking.contains(&id) => {
                self.attaching.asked.push(Asked { ticket, id, deadline });
                Ok(())
            }
            _ => self.reply(ticket, &not_found(&id)),
        }
    }

    /// Tells of a sandbox, with its guest's socket and its listeners. Says whether somebody was told.
    pub(super) fn give_out(&mut self, ticket: Ticket, id: &str) -> Result<bool, JailerError> {
        let Some(claim) = self.running.get(id) else {
            return Ok(false);
        };
        let reply = Reply::Created {
            guest_socket: self.workshop.socket_path(id),
        };
        let listeners: Vec<_> = claim.shell.listeners.iter().map(OwnedFd::as_fd).collect();
        let sent = self.clients.send(ticket, &reply, &listeners);
        self.heard(sent)?;
        Ok(self.clients.knows(ticket))
    }
}
