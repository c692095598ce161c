//! What the host writes to a process: numbered pieces, each written once, in order, however often it is sent.
//!
//! A piece that could not be written whole, because the process did not read or the host went away, stays the one that
//! is due; sent again, it goes on where it stopped.

use crate::refusal::Refusal;
use crate::sys;
use bytes::Bytes;
use rustix::fd::OwnedFd;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};

/// How long a piece waits for a process that does not read. Shorter than the host waits for the answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a terminal takes for the end of input, at the start of a line.
const END_OF_TRANSMISSION: &[u8] = &[4];

pub(crate) struct Input {
    next_seq: Rc<Cell<u64>>,
    channel: Mutex<Channel>,
}

pub(crate) struct Channel {
    next_seq: Rc<Cell<u64>>,
    /// Nothing after the end of input.
    fd: Option<AsyncFd<OwnedFd>>,
    terminal: bool,
    /// Bytes of the piece that is due which were written already.
    written: usize,
}

/// One piece on its way, to be fed as it arrives.
pub(crate) struct Piece<'a> {
    channel: MutexGuard<'a, Channel>,
    deadline: Instant,
    /// Bytes that come again and were written before.
    skip: usize,
}

impl Input {
    /// `fd` is non-blocking.
    pub(super) fn new(fd: OwnedFd, terminal: bool) -> io::Result<Self> {
        let next_seq = Rc::new(Cell::new(1));
        let fd = Some(sys::watch(fd)?);
        let channel = Channel {
            next_seq: Rc::clone(&next_seq),
            fd,
            terminal,
            written: 0,
        };
        Ok(Self {
            next_seq,
            channel: Mutex::new(channel),
        })
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq.get()
    }

    /// Takes the turn of piece `seq`. Nothing if it was written before, or if another piece took too long.
    pub(crate) async fn begin(&self, seq: u64) -> Result<Option<Piece<'_>>, Refusal> {
        let deadline = Instant::now() + PATIENCE;
        let Ok(channel) = timeout_at(deadline, self.channel.lock()).await else {
            return Ok(None);
        };
        let due = self.next_seq.get();
        if seq < due {
            return Ok(None);
        }
        if seq > due {
            return Err(Refusal::conflict(format!("input {due} is due, not {seq}")));
        }
        let skip = channel.written;
        Ok(Some(Piece {
            channel,
            deadline,
            skip,
        }))
    }
}

impl Piece<'_> {
    /// Writes some of the piece; says whether the process took it in time.
    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<bool, Refusal> {
        let again = self.skip.min(bytes.len());
        self.skip -= again;
        let _ = bytes.split_to(again);
        let channel = &mut *self.channel;
        let written = &mut channel.written;
        write_to(channel.fd.as_ref(), &bytes, self.deadline, |count| {
            *written += count;
        })
        .await
    }

    /// The piece is whole: the next one is due.
    pub(crate) async fn end(mut self, eof: bool) -> Result<(), Refusal> {
        let channel = &mut *self.channel;
        if eof && channel.terminal {
            let taken = write_to(channel.fd.as_ref(), END_OF_TRANSMISSION, self.deadline, |_| ()).await?;
            if !taken {
                return Ok(());
            }
        }
        if eof {
            channel.fd = None;
        } else {
            open(channel.fd.as_ref())?;
        }
        channel.written = 0;
        channel.next_seq.set(channel.next_seq.get() + 1);
        Ok(())
    }
}

fn open(fd: Option<&AsyncFd<OwnedFd>>) -> Result<&AsyncFd<OwnedFd>, Refusal> {
    fd.ok_or_else(|| Refusal::conflict("the input was ended"))
}

/// Writes all of `bytes` and reports each part to `wrote`; says whether it was done by the deadline.
async fn write_to(
    fd: Option<&AsyncFd<OwnedFd>>,
    mut bytes: &[u8],
    deadline: Instant,
    mut wrote: impl FnMut(usize),
) -> Result<bool, Refusal> {
    while !bytes.is_empty() {
        let Ok(ready) = timeout_at(deadline, open(fd)?.writable()).await else {
            return Ok(false);
        };
        let result = match ready {
            Ok(mut guard) => guard.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)),
            Err(error) => Ok(Err(error)),
        };
        match result {
            Err(_would_block) => {}
            Ok(Ok(count)) => {
                wrote(count);
                bytes = &bytes[count..];
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(_)) => return Err(Refusal::conflict("the process has closed its input")),
        }
    }
    Ok(true)
}
