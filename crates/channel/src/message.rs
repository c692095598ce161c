//! One message: JSON in one packet, with its descriptors beside it.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recvmsg, sendmsg, socket_with,
    socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Duration;

/// The longest message.
pub const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// The most descriptors in one message.
pub const MAX_DESCRIPTORS: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("the other side has closed the channel")]
    Closed,
    #[error("a message of {bytes} bytes is longer than {MAX_MESSAGE_BYTES}")]
    TooLong { bytes: usize },
    #[error(
        "a message was cut off: it was longer than {MAX_MESSAGE_BYTES} bytes or had over {MAX_DESCRIPTORS} descriptors"
    )]
    Truncated,
    #[error("a message is not what the protocol says: {source}")]
    Malformed { source: serde_json::Error },
    #[error("the channel failed: {source}")]
    Socket { source: std::io::Error },
}

impl From<rustix::io::Errno> for ChannelError {
    fn from(errno: rustix::io::Errno) -> Self {
        match errno {
            rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET => Self::Closed,
            errno => Self::Socket { source: errno.into() },
        }
    }
}

/// Two connected ends.
pub fn pair() -> std::io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Connects to who listens at a path.
pub fn connect(path: &Path) -> std::io::Result<OwnedFd> {
    connect_within(path, None)
}

/// The same, where whoever listens may have too much to do; nor does sending wait longer then.
pub fn connect_within(path: &Path, patience: Option<Duration>) -> std::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    sockopt::set_socket_timeout(&socket, Timeout::Send, patience)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// How long [`receive`] waits from now on; for ever if nothing is said.
pub fn set_patience(socket: impl AsFd, patience: Option<Duration>) -> std::io::Result<()> {
    Ok(sockopt::set_socket_timeout(socket, Timeout::Recv, patience)?)
}

/// Sends one message; waits while the other side's buffer is full.
pub fn send<M: Serialize>(
    socket: impl AsFd,
    message: &M,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), ChannelError> {
    let bytes = serde_json::to_vec(message).map_err(|source| ChannelError::Malformed { source })?;
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(ChannelError::TooLong { bytes: bytes.len() });
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(ChannelError::Truncated);
    }
    loop {
        match sendmsg(
            &socket,
            &[IoSlice::new(&bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

/// Receives one message and its descriptors, all of them close-on-exec.
pub fn receive<M: DeserializeOwned>(socket: impl AsFd) -> Result<(M, Vec<OwnedFd>), ChannelError> {
    let mut bytes = vec![0_u8; MAX_MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        match recvmsg(&socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result?,
        }
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Err(ChannelError::Closed);
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(ChannelError::Truncated);
    }
    let message = serde_json::from_slice(&bytes[..received.bytes])
        .map_err(|source| ChannelError::Malformed { source })?;
    Ok((message, descriptors))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (one, other) = pair().unwrap();
        let file = tempfile();
        send(&one, &"hello", &[file.as_fd(), file.as_fd()]).unwrap();
        let (text, descriptors) = receive::<String>(&other).unwrap();
        assert_eq!((text.as_str(), descriptors.len()), ("hello", 2));
    }

    #[test]
    fn the_end_of_the_other_side_is_told_from_nonsense() {
        let (one, other) = pair().unwrap();
        send(&one, &17, &[]).unwrap();
        assert!(matches!(
            receive::<String>(&other),
            Err(ChannelError::Malformed { .. })
        ));
        drop(one);
        assert!(matches!(receive::<String>(&other), Err(ChannelError::Closed)));
    }

    fn tempfile() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }
}
