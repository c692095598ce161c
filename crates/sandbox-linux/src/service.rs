//! The jailer as a service: this side comes and goes, and comes back by itself when the jailer was started again.
//!
//! ```text
//! connected --jailer gone--> lost --[undo what was in flight]--> connected
//!     |                        |
//!     '---- taken over, left --+--> over
//! ```
//!
//! What only looks or may be done twice is asked again after a loss. A creation is not: it is answered with the loss, and
//! undone before anything else is asked of the next jailer.

use crate::backend::StartError;
use crate::conversation::{Answer, AskError, Conversation, socket};
use channel::ChannelError;
use jailer::User;
use jailer::protocol::{Hello, Reply, Request, SOCKET, Welcome};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a jailer that was started may take to listen, and one that is told to stop may take to end.
const PATIENCE: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// For a jailer that was started to listen, before it is looked whether anybody watches over it: a watcher that has just
/// been killed is taken for one that lives until it is quite gone.
const AGAIN: Duration = Duration::from_secs(1);
/// Whoever watches over the jailer starts it again sooner.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
enum Status {
    Connected(Arc<Conversation>),
    Lost,
    Over(String),
}

/// Where a jailer is, and how it is started where it is not.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) program: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) starts_jailer: bool,
}

#[derive(Debug)]
struct Link {
    place: Place,
    hello: Hello,
    status: watch::Sender<Status>,
    leaving: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

#[derive(Debug)]
pub(crate) struct ServiceJailer {
    link: Arc<Link>,
}

impl ServiceJailer {
    /// Connects to the jailer of this place, and starts it if nobody listens there and it is ours to start. Blocks. With
    /// the ids of the sandboxes that are there.
    pub(crate) fn connect(place: Place, hello: Hello) -> Result<(Self, Welcome, Vec<String>), StartError> {
        if place.connect().is_err_and(|error| is_nobody(&error)) && place.is_ours() {
            place.start(None)?;
        }
        let deadline = Instant::now() + PATIENCE;
        let mut looked = Instant::now();
        let (conversation, welcome, ids) = loop {
            match first_words(&place, &hello) {
                // It is being started, or started again.
                Err(error) if is_coming(&error) && Instant::now() < deadline => {
                    if looked.elapsed() > AGAIN && place.is_ours() {
                        place.start(None)?;
                        looked = Instant::now();
                    }
                    std::thread::sleep(FIRST_PAUSE);
                }
                heard => break heard?,
            }
        };
        if let Some(reason) = welcome.refused {
            return Err(StartError::Refused { reason });
        }
        let conversation = Arc::new(conversation);
        let link = Arc::new(Link {
            place,
            hello,
            status: watch::Sender::new(Status::Connected(Arc::clone(&conversation))),
            leaving: AtomicBool::new(false),
            thread: Mutex::default(),
        });
        let kept = Arc::clone(&link);
        let thread = std::thread::Builder::new()
            .name("jailer link".to_owned())
            .spawn(move || kept.keep(conversation))
            .map_err(socket)?;
        *link.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread.thread().clone());
        Ok((Self { link }, welcome, ids))
    }

    /// Asks the jailer that is there, or the next one.
    pub(crate) async fn ask(&self, request: Request, deadline: Duration) -> Result<Answer, AskError> {
        let late = AskError::Late {
            seconds: deadline.as_secs(),
        };
        let again = may_be_asked_again(&request);
        let asking = async {
            let mut status = self.link.status.subscribe();
            let mut last: Option<Arc<Conversation>> = None;
            loop {
                let is_news = |status: &Status| match status {
                    Status::Connected(found) => last.as_ref().is_none_or(|last| !Arc::ptr_eq(found, last)),
                    Status::Lost => false,
                    Status::Over(_) => true,
                };
                let found = status.wait_for(is_news).await.map(|status| status.clone());
                let conversation = match found {
                    Ok(Status::Connected(conversation)) => conversation,
                    Ok(Status::Over(reason)) => return Err(AskError::Lost(reason)),
                    Ok(Status::Lost) | Err(_) => return Err(AskError::Lost("it is gone".to_owned())),
                };
                match conversation.ask(request.clone(), deadline).await {
                    Err(AskError::Lost(_)) if again => last = Some(conversation),
                    answer => return answer,
                }
            }
        };
        tokio::time::timeout(deadline, asking).await.unwrap_or(Err(late))
    }

    /// Whether it is connected now.
    pub(crate) fn is_there(&self) -> bool {
        matches!(*self.link.status.borrow(), Status::Connected(_))
    }

    pub(crate) fn abandon(&self, id: &str) {
        if let Status::Connected(conversation) = &*self.link.status.borrow() {
            conversation.abandon(id);
        }
    }

    /// Lets go of the jailer, which keeps everything.
    pub(crate) fn leave(&self) {
        self.link.leave();
    }

    /// Ends every sandbox, the jailer, and whoever watches over it. Blocks.
    pub(crate) fn stop(&self) {
        self.link.leave();
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.link.stop_now() {
                Ok(()) => return,
                Err(error) if Instant::now() > deadline => {
                    tracing::warn!(%error, "the jailer did not end in {} s", PATIENCE.as_secs());
                    return;
                }
                // It is being started again, or was killed in the middle of it.
                Err(_) => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Drop for ServiceJailer {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What looks, and what is done when it is done twice.
fn may_be_asked_again(request: &Request) -> bool {
    match request {
        Request::Create(_) | Request::ReadChanges { .. } | Request::Stop => false,
        Request::Observe { .. }
        | Request::Freeze { .. }
        | Request::Thaw { .. }
        | Request::Destroy { .. }
        | Request::RemoveFiles { .. }
        | Request::Attach { .. }
        | Request::List { .. }
        | Request::Discard { .. } => true,
    }
}

type FirstWords = (Conversation, Welcome, Vec<String>);

fn first_words(place: &Place, hello: &Hello) -> Result<FirstWords, ChannelError> {
    let channel = place.connect().map_err(socket)?;
    let (conversation, welcome) = Conversation::greet(channel, hello)?;
    let ids = if welcome.refused.is_none() {
        survivors(&conversation)?
    } else {
        Vec::new()
    };
    Ok((conversation, welcome, ids))
}

fn survivors(conversation: &Conversation) -> Result<Vec<String>, ChannelError> {
    let mut found = Vec::new();
    loop {
        let after = found.last().cloned();
        match conversation.ask_first(Request::List { after })? {
            Reply::Sandboxes { ids, more } => {
                found.extend(ids);
                if !more {
                    return Ok(found);
                }
            }
            reply => {
                let source = io::Error::other(format!("it does not list its sandboxes: {reply:?}"));
                return Err(socket(source));
            }
        }
    }
}

impl Link {
    /// Reads replies, and connects again when there are no more.
    fn keep(&self, mut conversation: Arc<Conversation>) {
        let mut orphans = Vec::new();
        loop {
            let ended = conversation.read();
            if ended.taken_over || self.is_left() {
                self.status.send_replace(Status::Over(ended.reason));
                return;
            }
            self.status.send_replace(Status::Lost);
            orphans.extend(ended.orphans);
            let Some(found) = self.connect_again(&mut orphans) else {
                self.status.send_replace(Status::Over(ended.reason));
                return;
            };
            conversation = Arc::new(found);
            self.status
                .send_replace(Status::Connected(Arc::clone(&conversation)));
        }
    }

    /// Nothing if this side has left.
    fn connect_again(&self, orphans: &mut Vec<String>) -> Option<Conversation> {
        let mut pause = FIRST_PAUSE;
        let lost = Instant::now();
        while !self.is_left() {
            match self.greet_again(orphans) {
                Ok(conversation) => return Some(conversation),
                Err(error) => {
                    tracing::debug!(%error, "the jailer is not back yet");
                    if lost.elapsed() > GRACE && self.place.is_ours() {
                        // Where that fails too, the next try says so.
                        self.place.start(None).ok();
                    }
                }
            }
            std::thread::park_timeout(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        None
    }

    fn greet_again(&self, orphans: &mut Vec<String>) -> Result<Conversation, ChannelError> {
        let channel = self.place.connect().map_err(socket)?;
        let (conversation, welcome) = Conversation::greet(channel, &self.hello)?;
        if let Some(reason) = welcome.refused {
            return Err(socket(io::Error::other(reason)));
        }
        while let Some(id) = orphans.last().cloned() {
            let undone = conversation.ask_first(Request::Discard { id: id.clone() })?;
            if let Reply::Failed { step, reason, .. } = undone {
                tracing::warn!(sandbox = id, "undoing a creation failed: {step}: {reason}");
            }
            orphans.pop();
        }
        Ok(conversation)
    }

    fn is_left(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
        if let Status::Connected(conversation) = &*self.status.borrow() {
            conversation.close();
        }
        if let Some(thread) = &*self.thread.lock().unwrap_or_else(PoisonError::into_inner) {
            thread.unpark();
        }
    }

    /// Tells the jailer to stop, and waits until it is gone. One that is gone already is fine.
    fn stop_now(&self) -> Result<(), ChannelError> {
        let channel = match self.place.connect() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            connected => connected.map_err(socket)?,
        };
        let (conversation, _) = Conversation::greet(channel, &self.hello)?;
        match conversation.ask_first(Request::Stop)? {
            Reply::Done => {
                conversation.read();
                Ok(())
            }
            reply => Err(socket(io::Error::other(format!("it answered {reply:?}")))),
        }
    }
}

/// There may be somebody soon.
fn is_coming(error: &ChannelError) -> bool {
    match error {
        ChannelError::Closed => true,
        ChannelError::Socket { source } => is_nobody(source),
        _ => false,
    }
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}

impl Place {
    fn connect(&self) -> io::Result<std::os::fd::OwnedFd> {
        channel::connect(&self.data.join(SOCKET))
    }

    /// Whether somebody is there, and not only a socket of one that has just been killed: a jailer hangs up on who says
    /// nothing, and one that is torn down never comes to it.
    pub(crate) fn knock(&self) -> io::Result<()> {
        let channel = self.connect()?;
        rustix::net::shutdown(&channel, Shutdown::Write)?;
        channel::set_patience(&channel, Some(AGAIN))?;
        match rustix::net::recv(&channel, &mut [0_u8; 1], RecvFlags::empty()) {
            // One that is busy with its start is there.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The same, while a jailer that was just started comes to it.
    fn knock_soon(&self) -> io::Result<()> {
        let deadline = Instant::now() + AGAIN;
        loop {
            match self.knock() {
                Err(error) if is_nobody(&error) && Instant::now() < deadline => {
                    std::thread::sleep(FIRST_PAUSE);
                }
                heard => return heard,
            }
        }
    }

    /// Whether there is one to start, and what lies here is this user's to build on: a server that gave up root has none.
    fn is_ours(&self) -> bool {
        if !self.starts_jailer {
            return false;
        }
        let own = rustix::process::geteuid().as_raw();
        match std::fs::metadata(self.data.join("sandboxes")) {
            Ok(found) => found.uid() == own,
            Err(error) => error.kind() == io::ErrorKind::NotFound && is_owner(&self.data, own),
        }
    }

    /// Starts the jailer in the background, watched over.
    pub(crate) fn start(&self, user: Option<User>) -> Result<(), StartError> {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["jailer", "--supervise", "--data"])
            .arg(&self.data);
        if let Some(user) = user {
            command.arg("--user").arg(format!("{}:{}", user.uid, user.gid));
        }
        // Whoever waits for the end of our output does not wait for the jailer's.
        let started = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(socket)?;
        if started.success() {
            return Ok(());
        }
        Err(socket(io::Error::other(started.to_string())).into())
    }

    /// Sees to it that somebody watches over the jailer, and waits until it listens. One that is there is let be, also one
    /// that lost who watched over it.
    pub(crate) fn start_watched(&self, user: User) -> Result<(), StartError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.start(Some(user))?;
            match self.knock_soon() {
                Err(error) if is_nobody(&error) && Instant::now() < deadline => {}
                heard => return heard.map_err(|error| socket(error).into()),
            }
        }
    }
}

fn is_owner(path: &Path, user: u32) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.uid() == user)
}
