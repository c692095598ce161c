//! Unified diffs in the form that `git apply` reads, one entry at a time, so that a large change set is never held as
//! text.

use crate::change_set::{After, ChangeSet, Entry, Kind};
use crate::content::{self, is_binary};
use crate::error::CollectError;
use crate::limits::MAX_TEXT_BYTES;
use crate::path::RelativePath;
use crate::root::Root;
use crate::source::{self, Source};
use crate::stamp::{NodeKind, Stamp};
use line_diff::Hunk;
use std::fmt::Write as _;
use std::ops::Range;

/// One side of a diff: its mode as Git writes it, and its content where it is small enough to be shown.
struct Side {
    mode: &'static str,
    content: Option<Vec<u8>>,
}

/// The diff of one entry; empty for a directory, which Git does not track.
pub async fn unified(source: &dyn Source, set: &ChangeSet, entry: &Entry) -> Result<Vec<u8>, CollectError> {
    let root = Root::open(&set.workspace)?;
    let old = match entry.before {
        Some(before) => old_side(&root, &entry.path, before).map_err(|source| CollectError::Workspace {
            path: entry.path.clone(),
            source,
        })?,
        None => None,
    };
    let new = match &entry.after {
        Some(after) => new_side(source, &entry.path, after).await?,
        None => None,
    };
    // Git has no header for a file that becomes a symlink: it is removed and added.
    if entry.kind == Kind::Replaced && old.is_some() && new.is_some() {
        let mut text = render(&entry.path, old.as_ref(), None);
        text.extend(render(&entry.path, None, new.as_ref()));
        return Ok(text);
    }
    Ok(render(&entry.path, old.as_ref(), new.as_ref()))
}

fn old_side(root: &Root, path: &RelativePath, before: Stamp) -> std::io::Result<Option<Side>> {
    Ok(match before.kind {
        NodeKind::File => {
            let content = if before.size <= MAX_TEXT_BYTES {
                let (mut file, _) = root.open_file(path)?;
                Some(content::read_live(&mut file, before.size)?)
            } else {
                None
            };
            Some(Side {
                mode: file_mode(before.is_executable()),
                content,
            })
        }
        NodeKind::Symlink => Some(Side {
            mode: "120000",
            content: Some(root.read_link(path)?),
        }),
        NodeKind::Directory | NodeKind::Special => None,
    })
}

async fn new_side(
    source: &dyn Source,
    path: &RelativePath,
    after: &After,
) -> Result<Option<Side>, CollectError> {
    Ok(match after {
        After::File { size, executable, .. } => {
            let content = if *size <= MAX_TEXT_BYTES {
                Some(source::whole(source, path, *size).await?)
            } else {
                None
            };
            Some(Side {
                mode: file_mode(*executable),
                content,
            })
        }
        After::Symlink { target } => Some(Side {
            mode: "120000",
            content: Some(target.clone()),
        }),
        After::Directory | After::Special => None,
    })
}

fn file_mode(executable: bool) -> &'static str {
    if executable { "100755" } else { "100644" }
}

fn render(path: &RelativePath, old: Option<&Side>, new: Option<&Side>) -> Vec<u8> {
    let (a, b) = (quoted("a/", path), quoted("b/", path));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "diff --git {a} {b}");
    let _ = match (old, new) {
        (None, None) => return Vec::new(),
        (None, Some(new)) => writeln!(text, "new file mode {}", new.mode),
        (Some(old), None) => writeln!(text, "deleted file mode {}", old.mode),
        (Some(old), Some(new)) if old.mode != new.mode => {
            writeln!(text, "old mode {}\nnew mode {}", old.mode, new.mode)
        }
        _ => Ok(()),
    };
    let a = if old.is_some() { a } else { "/dev/null".to_owned() };
    let b = if new.is_some() { b } else { "/dev/null".to_owned() };
    let content = |side: Option<&Side>| side.map_or(Some(Vec::new()), |side| side.content.clone());
    let (Some(old), Some(new)) = (content(old), content(new)) else {
        let _ = writeln!(text, "Files {a} and {b} differ and are too large to show");
        return text.into_bytes();
    };
    if is_binary(&old) || is_binary(&new) {
        let _ = writeln!(text, "Binary files {a} and {b} differ");
        return text.into_bytes();
    }
    let mut text = text.into_bytes();
    let hunks = line_diff::hunks(&old, &new);
    if !hunks.is_empty() {
        text.extend(format!("--- {a}\n+++ {b}\n").into_bytes());
    }
    for hunk in hunks {
        text.extend(format!("@@ -{} +{} @@\n", span(&hunk.old), span(&hunk.new)).into_bytes());
        for (sign, line) in hunk.lines {
            text.push(sign.as_char() as u8);
            text.extend(line);
            if !line.ends_with(b"\n") {
                text.extend(b"\n\\ No newline at end of file\n");
            }
        }
    }
    text
}

/// Where a hunk starts and how many lines it has, unless it is one.
fn span(lines: &Range<usize>) -> String {
    match (Hunk::start(lines), lines.len()) {
        (start, 1) => start.to_string(),
        (start, count) => format!("{start},{count}"),
    }
}

/// A name as Git quotes it: anything but plain text in C's manner.
fn quoted(side: &str, path: &RelativePath) -> String {
    let plain = |byte: &u8| (0x20..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\');
    if path.as_bytes().iter().all(plain) {
        return format!("{side}{path}");
    }
    let mut text = format!("\"{side}");
    for byte in path.as_bytes() {
        let _ = match byte {
            b'"' | b'\\' => write!(text, "\\{}", char::from(*byte)),
            byte if plain(byte) => write!(text, "{}", char::from(*byte)),
            byte => write!(text, "\\{byte:03o}"),
        };
    }
    text.push('"');
    text
}
