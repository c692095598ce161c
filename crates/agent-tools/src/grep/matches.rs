//! The search of one file: counts its matches and keeps the lines that will be shown, in bounded memory.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use grep_matcher::Matcher;
use grep_regex::RegexMatcher;
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkMatch};
use tokio_util::sync::CancellationToken;

use super::options::{Mode, Options};

/// What a line, or in multiline search a file, may take.
const LONGEST: usize = 64 << 20;
/// Bytes of a line that are shown.
const SHOWN_OF_LINE: usize = 500;

pub(super) struct FileSearch<'a> {
    options: &'a Options,
    cancel: &'a CancellationToken,
    searcher: Searcher,
}

impl<'a> FileSearch<'a> {
    pub(super) fn new(options: &'a Options, cancel: &'a CancellationToken) -> Self {
        let shows_lines = options.mode == Mode::Content;
        let searcher = SearcherBuilder::new()
            .binary_detection(BinaryDetection::quit(0))
            .line_number(shows_lines && options.numbers)
            .multi_line(options.multiline)
            .before_context(if shows_lines { options.before } else { 0 })
            .after_context(if shows_lines { options.after } else { 0 })
            .heap_limit(Some(LONGEST))
            .build();
        Self {
            options,
            cancel,
            searcher,
        }
    }

    /// Matches, lines, and whether there are more lines. `None` without a match, and for what cannot be searched.
    pub(super) fn search(&mut self, path: &Path, matcher: &RegexMatcher) -> Option<(u64, Vec<String>, bool)> {
        // A named pipe in the place of the file would otherwise be waited for.
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = File::options()
            .read(true)
            .custom_flags(nonblock)
            .open(path)
            .ok()?;
        let mut lines = Lines {
            options: self.options,
            matcher,
            count: 0,
            gathered: Vec::new(),
            wanted: self.options.lines_wanted(),
            more: false,
            is_binary: false,
        };
        let source = Cancellable {
            file,
            cancel: self.cancel,
        };
        if let Err(error) = self.searcher.search_reader(matcher, source, &mut lines) {
            tracing::debug!(%error, path = %path.display(), "a file was not searched to its end");
        }
        (lines.count > 0 && !lines.is_binary).then_some((lines.count, lines.gathered, lines.more))
    }
}

/// Ends the search of a large file without matches.
struct Cancellable<'a> {
    file: File,
    cancel: &'a CancellationToken,
}

impl Read for Cancellable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        self.file.read(buffer)
    }
}

struct Lines<'a> {
    options: &'a Options,
    matcher: &'a RegexMatcher,
    count: u64,
    gathered: Vec<String>,
    wanted: usize,
    more: bool,
    is_binary: bool,
}

impl Sink for Lines<'_> {
    type Error = io::Error;

    fn matched(&mut self, _searcher: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        self.count += 1;
        match self.options.mode {
            Mode::FilesWithMatches => return Ok(false),
            Mode::Count => return Ok(true),
            Mode::Content => {}
        }
        let mut number = found.line_number();
        for line in found.lines() {
            if self.options.only_matching && !self.options.multiline {
                self.matched_parts(line, number);
            } else {
                self.push(':', number, line);
            }
            number = number.map(|number| number + 1);
        }
        Ok(!self.more)
    }

    fn context(&mut self, _searcher: &Searcher, context: &SinkContext<'_>) -> io::Result<bool> {
        if !self.options.only_matching {
            self.push('-', context.line_number(), context.bytes());
        }
        Ok(!self.more)
    }

    fn context_break(&mut self, _searcher: &Searcher) -> io::Result<bool> {
        if !self.options.only_matching {
            self.gathered.push("--".to_owned());
        }
        Ok(true)
    }

    fn binary_data(&mut self, _searcher: &Searcher, _offset: u64) -> io::Result<bool> {
        self.is_binary = true;
        Ok(false)
    }
}

impl Lines<'_> {
    fn matched_parts(&mut self, line: &[u8], number: Option<u64>) {
        let matcher = self.matcher;
        let each = matcher.find_iter(line, |part| {
            self.push(':', number, &line[part]);
            !self.more
        });
        if let Err(never) = each {
            tracing::debug!(%never, "the regular expression engine has no errors of its own");
        }
    }

    /// `:12:text` for a match, `-12-text` for context; the file's name goes before it.
    fn push(&mut self, separator: char, number: Option<u64>, line: &[u8]) {
        if self.gathered.len() >= self.wanted {
            self.more = true;
            return;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let shown = &line[..line.len().min(SHOWN_OF_LINE)];
        let number = number
            .map(|number| format!("{number}{separator}"))
            .unwrap_or_default();
        let mut text = format!("{separator}{number}{}", String::from_utf8_lossy(shown));
        if shown.len() < line.len() {
            text.truncate(text.trim_end_matches('\u{FFFD}').len());
            let note = format!("… [{} more bytes]", line.len() - shown.len());
            text.push_str(&note);
        }
        self.gathered.push(text);
    }
}
