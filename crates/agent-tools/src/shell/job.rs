//! One command in the shell: carries its output over, and ends when its status is there.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::End;
use super::capture::Stream;
use super::dialect::Dialect;
use super::processes::Marks;
use super::session::{self, Session};
use super::stop::{STEP, Stop};

/// How long output is waited for that background processes of the command may still write.
const LINGER: Duration = Duration::from_millis(50);
/// More than the pipes can hold: what is read beyond this was written after the command had ended.
const LEFT_AT_MOST: usize = 2 << 20;

pub(crate) struct Job<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) stdout: Stream,
    pub(crate) stderr: Stream,
    pub(crate) marks: Marks,
    pub(crate) marker: &'a str,
    pub(crate) timeout: Duration,
    pub(crate) cancel: CancellationToken,
    /// The output is left to another reader.
    pub(crate) in_background: bool,
    pub(crate) questions: Questions,
}

/// When a shell is asked for its status once more. Shells other than bash forget the lines they have read ahead when
/// an error throws them back to their next line, and the first question with them.
pub(crate) struct Questions {
    next: Option<Instant>,
    pause: Duration,
}

impl Questions {
    const FIRST: Duration = Duration::from_millis(50);
    const RAREST: Duration = Duration::from_secs(5);

    pub(crate) fn of(dialect: Dialect) -> Self {
        let next = (dialect == Dialect::Posix).then(|| Instant::now() + Self::FIRST);
        Self {
            next,
            pause: Self::FIRST,
        }
    }

    async fn due(&mut self) {
        match self.next {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    /// Ever more rarely, so that a long command does not meet a full pipe of questions.
    fn asked(&mut self) {
        self.pause = (self.pause * 2).min(Self::RAREST);
        self.next = Some(Instant::now() + self.pause);
    }
}

/// A command that has ended, with the streams that may still be held by what it started.
pub(crate) struct Done {
    pub(crate) end: End,
    pub(crate) shell_ended: bool,
    pub(crate) stdout: Stream,
    pub(crate) stderr: Stream,
}

enum Event {
    Out(io::Result<usize>),
    Err(io::Result<usize>),
    Shell(session::Event),
    Ask,
    Stop(End),
    Step,
}

impl Job<'_> {
    /// `held` keeps the pipes open until the status is known.
    pub(crate) async fn run(mut self, held: [OwnedFd; 2]) -> Done {
        let deadline = Instant::now() + self.timeout;
        let mut stop: Option<(Stop, End)> = None;
        let mut answers = true;
        let mut status = None;
        let mut shell_ended = false;
        loop {
            match self
                .next(deadline, stop.is_some(), answers && status.is_none(), shell_ended)
                .await
            {
                Event::Out(read) => self.stdout.accept(read).await,
                Event::Err(read) => self.stderr.accept(read).await,
                Event::Shell(session::Event::Written) | Event::Step => {}
                Event::Shell(session::Event::Status(number)) => status = Some(number),
                // The shell has ended, or a program has taken its place and may run for long.
                Event::Shell(session::Event::Silent) => answers = false,
                Event::Shell(session::Event::Ended(number)) => {
                    shell_ended = true;
                    status = status.or(Some(number));
                }
                Event::Ask => {
                    let question = self.session.dialect.status(self.marker);
                    self.session.send(&question);
                    self.questions.asked();
                }
                Event::Stop(end) => stop = Some((Stop::begin(), end)),
            }
            let over = match &mut stop {
                None => status.is_some(),
                Some((stop, _)) => {
                    stop.step(self.session, &self.marks, self.marker, status.is_some())
                        .await
                }
            };
            if over {
                break;
            }
        }
        drop(held);
        if !self.in_background {
            self.drain().await;
        }
        let end = stop.map_or(End::Status(status.unwrap_or(-1)), |(_, end)| end);
        Done {
            end,
            shell_ended: shell_ended || status.is_none(),
            stdout: self.stdout,
            stderr: self.stderr,
        }
    }

    async fn next(&mut self, deadline: Instant, stopping: bool, answers: bool, shell_ended: bool) -> Event {
        let Self {
            session,
            stdout,
            stderr,
            marker,
            timeout,
            cancel,
            questions,
            ..
        } = self;
        let reads = !self.in_background;
        tokio::select! {
            read = stdout.read(), if reads && stdout.is_open() => Event::Out(read),
            read = stderr.read(), if reads && stderr.is_open() => Event::Err(read),
            event = session.next(marker, answers), if !shell_ended => Event::Shell(event),
            () = questions.due(), if answers && !stopping => Event::Ask,
            () = cancel.cancelled(), if !stopping => Event::Stop(End::Interrupted),
            () = tokio::time::sleep_until(deadline), if !stopping => Event::Stop(End::TimedOut(*timeout)),
            () = tokio::time::sleep(STEP), if stopping => Event::Step,
        }
    }

    /// Reads what the command has left in the pipes. Only a background process makes this wait, and not for long.
    async fn drain(&mut self) {
        let until = Instant::now() + LINGER;
        let mut read_so_far = 0;
        while self.stdout.is_open() || self.stderr.is_open() {
            let Self { stdout, stderr, .. } = self;
            let (stream, read) = tokio::select! {
                biased;
                read = stdout.read(), if stdout.is_open() => (stdout, read),
                read = stderr.read(), if stderr.is_open() => (stderr, read),
                () = tokio::time::sleep_until(until) => return,
            };
            read_so_far += read.as_ref().map_or(0, |length| *length);
            stream.accept(read).await;
            if read_so_far > LEFT_AT_MOST && Instant::now() > until {
                return;
            }
        }
    }
}
