//! The files of the workspace as text, read once. What `.gitignore` names and what is not text is left out.

use anyhow::{Context, Result};
use ignore::WalkBuilder;
use std::collections::BTreeMap;
use std::path::Path;

/// A file longer than this is data, not something a person wrote.
const MAX_BYTES: u64 = 4 << 20;

#[derive(Debug, Default)]
pub(crate) struct Tree {
    texts: BTreeMap<String, String>,
}

impl Tree {
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        let walk = WalkBuilder::new(root)
            .hidden(false)
            .require_git(false)
            .parents(false)
            .git_global(false)
            .filter_entry(|entry| entry.file_name() != ".git")
            .build();
        for entry in walk {
            let entry = entry.context("cannot list the workspace")?;
            if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            // A file may go while the tree is read (an editor's, a neighbour's): it is then no longer part of it.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.len() > MAX_BYTES {
                continue;
            }
            let Ok(bytes) = std::fs::read(entry.path()) else {
                continue;
            };
            let Ok(text) = String::from_utf8(bytes) else {
                continue;
            };
            let path = entry
                .path()
                .strip_prefix(root)
                .context("the walk left the workspace")?;
            tree.texts.insert(path.to_string_lossy().into_owned(), text);
        }
        Ok(tree)
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self {
            texts: files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
                .collect(),
        }
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }
}
