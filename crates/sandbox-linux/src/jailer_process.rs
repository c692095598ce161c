//! The jailer as a child process: requests go out under numbers, replies come back under the same.
//!
//! A reply that nobody waits for any more is not lost: a sandbox that was made for a caller who left is destroyed.

use jailer::channel::{self, ChannelError};
use jailer::protocol::{Envelope, Hello, Reply, Request, Welcome};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long the jailer may take to end every sandbox when it is told to stop.
const PATIENCE: Duration = Duration::from_secs(30);

type Answer = (Reply, Vec<OwnedFd>);

#[derive(Debug)]
struct Pending {
    answer: oneshot::Sender<Answer>,
    /// The sandbox this request makes.
    makes: Option<String>,
}

#[derive(Debug)]
struct Shared {
    channel: OwnedFd,
    pending: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    waiting: HashMap<u64, Pending>,
    /// Why there will be no more replies.
    lost: Option<String>,
}

#[derive(Debug)]
pub(crate) struct JailerProcess {
    shared: Arc<Shared>,
    child: Mutex<Option<Child>>,
}

impl JailerProcess {
    /// Starts the jailer and greets it. Blocks until it has looked at the machine.
    pub(crate) fn start(program: &Path, hello: &Hello) -> Result<(Self, Welcome), ChannelError> {
        let socket = |source: io::Error| ChannelError::Socket { source };
        let (own, theirs) = channel::pair().map_err(socket)?;
        let child = Command::new(program)
            .arg("jailer")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            // An interrupt typed at the terminal is for us to act on.
            .process_group(0)
            .spawn()
            .map_err(socket)?;
        channel::send(&own, hello, &[])?;
        let (welcome, _) = channel::receive::<Welcome>(&own)?;
        let shared = Arc::new(Shared {
            channel: own,
            pending: Mutex::default(),
        });
        let reader = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("jailer replies".to_owned())
            .spawn(move || reader.read())
            .map_err(socket)?;
        Ok((
            Self {
                shared,
                child: Mutex::new(Some(child)),
            },
            welcome,
        ))
    }

    /// Sends a request; the answer comes when the jailer has done it. The reason is of a jailer that is gone.
    pub(crate) async fn ask(&self, request: Request, deadline: Duration) -> Result<Answer, AskError> {
        let (answer, received) = oneshot::channel();
        let makes = match &request {
            Request::Create(spec) => Some(spec.id.clone()),
            Request::ReadChanges { reader, .. } => Some(reader.clone()),
            _ => None,
        };
        self.shared
            .send(request, Pending { answer, makes })
            .map_err(AskError::Lost)?;
        match tokio::time::timeout(deadline, received).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(AskError::Lost(self.shared.lost())),
            Err(_) => Err(AskError::Late {
                seconds: deadline.as_secs(),
            }),
        }
    }

    /// Tells the jailer to destroy a sandbox without waiting for it.
    pub(crate) fn abandon(&self, id: &str) {
        self.shared.abandon(id);
    }

    /// Ends every sandbox and the jailer. What it could not finish in time, the next start does.
    pub(crate) fn stop(&self) {
        let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        self.shared.close();
        let deadline = Instant::now() + PATIENCE;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                tracing::warn!("the jailer did not end in {} s and is killed", PATIENCE.as_secs());
                child.kill().ok();
                child.wait().ok();
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for JailerProcess {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Debug)]
pub(crate) enum AskError {
    Lost(String),
    Late { seconds: u64 },
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
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
        channel::send(
            &self.channel,
            &Envelope {
                number,
                body: request,
            },
            &[],
        )
        .map_err(|error| {
            state.waiting.remove(&number);
            error.to_string()
        })
    }

    fn abandon(&self, id: &str) {
        let (answer, _) = oneshot::channel();
        // Where the jailer is gone, so is the sandbox.
        self.send(
            Request::Destroy { id: id.to_owned() },
            Pending { answer, makes: None },
        )
        .ok();
    }

    fn read(&self) {
        let reason = loop {
            match channel::receive::<Envelope<Reply>>(&self.channel) {
                Ok((envelope, descriptors)) => self.deliver(envelope, descriptors),
                Err(error) => break error.to_string(),
            }
        };
        let mut state = self.state();
        state.lost = Some(reason);
        state.waiting.clear();
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

    /// Ends the conversation in both directions; the reader sees it too.
    fn close(&self) {
        let duplicate = self.channel.as_fd().try_clone_to_owned();
        if let Ok(duplicate) = duplicate {
            let stream = std::os::unix::net::UnixStream::from(duplicate);
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
    }
}
