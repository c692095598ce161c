//! The owner of one session: the only task that writes its log, builds its sandbox and talks to its runtime.
//!
//! ```text
//!            message                    started                      result, queue empty
//!   resting ---------> starting -------------------> working ------------------------------> resting
//!                       ^ |  failed, interrupted      | ^ |  exit, nonsense, lost guest        ^
//!                       | +---------------------------|-|-+------------------------------------+
//!                       |          goes on            | | answered
//!                       +-----------------------------+ +---- paused: every open call waits for the user
//! ```
//!
//! A turn begins in the log before the runtime hears of it, and what a runtime did is in the log before anybody sees
//! it. However a turn ends, the log says so: with its result, or with what was cut. Where sessions outlive their hosts,
//! what is kept of a turn lets another owner go on with it.

mod ending;
mod inputs;
mod interrupt;
mod log;
mod pause;
mod records;
mod recovery;
mod spare;
mod trace;
mod turn;
mod under_way;
mod updates;

use crate::hub::Hub;
use crate::input::Input;
use crate::place::{Address, Place};
use crate::record::Record;
use crate::runtime::{Report, Runtime};
use crate::sessions::Parts;
use crate::start::Started;
use crate::tasks::{Task, TaskFailed};
use crate::update::Update;
use crate::{AccessError, Idle, SendError};
use domain::SandboxId;
pub(crate) use ending::{End, remove};
use interrupt::Interrupt;
pub(crate) use recovery::sandbox_lost;
pub(crate) use spare::{Spare, prepare};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use store::LoggedEvent;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use trace::Trace;
use tracing::Instrument as _;
use translate::Translator;
use translate::toolset::Toolset;
pub(crate) use under_way::Kept;
use under_way::Turn;

/// Commands that may wait; whoever comes next waits to enter.
pub(crate) const COMMANDS: usize = 32;

/// What an owner can be asked. Every one is answered.
pub(crate) enum Command {
    Send {
        inputs: Vec<Input>,
        reply: oneshot::Sender<Result<Vec<LoggedEvent>, SendError>>,
        /// Where in which trace it was asked.
        request: Option<traces::Context>,
    },
    Update {
        update: Box<Update>,
        reply: oneshot::Sender<Result<(), SendError>>,
    },
    End {
        how: End,
        reply: oneshot::Sender<Result<(), AccessError>>,
    },
}

impl Command {
    pub(crate) fn refuse(self, error: SendError) {
        // Whoever asked may have gone.
        match self {
            Self::Send { reply, .. } => drop(reply.send(Err(error))),
            Self::Update { reply, .. } => drop(reply.send(Err(error))),
            Self::End { reply, .. } => {
                if let SendError::Access(error) = error {
                    let _ = reply.send(Err(error));
                }
            }
        }
    }
}

/// What everybody may know of a session at any time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Standing {
    pub busy: bool,
    /// Why it is not busy; it may be in the middle of a turn that waits for the user.
    pub idle: Idle,
    /// Its owner ended in the middle of something.
    pub gone: bool,
}

/// Why an owner gives its session up.
#[derive(Debug)]
pub(crate) enum Quit {
    /// It was asked to, and has done it.
    Done(End),
    /// The log cannot be written any more. A start finds the session as the log has it.
    Store(store::Error),
}

/// The log could not be written, and may be later.
pub(crate) struct GaveUp {
    pub commands: mpsc::Receiver<Command>,
    pub error: store::Error,
}

pub(crate) struct Owner {
    parts: Arc<Parts>,
    record: Record,
    epoch: u64,
    /// The row of a session that is stored with its first message.
    create: Option<Box<store::NewSession>>,
    hub: Arc<Hub>,
    standing: watch::Sender<Standing>,
    commands: mpsc::Receiver<Command>,
    /// Numbers of the messages that wait, and of what their operator adds to them.
    queue: VecDeque<u64>,
    /// Processes that the session has had.
    processes: u64,
    /// Time in which the session was running, before the present turn.
    active: Duration,
    turn: Option<Turn>,
    /// What is stored of it.
    stored_turn: Option<String>,
    /// A turn has ended and the next message follows at once.
    goes_on: bool,
    /// A message waits for the place that is looked for. The log says already that the session is running.
    begins_when_there: bool,
    place: Option<Place>,
    work: Work,
    /// Of the present turn, or the next one.
    tools: Option<Arc<Toolset>>,
    /// The runtime that is looked for has other tools.
    renews: bool,
    /// A sandbox that an owner before this one had.
    left: Option<Address>,
    /// Until when it keeps a sandbox that it has had no use for yet.
    spare_until: Option<Instant>,
    trace: Trace,
}

/// What is under way at the session's place.
enum Work {
    Nothing,
    Starting { task: Task<Started>, sandbox: SandboxId },
    Running(Box<Running>),
}

/// A runtime and how far its output has come.
struct Running {
    runtime: Runtime,
    translator: Translator,
    /// When `initialize` must be answered; nothing once it is.
    initialize_by: Option<Instant>,
    /// The last line that is stored, and the last that was seen.
    stored: u64,
    seen: u64,
    /// Bytes of lines that were seen and are not stored.
    unstored_bytes: usize,
    /// When the first of them came.
    unstored_since: Option<std::time::Instant>,
    /// It has asked something for the user since the last append.
    asked: bool,
    /// The end of what the runtime said on standard error.
    last_words: String,
}

/// What woke the owner.
enum Woken {
    Command(Option<Command>),
    Started(Box<Result<Started, TaskFailed>>),
    Reports(Vec<Report>),
    Deadline,
}

/// What an owner begins with.
pub(crate) struct Begin {
    pub parts: Arc<Parts>,
    pub record: Record,
    pub epoch: u64,
    pub create: Option<Box<store::NewSession>>,
    pub hub: Arc<Hub>,
    pub standing: watch::Sender<Standing>,
    pub queue: VecDeque<u64>,
    pub processes: u64,
    pub active: Duration,
    /// A turn that an owner before this one began.
    pub turn: Option<Kept>,
    /// The sandbox that it had.
    pub left: Option<Address>,
    /// One that was made ahead.
    pub spare: Option<Box<Spare>>,
}

impl Owner {
    pub(crate) fn new(begin: Begin, commands: mpsc::Receiver<Command>) -> Box<Self> {
        let of_turn = begin.turn.as_ref().and_then(|turn| turn.tools.as_ref());
        let tools = of_turn.or(begin.record.settings.tools.as_ref()).cloned();
        let spare = begin.spare;
        let mut owner = Box::new(Self {
            trace: Trace::new(&begin.parts.traces, &begin.record),
            parts: begin.parts,
            tools: tools.map(Arc::new),
            renews: false,
            record: begin.record,
            epoch: begin.epoch,
            create: begin.create,
            hub: begin.hub,
            standing: begin.standing,
            commands,
            queue: begin.queue,
            processes: begin.processes,
            active: begin.active,
            // Whatever is stored differs from it.
            stored_turn: begin.turn.as_ref().map(|_| String::new()),
            turn: begin.turn.map(Turn::taken_over),
            goes_on: false,
            begins_when_there: false,
            place: None,
            work: Work::Nothing,
            left: begin.left,
            spare_until: None,
        });
        if let Some(spare) = spare {
            owner.take_spare(*spare);
        }
        owner
    }

    /// Until the session ends, or everybody who could ask for something is gone. An owner that gave up says so if
    /// another one may do better later.
    ///
    /// What is done is boxed: an owner that waits, as most do, has no room for it.
    pub(crate) async fn run(mut self: Box<Self>) -> Option<GaveUp> {
        if let Some(turn) = &mut self.turn {
            turn.kept.trace = self.trace.resume(&turn.kept.message, turn.kept.trace.as_deref());
        }
        let lines = self.trace.lines();
        let taken = match Box::pin(self.take_over().instrument(lines)).await {
            Ok(()) if std::mem::take(&mut self.goes_on) => Box::pin(self.next_turn()).await,
            other => other,
        };
        if let Err(quit) = taken {
            return Box::pin(self.quit(quit)).await;
        }
        let quit = loop {
            let woken = self.wait().await;
            if matches!(woken, Woken::Command(None)) {
                return None;
            }
            let lines = self.trace.lines();
            let done = match Box::pin(self.woken(woken).instrument(lines)).await {
                Ok(()) if std::mem::take(&mut self.goes_on) => Box::pin(self.next_turn()).await,
                other => other,
            };
            if let Err(quit) = done {
                break quit;
            }
        };
        Box::pin(self.quit(quit)).await
    }

    async fn woken(&mut self, woken: Woken) -> Result<(), Quit> {
        match woken {
            // Nobody can ask for anything any more, which has been seen to.
            Woken::Command(None) => Ok(()),
            Woken::Command(Some(command)) => self.command(command).await,
            Woken::Started(started) => self.started(*started).await,
            Woken::Reports(reports) => self.reports(reports).await,
            Woken::Deadline => self.deadline().await,
        }
    }

    async fn quit(self: Box<Self>, quit: Quit) -> Option<GaveUp> {
        match quit {
            Quit::Done(how) => {
                self.refuse_rest(how).await;
                None
            }
            Quit::Store(error) => self.give_up(error).await,
        }
    }

    async fn wait(&mut self) -> Woken {
        let deadline = self.next_deadline();
        let work = &mut self.work;
        let worked = async {
            match work {
                Work::Nothing => std::future::pending().await,
                Work::Starting { task, .. } => Woken::Started(Box::new(task.join().await)),
                Work::Running(running) => {
                    let mut reports = Vec::new();
                    running.runtime.output.next(&mut reports).await;
                    Woken::Reports(reports)
                }
            }
        };
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = self.commands.recv() => Woken::Command(command),
            woken = worked => woken,
            () = late => Woken::Deadline,
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let initialize = match &self.work {
            Work::Running(running) => running.initialize_by,
            Work::Nothing | Work::Starting { .. } => None,
        };
        let interrupt = self
            .turn
            .as_ref()
            .and_then(|turn| turn.interrupt.as_ref())
            .map(Interrupt::next);
        let deadlines = initialize.into_iter().chain(interrupt);
        deadlines.chain(self.spare_until).min()
    }

    async fn deadline(&mut self) -> Result<(), Quit> {
        let now = Instant::now();
        if self.spare_until.is_some_and(|until| until <= now) {
            return self.give_spare_up().await;
        }
        let late = |running: &Running| running.initialize_by.is_some_and(|by| by <= now);
        if matches!(&self.work, Work::Running(running) if late(running)) {
            let after = self.parts.settings.deadlines.initialize;
            return self
                .fail_runtime(format!("the agent's runtime did not answer within {after:?}"))
                .await;
        }
        self.press_interrupt(now).await
    }

    async fn command(&mut self, command: Command) -> Result<(), Quit> {
        match command {
            Command::Send {
                inputs,
                reply,
                request,
            } => {
                self.trace.came_with(request);
                self.receive(inputs, reply).await
            }
            Command::Update { update, reply } => self.update(*update, reply).await,
            Command::End { how, reply } => self.end(how, reply).await,
        }
    }
}
