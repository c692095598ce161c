//! Where output goes: the answer to standard output, everything else to standard error. Colours, the spinner and
//! questions are for terminals only; in a pipe there are plain lines.
//!
//! A reader that goes away ends nothing: what cannot be written any more is dropped, the work goes on.

use crate::environment::Environment;
use crate::input::{self, Until};
use crate::signals::Signals;
use crate::style::Style;
use crate::text::safe;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

/// The longest answer to a question that is read.
const MAX_ANSWER_BYTES: usize = 1000;
const SPINNER: &str = "{spinner} {wide_msg} {elapsed:.dim}";
const BAR: &str = "{spinner} {msg} [{bar:30}] {bytes} of {total_bytes}  {bytes_per_sec}  {eta:.dim}";

pub struct Terminal {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    is: Kind,
    spinner: Option<ProgressBar>,
    /// The spinner counts bytes.
    counts: bool,
    reader_is_gone: bool,
    /// What stands before what the user types; lines go above it.
    prompt: Option<String>,
}

/// Which ends are terminals, and what they can show.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts about three independent streams"
)]
pub struct Kind {
    pub input: bool,
    pub out: bool,
    pub err: bool,
    pub colour: bool,
    /// Whether lines can be drawn over.
    pub animated: bool,
    /// Columns; 0 where there is no terminal.
    pub width: usize,
}

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
    Interrupted,
}

impl Terminal {
    /// The process's own streams.
    pub fn of_process(environment: &Environment) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let width = rustix::termios::tcgetwinsize(&err).map_or(0, |size| usize::from(size.ws_col));
        let is = Kind {
            input: io::stdin().is_terminal(),
            out: out.is_terminal(),
            err: err.is_terminal(),
            colour: !environment.no_color && !environment.dumb_terminal,
            animated: err.is_terminal() && !environment.dumb_terminal,
            width,
        };
        Self::new(Box::new(out), Box::new(err), is)
    }

    pub fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, is: Kind) -> Self {
        Self {
            out,
            err,
            is,
            spinner: None,
            counts: false,
            reader_is_gone: false,
            prompt: None,
        }
    }

    /// Of standard error.
    pub fn style(&self) -> Style {
        Style::new(self.is.err && self.is.colour)
    }

    pub fn out_style(&self) -> Style {
        Style::new(self.is.out && self.is.colour)
    }

    pub fn err_is_terminal(&self) -> bool {
        self.is.err
    }

    /// Whether lines of progress are drawn over.
    pub fn is_animated(&self) -> bool {
        self.is.animated
    }

    pub fn out_is_terminal(&self) -> bool {
        self.is.out
    }

    /// Columns of what is printed; nothing in a pipe.
    pub fn out_width(&self) -> Option<usize> {
        (self.is.out && self.is.width > 20).then_some(self.is.width)
    }

    /// Columns of a line of progress: all in a pipe.
    pub fn width(&self) -> usize {
        if self.is.err && self.is.width > 20 {
            self.is.width
        } else {
            200
        }
    }

    /// Whether somebody is there to answer a question.
    pub fn can_ask(&self) -> bool {
        self.is.input && self.is.err
    }

    /// A line of progress.
    pub fn line(&mut self, text: &str) {
        let (err, prompt) = (&mut self.err, self.prompt.as_deref());
        let away = match prompt {
            None => "",
            Some(_) if self.is.animated => "\r\x1b[K",
            Some(_) => "\n",
        };
        let mut write = || {
            let _ = write!(err, "{away}{text}\n{}", prompt.unwrap_or_default());
            let _ = err.flush();
        };
        match &self.spinner {
            Some(spinner) => spinner.suspend(write),
            None => write(),
        }
    }

    pub fn lines(&mut self, lines: &[String]) {
        for line in lines {
            self.line(line);
        }
    }

    /// An agent's last words, as whoever asked reads them.
    pub fn answer(&mut self, words: Option<&str>) {
        let Some(words) = words else { return };
        let words = if self.is.out {
            safe(words)
        } else {
            words.to_owned()
        };
        self.output((words.trim_end().to_owned() + "\n").as_bytes());
    }

    /// Lets the user type, with lines of progress above.
    pub fn prompt(&mut self, text: &str) {
        if self.prompt.as_deref() == Some(text) {
            return;
        }
        let away = match &self.prompt {
            None => "",
            Some(_) if self.is.animated => "\r\x1b[K",
            Some(_) => "\n",
        };
        let _ = write!(self.err, "{away}{text}");
        let _ = self.err.flush();
        self.prompt = Some(text.to_owned());
    }

    /// The user ended a line, and with it the prompt.
    pub fn typed(&mut self) {
        self.prompt = None;
    }

    /// Goes to a new line, where nobody types any more.
    pub fn no_prompt(&mut self) {
        if self.prompt.take().is_some() {
            let _ = writeln!(self.err);
        }
    }

    /// Output proper, as it is.
    pub fn output(&mut self, bytes: &[u8]) {
        let (out, gone) = (&mut self.out, &mut self.reader_is_gone);
        let mut write = || {
            *gone |= out.write_all(bytes).and_then(|()| out.flush()).is_err();
        };
        match &self.spinner {
            Some(spinner) => spinner.suspend(write),
            None => write(),
        }
    }

    /// Nobody reads what is printed any more.
    pub fn reader_is_gone(&self) -> bool {
        self.reader_is_gone
    }

    /// What is going on, shown beside the spinner until the next word.
    pub fn status(&mut self, text: &str) {
        if !self.is.animated {
            return;
        }
        let spinner = self.spinner(SPINNER, false);
        spinner.set_message(text.to_owned());
    }

    /// How many bytes of how many, in a bar until the next word.
    pub fn progress(&mut self, text: &str, done: u64, total: u64) {
        if !self.is.animated {
            return;
        }
        let spinner = self.spinner(BAR, true);
        spinner.set_message(text.to_owned());
        spinner.set_length(total);
        spinner.set_position(done);
    }

    fn spinner(&mut self, template: &str, counts: bool) -> &ProgressBar {
        if self.counts != counts {
            self.quiet();
        }
        self.counts = counts;
        self.spinner.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let template = ProgressStyle::with_template(template);
            bar.set_style(template.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        })
    }

    pub fn quiet(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }

    /// Asks on a terminal. Anything but a yes is a no.
    pub async fn ask(&mut self, question: &str, signals: &mut Signals) -> Answer {
        self.quiet();
        let _ = write!(self.err, "{question} [y/N] ");
        let _ = self.err.flush();
        match input::read(
            Until {
                bytes: MAX_ANSWER_BYTES,
                line: true,
            },
            signals,
        )
        .await
        {
            Some(Ok(answer)) if is_yes(&String::from_utf8_lossy(&answer)) => Answer::Yes,
            Some(_) => Answer::No,
            None => {
                let _ = writeln!(self.err);
                Answer::Interrupted
            }
        }
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        for (answer, yes) in [
            ("y", true),
            ("Yes\r", true),
            (" YES ", true),
            ("", false),
            ("n", false),
            ("yep", false),
            ("y n", false),
        ] {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}
