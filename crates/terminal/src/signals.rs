//! What the user asks for with the keyboard or a signal, at any moment of a command.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// One request to end. The first one is polite; `now` is SIGTERM or SIGHUP, which are not repeated by a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub now: bool,
}

/// Signals as they come, in order. Until one is taken, it waits.
pub struct Signals(Inner);

enum Inner {
    Process {
        interrupt: Signal,
        terminate: Signal,
        hangup: Signal,
    },
    Channel(mpsc::Receiver<Asked>),
}

impl Signals {
    /// Of this process, which from now on does not die of them.
    pub fn of_process() -> io::Result<Self> {
        Ok(Self(Inner::Process {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        }))
    }

    /// As sent by a program.
    pub fn from_channel(channel: mpsc::Receiver<Asked>) -> Self {
        Self(Inner::Channel(channel))
    }

    /// The next one. May be dropped while it waits.
    pub async fn next(&mut self) -> Asked {
        let asked = match &mut self.0 {
            Inner::Process {
                interrupt,
                terminate,
                hangup,
            } => tokio::select! {
                Some(()) = interrupt.recv() => Some(Asked { now: false }),
                Some(()) = terminate.recv() => Some(Asked { now: true }),
                Some(()) = hangup.recv() => Some(Asked { now: true }),
                else => None,
            },
            Inner::Channel(channel) => channel.recv().await,
        };
        match asked {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }
}
