//! One HTTP/1.1 connection to a guest, and the answer that is being read from it.
//!
//! The connection is driven by whoever awaits it, so dropping a call drops its connection and leaves no task behind.

use super::ClientError;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::Poll;
use tokio::net::UnixStream;

/// Bounds the head of an answer and what is read ahead of its body.
const MAX_BUFFER: usize = 256 << 10;

const MAX_HEADERS: usize = 32;

type Driver = http1::Connection<TokioIo<UnixStream>, Full<Bytes>>;

pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Nothing once it has ended.
    driver: Option<Pin<Box<Driver>>>,
}

impl Connection {
    pub(super) async fn open(socket: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|source| ClientError::Connect {
                socket: socket.to_owned(),
                source,
            })?;
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(MAX_BUFFER)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ClientError::Connection {
                call: "connect",
                source,
            })?;
        Ok(Self {
            sender,
            driver: Some(Box::pin(driver)),
        })
    }

    /// Whether an idle connection can take another request.
    pub(super) async fn is_alive(&mut self) -> bool {
        let Self { sender, driver } = self;
        drive(driver, poll_fn(|context| sender.poll_ready(context)))
            .await
            .is_ok()
            && self.driver.is_some()
    }

    pub(super) async fn send(
        mut self,
        call: &'static str,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, ClientError> {
        let response = drive(&mut self.driver, self.sender.send_request(request))
            .await
            .map_err(|source| ClientError::Connection { call, source })?;
        let (head, body) = response.into_parts();
        Ok(Answer {
            call,
            connection: self,
            status: head.status,
            body,
        })
    }
}

/// An answer whose head has come. Of that only the status is kept: its headers hold the buffer that they came in.
pub(super) struct Answer {
    call: &'static str,
    connection: Connection,
    status: StatusCode,
    body: Incoming,
}

impl Answer {
    pub(super) fn call(&self) -> &'static str {
        self.call
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The next piece of the body; nothing after the last. May be dropped while it waits: nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = drive(&mut self.connection.driver, self.body.frame()).await;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) if error.is_incomplete_message() => {
                    return Err(ClientError::Truncated { call: self.call });
                }
                Some(Err(source)) => {
                    return Err(ClientError::Connection {
                        call: self.call,
                        source,
                    });
                }
            }
        }
    }

    /// The whole body, if it is no longer than `limit`.
    pub(super) async fn whole(&mut self, limit: usize) -> Result<Bytes, ClientError> {
        let mut body = Vec::new();
        while let Some(piece) = self.next().await? {
            if body.len() + piece.len() > limit {
                return Err(ClientError::TooLarge {
                    call: self.call,
                    limit: limit as u64,
                });
            }
            body.extend_from_slice(&piece);
        }
        Ok(Bytes::from(body))
    }

    /// The connection, once the body has been read.
    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }
}

/// Awaits `work` while moving the connection that it waits for.
async fn drive<F: Future>(driver: &mut Option<Pin<Box<Driver>>>, work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(output) = work.as_mut().poll(context) {
            return Poll::Ready(output);
        }
        // Its error, if it ended with one, is what `work` reports.
        if driver
            .as_mut()
            .is_some_and(|driver| driver.as_mut().poll(context).is_ready())
        {
            *driver = None;
        }
        work.as_mut().poll(context)
    })
    .await
}
