//! Makes a change set of a reader's report and the live workspace: directories that were removed or made opaque are
//! expanded against what is there now, and what is the same is left out. Nothing is written.

use crate::change_set::{After, ChangeSet, Class, ConflictReason, Entry, Kind, Lines};
use crate::class::classify;
use crate::content::{self, Budget};
use crate::error::CollectError;
use crate::ledger::Ledger;
use crate::limits::{MAX_ENTRIES, MAX_TEXT_BYTES};
use crate::path::RelativePath;
use crate::report::{Refusals, RefusedReason, Report, Reported};
use crate::root::Root;
use crate::source::{self, Source};
use crate::stamp::{NodeKind, Stamp, Timestamp};
use domain::SessionId;
use rustix::io::Errno;
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

/// What the agent saw, and since when.
#[derive(Debug, Clone)]
pub struct View {
    /// Absolute and without symlinks.
    pub workspace: PathBuf,
    /// Absolute paths below it that the agent did not see.
    pub masked: Vec<PathBuf>,
    /// A reading of the coarse clock, which file times are taken from, before the view was made.
    pub started: SystemTime,
    /// hostler's data directory, where it notes what it touched itself.
    pub data: PathBuf,
    pub session: SessionId,
}

/// Reads what the agent left and compares it with the workspace.
pub async fn collect(source: &dyn Source, view: &View) -> Result<ChangeSet, CollectError> {
    let root = Root::open(&view.workspace)?;
    let masked: Vec<RelativePath> = view
        .masked
        .iter()
        .filter_map(|path| path.strip_prefix(&view.workspace).ok())
        .filter_map(|path| RelativePath::new(path.as_os_str().as_encoded_bytes().to_vec()).ok())
        .collect();
    let report = Report::read(source, &masked).await?;
    let mut collector = Collector {
        source,
        root: &root,
        masked: &masked,
        started: view.started.into(),
        ledger: Ledger::load(&view.data, &view.session),
        budget: Budget::default(),
        hasher: RandomState::new(),
        entries: Vec::new(),
        refused: Refusals::default(),
        opaque: HashSet::new(),
        vanished: Vec::new(),
    };
    for (path, reported) in &report.nodes {
        match collector.visit(path, reported, &report).await {
            Err(CollectError::Workspace { source, .. }) if is_mount_point(&source) => {
                collector.refused.add(path.as_bytes(), RefusedReason::Hidden);
            }
            other => other?,
        }
    }
    collector.judge_vanished()?;
    let Collector {
        mut entries,
        refused: hidden,
        hasher,
        ..
    } = collector;
    let mut refused = report.refused;
    refused.append(hidden);
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    classify(&mut entries, &root)?;
    let inode = root.own_stamp().inode;
    Ok(ChangeSet {
        workspace: view.workspace.clone(),
        entries,
        refused,
        inode,
        hasher,
    })
}

struct Collector<'a> {
    source: &'a dyn Source,
    root: &'a Root,
    masked: &'a [RelativePath],
    started: Timestamp,
    ledger: Ledger,
    budget: Budget,
    hasher: RandomState,
    entries: Vec<Entry>,
    refused: Refusals,
    /// Directories below which nothing of the workspace shows through.
    opaque: HashSet<RelativePath>,
    /// Entries that came from a file of the workspace, where there is none now.
    vanished: Vec<usize>,
}

impl Collector<'_> {
    async fn visit(
        &mut self,
        path: &RelativePath,
        reported: &Reported,
        report: &Report,
    ) -> Result<(), CollectError> {
        let live = self.live(path)?;
        match (reported, live) {
            (Reported::Removed, None) => Ok(()),
            (Reported::Removed, Some(live)) => self.remove_tree(path, live).map(drop),
            (Reported::Directory { opaque }, live) => self.directory(path, *opaque, live, report),
            (
                Reported::File {
                    size,
                    mode,
                    copied_up,
                },
                live,
            ) => {
                self.file(path, (*size, *mode & 0o111 != 0, *copied_up), live)
                    .await
            }
            (Reported::Symlink { target }, live) => self.symlink(path, target, live),
            (Reported::Special, live) => self.put(path, live, After::Special, Lines::None),
        }
    }

    fn live(&self, path: &RelativePath) -> Result<Option<Stamp>, CollectError> {
        self.root.stamp(path).map_err(|source| CollectError::Workspace {
            path: path.clone(),
            source,
        })
    }

    fn directory(
        &mut self,
        path: &RelativePath,
        opaque: bool,
        live: Option<Stamp>,
        report: &Report,
    ) -> Result<(), CollectError> {
        let inherits = path.parent().is_some_and(|parent| self.opaque.contains(&parent));
        if opaque || inherits {
            self.opaque.insert(path.clone());
        }
        match live {
            Some(live) if live.kind == NodeKind::Directory => {
                if opaque || inherits {
                    for child in self.children(path)? {
                        if !report.has(&child)
                            && let Some(stamp) = self.live(&child)?
                        {
                            self.remove_tree(&child, stamp)?;
                        }
                    }
                }
                Ok(())
            }
            live => self.put(path, live, After::Directory, Lines::None),
        }
    }

    async fn file(
        &mut self,
        path: &RelativePath,
        (size, executable, copied_up): (u64, bool, bool),
        live: Option<Stamp>,
    ) -> Result<(), CollectError> {
        if let Some(live) = live
            && live.kind == NodeKind::File
        {
            return self.edited(path, size, executable).await;
        }
        let (lines, digest) = if self.budget.admit(&[size]) {
            let content = source::whole(self.source, path, size).await?;
            (
                self.budget.count(&[], &content),
                Some(self.hasher.hash_one(&content)),
            )
        } else {
            (Lines::NotCounted, None)
        };
        if copied_up && live.is_none() {
            self.vanished.push(self.entries.len());
        }
        self.put(
            path,
            live,
            After::File {
                size,
                executable,
                digest,
            },
            lines,
        )
    }

    /// A file that came from below where nothing is: either the user removed it, or the agent moved it here from a
    /// name that is free or taken by something else now. Where there are as many such names as files, and where
    /// nobody touched the directory, nothing vanished.
    fn judge_vanished(&mut self) -> Result<(), CollectError> {
        let was_file = |entry: &&Entry| entry.before.is_some_and(|before| before.kind == NodeKind::File);
        if self.vanished.len() <= self.entries.iter().filter(was_file).count() {
            return Ok(());
        }
        for index in std::mem::take(&mut self.vanished) {
            if self.directory_changed(&self.entries[index].path)? {
                self.entries[index].conflict = Some(ConflictReason::Vanished);
            }
        }
        Ok(())
    }

    /// Whether entries came or went, since the agent began, in the nearest directory above that exists.
    fn directory_changed(&self, path: &RelativePath) -> Result<bool, CollectError> {
        let mut above = path.parent();
        while let Some(directory) = above {
            if let Some(stamp) = self.live(&directory)? {
                return Ok(self.conflict(&directory, &stamp).is_some());
            }
            above = directory.parent();
        }
        Ok(self.root.own_stamp().changed > self.started)
    }

    /// A file where there is a file.
    async fn edited(&mut self, path: &RelativePath, size: u64, executable: bool) -> Result<(), CollectError> {
        let failed = |source| CollectError::Workspace {
            path: path.clone(),
            source,
        };
        let (mut file, live) = self.root.open_file(path).map_err(failed)?;
        let counted = self.budget.admit(&[size, live.size]);
        let mut lines = Lines::NotCounted;
        let mut digest = None;
        let same = if counted || (size == live.size && size <= MAX_TEXT_BYTES) {
            let old = content::read_live(&mut file, live.size).map_err(failed)?;
            let new = source::whole(self.source, path, size).await?;
            digest = Some(self.hasher.hash_one(&new));
            let same = old == new;
            if counted && !same {
                lines = self.budget.count(&old, &new);
            }
            same
        } else {
            size == live.size && content::same(self.source, path, size, &mut file).await?
        };
        let after = After::File {
            size,
            executable,
            digest,
        };
        if !same {
            self.put(path, Some(live), after, lines)
        } else if executable != live.is_executable() {
            self.push(path, Kind::ModeChanged, (Some(live), Some(after)), Lines::None)
        } else {
            Ok(())
        }
    }

    fn symlink(
        &mut self,
        path: &RelativePath,
        target: &[u8],
        live: Option<Stamp>,
    ) -> Result<(), CollectError> {
        if live.is_some_and(|live| live.kind == NodeKind::Symlink) {
            let failed = |source| CollectError::Workspace {
                path: path.clone(),
                source,
            };
            if self.root.read_link(path).map_err(failed)? == target {
                return Ok(());
            }
        }
        self.put(
            path,
            live,
            After::Symlink {
                target: target.to_vec(),
            },
            Lines::None,
        )
    }

    /// Something at a path, whatever was there. A directory that it takes the place of is expanded.
    fn put(
        &mut self,
        path: &RelativePath,
        live: Option<Stamp>,
        after: After,
        lines: Lines,
    ) -> Result<(), CollectError> {
        let kind = match (live.map(|live| live.kind), &after) {
            (None, _) => Kind::Added,
            (Some(NodeKind::File), After::File { .. }) | (Some(NodeKind::Symlink), After::Symlink { .. }) => {
                Kind::Modified
            }
            _ => Kind::Replaced,
        };
        if live.is_some_and(|live| live.kind == NodeKind::Directory) {
            let mut whole = true;
            for child in self.children(path)? {
                if let Some(stamp) = self.live(&child)? {
                    whole &= self.remove_tree(&child, stamp)?;
                }
            }
            if !whole {
                self.refused.add(path.as_bytes(), RefusedReason::Hidden);
                return Ok(());
            }
        }
        self.push(path, kind, (live, Some(after)), lines)
    }

    /// A path and all that is below it in the workspace. Whether all of it can go.
    fn remove_tree(&mut self, path: &RelativePath, live: Stamp) -> Result<bool, CollectError> {
        if path.is_staging() || self.masked.iter().any(|masked| path.is_within(masked)) {
            return Ok(false);
        }
        let mut lines = Lines::None;
        let mut whole = true;
        if live.kind == NodeKind::Directory {
            let children = match self.children(path) {
                Err(CollectError::Workspace { source, .. }) if is_mount_point(&source) => {
                    self.refused.add(path.as_bytes(), RefusedReason::Hidden);
                    return Ok(false);
                }
                other => other?,
            };
            for child in children {
                if let Some(stamp) = self.live(&child)? {
                    whole &= self.remove_tree(&child, stamp)?;
                }
            }
        } else if live.kind == NodeKind::File {
            lines = self.removed_lines(path, live);
        }
        if whole {
            self.push(path, Kind::Removed, (Some(live), None), lines)?;
        }
        Ok(whole)
    }

    /// A file that cannot be read can still be removed.
    fn removed_lines(&mut self, path: &RelativePath, live: Stamp) -> Lines {
        if !self.budget.admit(&[live.size]) {
            return Lines::NotCounted;
        }
        let content = self
            .root
            .open_file(path)
            .and_then(|(mut file, _)| content::read_live(&mut file, live.size));
        content.map_or(Lines::NotCounted, |content| self.budget.count(&content, &[]))
    }

    fn children(&self, path: &RelativePath) -> Result<Vec<RelativePath>, CollectError> {
        let failed = |source| CollectError::Workspace {
            path: path.clone(),
            source,
        };
        let names = self.root.list(Some(path)).map_err(failed)?;
        names
            .iter()
            .map(|name| path.join(name).map_err(|error| failed(io::Error::other(error))))
            .collect()
    }

    fn push(
        &mut self,
        path: &RelativePath,
        kind: Kind,
        (before, after): (Option<Stamp>, Option<After>),
        lines: Lines,
    ) -> Result<(), CollectError> {
        if self.entries.len() >= MAX_ENTRIES {
            return Err(CollectError::Entries { most: MAX_ENTRIES });
        }
        let conflict = before.and_then(|before| self.conflict(path, &before));
        let entry = Entry {
            path: path.clone(),
            kind,
            class: Class::default(),
            before,
            after,
            lines,
            conflict,
        };
        self.entries.push(entry);
        Ok(())
    }

    /// Every change of an entry sets its change time, which, unlike the time of its content, nobody can set back.
    fn conflict(&self, path: &RelativePath, before: &Stamp) -> Option<ConflictReason> {
        let meanwhile = before.changed > self.started && !self.ledger.knows(path, before);
        meanwhile.then_some(ConflictReason::Changed)
    }
}

fn is_mount_point(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::XDEV)
}
