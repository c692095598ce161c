//! The life of a session: lines in, turns one after another, frames out.

use crate::commands::Command;
use crate::control::{self, Next};
use crate::servers::connect;
use crate::session::Session;
use crate::start::{Setup, StartError, Started, start};
use crate::turn::{Call, Turn, Work};
use futures_util::StreamExt as _;
use std::time::Duration;
use stream_json::{Codec, CodecError, Frame, TurnResult, User};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::codec::FramedRead;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long a turn may take to stop after SIGTERM, and then the tools to end what they started. Hosts kill after 5 s.
const TERMINATION_GRACE: Duration = Duration::from_secs(2);

/// How long a session that cannot start waits for its host's first words.
const FIRST_LINE_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: the turn is interrupted, the session goes on.
    Interrupt,
    /// SIGTERM: the session ends without a result.
    Terminate,
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Exit {
    pub code: u8,
    /// For standard error.
    pub message: Option<String>,
}

/// Where lines come from.
struct Source<R> {
    /// `None` once it has ended.
    input: Option<FramedRead<R, Codec>>,
    signals: mpsc::Receiver<Signal>,
}

enum Event {
    Frame(Frame),
    End,
    Broken(CodecError),
    Signal(Signal),
}

impl<R: AsyncRead + Unpin> Source<R> {
    async fn next(&mut self) -> Event {
        let Self { input, signals } = self;
        let line = async {
            match input {
                Some(input) => input.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(signal) = signals.recv() => Event::Signal(signal),
            line = line => match line {
                Some(Ok(frame)) => Event::Frame(frame),
                Some(Err(error)) => Event::Broken(error),
                None => {
                    self.input = None;
                    Event::End
                }
            },
        }
    }
}

/// What the loop must do after an event.
enum Then {
    GoOn,
    /// The session ends once the turn has stopped.
    Leave(Exit),
}

/// Runs one session until its input ends and the last turn is done, or until told to leave.
pub async fn serve<R, W>(setup: Setup, mut input: R, mut output: W, signals: mpsc::Receiver<Signal>) -> Exit
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let reads_input = setup.arguments.reads_stdin || setup.arguments.prompt.is_none();
    let started = match start(setup) {
        Ok(started) => started,
        Err(error) => return refuse(&error, &mut input, &mut output).await,
    };
    let Started {
        session,
        mut work,
        lines,
        reopened,
    } = started;
    let done = CancellationToken::new();
    let input = reads_input.then(|| FramedRead::new(input, Codec::default()));
    let source = Source { input, signals };
    let life = async {
        let exit = live(&session, &mut work, reopened, source).await;
        let _ = tokio::time::timeout(TERMINATION_GRACE, session.tools.shutdown()).await;
        done.cancel();
        exit
    };
    let (exit, ()) = tokio::join!(life, lines.write_to(output, done.clone()));
    exit
}

/// A session that cannot start: said on standard error, and to hosts that wait for a result.
async fn refuse(
    error: &StartError,
    input: &mut (impl AsyncRead + Unpin),
    output: &mut (impl AsyncWrite + Unpin),
) -> Exit {
    let message = error.to_string();
    if error.has_result() {
        let result = TurnResult {
            subtype: "error_during_execution".to_owned(),
            is_error: true,
            errors: Some(vec![message.clone()]),
            uuid: Uuid::new_v4().to_string(),
            session_id: Uuid::new_v4().to_string(),
            ..TurnResult::default()
        };
        if let Ok(line) = Frame::Result(Box::new(result)).to_line() {
            // A host that is gone cannot be told.
            let _ = output.write_all(&line).await;
            let _ = output.flush().await;
        }
        // An SDK reports a broken pipe, and not our reason, if we are gone before it has written its first line.
        let _ = tokio::time::timeout(FIRST_LINE_WAIT, input.read_u8()).await;
    }
    Exit {
        code: 1,
        message: Some(message),
    }
}

/// What is done next, while events are served.
enum Job {
    /// The MCP servers of the host are greeted.
    Connect,
    Turn(Beginning),
}

/// What a turn begins with.
enum Beginning {
    /// Calls that the resumed session had left open.
    Calls(Vec<Call>),
    Prompts(Vec<User>),
}

async fn live<R: AsyncRead + Unpin>(
    session: &Session,
    work: &mut Work,
    mut reopened: Option<Vec<Call>>,
    mut source: Source<R>,
) -> Exit {
    let mut last_failed = false;
    loop {
        let job = next_job(session, &mut reopened, source.input.is_some());
        if let Some(Job::Connect) = job {
            let greeting = async {
                tokio::select! {
                    () = connect(session) => false,
                    () = session.leaving.cancelled() => false,
                }
            };
            if let Err(exit) = drive(session, greeting, &mut source).await {
                return exit;
            }
            continue;
        }
        if let Some(Job::Turn(beginning)) = job {
            session.is_running.set(true);
            *session.interrupt.borrow_mut() = CancellationToken::new();
            // On the heap, so that a session that waits does not hold room for a turn.
            let turn = Box::pin(turn(session, work, beginning));
            let outcome = drive(session, turn, &mut source).await;
            session.is_running.set(false);
            match outcome {
                // An interrupt from the keyboard is no failure of the session.
                Ok(failed) => last_failed = failed && session.signal.take() != Some(Signal::Interrupt),
                Err(exit) => return exit,
            }
            if session.inbox.borrow().is_empty() {
                session.state("idle").await;
            }
            continue;
        }
        if source.input.is_none() {
            return Exit {
                code: u8::from(last_failed),
                message: None,
            };
        }
        let event = source.next().await;
        if let Then::Leave(exit) = handle(session, event).await {
            return exit;
        }
    }
}

/// Serves events while a turn runs. The turn is never dropped in the middle unless it does not stop in time.
async fn drive<R: AsyncRead + Unpin>(
    session: &Session,
    turn: impl Future<Output = bool>,
    source: &mut Source<R>,
) -> Result<bool, Exit> {
    let mut turn = std::pin::pin!(turn);
    loop {
        let event = tokio::select! {
            biased;
            failed = &mut turn => return Ok(failed),
            event = source.next() => event,
        };
        // Output has room for a control answer even while the turn waits for room: the writer runs beside us.
        let handled = handle(session, event);
        let mut handled = std::pin::pin!(handled);
        let mut ended = None;
        let then = loop {
            tokio::select! {
                biased;
                then = &mut handled => break then,
                failed = &mut turn, if ended.is_none() => ended = Some(failed),
            }
        };
        if let Then::Leave(exit) = then {
            if ended.is_none() {
                session.leaving.cancel();
                session.token().cancel();
                let _ = tokio::time::timeout(leaving_grace(&exit), &mut turn).await;
            }
            return Err(exit);
        }
        if let Some(failed) = ended {
            return Ok(failed);
        }
    }
}

fn leaving_grace(exit: &Exit) -> Duration {
    if exit.code == TERMINATED {
        TERMINATION_GRACE
    } else {
        Duration::from_secs(10)
    }
}

/// 128 and the number of SIGTERM.
const TERMINATED: u8 = 143;

/// A host that has greeted, or has begun to talk without, is ready: its servers come first, then what the session
/// had left open, then what is said.
fn next_job(session: &Session, reopened: &mut Option<Vec<Call>>, has_input: bool) -> Option<Job> {
    let is_spoken_to = session.is_initialized.get() || !session.inbox.borrow().is_empty();
    let goes_on = reopened.is_some() && (is_spoken_to || !has_input);
    if (is_spoken_to || goes_on) && session.servers.has_pending() {
        return Some(Job::Connect);
    }
    let beginning = if goes_on {
        reopened.take().map(Beginning::Calls)
    } else {
        next_prompts(session).map(Beginning::Prompts)
    };
    beginning.map(Job::Turn)
}

async fn turn(session: &Session, work: &mut Work, beginning: Beginning) -> bool {
    let mut prompts = match beginning {
        Beginning::Calls(calls) => return Turn::new(session, work).go_on(calls).await,
        Beginning::Prompts(prompts) => prompts,
    };
    if let Some(command) = prompts.first().and_then(Command::of) {
        return command.run(session, work, prompts.remove(0)).await;
    }
    Turn::new(session, work).run(prompts).await
}

/// The lines of the next turn: all that wait, up to a local command, or one local command.
fn next_prompts(session: &Session) -> Option<Vec<User>> {
    let mut inbox = session.inbox.borrow_mut();
    let first = inbox.pop_front()?;
    let is_alone = Command::of(&first).is_some() || first.should_query == Some(false);
    let mut prompts = vec![first];
    while !is_alone
        && inbox
            .front()
            .is_some_and(|line| Command::of(line).is_none() && line.should_query != Some(false))
    {
        prompts.extend(inbox.pop_front());
    }
    Some(prompts)
}

async fn handle(session: &Session, event: Event) -> Then {
    match event {
        Event::Frame(Frame::User(line)) => {
            receive(session, *line).await;
            Then::GoOn
        }
        Event::Frame(Frame::ControlRequest(request)) => match control::serve(session, *request).await {
            Next::GoOn => Then::GoOn,
            Next::Interrupt => {
                session.token().cancel();
                Then::GoOn
            }
            Next::End => Then::Leave(Exit {
                code: 0,
                message: None,
            }),
        },
        Event::Frame(Frame::ControlResponse(response)) => {
            session.questions.answer(response.response);
            Then::GoOn
        }
        Event::Frame(_) => Then::GoOn,
        Event::End => {
            session.questions.close();
            Then::GoOn
        }
        Event::Broken(error) => {
            let message = format!("Error parsing streaming input line: {}", causes(&error));
            Then::Leave(Exit {
                code: 1,
                message: Some(message),
            })
        }
        Event::Signal(Signal::Interrupt) => {
            session
                .signal
                .set(session.is_running.get().then_some(Signal::Interrupt));
            session.token().cancel();
            Then::GoOn
        }
        Event::Signal(Signal::Terminate) => {
            session.signal.set(Some(Signal::Terminate));
            Then::Leave(Exit {
                code: TERMINATED,
                message: None,
            })
        }
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Queues a user line; one whose uuid was seen before is replayed and not run again.
async fn receive(session: &Session, line: User) {
    if let Some(uuid) = &line.uuid {
        let is_new = session.seen.borrow_mut().insert(uuid.clone());
        if !is_new {
            let replay = User {
                is_replay: Some(true),
                ..line
            };
            session.output.user(replay).await;
            return;
        }
        session.output.lifecycle(uuid, "queued").await;
    }
    session.inbox.borrow_mut().push_back(line);
}
