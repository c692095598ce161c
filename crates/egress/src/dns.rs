//! The sandbox's name server: datagrams, and streams with a length before each message (RFC 1035, 4.2).
//!
//! Answers come from the rules and the table of names alone, so each is made at once, by the task that read the
//! query: a flood costs one packet at a time and is held to the rate; what is over it is lost in the socket's buffer.

mod reply;

use crate::rate::Rate;
use crate::sandbox::Sandbox;
use reply::reply;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep, timeout};

/// Queries are small; what is longer is not one.
const MAX_MESSAGE_BYTES: usize = 4096;
const MAX_QUERIES_PER_STREAM: usize = 100;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

pub(crate) async fn serve_datagrams(sandbox: Arc<Sandbox>, socket: UdpSocket) {
    let mut rate = Rate::new(sandbox.config.dns_queries_per_second, Instant::now());
    loop {
        wait_for(&mut rate).await;
        let answered = match socket.readable().await {
            Ok(()) => answer_datagram(&sandbox, &socket),
            Err(error) => Err(error),
        };
        match answered {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::debug!(%error, "a DNS query was not received");
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// The buffer is here and not in the task: a sandbox that asks nothing keeps none.
fn answer_datagram(sandbox: &Sandbox, socket: &UdpSocket) -> io::Result<()> {
    // One byte more than is taken, so that a cut message is not read as a whole one.
    let mut buffer = [0; MAX_MESSAGE_BYTES + 1];
    let (length, client) = socket.try_recv_from(&mut buffer)?;
    let message = buffer
        .get(..length)
        .filter(|message| message.len() <= MAX_MESSAGE_BYTES);
    if let Some(answer) = message.and_then(|message| reply(sandbox, message)) {
        // A client that does not read its answers loses them; it must not hold up the others.
        if let Err(error) = socket.try_send_to(&answer, client) {
            tracing::debug!(%error, "a DNS answer was not sent");
        }
    }
    Ok(())
}

pub(crate) async fn serve_stream(sandbox: Arc<Sandbox>, mut client: TcpStream) {
    let mut rate = Rate::new(sandbox.config.dns_queries_per_second, Instant::now());
    for _ in 0..MAX_QUERIES_PER_STREAM {
        wait_for(&mut rate).await;
        let exchange = timeout(sandbox.config.opening_timeout, answer_one(&sandbox, &mut client));
        if !matches!(exchange.await, Ok(Ok(true))) {
            return;
        }
    }
}

/// False when the client is done or does not speak DNS.
async fn answer_one(sandbox: &Sandbox, client: &mut TcpStream) -> io::Result<bool> {
    let length = usize::from(client.read_u16().await?);
    if length > MAX_MESSAGE_BYTES {
        return Ok(false);
    }
    let mut message = vec![0; length];
    client.read_exact(&mut message).await?;
    let Some(answer) = reply(sandbox, &message) else {
        return Ok(false);
    };
    let Ok(length) = u16::try_from(answer.len()) else {
        return Ok(false);
    };
    client
        .write_all(&[&length.to_be_bytes(), &answer[..]].concat())
        .await?;
    Ok(true)
}

async fn wait_for(rate: &mut Rate) {
    while let Err(wait) = rate.take(Instant::now()) {
        sleep(wait).await;
    }
}
