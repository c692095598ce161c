//! Messages with descriptors over a `SOCK_SEQPACKET` pair: between the server and the jailer, and between the jailer
//! and a shell. One JSON value a message, at most [`MAX_MESSAGE_BYTES`] and [`MAX_DESCRIPTORS`].

mod message;

pub use message::{
    ChannelError, MAX_DESCRIPTORS, MAX_MESSAGE_BYTES, connect, pair, receive, send, set_patience,
};
