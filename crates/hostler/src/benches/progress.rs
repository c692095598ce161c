//! How far a bench is, on standard error: a bar on a terminal, a plain line now and then elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use stage::Progress;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two lines.
const NOW_AND_THEN: Duration = Duration::from_secs(15);

pub(super) fn of_process() -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {pos}/{len} {elapsed}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        return Box::new(Bar(bar));
    }
    Box::new(Lines::default())
}

struct Bar(ProgressBar);

impl Progress for Bar {
    fn at(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    fn step(&self, done: u64, of: u64) {
        self.0.set_length(of);
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[derive(Default)]
struct Lines {
    what: Mutex<String>,
    last: Mutex<Option<Instant>>,
}

impl Lines {
    fn say(line: &str) {
        // Whoever stopped reading does not want to know.
        writeln!(std::io::stderr(), "{line}").ok();
    }
}

impl Progress for Lines {
    fn at(&self, what: &str) {
        Self::say(what);
        if let (Ok(mut present), Ok(mut last)) = (self.what.lock(), self.last.lock()) {
            what.clone_into(&mut present);
            *last = Some(Instant::now());
        }
    }

    fn step(&self, done: u64, of: u64) {
        let (Ok(what), Ok(mut last)) = (self.what.lock(), self.last.lock()) else {
            return;
        };
        if last.is_none_or(|last| last.elapsed() >= NOW_AND_THEN) {
            *last = Some(Instant::now());
            Self::say(&format!("{what}: {done} of {of}"));
        }
    }
}
