//! Messages with descriptors over `SOCK_SEQPACKET` sockets: between server and jailer, jailer and shell, and one server and
//! the next. One JSON value a message, at most [`MAX_MESSAGE_BYTES`] and [`MAX_DESCRIPTORS`].

mod message;

pub use message::{
    ChannelError, MAX_DESCRIPTORS, MAX_MESSAGE_BYTES, connect, connect_within, pair, receive, send,
    set_patience,
};
