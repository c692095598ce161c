//! The Grep tool: lines, files or counts by a regular expression, with the engine and the file rules of ripgrep.

mod matches;
mod options;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use grep_regex::RegexMatcher;
use ignore::{DirEntry, WalkState};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub(crate) use options::{Input, definition};

use crate::search::{self, Found};
use crate::toolbox::Files;
use crate::{Outcome, place};
use matches::FileSearch;
use options::{Mode, Options};

pub(crate) const NAME: &str = "Grep";

/// Bytes of lines gathered at most; beyond this the search is not useful, and only files are counted on.
const GATHERED_BYTES: usize = 32 << 20;
/// Bytes of text shown at most.
const SHOWN_BYTES: usize = 100_000;

pub(crate) fn call(files: &Files, input: &Input, cancel: &CancellationToken) -> Outcome {
    match grep(files, input, cancel) {
        Ok(outcome) => outcome,
        Err(refusal) => Outcome::refused(refusal),
    }
}

fn grep(files: &Files, input: &Input, cancel: &CancellationToken) -> Result<Outcome, String> {
    let root = search::root(files, input.path.as_deref())?;
    let options = Options::new(input, &root)?;
    let matched = find(&root, &options, cancel);
    if cancel.is_cancelled() {
        return Ok(Outcome::interrupted());
    }
    let view = View {
        base: files.place.current(),
        names: !root.is_file(),
        options: &options,
    };
    Ok(view.outcome(matched))
}

/// A file with matches.
struct Matched {
    found: Found,
    count: u64,
    /// In content mode: what is shown of it, line by line.
    lines: Vec<String>,
    /// There are more lines than were gathered.
    more: bool,
}

#[derive(Default)]
struct Gathered {
    files: Vec<Matched>,
    bytes: usize,
}

fn find(root: &Path, options: &Options, cancel: &CancellationToken) -> Vec<Matched> {
    let gathered = Mutex::new(Gathered::default());
    let mut walk = search::walk(root);
    walk.types(options.types.clone())
        .overrides(options.overrides.clone());
    walk.build_parallel().run(|| {
        let mut search = FileSearch::new(options, cancel);
        let gathered = &gathered;
        Box::new(move |entry| {
            if cancel.is_cancelled() {
                return WalkState::Quit;
            }
            if let Ok(entry) = entry
                && let Some(matched) = matched(&entry, &mut search, &options.matcher)
            {
                gathered
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .add(matched);
            }
            WalkState::Continue
        })
    });
    gathered
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .files
}

impl Gathered {
    fn add(&mut self, mut matched: Matched) {
        let bytes: usize = matched.lines.iter().map(String::len).sum();
        if self.bytes + bytes > GATHERED_BYTES {
            matched.lines = Vec::new();
            matched.more = true;
        } else {
            self.bytes += bytes;
        }
        self.files.push(matched);
    }
}

/// A root that is a symlink is what was asked for; any other is left alone.
fn matched(entry: &DirEntry, search: &mut FileSearch<'_>, matcher: &RegexMatcher) -> Option<Matched> {
    let kind = entry.file_type()?;
    let is_file = kind.is_file() || (entry.depth() == 0 && kind.is_symlink() && entry.path().is_file());
    if !is_file {
        return None;
    }
    let (count, lines, more) = search.search(entry.path(), matcher)?;
    let metadata = entry.metadata().ok();
    Some(Matched {
        found: Found::new(entry.path().to_owned(), metadata.as_ref()),
        count,
        lines,
        more,
    })
}

struct View<'a> {
    base: PathBuf,
    /// Lines and counts carry the names of their files, unless one file alone was searched.
    names: bool,
    options: &'a Options,
}

/// The part of a list that is shown.
struct Page {
    lines: Vec<String>,
    total: usize,
    cut: bool,
}

impl View<'_> {
    fn outcome(&self, mut matched: Vec<Matched>) -> Outcome {
        match self.options.mode {
            Mode::FilesWithMatches => matched.sort_by(|one, other| one.found.cmp(&other.found)),
            _ => matched.sort_by(|one, other| one.found.path.cmp(&other.found.path)),
        }
        match self.options.mode {
            Mode::FilesWithMatches => self.files(&matched),
            Mode::Count => self.counts(&matched),
            Mode::Content => self.content(&matched),
        }
    }

    fn files(&self, matched: &[Matched]) -> Outcome {
        let page = self.page(matched.iter().map(|file| self.name(file)));
        let found = if page.total == 1 { "file" } else { "files" };
        let mut text = format!("Found {} {found}\n{}", page.total, page.lines.join("\n"));
        if page.total == 0 {
            "No files found".clone_into(&mut text);
        }
        self.note_cut(&mut text, &page);
        let result =
            json!({"mode": "files_with_matches", "numFiles": page.lines.len(), "filenames": page.lines});
        Outcome::text(text, self.with_limits(result, &page))
    }

    fn counts(&self, matched: &[Matched]) -> Outcome {
        let page = self.page(matched.iter().map(|file| {
            if self.names {
                format!("{}:{}", self.name(file), file.count)
            } else {
                file.count.to_string()
            }
        }));
        let occurrences: u64 = matched.iter().map(|file| file.count).sum();
        let content = page.lines.join("\n");
        let mut text = format!("{content}\n\n{occurrences} matches in {} files", matched.len());
        if matched.is_empty() {
            "No matches found".clone_into(&mut text);
        }
        self.note_cut(&mut text, &page);
        let result = json!({
            "mode": "count",
            "numFiles": matched.len(),
            "filenames": [],
            "content": content,
            "numMatches": occurrences,
        });
        Outcome::text(text, self.with_limits(result, &page))
    }

    fn content(&self, matched: &[Matched]) -> Outcome {
        let separates = self.options.has_context();
        let lines = matched.iter().enumerate().flat_map(|(index, file)| {
            let separator = (separates && index > 0 && !file.lines.is_empty()).then(|| "--".to_owned());
            let name = self.names.then(|| self.name(file));
            separator
                .into_iter()
                .chain(file.lines.iter().map(move |line| match (&name, line.as_str()) {
                    (_, "--") => line.clone(),
                    // A line of context is told from a match by its separator.
                    (Some(name), _) => format!("{name}{line}"),
                    (None, _) => line.strip_prefix([':', '-']).unwrap_or(line).to_owned(),
                }))
        });
        let mut page = self.page(lines);
        page.cut |= matched.iter().any(|file| file.more);
        let content = page.lines.join("\n");
        let mut text = if matched.is_empty() {
            "No matches found".to_owned()
        } else {
            content.clone()
        };
        self.note_cut(&mut text, &page);
        let result = json!({
            "mode": "content",
            "numFiles": matched.len(),
            "filenames": [],
            "content": content,
            "numLines": page.lines.len(),
            "totalLines": page.total,
        });
        Outcome::text(text, self.with_limits(result, &page))
    }

    fn name(&self, file: &Matched) -> String {
        place::shown(&file.found.path, &self.base).into_owned()
    }

    fn page(&self, all: impl Iterator<Item = String>) -> Page {
        let mut page = Page {
            lines: Vec::new(),
            total: 0,
            cut: false,
        };
        let mut bytes = 0;
        for line in all {
            page.total += 1;
            if page.total <= self.options.offset {
                continue;
            }
            if page.cut || page.lines.len() >= self.options.limit || bytes + line.len() > SHOWN_BYTES {
                page.cut = true;
                continue;
            }
            bytes += line.len() + 1;
            page.lines.push(line);
        }
        page
    }

    fn note_cut(&self, text: &mut String, page: &Page) {
        if page.cut {
            let next = self.options.offset + page.lines.len();
            let note = format!("\n(There is more: use offset {next} to go on, or make the search narrower)");
            text.push_str(&note);
        } else if page.lines.is_empty() && page.total > 0 {
            let note = format!(
                "\n(offset {} is beyond the {} there are)",
                self.options.offset, page.total
            );
            text.push_str(&note);
        }
    }

    fn with_limits(&self, mut result: Value, page: &Page) -> Value {
        if page.cut {
            result["appliedLimit"] = json!(page.lines.len());
        }
        if self.options.offset > 0 {
            result["appliedOffset"] = json!(self.options.offset);
        }
        result
    }
}
