//! Bytes both ways between a client and an upstream, until both are done, one breaks, or nothing moves for too long.
//! An end of one direction is passed on and the other goes on.

use crate::dial::{Upstream, describe_io};
use crate::meter::Metered;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;

const BUFFER_BYTES: usize = 32 << 10;
/// How much is read, and how long, from a client that was told why it is refused.
const LINGER_BYTES: u64 = 64 << 10;
const LINGER: Duration = Duration::from_secs(2);

/// Sends what was read of the client before, then relays.
pub(crate) async fn relay(mut client: TcpStream, seen: &[u8], upstream: Upstream, idle: Duration) {
    let Upstream {
        mut stream,
        mut account,
    } = upstream;
    let meter = stream.meter();
    let copied = tokio::select! {
        copied = copy(&mut client, seen, &mut stream) => copied,
        () = meter.idle(idle) => Err(io::ErrorKind::TimedOut.into()),
    };
    match copied {
        Ok(()) => account.end("closed"),
        Err(error) => {
            account.end(describe_io(&error));
            reset(&client);
            reset(stream.get_ref());
        }
    }
}

async fn copy(client: &mut TcpStream, seen: &[u8], upstream: &mut Metered<TcpStream>) -> io::Result<()> {
    upstream.write_all(seen).await?;
    copy_bidirectional_with_sizes(client, upstream, BUFFER_BYTES, BUFFER_BYTES).await?;
    Ok(())
}

/// Closing will reach the peer as a reset, so that what broke does not look whole.
pub(crate) fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "a broken connection is closed as a whole one");
    }
}

/// Ends a connection so that what was written last is read: closing with unread input would reset it.
pub(crate) async fn close_after_reading(mut client: TcpStream) {
    let drain = async {
        client.shutdown().await?;
        drain(&mut client).await
    };
    if let Ok(Err(error)) = tokio::time::timeout(LINGER, drain).await {
        tracing::debug!(%error, "a refused client did not wait");
    }
}

async fn drain(client: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    tokio::io::copy(&mut client.take(LINGER_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}
