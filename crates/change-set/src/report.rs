//! A reader's report, checked: every path is sound and named once, and its parent was reported as a directory before
//! it, as the kernel's own overlay could not be otherwise. What fails is set aside with the reason and never applied.

use crate::error::CollectError;
use crate::limits::{MAX_ENTRIES, MAX_NAMES_BYTES, MAX_REFUSED_SHOWN, MAX_TOTAL_BYTES};
use crate::path::{PathError, RelativePath, printable};
use crate::source::Source;
use guest_protocol::{Change, ChangeKind};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// What a reader says of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reported {
    Removed,
    File { size: u64, mode: u32, copied_up: bool },
    Directory { opaque: bool },
    Symlink { target: Vec<u8> },
    Special,
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) nodes: BTreeMap<RelativePath, Reported>,
    pub(crate) refused: Refusals,
}

/// An entry that is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Escaped and cut, fit to be shown.
    pub path: String,
    pub reason: RefusedReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedReason {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("it was reported twice")]
    Twice,
    #[error("what it lies in was not reported as a directory")]
    Orphan,
    #[error("the symlink's target is not one")]
    Target,
    #[error("it belongs to hostler itself")]
    Reserved,
    #[error("it is or holds a mount point or hostler's own files, which the agent did not see")]
    Hidden,
}

/// The refused entries that are shown, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    pub shown: Vec<Refused>,
    pub count: usize,
}

impl Refusals {
    pub(crate) fn add(&mut self, path: &[u8], reason: RefusedReason) {
        self.count += 1;
        if self.shown.len() < MAX_REFUSED_SHOWN {
            let path = printable(&path[..path.len().min(200)]);
            self.shown.push(Refused { path, reason });
        }
    }

    pub(crate) fn append(&mut self, other: Self) {
        self.count += other.count;
        self.shown.extend(other.shown);
        self.shown.truncate(MAX_REFUSED_SHOWN);
    }
}

impl Report {
    /// Reads all of a source's entries.
    pub(crate) async fn read(source: &dyn Source, masked: &[RelativePath]) -> Result<Self, CollectError> {
        let mut report = Self::default();
        let mut count = Count::default();
        let mut over = None;
        source
            .entries(&mut |change| match count.admit(&change) {
                Ok(()) => {
                    report.add(&change, masked);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    over = Some(error);
                    ControlFlow::Break(())
                }
            })
            .await?;
        over.map_or(Ok(report), Err)
    }

    fn add(&mut self, change: &Change, masked: &[RelativePath]) {
        let bytes = change.path_bytes();
        let checked = bytes
            .clone()
            .ok_or(PathError::Encoding)
            .and_then(RelativePath::new);
        let outcome = match checked {
            Ok(path) => self.admit(path, &change.kind, masked),
            Err(error) => Err(error.into()),
        };
        if let Err(reason) = outcome {
            self.refused.add(&bytes.unwrap_or_default(), reason);
        }
    }

    fn admit(
        &mut self,
        path: RelativePath,
        kind: &ChangeKind,
        masked: &[RelativePath],
    ) -> Result<(), RefusedReason> {
        if path.is_staging() || masked.iter().any(|masked| path.is_within(masked)) {
            return Err(RefusedReason::Reserved);
        }
        if self.nodes.contains_key(&path) {
            return Err(RefusedReason::Twice);
        }
        if let Some(parent) = path.parent()
            && !matches!(self.nodes.get(&parent), Some(Reported::Directory { .. }))
        {
            return Err(RefusedReason::Orphan);
        }
        let reported = match kind {
            ChangeKind::Removed => Reported::Removed,
            ChangeKind::File {
                size,
                mode,
                copied_up,
            } => Reported::File {
                size: *size,
                mode: *mode,
                copied_up: *copied_up,
            },
            ChangeKind::Directory { opaque, .. } => Reported::Directory { opaque: *opaque },
            ChangeKind::Symlink { target } => {
                let target = target.as_bytes();
                if target.is_empty() || target.contains(&0) || target.len() > 4095 {
                    return Err(RefusedReason::Target);
                }
                Reported::Symlink {
                    target: target.to_vec(),
                }
            }
            ChangeKind::Special => Reported::Special,
        };
        self.nodes.insert(path, reported);
        Ok(())
    }

    pub(crate) fn has(&self, path: &RelativePath) -> bool {
        self.nodes.contains_key(path)
    }
}

/// What a report holds so far, against the limits.
#[derive(Default)]
struct Count {
    entries: usize,
    names: usize,
    bytes: u64,
}

impl Count {
    fn admit(&mut self, change: &Change) -> Result<(), CollectError> {
        self.entries += 1;
        self.names += change.path.as_ref().map_or(0, String::len);
        self.names += change.path_base64.as_ref().map_or(0, String::len);
        match &change.kind {
            ChangeKind::File { size, .. } => self.bytes = self.bytes.saturating_add(*size),
            ChangeKind::Symlink { target } => self.names += target.len(),
            _ => {}
        }
        if self.entries > MAX_ENTRIES {
            return Err(CollectError::Entries { most: MAX_ENTRIES });
        }
        if self.names > MAX_NAMES_BYTES {
            return Err(CollectError::Names {
                most: MAX_NAMES_BYTES,
            });
        }
        if self.bytes > MAX_TOTAL_BYTES {
            return Err(CollectError::Bytes {
                most: MAX_TOTAL_BYTES,
            });
        }
        Ok(())
    }
}
