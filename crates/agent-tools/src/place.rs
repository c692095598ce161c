//! Where the session stands: relative paths are taken from the directory the shell is in.

use std::borrow::Cow;
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
    pub(crate) fn resolve(&self, path: &str) -> Result<PathBuf, String> {
        if path.is_empty() {
            return Err("The path is empty".to_owned());
        }
        if path.contains('\0') {
            return Err("The path contains a NUL character".to_owned());
        }
        Ok(self
            .current()
            .join(path)
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect())
    }
}

/// How a path is shown to the model: relative where it lies under `base`.
pub(crate) fn shown<'a>(path: &'a Path, base: &Path) -> Cow<'a, str> {
    path.strip_prefix(base)
        .ok()
        .filter(|rest| !rest.as_os_str().is_empty())
        .unwrap_or(path)
        .to_string_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_from_the_current_directory() {
        let place = Place::new("/work".into());
        for (path, expected) in [
            ("a", Ok("/work/a")),
            ("./a/./b", Ok("/work/a/b")),
            ("/x", Ok("/x")),
            ("../x", Ok("/work/../x")),
            ("", Err(())),
        ] {
            assert_eq!(
                place.resolve(path).map_err(drop),
                expected.map(PathBuf::from),
                "{path}"
            );
        }
        assert!(place.resolve("a\0").is_err());
        assert_eq!(shown(Path::new("/work/a/b"), Path::new("/work")), "a/b");
        assert_eq!(shown(Path::new("/other"), Path::new("/work")), "/other");
        assert_eq!(shown(Path::new("/work"), Path::new("/work")), "/work");
    }
}
