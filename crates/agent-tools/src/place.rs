//! Where the session stands: relative paths are taken from the directory the shell is in.

use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
pub(crate) struct Place {
    current: Mutex<PathBuf>,
}

impl Place {
    pub(crate) fn new(start: PathBuf) -> Self {
        Self {
            current: Mutex::new(start),
        }
    }

    pub(crate) fn current(&self) -> PathBuf {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn move_to(&self, directory: PathBuf) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = directory;
    }

    /// Absolute and without `.`; `..` stays, because what it means depends on symlinks.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.current()
            .join(path)
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect()
    }
}

/// How `path` is shown to the model: relative where it lies under `base`.
pub(crate) fn shown<'a>(path: &'a Path, base: &Path) -> std::borrow::Cow<'a, str> {
    path.strip_prefix(base)
        .ok()
        .filter(|rest| !rest.as_os_str().is_empty())
        .unwrap_or(path)
        .to_string_lossy()
}
