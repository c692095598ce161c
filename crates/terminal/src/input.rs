//! Reading what a person or a pipe gives, without being stuck in it: a signal ends the wait at once.

use crate::signals::Signals;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// How soon a reader notices that it was given up.
const NOTICE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// Where to stop.
#[derive(Debug, Clone, Copy)]
pub struct Until {
    pub bytes: usize,
    pub line: bool,
}

/// Reads standard input to its end or until then; nothing if a signal came first.
pub async fn read(until: Until, signals: &mut Signals) -> Option<io::Result<Vec<u8>>> {
    match io::stdin().as_fd().try_clone_to_owned() {
        Ok(input) => read_from(File::from(input), until, signals).await,
        Err(error) => Some(Err(error)),
    }
}

/// Lines of standard input as they come, read beside everything else.
pub struct Lines {
    lines: mpsc::Receiver<io::Result<Vec<u8>>>,
    given_up: Arc<AtomicBool>,
}

impl Lines {
    /// Of a line at most so many bytes are read at once.
    pub fn start(bytes: usize) -> io::Result<Self> {
        Ok(Self::of(
            File::from(io::stdin().as_fd().try_clone_to_owned()?),
            bytes,
        ))
    }

    fn of(mut input: File, bytes: usize) -> Self {
        let given_up = Arc::new(AtomicBool::new(false));
        let (sender, lines) = mpsc::channel(1);
        let flag = Arc::clone(&given_up);
        tokio::task::spawn_blocking(move || {
            let until = Until { bytes, line: true };
            loop {
                let line = read_until(&mut input, until, &flag);
                let is_last = line.as_ref().map_or(true, |line| line.ended);
                let line = line.map(|line| line.bytes);
                let is_nothing = is_last && line.as_ref().is_ok_and(Vec::is_empty);
                if is_nothing || sender.blocking_send(line).is_err() || is_last {
                    return;
                }
            }
        });
        Self { lines, given_up }
    }

    /// Nothing after the last. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        self.lines.recv().await
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

/// What was read, and whether nothing more comes.
struct Piece {
    bytes: Vec<u8>,
    ended: bool,
}

async fn read_from(mut input: File, until: Until, signals: &mut Signals) -> Option<io::Result<Vec<u8>>> {
    let given_up = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&given_up);
    let reading =
        tokio::task::spawn_blocking(move || read_until(&mut input, until, &flag).map(|piece| piece.bytes));
    tokio::select! {
        read = reading => Some(read.unwrap_or_else(|error| Err(io::Error::other(error)))),
        _ = signals.next() => {
            given_up.store(true, Ordering::Relaxed);
            None
        }
    }
}

fn read_until(input: &mut File, until: Until, given_up: &AtomicBool) -> io::Result<Piece> {
    let mut bytes = Vec::new();
    let mut ended = false;
    let mut piece = vec![0; 64 << 10];
    while bytes.len() < until.bytes && !given_up.load(Ordering::Relaxed) {
        match rustix::event::poll(&mut [PollFd::new(&*input, PollFlags::IN)], Some(&NOTICE)) {
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
        ended = read == 0;
        if ended || (until.line && piece[0] == b'\n') {
            break;
        }
        bytes.extend_from_slice(&piece[..read]);
    }
    ended |= given_up.load(Ordering::Relaxed);
    Ok(Piece { bytes, ended })
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
    async fn lines_come_one_by_one_to_the_last_also_without_its_end() {
        let (read, mut write) = pipe();
        let mut lines = Lines::of(read, 100);
        for (typed, line) in [("one\n", "one"), ("\n", ""), ("two\nlast", "two")] {
            write.write_all(typed.as_bytes()).unwrap();
            assert_eq!(lines.next().await.unwrap().unwrap(), line.as_bytes());
        }
        drop(write);
        assert_eq!(lines.next().await.unwrap().unwrap(), b"last");
        assert!(lines.next().await.is_none());
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
