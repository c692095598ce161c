//! The Glob tool: files by the pattern of their path, the newest first.

use std::collections::BinaryHeap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use globset::{GlobBuilder, GlobMatcher};
use ignore::{DirEntry, WalkState};
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::search::{self, Found};
use crate::toolbox::Files;
use crate::{Concurrency, Definition, Kind, Outcome, place};

pub(crate) const NAME: &str = "Glob";

const MOST_FILES: usize = 100;

#[derive(Deserialize)]
pub(crate) struct Input {
    pattern: String,
    path: Option<String>,
}

pub(crate) fn definition() -> Definition {
    Definition {
        name: NAME,
        description: format!(
            "Finds files whose path matches a pattern such as **/*.rs, src/*.{{ts,tsx}} or Makefile; a pattern without \
             a slash matches at any depth. What ignore files name is left out. Gives the {MOST_FILES} files that were \
             changed last, the newest first."
        ),
        input_schema: json!({
            "type": "object",
            "properties": {
                "pattern": {"type": "string", "description": "The pattern, with *, **, ?, [..] and {..,..}"},
                "path": {"type": "string", "description": "Where to look; the current directory by default"},
            },
            "required": ["pattern"],
            "additionalProperties": false,
        }),
        concurrency: Concurrency::Safe,
        kind: Kind::Read,
    }
}

pub(crate) fn call(files: &Files, input: &Input, cancel: &CancellationToken) -> Outcome {
    match glob(files, input, cancel) {
        Ok(outcome) => outcome,
        Err(refusal) => Outcome::refused(refusal),
    }
}

fn glob(files: &Files, input: &Input, cancel: &CancellationToken) -> Result<Outcome, String> {
    let begun = Instant::now();
    let root = search::root(files, input.path.as_deref())?;
    let (root, pattern) = split(&root, &input.pattern)?;
    if !root.is_dir() {
        return Ok(outcome(&Matches::default(), files, begun));
    }
    let glob = matcher(&pattern).map_err(|error| format!("The pattern is not valid: {error}"))?;
    let matches = find(&root, &glob, cancel);
    if cancel.is_cancelled() {
        return Ok(Outcome::interrupted());
    }
    Ok(outcome(&matches, files, begun))
}

/// The leading directories without wildcards go to the root, so that only what can match is walked.
fn split(root: &Path, pattern: &str) -> Result<(PathBuf, String), String> {
    if pattern.is_empty() || pattern.contains('\0') {
        return Err("The pattern is empty or contains a NUL character".to_owned());
    }
    let plain = |part: &str| !part.contains(['*', '?', '[', ']', '{', '}', '\\']);
    let parts: Vec<&str> = pattern.split('/').collect();
    let leading = parts[..parts.len() - 1]
        .iter()
        .take_while(|part| plain(part))
        .count();
    if leading == 0 {
        return Ok((root.to_owned(), pattern.to_owned()));
    }
    let directory = parts[..leading].join("/");
    let directory = if directory.is_empty() {
        "/"
    } else {
        directory.as_str()
    };
    let joined = root
        .join(directory)
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    // What follows a directory is anchored there, unlike a pattern without a slash.
    Ok((joined, format!("/{}", parts[leading..].join("/"))))
}

fn matcher(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    let pattern = match pattern.strip_prefix('/') {
        Some(anchored) => anchored.to_owned(),
        None if pattern.contains('/') => pattern.to_owned(),
        None => format!("**/{pattern}"),
    };
    Ok(GlobBuilder::new(&pattern)
        .literal_separator(true)
        .build()?
        .compile_matcher())
}

/// The newest matches and how many there are.
#[derive(Default)]
struct Matches {
    newest: BinaryHeap<Found>,
    total: usize,
    /// Something could not be looked into.
    incomplete: bool,
}

impl Matches {
    fn add(&mut self, found: Found) {
        self.total += 1;
        self.newest.push(found);
        if self.newest.len() > MOST_FILES {
            self.newest.pop();
        }
    }

    fn merge(&mut self, other: Matches) {
        let total = self.total + other.total;
        other.newest.into_iter().for_each(|found| self.add(found));
        self.total = total;
        self.incomplete |= other.incomplete;
    }
}

/// Each thread's own matches, handed in when the thread is done.
struct Gathering<'a> {
    own: Matches,
    all: &'a Mutex<Matches>,
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        self.all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .merge(std::mem::take(&mut self.own));
    }
}

fn find(root: &Path, matcher: &GlobMatcher, cancel: &CancellationToken) -> Matches {
    let all = Mutex::new(Matches::default());
    search::walk(root).build_parallel().run(|| {
        let mut gathering = Gathering {
            own: Matches::default(),
            all: &all,
        };
        Box::new(move |entry| {
            if cancel.is_cancelled() {
                return WalkState::Quit;
            }
            match entry {
                Ok(entry) => gathering.own.extend(matching(root, entry, matcher)),
                Err(_) => gathering.own.incomplete = true,
            }
            WalkState::Continue
        })
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Extend<Found> for Matches {
    fn extend<Source: IntoIterator<Item = Found>>(&mut self, source: Source) {
        source.into_iter().for_each(|found| self.add(found));
    }
}

fn matching(root: &Path, entry: DirEntry, matcher: &GlobMatcher) -> Option<Found> {
    if entry.file_type().is_none_or(|kind| kind.is_dir()) {
        return None;
    }
    let relative = entry.path().strip_prefix(root).ok()?;
    if !matcher.is_match(relative) {
        return None;
    }
    let metadata = entry.metadata().ok();
    Some(Found::new(entry.into_path(), metadata.as_ref()))
}

fn outcome(matches: &Matches, files: &Files, begun: Instant) -> Outcome {
    let base = files.place.current();
    let mut newest: Vec<&Found> = matches.newest.iter().collect();
    newest.sort();
    let names: Vec<String> = newest
        .iter()
        .map(|found| place::shown(&found.path, &base).into_owned())
        .collect();
    let truncated = matches.total > names.len();
    let mut text = names.join("\n");
    if names.is_empty() {
        "No files found".clone_into(&mut text);
    } else if truncated {
        text = format!(
            "{text}\n(These are the newest {} of {}. Make the pattern narrower)",
            names.len(),
            matches.total
        );
    }
    if matches.incomplete {
        text.push_str("\n(Some directories could not be read)");
    }
    let result = json!({
        "filenames": names,
        "durationMs": u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "numFiles": names.len(),
        "truncated": truncated,
        "totalMatches": matches.total,
        "countIsComplete": !matches.incomplete,
    });
    Outcome::text(text, result)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn patterns_match_as_told() {
        for (pattern, root, path, expected) in [
            ("*.rs", "/r", "a/b.rs", true),
            ("**/*.rs", "/r", "b.rs", true),
            ("a/*.rs", "/r/a", "b.rs", true),
            ("a/*.rs", "/r/a", "c/b.rs", false),
            ("a/**/b.rs", "/r/a", "c/d/b.rs", true),
            ("*.{ts,tsx}", "/r", "x/y.tsx", true),
            ("/abs/*.c", "/abs", "x.c", true),
            ("/*.c", "/", "x.c", true),
            ("./a/*.c", "/r/a", "x.c", true),
            ("../*.c", "/r/..", "x.c", true),
            ("Makefile", "/r", "sub/Makefile", true),
            ("a/Makefile", "/r/a", "sub/Makefile", false),
            ("*/x", "/r", "a/x", true),
            ("*/x", "/r", "a/b/x", false),
        ] {
            let (found, rest) = split(Path::new("/r"), pattern).unwrap();
            assert_eq!(found, Path::new(root), "{pattern}");
            assert_eq!(
                matcher(&rest).unwrap().is_match(path),
                expected,
                "{pattern} {path}"
            );
        }
        assert!(split(Path::new("/r"), "").is_err());
        assert!(matcher("a[").is_err());
    }
}
