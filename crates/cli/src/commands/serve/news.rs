//! What a server says of itself: lines for people on a terminal, and lines of the log elsewhere.

use crate::render::facts::missing_line;
use crate::services::Running;
use terminal::{Terminal, text};

pub(super) fn say(line: &'static str, terminal: &mut Terminal) {
    if terminal.err_is_terminal() {
        terminal.line(line);
    } else {
        tracing::info!("{line}");
    }
}

/// Of what is not as one might think.
pub(super) fn notice(notice: &str, terminal: &mut Terminal) {
    if terminal.err_is_terminal() {
        let line = terminal.style().yellow(&text::safe(notice));
        terminal.line(&line);
    } else {
        tracing::warn!("{notice}");
    }
}

/// Standard output gets the two lines that point an official SDK at this server, and nothing else.
pub(super) fn serving(running: &Running, url: &str, key: &str, terminal: &mut Terminal) {
    let (version, data) = (env!("CARGO_PKG_VERSION"), running.data.display());
    if terminal.err_is_terminal() {
        terminal.line(&format!("hostler {version} serves {url} from {data}"));
    } else {
        tracing::info!(version, url, %data, "serving");
    }
    if let Some(line) = missing_line(&running.report) {
        notice(&line, terminal);
    }
    terminal.output(format!("export ANTHROPIC_BASE_URL={url}\nexport ANTHROPIC_API_KEY={key}\n").as_bytes());
}
