//! Moves one process's output from its pipes or terminal into its log, and the exit after it.
//!
//! ```text
//! reading --exit--> draining --pipes closed, or empty after [`DRAIN`]--> exit appended --> discarding --> closed
//! ```
//!
//! The exit record follows everything that the process itself wrote. A background process may hold the pipes open for
//! ever: what arrives later than [`DRAIN`] after the exit is read and dropped, so that it neither waits nor dies by it.

use super::framing::{Framer, Lines};
use super::log::Log;
use super::record::Entry;
use crate::processes::ExitCell;
use crate::sys;
use guest_protocol::{Exit, Framing, Stream};
use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::{Sleep, sleep};

/// After the exit, for the end of what is written by children that outlive it a little.
const DRAIN: Duration = Duration::from_millis(100);

/// More than any pipe can hold, so more than the process itself can have left in it.
const MOST_LEFT: usize = 2 << 20;

const READ: usize = 64 << 10;

thread_local! {
    /// All pumps read through this: an idle process has no buffer.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// One stream of output.
pub(crate) struct Source {
    fd: AsyncFd<OwnedFd>,
    stream: Stream,
    framer: Framer,
}

impl Source {
    /// `fd` is non-blocking.
    pub(crate) fn new(fd: OwnedFd, stream: Stream, framing: Framing) -> io::Result<Self> {
        let framer = match (framing, stream) {
            (Framing::Lines, Stream::Stdout) => Framer::Lines(Lines::default()),
            _ => Framer::Chunks,
        };
        Ok(Self {
            fd: sys::watch(fd)?,
            stream,
            framer,
        })
    }
}

pub(crate) struct Pump {
    log: Rc<RefCell<Log>>,
    exit: Rc<ExitCell>,
    sources: Vec<Source>,
    /// Which source is asked first, so that none starves the other.
    turn: usize,
    after_exit: Option<AfterExit>,
}

struct AfterExit {
    exit: Exit,
    patience: Pin<Box<Sleep>>,
    read: usize,
}

/// What a step found.
enum Step {
    Read,
    Closed,
    Exited,
    /// Everything was read, or what the process itself wrote was.
    Drained,
}

impl Pump {
    pub(crate) fn new(log: Rc<RefCell<Log>>, exit: Rc<ExitCell>, sources: Vec<Source>) -> Self {
        Self {
            log,
            exit,
            sources,
            turn: 0,
            after_exit: None,
        }
    }

    /// Runs until the pipes are closed for good.
    pub(crate) async fn run(mut self) {
        let exit = loop {
            poll_fn(|context| self.log.borrow_mut().poll_room(context)).await;
            let step = poll_fn(|context| self.poll_step(context)).await;
            if let (Some(after), true) = (
                &self.after_exit,
                self.sources.is_empty() || matches!(step, Step::Drained),
            ) {
                break after.exit;
            }
            tokio::task::yield_now().await;
        };
        for source in &mut self.sources {
            finish(source, &self.log);
        }
        self.log.borrow_mut().append(Entry::Exit(exit));
        while !self.sources.is_empty() {
            poll_fn(|context| self.poll_sources(context, &mut |_, _| {})).await;
            tokio::task::yield_now().await;
        }
    }

    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        if self.after_exit.is_none()
            && let Poll::Ready(exit) = self.exit.poll(context)
        {
            self.after_exit = Some(AfterExit {
                exit,
                patience: Box::pin(sleep(DRAIN)),
                read: 0,
            });
            return Poll::Ready(Step::Exited);
        }
        let late = match &mut self.after_exit {
            Some(after) => after
                .patience
                .as_mut()
                .poll(context)
                .is_ready()
                .then_some(after.read),
            None => None,
        };
        if late.is_some_and(|read| read >= MOST_LEFT) {
            return Poll::Ready(Step::Drained);
        }
        let log = Rc::clone(&self.log);
        let mut appended = 0;
        let polled = self.poll_sources(context, &mut |source, bytes| {
            appended = bytes.len();
            let stream = source.stream;
            let mut log = log.borrow_mut();
            source.framer.feed(bytes, |bytes, cut_bytes| {
                log.append(Entry::Output {
                    stream,
                    bytes,
                    cut_bytes,
                });
            });
        });
        if let Some(after) = &mut self.after_exit {
            after.read += appended;
        }
        match polled {
            Poll::Pending if late.is_some() => Poll::Ready(Step::Drained),
            step => step,
        }
    }

    /// Reads once from a source that has something, and gives it to `take`.
    fn poll_sources(
        &mut self,
        context: &mut Context<'_>,
        take: &mut impl FnMut(&mut Source, &[u8]),
    ) -> Poll<Step> {
        for _ in 0..self.sources.len() {
            self.turn = (self.turn + 1) % self.sources.len();
            let source = &mut self.sources[self.turn];
            match BUFFER.with_borrow_mut(|buffer| poll_source(source, context, buffer, take)) {
                Poll::Pending => {}
                Poll::Ready(true) => return Poll::Ready(Step::Read),
                Poll::Ready(false) => {
                    let mut source = self.sources.swap_remove(self.turn);
                    finish(&mut source, &self.log);
                    return Poll::Ready(Step::Closed);
                }
            }
        }
        Poll::Pending
    }
}

/// Whether something was read; not at the end of the stream, which for a terminal is an error.
fn poll_source(
    source: &mut Source,
    context: &mut Context<'_>,
    buffer: &mut [u8],
    take: &mut impl FnMut(&mut Source, &[u8]),
) -> Poll<bool> {
    let length = loop {
        let Ok(mut guard) = ready!(source.fd.poll_read_ready(context)) else {
            return Poll::Ready(false);
        };
        match guard.try_io(|fd| Ok(rustix::io::read(fd, &mut *buffer)?)) {
            Err(_would_block) => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(_)) => return Poll::Ready(false),
            Ok(Ok(length)) => break length,
        }
    };
    if length > 0 {
        take(source, &buffer[..length]);
    }
    Poll::Ready(length > 0)
}

fn finish(source: &mut Source, log: &RefCell<Log>) {
    let stream = source.stream;
    let mut log = log.borrow_mut();
    source.framer.finish(|bytes, cut_bytes| {
        log.append(Entry::Output {
            stream,
            bytes,
            cut_bytes,
        });
    });
}
