//! The walk that Glob and Grep share: parallel, mindful of ignore files, hidden files included, repositories' insides
//! not, and never through a symlink.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ignore::WalkBuilder;

use crate::read;
use crate::toolbox::Files;

/// The insides of version control, which nobody means.
const REPOSITORY_INSIDES: [&str; 5] = [".git", ".hg", ".jj", ".svn", ".sl"];
/// More threads than this wait for each other.
const MOST_THREADS: usize = 12;

pub(crate) fn walk(root: &Path) -> WalkBuilder {
    let mut builder = WalkBuilder::new(root);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    builder
        .hidden(false)
        .follow_links(false)
        .threads(threads.min(MOST_THREADS))
        .filter_entry(|entry| {
            entry.depth() == 0
                || !entry
                    .file_name()
                    .to_str()
                    .is_some_and(|name| REPOSITORY_INSIDES.contains(&name))
        });
    builder
}

/// Where a search begins: the path given, or the current directory. It must exist.
pub(crate) fn root(files: &Files, path: Option<&str>) -> Result<PathBuf, String> {
    let root = match path {
        None | Some("") => files.place.current(),
        Some(path) => files.place.resolve(path)?,
    };
    match std::fs::metadata(&root) {
        Ok(_) => Ok(root),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(read::missing(files, &root)),
        Err(error) => Err(format!("{} cannot be searched: {error}", root.display())),
    }
}

/// A found file; the newest come first, and of the same time in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) modified: SystemTime,
    pub(crate) path: PathBuf,
}

impl Found {
    pub(crate) fn new(path: PathBuf, metadata: Option<&Metadata>) -> Self {
        let modified = metadata
            .and_then(|metadata| metadata.modified().ok())
            .unwrap_or(SystemTime::UNIX_EPOCH);
        Self { modified, path }
    }
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other
            .modified
            .cmp(&self.modified)
            .then_with(|| self.path.cmp(&other.path))
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
