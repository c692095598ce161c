//! Talking with a jailer: requests go out under numbers, replies come back under the same.
//!
//! A reply that nobody waits for any more is not lost: a sandbox that was made for a caller who left is undone.

use channel::ChannelError;
use jailer::protocol::{Envelope, Hello, Reply, Request, Welcome};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a jailer may take to look at the machine and answer a greeting, or to undo a creation.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Answer = (Reply, Vec<OwnedFd>);

#[derive(Debug)]
struct Pending {
    answer: oneshot::Sender<Answer>,
    /// The sandbox this request makes.
    makes: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Conversation {
    channel: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    waiting: HashMap<u64, Pending>,
    /// Why there will be no more replies.
    lost: Option<String>,
}

#[derive(Debug)]
pub(crate) enum AskError {
    Lost(String),
    Late { seconds: u64 },
}

/// How a conversation ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) reason: String,
    /// Another server is served now.
    pub(crate) taken_over: bool,
    /// Sandboxes that were being made, or were and nobody was told.
    pub(crate) orphans: Vec<String>,
}

impl Conversation {
    /// Greets the jailer. Blocks until it has answered.
    pub(crate) fn greet(channel: OwnedFd, hello: &Hello) -> Result<(Self, Welcome), ChannelError> {
        let patience = |patience| channel::set_patience(&channel, patience).map_err(socket);
        patience(Some(PATIENCE))?;
        channel::send(&channel, hello, &[])?;
        let (welcome, _) = channel::receive::<Welcome>(&channel)?;
        patience(None)?;
        let state = Mutex::default();
        Ok((Self { channel, state }, welcome))
    }

    /// Asks before anybody reads replies, and blocks.
    pub(crate) fn ask_first(&self, request: Request) -> Result<Reply, ChannelError> {
        let number = {
            let mut state = self.state();
            state.next += 1;
            state.next
        };
        let patience = |patience| channel::set_patience(&self.channel, patience).map_err(socket);
        patience(Some(PATIENCE))?;
        let envelope = Envelope {
            number,
            body: request,
        };
        channel::send(&self.channel, &envelope, &[])?;
        loop {
            let (envelope, _) = channel::receive::<Envelope<Reply>>(&self.channel)?;
            if envelope.number == number {
                patience(None)?;
                return Ok(envelope.body);
            }
        }
    }

    /// Sends a request; the answer comes when the jailer has done it. The reason is of a jailer that is gone.
    pub(crate) async fn ask(&self, request: Request, deadline: Duration) -> Result<Answer, AskError> {
        let (answer, received) = oneshot::channel();
        let makes = match &request {
            Request::Create(spec) => Some(spec.id.clone()),
            Request::ReadChanges { reader, .. } => Some(reader.clone()),
            _ => None,
        };
        self.send(request, Pending { answer, makes })
            .map_err(AskError::Lost)?;
        match tokio::time::timeout(deadline, received).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(AskError::Lost(self.lost())),
            Err(_) => Err(AskError::Late {
                seconds: deadline.as_secs(),
            }),
        }
    }

    /// Tells the jailer to undo a creation without waiting for it.
    pub(crate) fn abandon(&self, id: &str) {
        let (answer, _) = oneshot::channel();
        // Where the jailer is gone, so is the sandbox, or the next conversation begins with undoing it.
        self.send(
            Request::Discard { id: id.to_owned() },
            Pending { answer, makes: None },
        )
        .ok();
    }

    /// Delivers replies to those who wait for them, until there are no more.
    pub(crate) fn read(&self) -> Ended {
        let mut taken_over = false;
        let reason = loop {
            match channel::receive::<Envelope<Reply>>(&self.channel) {
                Ok((envelope, _)) if envelope.body == Reply::TakenOver => {
                    taken_over = true;
                    break "another server has taken over".to_owned();
                }
                Ok((envelope, descriptors)) => self.deliver(envelope, descriptors),
                Err(error) => break error.to_string(),
            }
        };
        let mut state = self.state();
        state.lost = Some(reason.clone());
        let orphans = state
            .waiting
            .drain()
            .filter_map(|(_, pending)| pending.makes)
            .collect();
        Ended {
            reason,
            taken_over,
            orphans,
        }
    }

    /// Ends the conversation in both directions; the reader sees it too.
    pub(crate) fn close(&self) {
        if let Ok(duplicate) = self.channel.as_fd().try_clone_to_owned() {
            let stream = std::os::unix::net::UnixStream::from(duplicate);
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> String {
        self.state()
            .lost
            .clone()
            .unwrap_or_else(|| "it dropped a request".to_owned())
    }

    fn send(&self, request: Request, pending: Pending) -> Result<(), String> {
        let mut state = self.state();
        if let Some(reason) = &state.lost {
            return Err(reason.clone());
        }
        state.next += 1;
        let number = state.next;
        state.waiting.insert(number, pending);
        // Under the lock, so that requests leave in the order of their numbers. The message is small.
        let envelope = Envelope {
            number,
            body: request,
        };
        channel::send(&self.channel, &envelope, &[]).map_err(|error| {
            // A message that did not leave made nothing.
            state.waiting.remove(&number);
            error.to_string()
        })
    }

    fn deliver(&self, envelope: Envelope<Reply>, descriptors: Vec<OwnedFd>) {
        let Some(pending) = self.state().waiting.remove(&envelope.number) else {
            return;
        };
        let made = matches!(envelope.body, Reply::Created { .. });
        if pending.answer.send((envelope.body, descriptors)).is_err()
            && made
            && let Some(id) = pending.makes
        {
            self.abandon(&id);
        }
    }
}

pub(crate) fn socket(source: io::Error) -> ChannelError {
    ChannelError::Socket { source }
}
