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
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long whoever holds the old listeners may take to let go of them, once they are asked for.
const PATIENCE: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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
        let mut error = None;
        for id in self.attaching.lacking.clone() {
            let asked = self.attaching.asked.iter().any(|asked| asked.id == id);
            if self.attaching.alone || asked {
                error = self.bind(&id).err().or(error);
            }
        }
        for asked in std::mem::take(&mut self.attaching.asked) {
            self.answer(asked, (now, error.as_ref()))?;
        }
        let rest = &mut self.attaching;
        let open = !rest.asked.is_empty() || rest.alone && !rest.lacking.is_empty();
        rest.next_try = open.then(|| now + rest.pause);
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

    fn answer(
        &mut self,
        asked: Asked,
        (now, error): (Instant, Option<&StepError>),
    ) -> Result<(), JailerError> {
        let Some(claim) = self.running.get(&asked.id) else {
            return self.reply(asked.ticket, &not_found(&asked.id));
        };
        if !claim.shell.listeners.is_empty() {
            return self.give_out(asked.ticket, &asked.id).map(drop);
        }
        match error {
            Some(error) if asked.deadline < now => {
                self.reply(asked.ticket, &failed(FailureKind::Step, error))
            }
            Some(_) => {
                self.attaching.asked.push(asked);
                Ok(())
            }
            None => self.reply(asked.ticket, &not_found(&asked.id)),
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
