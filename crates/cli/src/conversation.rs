//! One turn of a session, as it is followed from a terminal: events are shown as they are stored, one Ctrl-C
//! interrupts the agent, another stops the session.

use crate::render::activity::Activity;
use control::{Control, EventStream, Idle, Item};
use domain::SessionId;
use futures_util::future::BoxFuture;
use std::time::Duration;
use terminal::{Failure, Signals, Terminal};
use wire::Preview;

/// The log's last events are in the store already: reading them takes no longer.
const DRAIN: Duration = Duration::from_secs(10);

/// How a turn ended for the one who followed it.
#[derive(Debug)]
pub(crate) enum Ended {
    Idle {
        idle: Idle,
        interrupted: bool,
    },
    /// The user would not wait.
    Stopped,
}

/// Follows a session from its beginning until it has nothing more to do.
pub(crate) async fn follow(
    control: &Control,
    session: &SessionId,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<Ended, Failure> {
    let failed = |error| Failure::failed("session", error);
    let mut follower = Follower {
        events: control.events(session, 0).await.map_err(failed)?,
        activity: Activity::new(terminal.style(), terminal.width()),
        seen: 0,
        over: false,
    };
    terminal.status(follower.activity.status());
    let idle = control.wait_idle(session);
    tokio::pin!(idle);
    let mut interrupting: Option<BoxFuture<'_, Result<(), control::SendError>>> = None;
    let mut interrupted = false;
    let idle = loop {
        tokio::select! {
            asked = signals.next() => {
                if asked.now || interrupted {
                    terminal.quiet();
                    return Ok(Ended::Stopped);
                }
                interrupted = true;
                terminal.line("interrupting the agent; its changes are kept. Ctrl-C again stops it");
                interrupting = Some(Box::pin(control.interrupt(session)));
            }
            outcome = async { interrupting.as_mut()?.as_mut().await.err() }, if interrupting.is_some() => {
                interrupting = None;
                if let Some(error) = outcome {
                    return Err(Failure::failed("session", error));
                }
            }
            item = follower.events.next(), if !follower.over => {
                follower.take(item.map_err(failed)?, terminal);
            }
            idle = &mut idle => break idle.map_err(failed)?,
        }
    };
    let last = control.session(session).await.map_err(failed)?.last_seq;
    follower.drain(last, terminal).await.map_err(failed)?;
    terminal.quiet();
    Ok(Ended::Idle { idle, interrupted })
}

struct Follower {
    events: EventStream,
    activity: Activity,
    /// The number of the last event shown.
    seen: u64,
    over: bool,
}

impl Follower {
    fn take(&mut self, item: Option<Item>, terminal: &mut Terminal) {
        match item {
            Some(Item::Event(logged)) => {
                self.seen = logged.seq;
                terminal.lines(&self.activity.show(&logged.event));
                terminal.status(self.activity.status());
            }
            Some(Item::Preview(preview)) => {
                if let Preview::EventStart { event } = &*preview {
                    let writing = event.kind == "agent.message";
                    terminal.status(if writing { "writing" } else { "thinking" });
                }
            }
            Some(Item::Behind) => {}
            None => self.over = true,
        }
    }

    /// What is stored and not shown yet.
    async fn drain(&mut self, last: u64, terminal: &mut Terminal) -> Result<(), control::AccessError> {
        while self.seen < last && !self.over {
            let Ok(item) = tokio::time::timeout(DRAIN, self.events.next()).await else {
                return Ok(());
            };
            self.take(item?, terminal);
        }
        Ok(())
    }
}
