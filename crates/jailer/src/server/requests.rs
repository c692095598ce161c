//! What the client asks for: each request is answered at once, or put where an event will finish it.

use super::{Ending, Entering, JailerError, PATIENCE, Pool, Removing, Server, Ticket, Waiting, welcome};
use crate::claim::{Claim, Purpose};
use crate::disk::{self, inherit};
use crate::error::StepError;
use crate::identity;
use crate::protocol::{Envelope, FailureKind, Observation, Reply, Request, Spec, Welcome, speaks};
use crate::request;
use crate::shells::Shell;
use crate::workshop::Workshop;
use channel::ChannelError;
use std::ops::Bound;
use std::time::{Duration, Instant};

const FREEZE_PATIENCE: Duration = Duration::from_secs(5);
/// Ids in one answer, which has to fit into a message.
const PAGE: usize = 512;

impl Server {
    /// Hears what a client says. False where that was the end of the only one there will be.
    pub(super) fn hear(&mut self, name: u64) -> Result<bool, JailerError> {
        let Some(client) = self.clients.current.as_ref().filter(|client| client.name == name) else {
            return Ok(true);
        };
        match channel::receive::<Envelope<serde_json::Value>>(&client.channel) {
            Ok((envelope, _)) => {
                let ticket = client.ticket(envelope.number);
                match serde_json::from_value(envelope.body) {
                    Ok(request) => self.handle(ticket, request)?,
                    Err(error) => self.refuse(ticket, "understand request", &error.to_string())?,
                }
                Ok(true)
            }
            Err(ChannelError::Closed) if !self.clients.is_service() => Ok(false),
            Err(error) => self.heard(Err(error)).map(|()| true),
        }
    }

    /// What a conversation came to: a service goes on without a client that is gone.
    pub(super) fn heard(&mut self, result: Result<(), ChannelError>) -> Result<(), JailerError> {
        match result {
            Err(_) if self.clients.is_service() => {
                self.clients.current = None;
                self.dismiss();
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Somebody at the door says who it is, and is the current client from here on.
    pub(super) fn greeted(&mut self, index: usize) {
        let Some((hello, channel)) = self.clients.take_greeting(index) else {
            return;
        };
        let wrong = if speaks(hello.version) {
            request::check_pool(&hello).err().map(|error| error.to_string())
        } else {
            let theirs = hello.version;
            Some(JailerError::Version { theirs }.to_string())
        };
        if let Some(reason) = wrong {
            // Who does not hear it finds out by being closed.
            channel::send(&channel, &Welcome::refusal(reason), &[]).ok();
            return;
        }
        if channel::send(&channel, &welcome(&self.workshop), &[]).is_err() {
            return;
        }
        self.dismiss();
        self.clients.welcome(channel);
        self.attaching.accompanied();
        self.pool = Some(Pool::from(&hello));
        self.workshop.disks.keep_spares_of(hello.limits.disk_bytes);
    }

    /// Undoes what the last client waited for.
    fn dismiss(&mut self) {
        self.pool = None;
        self.waiting.clear();
        self.attaching.alone();
        let readers = self.running.values().filter(|claim| claim.is_reader());
        for id in readers.map(|claim| claim.id().to_owned()).collect::<Vec<_>>() {
            self.end(&id, None, false);
        }
    }

    fn handle(&mut self, ticket: Ticket, request: Request) -> Result<(), JailerError> {
        match request {
            Request::Create(spec) => self.create(ticket, spec),
            Request::ReadChanges { id, reader } => self.read_changes(ticket, id, reader),
            Request::Observe { id } => {
                let reply = self
                    .running
                    .get(&id)
                    .map(|claim| Reply::Observed(self.observe(claim)));
                self.reply(ticket, &reply.unwrap_or_else(|| not_found(&id)))
            }
            Request::Freeze { id } => self.on_group(ticket, &id, |workshop, group| {
                workshop.cgroups.freeze(group, FREEZE_PATIENCE)
            }),
            Request::Thaw { id } => {
                self.on_group(ticket, &id, |workshop, group| workshop.cgroups.thaw(group))
            }
            Request::Destroy { id } => self.destroy(ticket, &id),
            Request::RemoveFiles { id } => self.remove_files(ticket, id),
            Request::Attach { id } => self.attach_to(ticket, id),
            Request::List { after } => self.list(ticket, after),
            Request::Discard { id } => self.discard(ticket, &id),
            Request::Stop => {
                self.stopping = Some(ticket);
                Ok(())
            }
        }
    }

    fn remove_files(&mut self, ticket: Ticket, id: String) -> Result<(), JailerError> {
        match request::check_id(&id) {
            Ok(()) if self.is_known(&id) => {
                self.refuse(ticket, "remove files", "the sandbox must be destroyed first")
            }
            Ok(()) => match self.workshop.start_removal(&id) {
                Ok(child) => {
                    self.removing.push(Removing { ticket, id, child });
                    Ok(())
                }
                Err(error) => self.reply(ticket, &failed(FailureKind::Step, &error)),
            },
            Err(reason) => self.refuse(ticket, "remove files", &reason),
        }
    }

    fn claims(&self) -> impl Iterator<Item = &Purpose> {
        let entering = self.entering.iter().map(|entering| &entering.claim.purpose);
        let ending = self.ending.iter().map(|ending| &ending.claim.purpose);
        let waiting = self.waiting.iter().map(|waiting| &waiting.purpose);
        let running = self.running.values().map(|claim| &claim.purpose);
        running.chain(entering).chain(ending).chain(waiting)
    }

    fn is_known(&self, id: &str) -> bool {
        self.claims().any(|purpose| purpose.id() == id)
    }

    /// Somebody works on what this sandbox has on its disk. A reader that is killed does not any more.
    fn is_in_use(&self, id: &str) -> bool {
        let is_ending = |reader: &str| self.ending.iter().any(|ending| ending.claim.id() == reader);
        let uses = |purpose: &Purpose| match purpose {
            Purpose::Sandbox(spec) => spec.id == id || spec.files_from.as_deref() == Some(id),
            Purpose::Reader { id: reader, of } => of == id && !is_ending(reader),
        };
        self.removing.iter().any(|removing| removing.id == id) || self.claims().any(uses)
    }

    fn create(&mut self, ticket: Ticket, spec: Spec) -> Result<(), JailerError> {
        let checked = match request::check_spec(&spec) {
            Ok(()) if self.is_known(&spec.id) => Err("there is a sandbox of this id".to_owned()),
            Ok(()) => spec
                .files_from
                .as_ref()
                .map_or(Ok(true), |old| self.make_available(old)),
            Err(wrong) => Err(wrong),
        };
        match checked {
            Ok(true) => self.demand(ticket, Purpose::Sandbox(spec)),
            Ok(false) => self.reply(ticket, &not_found(spec.files_from.as_deref().unwrap_or_default())),
            Err(reason) => self.refuse(ticket, "create", &reason),
        }
    }

    /// Sees that a destroyed sandbox has its files, also where another took them and nobody was told of it. Says whether
    /// there are any.
    fn make_available(&self, old: &str) -> Result<bool, String> {
        const STEPS: &str = "the sandbox whose files are wanted must be destroyed first";
        if self.is_in_use(old) {
            return Err(STEPS.to_owned());
        }
        let sandboxes = &self.workshop.sandboxes;
        if let Some(taker) = inherit::taker(sandboxes, old) {
            if self.is_in_use(&taker) {
                return Err(format!("the files of {old} are those of {taker} now: {STEPS}"));
            }
            self.workshop
                .discard_files(&taker)
                .map_err(|error| error.to_string())?;
        }
        Ok(disk::is_there(sandboxes, old))
    }

    fn read_changes(&mut self, ticket: Ticket, id: String, reader: String) -> Result<(), JailerError> {
        match request::check_id(&id).and_then(|()| request::check_id(&reader)) {
            Ok(()) if self.is_known(&id) => {
                self.refuse(ticket, "read changes", "the sandbox must be destroyed first")
            }
            Ok(()) if !disk::is_there(&self.workshop.sandboxes, &id) => self.reply(ticket, &not_found(&id)),
            Ok(()) => self.demand(ticket, Purpose::Reader { id: reader, of: id }),
            Err(reason) => self.refuse(ticket, "read changes", &reason),
        }
    }

    /// Gives a shell to a request, or lets it wait for one.
    fn demand(&mut self, ticket: Ticket, purpose: Purpose) -> Result<(), JailerError> {
        if let Some(shell) = self.ready.pop_front() {
            return self.enter(ticket, shell, purpose);
        }
        if self.preparing.len() <= self.waiting.len()
            && let Some(limits) = self.pool.map(|pool| pool.limits)
            && let Err(error) = self.start_shell(limits)
        {
            return self.reply(ticket, &failed(FailureKind::Step, &error));
        }
        self.waiting.push_back(Waiting { ticket, purpose });
        Ok(())
    }

    pub(super) fn enter(
        &mut self,
        ticket: Ticket,
        shell: Shell,
        purpose: Purpose,
    ) -> Result<(), JailerError> {
        match self.workshop.claim(shell, purpose) {
            Ok(claim) => {
                self.entering.push(Entering {
                    ticket,
                    claim,
                    deadline: Instant::now() + PATIENCE,
                    discarded: false,
                });
                Ok(())
            }
            Err(error) => self.reply(ticket, &failed(FailureKind::Step, &error)),
        }
    }

    fn destroy(&mut self, ticket: Ticket, id: &str) -> Result<(), JailerError> {
        if let Some(ending) = self.ending.iter_mut().find(|ending| ending.claim.id() == id) {
            ending.tickets.push(ticket);
            return Ok(());
        }
        if self.running.contains_key(id) {
            self.end(id, Some(ticket), false);
            return Ok(());
        }
        self.reply(ticket, &Reply::Done)
    }

    fn discard(&mut self, ticket: Ticket, id: &str) -> Result<(), JailerError> {
        if let Err(reason) = request::check_id(id) {
            return self.refuse(ticket, "discard", &reason);
        }
        if let Some(entering) = self
            .entering
            .iter_mut()
            .find(|entering| entering.claim.id() == id)
        {
            // Whoever asked for it is not there any more, or is the one who discards it.
            entering.ticket = ticket;
            entering.discarded = true;
            return Ok(());
        }
        if let Some(ending) = self.ending.iter_mut().find(|ending| ending.claim.id() == id) {
            ending.tickets.push(ticket);
            ending.discarded = true;
            return Ok(());
        }
        if self.running.contains_key(id) {
            self.end(id, Some(ticket), true);
            return Ok(());
        }
        match self.workshop.discard_files(id) {
            Ok(()) => self.reply(ticket, &Reply::Done),
            Err(error) => self.reply(ticket, &failed(FailureKind::Step, &error)),
        }
    }

    /// Kills a sandbox; what follows comes when its processes are gone.
    pub(super) fn end(&mut self, id: &str, ticket: Option<Ticket>, discarded: bool) {
        if let Some(claim) = self.running.remove(id) {
            self.workshop.begin_end(&claim);
            self.ending.push(Ending {
                tickets: ticket.into_iter().collect(),
                claim,
                discarded,
            });
        }
    }

    fn list(&mut self, ticket: Ticket, after: Option<String>) -> Result<(), JailerError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let sandboxes = self.running.range((from, Bound::Unbounded));
        let mut ids: Vec<_> = sandboxes
            .filter(|(_, claim)| !claim.is_reader())
            .map(|(id, _)| id.clone())
            .take(PAGE + 1)
            .collect();
        let more = ids.len() > PAGE;
        ids.truncate(PAGE);
        self.reply(ticket, &Reply::Sandboxes { ids, more })
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
        ticket: Ticket,
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
        self.reply(ticket, &reply)
    }

    fn refuse(&mut self, ticket: Ticket, step: &str, reason: &str) -> Result<(), JailerError> {
        let reply = Reply::Failed {
            kind: FailureKind::Request,
            step: step.to_owned(),
            reason: reason.to_owned(),
        };
        self.reply(ticket, &reply)
    }

    pub(super) fn reply(&mut self, ticket: Ticket, reply: &Reply) -> Result<(), JailerError> {
        let sent = self.clients.send(ticket, reply, &[]);
        self.heard(sent)
    }
}

pub(super) fn is_alive(claim: &Claim) -> bool {
    claim
        .shell
        .child
        .as_ref()
        .is_some_and(|child| identity::lives(&child.pidfd))
}

pub(super) fn failed(kind: FailureKind, error: &StepError) -> Reply {
    Reply::Failed {
        kind,
        step: error.step.to_owned(),
        reason: format!("{}: {}", error.what, error.source),
    }
}

pub(super) fn not_found(id: &str) -> Reply {
    Reply::Failed {
        kind: FailureKind::NotFound,
        step: "find".to_owned(),
        reason: format!("no sandbox {id}"),
    }
}
