//! Standard input and output without a thread each: pipes and sockets are polled, anything else goes through tokio's
//! own blocking streams. A terminal is left in blocking mode, which it shares with other programs.

use rustix::fs::{FileType, fstat};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

pub(super) fn input() -> io::Result<Box<dyn AsyncRead + Unpin>> {
    let stdin = io::stdin();
    Ok(match kind(stdin.as_fd())? {
        FileType::Fifo => Box::new(pipe::Receiver::from_owned_fd(duplicate(stdin.as_fd())?)?),
        FileType::Socket => Box::new(socket(stdin.as_fd())?),
        _ => Box::new(tokio::io::stdin()),
    })
}

pub(super) fn output() -> io::Result<Box<dyn AsyncWrite + Unpin>> {
    let stdout = io::stdout();
    Ok(match kind(stdout.as_fd())? {
        FileType::Fifo => Box::new(pipe::Sender::from_owned_fd(duplicate(stdout.as_fd())?)?),
        FileType::Socket => Box::new(socket(stdout.as_fd())?),
        _ => Box::new(tokio::io::stdout()),
    })
}

fn kind(fd: BorrowedFd<'_>) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode))
}

fn duplicate(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

/// Node hosts use socket pairs for the standard streams of their children.
fn socket(fd: BorrowedFd<'_>) -> io::Result<UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(duplicate(fd)?);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}
