//! Ends what a call started, and brings the shell back to its next line.
//!
//! ```text
//!  0 s      SIGTERM to the shell, which gives up its command as soon as no program of it runs, then SIGINT in turns;
//!           SIGINT once to each process of the call
//!  0.4 s    SIGTERM once to each process
//!  1.2 s    SIGKILL to each
//!  2.2 s    SIGKILL to the shell, if it has not come back
//!  5 s      given up
//! ```

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::processes::{self, Identity, Marks};
use super::session::Session;

/// From one step to the next.
pub(crate) const STEP: Duration = Duration::from_millis(5);

const TERMINATE_AFTER: Duration = Duration::from_millis(400);
const KILL_AFTER: Duration = Duration::from_millis(1200);
const KILL_SHELL_AFTER: Duration = Duration::from_millis(2200);
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);
/// Between interrupting the shell and asking it for its status, in turns: an interrupt may fall on the status line
/// itself, and an answer needs time without one.
const TURN: Duration = Duration::from_millis(30);

pub(crate) struct Stop {
    began: Instant,
    told: HashMap<Identity, Signal>,
    turns: u32,
}

impl Stop {
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
            told: HashMap::new(),
            turns: 0,
        }
    }

    /// One step. True when nothing of the call is left, or when there is nothing more to try.
    pub(crate) async fn step(
        &mut self,
        session: &mut Session,
        marks: &Marks,
        marker: &str,
        shell_is_back: bool,
    ) -> bool {
        let elapsed = self.began.elapsed();
        if !shell_is_back {
            self.press_shell(session, marker, elapsed);
        }
        let signal = level(elapsed);
        let marks = marks.clone();
        let left = tokio::task::spawn_blocking(move || marks.processes())
            .await
            .unwrap_or_default();
        for process in &left {
            if signal == Signal::KILL || self.told.insert(*process, signal) != Some(signal) {
                processes::signal(*process, signal);
            }
        }
        if elapsed > GIVE_UP_AFTER && !left.is_empty() {
            tracing::warn!(
                processes = left.len(),
                "processes of a command could not be ended"
            );
        }
        (shell_is_back && left.is_empty()) || elapsed > GIVE_UP_AFTER
    }

    fn press_shell(&mut self, session: &mut Session, marker: &str, elapsed: Duration) {
        let shell = session.identity;
        if elapsed > KILL_SHELL_AFTER {
            processes::signal(shell, Signal::KILL);
            return;
        }
        if elapsed < TURN * self.turns {
            return;
        }
        match self.turns {
            0 => processes::signal(shell, Signal::TERM),
            turn if turn.is_multiple_of(2) => processes::signal(shell, Signal::INT),
            _ => {
                let question = session.dialect.status(marker);
                session.send(&question);
            }
        }
        self.turns += 1;
    }
}

fn level(elapsed: Duration) -> Signal {
    if elapsed > KILL_AFTER {
        Signal::KILL
    } else if elapsed > TERMINATE_AFTER {
        Signal::TERM
    } else {
        Signal::INT
    }
}
