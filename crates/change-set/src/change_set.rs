//! A change set: what would become of the workspace, path by path, and what of it may be applied with which flags.

use crate::path::RelativePath;
use crate::report::Refusals;
use crate::stamp::{NodeKind, Stamp};
use std::collections::HashSet;
use std::hash::RandomState;
use std::path::PathBuf;

/// Everything that differs between the workspace and what the agent left, sorted by path.
pub struct ChangeSet {
    /// The directory of the host that the agent saw a view of.
    pub workspace: PathBuf,
    pub entries: Vec<Entry>,
    /// What the reader reported and no change can be made of.
    pub refused: Refusals,
    pub(crate) inode: u64,
    /// The key of the entries' digests: made anew each time, so that no content can be chosen to collide.
    pub(crate) hasher: RandomState,
}

/// One path and what becomes of it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub path: RelativePath,
    pub kind: Kind,
    pub class: Class,
    /// What is there in the workspace now.
    pub before: Option<Stamp>,
    pub after: Option<After>,
    pub lines: Lines,
    /// What the user did there meanwhile.
    pub conflict: Option<ConflictReason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Added,
    Modified,
    /// The same content, made executable or not executable.
    ModeChanged,
    Removed,
    /// Another kind of thing has this name now, a directory in place of a file for one.
    Replaced,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    File {
        size: u64,
        executable: bool,
        /// Of the content that was reviewed, where it was read.
        digest: Option<u64>,
    },
    Directory,
    Symlink {
        target: Vec<u8>,
    },
    Special,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    Counted {
        added: usize,
        removed: usize,
    },
    Binary,
    /// Too large, or too much in all.
    NotCounted,
    /// Not a file, or the content is the same.
    None,
}

/// What makes an entry more than an edit. Each mark needs its own permission; an entry may have several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent marks, not states")]
pub struct Class {
    /// Of a Git directory: hooks and configuration that Git runs.
    pub git: bool,
    /// A symlink that leads out of the workspace or into a Git directory.
    pub symlink: bool,
    /// A file that becomes executable.
    pub executable: bool,
    /// A socket, a pipe or a device: never applied.
    pub special: bool,
}

/// What the user permits besides ordinary edits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowed {
    pub git: bool,
    pub symlinks: bool,
    pub executables: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub path: RelativePath,
    pub reason: ConflictReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConflictReason {
    #[error("it was made or changed after the agent began")]
    Changed,
    #[error("it was removed after the agent began")]
    Vanished,
}

impl Class {
    pub fn is_ordinary(self) -> bool {
        self == Self::default()
    }

    pub fn allowed_by(self, allowed: Allowed) -> bool {
        !self.special
            && (allowed.git || !self.git)
            && (allowed.symlinks || !self.symlink)
            && (allowed.executables || !self.executable)
    }
}

impl Entry {
    /// Whether a directory goes, so that nothing may stay in it.
    fn ends_directory(&self) -> bool {
        self.before
            .is_some_and(|before| before.kind == NodeKind::Directory)
            && self.after != Some(After::Directory)
    }
}

impl ChangeSet {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries that these permissions let through, and those that stay behind.
    ///
    /// A directory that must go stays if anything in it stays; one that must make place for something else stays with
    /// all that is in it.
    pub fn select(&self, allowed: Allowed) -> Selection<'_> {
        let by_class: Vec<bool> = self
            .entries
            .iter()
            .map(|entry| entry.class.allowed_by(allowed))
            .collect();
        let replaced: HashSet<&[u8]> = self
            .entries
            .iter()
            .filter(|entry| entry.kind == Kind::Replaced && entry.ends_directory())
            .map(|entry| entry.path.as_bytes())
            .collect();
        let mut frozen: HashSet<&[u8]> = HashSet::new();
        let mut occupied: HashSet<&[u8]> = HashSet::new();
        for (entry, chosen) in self.entries.iter().zip(&by_class) {
            if !chosen {
                occupied.extend(ancestors(entry.path.as_bytes()));
                frozen.extend(
                    ancestors(entry.path.as_bytes())
                        .chain([entry.path.as_bytes()])
                        .filter(|path| replaced.contains(path)),
                );
            }
        }
        let mut selection = Selection::default();
        for (entry, by_class) in self.entries.iter().zip(by_class) {
            let path = entry.path.as_bytes();
            let held = frozen.contains(path)
                || ancestors(path).any(|above| frozen.contains(above))
                || (entry.ends_directory() && occupied.contains(path));
            if by_class && !held {
                selection.chosen.push(entry);
            } else {
                selection.withheld.push(entry);
            }
        }
        selection
    }
}

/// The paths above a path, the nearest last.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(slash, _)| &path[..slash])
}

/// A change set as some permissions divide it.
#[derive(Debug, Default)]
pub struct Selection<'a> {
    pub chosen: Vec<&'a Entry>,
    pub withheld: Vec<&'a Entry>,
}

impl Selection<'_> {
    /// What of the chosen entries the user changed meanwhile.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let conflict = |entry: &&Entry| {
            entry.conflict.map(|reason| Conflict {
                path: entry.path.clone(),
                reason,
            })
        };
        self.chosen.iter().filter_map(conflict).collect()
    }
}
