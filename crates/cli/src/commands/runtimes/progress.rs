//! How far an installation is: a bar on a terminal, a line for each step in a pipe. Who will not wait loses nothing that
//! was downloaded.

use super::Place;
use crate::render::facts::size;
use runtimes::{Progress, Step};
use terminal::{Failure, Signals, Terminal};
use tokio::sync::watch;

/// Parts of a download that have a line of their own in a pipe.
const QUARTERS: u64 = 4;

/// Takes what is told without waiting; only the newest is looked at.
struct Told(watch::Sender<Option<Step>>);

impl Progress for Told {
    fn at(&self, step: Step) {
        self.0.send_replace(Some(step));
    }
}

/// Does the work and shows how far it is, unless the user will not wait.
pub(super) async fn attended<T>(
    work: impl AsyncFnOnce(&dyn Progress) -> Result<T, Failure>,
    place: &Place,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<T, Failure> {
    let (sender, mut steps) = watch::channel(None);
    let told = Told(sender);
    let mut work = std::pin::pin!(work(&told));
    let mut shown = None;
    let done = loop {
        tokio::select! {
            biased;
            _ = signals.next() => break Err(interrupted(shown, &place.flags)),
            done = &mut work => break done,
            Ok(()) = steps.changed() => {
                let step = *steps.borrow_and_update();
                if let Some(step) = step {
                    show(step, shown.replace(step), terminal);
                }
            }
        }
    };
    terminal.quiet();
    done
}

fn interrupted(step: Option<Step>, flags: &str) -> Failure {
    let failure = Failure::interrupted();
    match step {
        Some(Step::Downloading { done, .. }) if done > 0 => failure.hint(format!(
            "{} are kept: the same command goes on from there",
            size(done)
        )),
        _ => failure.hint(format!("hostler runtimes list{flags} has what is installed")),
    }
}

fn show(step: Step, before: Option<Step>, terminal: &mut Terminal) {
    if terminal.is_animated() {
        match step {
            Step::Downloading {
                done,
                total: Some(total),
            } => terminal.progress("downloading", done, total),
            Step::Downloading { done, total: None } => {
                terminal.status(&format!("downloading {}", size(done)));
            }
            _ => terminal.status(said(step)),
        }
        return;
    }
    match (step, before) {
        (Step::Downloading { done, total }, Some(Step::Downloading { done: earlier, .. })) => {
            let part = |done: u64| total.and_then(|total| (done * QUARTERS).checked_div(total));
            if let Some(total) = total
                && part(done) > part(earlier)
            {
                terminal.line(&format!("downloaded {} of {}", size(done), size(total)));
            }
        }
        (Step::Downloading { total, .. }, _) => {
            let total = total.map(|total| format!(" {}", size(total))).unwrap_or_default();
            terminal.line(&format!("downloading{total}"));
        }
        (step, before) if before != Some(step) => terminal.line(said(step)),
        _ => {}
    }
}

fn said(step: Step) -> &'static str {
    match step {
        Step::Resolving => "asking the registry",
        Step::Waiting => "waiting for another installation",
        Step::Downloading { .. } => "downloading",
        Step::Checking => "checking",
        Step::Unpacking => "unpacking",
    }
}
