//! Who the jailer serves, and for a service, who else is at the door.
//!
//! ```text
//! door --connect, allowed--> greeting --Hello--> current --a newer one's Hello, or its end--> gone
//! ```
//!
//! A client that does not read what it is sent, or does not say who it is, is let go: it could hold up the next one.

use crate::error::{During as _, StepError};
use crate::protocol::{self, Envelope, Hello, Reply};
use crate::user::User;
use channel::ChannelError;
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use std::time::{Duration, Instant};

/// How long a client may take to read an answer, or to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients that have not said who they are; more wait in the backlog.
const MOST_GREETING: usize = 8;
const BACKLOG: i32 = 16;

/// Whom to answer: a request of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    client: u64,
    number: u64,
}

#[derive(Debug)]
pub struct Client {
    pub channel: OwnedFd,
    /// Counts clients.
    pub name: u64,
}

impl Client {
    pub fn ticket(&self, number: u64) -> Ticket {
        Ticket {
            client: self.name,
            number,
        }
    }
}

/// Where a service listens.
#[derive(Debug)]
pub struct Door {
    listener: OwnedFd,
    user: Option<User>,
}

#[derive(Debug)]
struct Greeting {
    channel: OwnedFd,
    deadline: Instant,
}

#[derive(Debug)]
pub struct Clients {
    pub current: Option<Client>,
    door: Option<Door>,
    greeting: Vec<Greeting>,
    next: u64,
}

impl Door {
    /// Listens in the data directory. The socket is made in a directory of the jailer's own and moved, so that its owner
    /// is set of nothing else.
    pub fn open(data: &OwnedFd, own: &OwnedFd, user: Option<User>) -> Result<Self, StepError> {
        let path = format!(
            "/proc/self/fd/{}/{}",
            crate::sys::number_of(own),
            protocol::SOCKET
        );
        let make = || -> rustix::io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            match rustix::fs::unlinkat(own, protocol::SOCKET, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            bind(&listener, &SocketAddrUnix::new(path.as_str())?)?;
            rustix::fs::chmodat(
                own,
                protocol::SOCKET,
                Mode::from_raw_mode(0o600),
                AtFlags::empty(),
            )?;
            listen(&listener, BACKLOG)?;
            Ok(listener)
        };
        let listener = make().during("listen", || protocol::SOCKET.to_owned())?;
        if let Some(user) = user {
            user.let_in(own, protocol::SOCKET)?;
        }
        rustix::fs::renameat(own, protocol::SOCKET, data, protocol::SOCKET)
            .during("listen", || protocol::SOCKET.to_owned())?;
        Ok(Self { listener, user })
    }

    /// Root, which for an ordinary user's jailer is that user, and the server's user.
    fn admits(&self, uid: u32) -> bool {
        uid == 0 || self.user.is_some_and(|user| user.uid == uid)
    }

    /// The next one who may come in; those who may not are turned away.
    pub fn accept(&self) -> Option<OwnedFd> {
        loop {
            let channel = accept_with(&self.listener, SocketFlags::CLOEXEC).ok()?;
            let ready = sockopt::set_socket_timeout(&channel, Timeout::Send, Some(PATIENCE))
                .and_then(|()| sockopt::set_socket_timeout(&channel, Timeout::Recv, Some(PATIENCE)));
            let peer = sockopt::socket_peercred(&channel);
            if ready.is_ok() && peer.is_ok_and(|peer| self.admits(peer.uid.as_raw())) {
                return Some(channel);
            }
        }
    }

    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Clients {
    /// One, and never another.
    pub fn only(channel: OwnedFd) -> Self {
        Self {
            current: Some(Client { channel, name: 0 }),
            door: None,
            greeting: Vec::new(),
            next: 1,
        }
    }

    pub fn through(door: Door) -> Self {
        Self {
            current: None,
            door: Some(door),
            greeting: Vec::new(),
            next: 0,
        }
    }

    pub fn is_service(&self) -> bool {
        self.door.is_some()
    }

    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        let door = self
            .door
            .as_ref()
            .filter(|_| self.greeting.len() < MOST_GREETING)?;
        Some(door.listener())
    }

    pub fn greeting(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.greeting.iter().map(|greeting| greeting.channel.as_fd())
    }

    pub fn open_door(&mut self) {
        if let Some(channel) = self.door.as_ref().and_then(Door::accept) {
            self.greeting.push(Greeting {
                channel,
                deadline: Instant::now() + PATIENCE,
            });
        }
    }

    /// What one at the door says, and its channel; nothing if it says nothing that is understood.
    pub fn take_greeting(&mut self, index: usize) -> Option<(Hello, OwnedFd)> {
        let channel = self.greeting.swap_remove(index).channel;
        let (hello, _) = channel::receive::<Hello>(&channel).ok()?;
        Some((hello, channel))
    }

    pub fn let_go_of_the_silent(&mut self, now: Instant) {
        self.greeting.retain(|greeting| greeting.deadline > now);
    }

    /// Makes this one the current client. Who was it is told.
    pub fn welcome(&mut self, channel: OwnedFd) {
        if let Some(old) = self.current.take() {
            let ticket = old.ticket(0);
            self.current = Some(old);
            // It may be gone, and it is closed in any case.
            self.send(ticket, &Reply::TakenOver, &[]).ok();
        }
        self.next += 1;
        self.current = Some(Client {
            channel,
            name: self.next,
        });
    }

    /// Whether who holds this ticket is still there.
    pub fn knows(&self, ticket: Ticket) -> bool {
        self.current
            .as_ref()
            .is_some_and(|client| client.name == ticket.client)
    }

    /// Sends an answer, unless who asked is gone.
    pub fn send(&self, ticket: Ticket, reply: &Reply, fds: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        let Some(client) = self.current.as_ref().filter(|_| self.knows(ticket)) else {
            return Ok(());
        };
        let envelope = Envelope {
            number: ticket.number,
            body: reply,
        };
        channel::send(&client.channel, &envelope, fds)
    }
}
