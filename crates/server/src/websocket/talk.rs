//! The two directions of one `WebSocket`, and its end.
//!
//! One side reads and has frames answered, the other writes. Between them is room for one answer: a client that does not
//! read its answers is not read either. Only the writing side ends the talk, so what was to be said before is said.

use super::client::Client;
use super::metered::{Flow, Metered};
use crate::config::Limits;
use crate::ending::Ending;
use crate::following::Following;
use crate::route::BODY_BYTES;
use bytes::Bytes;
use futures_util::future::{BoxFuture, Shared};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

const SHUT_OUT: &str = "the key does not open this session any more";
/// Of each connection, while nothing comes.
const READ_BUFFER: usize = 4 << 10;
/// The most of a text that is sent in one frame.
const FRAGMENT: usize = 64 << 10;
/// For the last frame to leave, and for the client to close after it.
const CLOSING: Duration = Duration::from_secs(5);
/// What a client still sends after the end is read and dropped, so that it gets to read why.
const DISCARDED_BYTES: u64 = 64 << 20;

pub(super) struct Talk {
    pub(super) limits: Limits,
    pub(super) flow: Arc<Flow>,
    pub(super) ending: Ending,
    /// The key that opened it opens nothing any more.
    pub(super) shut_out: Shared<BoxFuture<'static, ()>>,
}

/// How a talk ends.
enum End {
    /// The client closed.
    Closed,
    /// There is nobody to say anything to.
    Lost,
    Close(CloseCode, &'static str),
}

/// From the reading side to the writing one.
enum Said {
    Answer(String),
    End(End),
}

impl Talk {
    pub(super) async fn run<T>(self, connection: Metered<T>, client: Client, mut following: Following)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(BODY_BYTES))
            .max_frame_size(Some(BODY_BYTES));
        let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
        let (mut sink, mut stream) = socket.split();
        let (says, said) = mpsc::channel(1);
        let end = tokio::select! {
            end = self.write(&mut sink, said, &mut following) => end,
            () = self.read(&mut stream, &client, says) => End::Lost,
        };
        if let Ok(socket) = sink.reunite(stream) {
            finish(socket, end).await;
        }
    }

    /// Does not end before the writing side.
    async fn read<T>(
        &self,
        stream: &mut SplitStream<WebSocketStream<Metered<T>>>,
        client: &Client,
        says: mpsc::Sender<Said>,
    ) where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let end = loop {
            let message = tokio::select! {
                biased;
                () = self.ending.closed() => break End::Close(CloseCode::Away, "the server is ending: connect again"),
                () = self.shut_out.clone() => break End::Close(CloseCode::Policy, SHUT_OUT),
                message = stream.next() => message,
            };
            match message {
                Some(Ok(Message::Text(text))) => {
                    let under_way = self.ending.begin();
                    let answered = client.answer(&text).await;
                    drop(under_way);
                    drop(text);
                    self.flow.done();
                    // Whoever does not take it has ended the talk.
                    let _ = says.send(Said::Answer(answered.json)).await;
                    if answered.is_shut_out {
                        break End::Close(CloseCode::Policy, SHUT_OUT);
                    }
                }
                Some(Ok(Message::Ping(payload) | Message::Pong(payload))) => self.flow.control(payload.len()),
                Some(Ok(Message::Binary(_))) => {
                    break End::Close(CloseCode::Unsupported, "send text frames, and not binary ones");
                }
                Some(Ok(Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) => break End::Closed,
                Some(Err(error)) => break of_error(&error),
                None => break End::Lost,
            }
        };
        let _ = says.send(Said::End(end)).await;
        std::future::pending::<()>().await;
    }

    async fn write<T>(
        &self,
        sink: &mut SplitSink<WebSocketStream<Metered<T>>, Message>,
        mut said: mpsc::Receiver<Said>,
        following: &mut Following,
    ) -> End
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let every = self.limits.ping;
        let mut pings = interval_at(Instant::now() + every, every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = (self.flow.read(), Instant::now());
        loop {
            let json: Bytes = tokio::select! {
                biased;
                said = said.recv() => match said {
                    Some(Said::Answer(json)) => json.into(),
                    Some(Said::End(end)) => return end,
                    None => return End::Lost,
                },
                _ = pings.tick() => {
                    if let Some(end) = self.overdue(&mut heard) {
                        return end;
                    }
                    if !self.put(sink, Message::Ping(Bytes::new())).await {
                        return End::Lost;
                    }
                    continue;
                }
                next = following.next() => match next {
                    Ok(Some(shown)) => shown.json,
                    Ok(None) if self.ending.is_closed() => {
                        return End::Close(CloseCode::Away, "the server is ending: connect again");
                    }
                    Ok(None) => return End::Close(CloseCode::Normal, "the session has ended"),
                    Err(error) => {
                        tracing::error!(%error, "a stream broke");
                        return End::Close(CloseCode::Error, "the stream broke: connect again");
                    }
                },
            };
            if !self.put_text(sink, &json).await {
                return End::Lost;
            }
        }
    }

    /// In fragments: a frame that is on its way is a copy.
    async fn put_text<T>(
        &self,
        sink: &mut SplitSink<WebSocketStream<Metered<T>>, Message>,
        text: &Bytes,
    ) -> bool
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mut from = 0;
        loop {
            let to = text.len().min(from + FRAGMENT);
            let data = if from == 0 { Data::Text } else { Data::Continue };
            let is_last = to == text.len();
            let frame = Frame::message(text.slice(from..to), OpCode::Data(data), is_last);
            if !self.put(sink, Message::Frame(frame)).await {
                return false;
            }
            if is_last {
                return true;
            }
            from = to;
        }
    }

    /// Whether something was waited for too long.
    fn overdue(&self, heard: &mut (u64, Instant)) -> Option<End> {
        let (read, now) = (self.flow.read(), Instant::now());
        if read != heard.0 || self.flow.needs_memory() {
            *heard = (read, now);
        } else if now - heard.1 >= self.limits.silence {
            tracing::debug!("the other end of a WebSocket is silent");
            return Some(End::Lost);
        }
        let since = self.flow.since()?;
        let is_late = now - since > self.limits.body_deadline;
        is_late.then_some(End::Close(
            CloseCode::Policy,
            "a message did not arrive in time, and nothing was done",
        ))
    }

    /// Whether it is out. A client that takes it slowly may; one that takes nothing is cut.
    async fn put<T>(
        &self,
        sink: &mut SplitSink<WebSocketStream<Metered<T>>, Message>,
        message: Message,
    ) -> bool
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mut sending = sink.send(message);
        loop {
            let before = self.flow.written();
            match timeout(self.limits.silence, &mut sending).await {
                Ok(sent) => return sent.is_ok(),
                Err(_) if self.flow.written() > before => {}
                Err(_) => return false,
            }
        }
    }
}

fn of_error(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::Close(CloseCode::Size, "the message is too large"),
        Error::Utf8(_) => End::Close(CloseCode::Invalid, "the message is not UTF-8"),
        Error::Protocol(_) => End::Close(CloseCode::Protocol, "these are no frames of a WebSocket"),
        _ => End::Lost,
    }
}

async fn finish<T>(mut socket: WebSocketStream<Metered<T>>, end: End)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let last = async {
        match end {
            End::Lost => return,
            End::Closed => {
                // The answer to its close may still be on its way.
                let _ = socket.flush().await;
            }
            End::Close(code, reason) => {
                let reason = reason.into();
                let _ = socket.close(Some(CloseFrame { code, reason })).await;
            }
        }
        let mut connection = socket.into_inner().into_inner();
        let _ = connection.shutdown().await;
        let mut rest = connection.take(DISCARDED_BYTES);
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
    };
    // Whoever has not closed by then is cut.
    let _ = timeout(CLOSING, last).await;
}
