//! The guest's one loop: connections, signals, and nothing else that could hold it up.

use crate::agent_user::AgentUser;
use crate::api::{self, Guest, Role};
use crate::config::Config;
use crate::files::Files;
use crate::processes::Processes;
use crate::sys;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::io::FdFlags;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinSet, LocalSet};

/// More wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 64;

/// From a connection's first moment, or its last answer, to the end of the next request's head.
const HEAD: Duration = Duration::from_mins(1);

/// Bounds the head of a request.
const MAX_BUFFER: usize = 64 << 10;

const MAX_HEADERS: usize = 32;

/// After a failed accept.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot take over the guest's socket")]
    Listener(#[source] io::Error),
    #[error("cannot receive signals")]
    Signals(#[source] io::Error),
    #[error("cannot start the event loop")]
    Runtime(#[source] io::Error),
    #[error("cannot give up the groups of the guest's user")]
    Groups(#[source] io::Error),
}

/// Serves until the host outside ends it with SIGTERM. Called before any thread is started; as process 1, its return
/// and exit end the sandbox.
pub fn run(config: Config) -> Result<(), Error> {
    sys::return_freed_memory();
    let signals = sys::block_signals().map_err(Error::Signals)?;
    let user = AgentUser::new(config.agent_uid, config.agent_gid);
    user.forget_groups()
        .map_err(|error| Error::Groups(error.into()))?;
    for fd in config.outbox.iter().chain([&config.listener]) {
        rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC).map_err(|error| Error::Listener(error.into()))?;
    }
    let (files, role) = if let Some(root) = config.changes_root {
        (Files::below(user, &root), Role::Reader { root })
    } else {
        let files = Files::of_sandbox(user, &config.default_cwd);
        let directories = [config.default_cwd, config.agent_home];
        (
            files,
            Role::Sandbox(Processes::new(config.outbox, user, directories)),
        )
    };
    let guest = Guest {
        started: Instant::now(),
        user,
        files,
        role,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(Error::Runtime)?;
    LocalSet::new().block_on(&runtime, serve(config.listener, signals, Rc::new(guest)))
}

async fn serve(listener: OwnedFd, signals: OwnedFd, guest: Rc<Guest>) -> Result<(), Error> {
    let listener = std::os::unix::net::UnixListener::from(listener);
    listener.set_nonblocking(true).map_err(Error::Listener)?;
    let listener = UnixListener::from_std(listener).map_err(Error::Listener)?;
    let signals = sys::watch(signals).map_err(Error::Signals)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            signal = next_signal(&signals) => match signal.map_err(Error::Signals)? {
                Received::Children => guest.reap(),
                Received::Terminate => return Ok(()),
                Received::Nothing => {}
            },
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn_local(converse(stream, Rc::clone(&guest)));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// One connection, until the host closes it. Its errors are the host's to see.
async fn converse(stream: UnixStream, guest: Rc<Guest>) {
    let service = service_fn(move |request| {
        let guest = Rc::clone(&guest);
        async move { Ok::<_, Infallible>(api::answer(guest, request).await) }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_BUFFER)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

enum Received {
    Children,
    Terminate,
    Nothing,
}

/// As process 1, only the outside may end the guest: there a sender has no pid here.
async fn next_signal(signals: &AsyncFd<OwnedFd>) -> io::Result<Received> {
    let mut ready = signals.readable().await?;
    match ready.try_io(|signals| sys::read_signal(signals.as_fd())) {
        Err(_would_block) => Ok(Received::Nothing),
        Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => Ok(Received::Nothing),
        Ok(Err(error)) => Err(error),
        Ok(Ok((libc::SIGCHLD, _))) => Ok(Received::Children),
        Ok(Ok((_, sender))) if sender == 0 || !rustix::process::getpid().is_init() => Ok(Received::Terminate),
        Ok(Ok(_)) => Ok(Received::Nothing),
    }
}
