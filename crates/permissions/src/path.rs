//! The directories a session works in, and whether a path is inside them once its links are followed.

use std::path::{Component, Path, PathBuf};

/// Directories and files whose content is run or obeyed by git, shells and agents.
const GUARDED: [&str; 9] = [
    ".git",
    ".claude",
    ".bashrc",
    ".bash_profile",
    ".profile",
    ".zshrc",
    ".zprofile",
    ".gitconfig",
    ".mcp.json",
];

/// The working directory and those added to it.
#[derive(Debug, Clone, Default)]
pub struct Directories {
    working: PathBuf,
    /// What relative paths are taken from: where the shell is.
    base: PathBuf,
    added: Vec<PathBuf>,
}

impl Directories {
    pub fn new(working: PathBuf, added: Vec<PathBuf>) -> Self {
        let mut directories = Self {
            base: working.clone(),
            working,
            added: Vec::new(),
        };
        directories.added = added
            .into_iter()
            .map(|path| directories.absolute(&path))
            .collect();
        directories
    }

    pub(crate) fn working(&self) -> &Path {
        &self.working
    }

    pub fn stand_in(&mut self, base: PathBuf) {
        self.base = base;
    }

    pub fn add<'a>(&mut self, paths: impl Iterator<Item = &'a String>) {
        for path in paths {
            let path = self.absolute(Path::new(path));
            if !self.added.contains(&path) {
                self.added.push(path);
            }
        }
    }

    pub fn remove<'a>(&mut self, paths: impl Iterator<Item = &'a String>) {
        for path in paths {
            let path = self.absolute(Path::new(path));
            self.added.retain(|added| *added != path);
        }
    }

    /// Absolute and without `.` and `..`, as text says it; links are not followed.
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        let mut absolute = PathBuf::new();
        for component in self.base.join(path).components() {
            match component {
                Component::ParentDir => {
                    absolute.pop();
                }
                Component::CurDir => {}
                other => absolute.push(other),
            }
        }
        absolute
    }

    /// Where the path really leads: links are followed as far as it exists.
    pub(crate) fn real(&self, path: &Path) -> PathBuf {
        let absolute = self.absolute(path);
        for ancestor in absolute.ancestors() {
            if let Ok(real) = ancestor.canonicalize() {
                let rest = absolute.strip_prefix(ancestor).unwrap_or(Path::new(""));
                return if rest.as_os_str().is_empty() {
                    real
                } else {
                    real.join(rest)
                };
            }
            // A link whose target does not exist leads where it says, not where it stands.
            if ancestor.is_symlink() {
                return PathBuf::from("/");
            }
        }
        absolute
    }

    pub(crate) fn contain(&self, path: &str) -> bool {
        self.inside(path).is_some()
    }

    /// Inside, and not among the files that make other programs run things: those need a yes of their own.
    pub(crate) fn contain_plain(&self, path: &str) -> bool {
        self.inside(path).is_some_and(|within| {
            !within
                .components()
                .any(|part| GUARDED.iter().any(|name| part.as_os_str() == *name))
        })
    }

    /// The real path as seen from the directory that holds it.
    fn inside(&self, path: &str) -> Option<PathBuf> {
        let real = self.real(Path::new(path));
        std::iter::once(&self.working)
            .chain(&self.added)
            .find_map(|directory| {
                let directory = directory.canonicalize().unwrap_or_else(|_| directory.clone());
                real.strip_prefix(directory).ok().map(Path::to_owned)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_leave_the_directory_are_outside() {
        let root = tempfile::tempdir().unwrap();
        let work = root.path().join("work");
        std::fs::create_dir_all(work.join("in")).unwrap();
        std::os::unix::fs::symlink("/etc", work.join("etc")).unwrap();
        std::os::unix::fs::symlink("in", work.join("alias")).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", work.join("dangling")).unwrap();
        let directories = Directories::new(work, Vec::new());
        for (path, inside) in [
            ("in/new/file", true),
            ("alias/file", true),
            ("etc/passwd", false),
            ("dangling", false),
            ("../x", false),
            ("in/../../x", false),
            (".", true),
        ] {
            assert_eq!(directories.contain(path), inside, "{path}");
        }
    }
}
