//! Reading what a person or a pipe gives, without being stuck in it: a signal ends the wait at once.

use crate::signals::Signals;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How soon a reader notices that it was given up.
const NOTICE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// Where to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    pub(crate) bytes: usize,
    pub(crate) line: bool,
}

/// Reads standard input to its end or until then; nothing if a signal came first.
pub(crate) async fn read(until: Until, signals: &mut Signals) -> Option<io::Result<Vec<u8>>> {
    match io::stdin().as_fd().try_clone_to_owned() {
        Ok(input) => read_from(File::from(input), until, signals).await,
        Err(error) => Some(Err(error)),
    }
}

async fn read_from(input: File, until: Until, signals: &mut Signals) -> Option<io::Result<Vec<u8>>> {
    let given_up = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&given_up);
    let reading = tokio::task::spawn_blocking(move || read_until(input, until, &flag));
    tokio::select! {
        read = reading => Some(read.unwrap_or_else(|error| Err(io::Error::other(error)))),
        _ = signals.next() => {
            given_up.store(true, Ordering::Relaxed);
            None
        }
    }
}

fn read_until(mut input: File, until: Until, given_up: &AtomicBool) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 << 10];
    while bytes.len() < until.bytes && !given_up.load(Ordering::Relaxed) {
        match rustix::event::poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&NOTICE)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        // Of a line no byte more is taken than is its own.
        let most = if until.line {
            1
        } else {
            piece.len().min(until.bytes - bytes.len())
        };
        let read = match input.read(&mut piece[..most]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if read == 0 || (until.line && piece[0] == b'\n') {
            break;
        }
        bytes.extend_from_slice(&piece[..read]);
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::signals::Asked;
    use std::io::Write as _;
    use tokio::sync::mpsc;

    const ALL: Until = Until {
        bytes: 100,
        line: false,
    };

    fn pipe() -> (File, File) {
        let (read, write) = rustix::pipe::pipe().unwrap();
        (File::from(read), File::from(write))
    }

    #[tokio::test]
    async fn a_pipe_is_read_to_its_end_and_a_line_to_its_own() {
        let (_sender, channel) = mpsc::channel(1);
        let mut signals = Signals::from_channel(channel);
        for (until, expected) in [(ALL, "one\ntwo\n"), (Until { line: true, ..ALL }, "one")] {
            let (read, mut write) = pipe();
            write.write_all(b"one\ntwo\n").unwrap();
            drop(write);
            assert_eq!(
                read_from(read, until, &mut signals).await.unwrap().unwrap(),
                expected.as_bytes()
            );
        }
    }

    #[tokio::test]
    async fn an_endless_input_is_read_to_the_limit_only() {
        let (_sender, channel) = mpsc::channel(1);
        let zero = File::open("/dev/zero").unwrap();
        let read = read_from(zero, ALL, &mut Signals::from_channel(channel)).await;
        assert_eq!(read.unwrap().unwrap().len(), 100);
    }

    #[tokio::test]
    async fn a_signal_ends_the_wait_for_somebody_who_says_nothing() {
        let (sender, channel) = mpsc::channel(1);
        let (read, _write) = pipe();
        sender.send(Asked { now: false }).await.unwrap();
        assert!(
            read_from(read, ALL, &mut Signals::from_channel(channel))
                .await
                .is_none()
        );
    }
}
