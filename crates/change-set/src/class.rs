//! Tells edits from changes that could make the host run or reach what the agent chose: Git directories (also bare
//! ones, which Git obeys wherever they lie), symlinks that lead out, and files that become executable.

use crate::change_set::{After, Class, Entry};
use crate::error::CollectError;
use crate::path::RelativePath;
use crate::root::Root;
use crate::stamp::NodeKind;
use std::collections::HashMap;
use std::io;

/// The kernel's own limit for symlinks in one resolution.
const MAX_HOPS: usize = 40;

/// Sets the class of every entry.
pub(crate) fn classify(entries: &mut [Entry], root: &Root) -> Result<(), CollectError> {
    let classes = {
        let mut tree = Tree::new(entries, root);
        let mut classes = Vec::with_capacity(entries.len());
        for entry in entries.iter() {
            let failed = |source| CollectError::Workspace {
                path: entry.path.clone(),
                source,
            };
            classes.push(tree.class(entry).map_err(failed)?);
        }
        classes
    };
    for (entry, class) in entries.iter_mut().zip(classes) {
        entry.class = class;
    }
    Ok(())
}

/// Whether a name is `.git` on any file system: in any case, with what macOS ignores, with what Windows strips, or
/// in its short form there.
pub(crate) fn is_git_name(name: &[u8]) -> bool {
    let text = String::from_utf8_lossy(name);
    let plain: String = text
        .chars()
        .filter(|c| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'))
        .collect::<String>()
        .to_lowercase();
    let plain = plain
        .split(':')
        .next()
        .unwrap_or_default()
        .trim_end_matches(['.', ' ']);
    plain == ".git" || plain == "git~1"
}

/// The workspace as it would be with every entry applied.
struct Tree<'a> {
    after: HashMap<&'a [u8], Option<&'a After>>,
    root: &'a Root,
    git_directories: HashMap<Vec<u8>, bool>,
}

impl<'a> Tree<'a> {
    fn new(entries: &'a [Entry], root: &'a Root) -> Self {
        let after = entries
            .iter()
            .map(|entry| (entry.path.as_bytes(), entry.after.as_ref()))
            .collect();
        Self {
            after,
            root,
            git_directories: HashMap::new(),
        }
    }

    fn class(&mut self, entry: &Entry) -> io::Result<Class> {
        let was_executable = entry
            .before
            .is_some_and(|before| before.kind == NodeKind::File && before.is_executable());
        Ok(Class {
            git: self.is_git(&entry.path)?,
            symlink: match &entry.after {
                Some(After::Symlink { target }) => !self.stays_inside(&entry.path, target)?,
                _ => false,
            },
            executable: matches!(entry.after, Some(After::File { executable: true, .. })) && !was_executable,
            special: entry.after == Some(After::Special),
        })
    }

    fn is_git(&mut self, path: &RelativePath) -> io::Result<bool> {
        if path.components().any(is_git_name) {
            return Ok(true);
        }
        let mut above = path.parent();
        while let Some(directory) = above {
            if self.is_git_directory(directory.as_bytes())? {
                return Ok(true);
            }
            above = directory.parent();
        }
        self.is_git_directory(b"")
    }

    /// What Git takes for a repository: a head, and objects and references here or in a common directory.
    fn is_git_directory(&mut self, directory: &[u8]) -> io::Result<bool> {
        if let Some(known) = self.git_directories.get(directory) {
            return Ok(*known);
        }
        let has = |name: &[u8]| {
            let path = if directory.is_empty() {
                name.to_vec()
            } else {
                [directory, b"/", name].concat()
            };
            self.exists(&path)
        };
        let found = has(b"HEAD")? && (has(b"commondir")? || (has(b"objects")? && has(b"refs")?));
        self.git_directories.insert(directory.to_vec(), found);
        Ok(found)
    }

    fn exists(&self, path: &[u8]) -> io::Result<bool> {
        match self.after.get(path) {
            Some(after) => Ok(after.is_some()),
            None => match RelativePath::new(path.to_vec()) {
                Ok(path) => Ok(self.root.stamp(&path)?.is_some()),
                Err(_) => Ok(false),
            },
        }
    }

    /// Follows a symlink as the kernel would, through all others. What cannot be followed to its end is outside.
    fn stays_inside(&self, link: &RelativePath, target: &[u8]) -> io::Result<bool> {
        let mut place: Vec<Vec<u8>> = link.components().map(<[u8]>::to_vec).collect();
        place.pop();
        let mut ahead: Vec<Vec<u8>> = Vec::new();
        let mut hops = 0;
        let mut follow = Some(target.to_vec());
        loop {
            if let Some(target) = follow.take() {
                hops += 1;
                if target.starts_with(b"/") || hops > MAX_HOPS || ahead.len() > 10_000 {
                    return Ok(false);
                }
                ahead.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
            }
            let Some(name) = ahead.pop() else {
                return Ok(true);
            };
            match name.as_slice() {
                b"" | b"." => {}
                b".." => {
                    if place.pop().is_none() {
                        return Ok(false);
                    }
                }
                name if is_git_name(name) => return Ok(false),
                name => {
                    place.push(name.to_vec());
                    let Ok(path) = RelativePath::new(place.join(b"/".as_slice())) else {
                        return Ok(false);
                    };
                    follow = self.link_at(&path)?;
                    if follow.is_some() {
                        place.pop();
                    }
                }
            }
        }
    }

    fn link_at(&self, path: &RelativePath) -> io::Result<Option<Vec<u8>>> {
        match self.after.get(path.as_bytes()) {
            Some(Some(After::Symlink { target })) => Ok(Some(target.clone())),
            Some(_) => Ok(None),
            None => match self.root.stamp(path)? {
                Some(stamp) if stamp.kind == NodeKind::Symlink => self.root.read_link(path).map(Some),
                _ => Ok(None),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change_set::{Kind, Lines};
    use std::fs;
    use std::os::unix::fs::symlink;

    fn entry(path: &str, after: After) -> Entry {
        Entry {
            path: RelativePath::try_from(path).unwrap(),
            kind: Kind::Added,
            class: Class::default(),
            before: None,
            after: Some(after),
            lines: Lines::None,
            conflict: None,
        }
    }

    fn link(path: &str, target: &str) -> Entry {
        entry(
            path,
            After::Symlink {
                target: target.as_bytes().to_vec(),
            },
        )
    }

    fn file(path: &str) -> Entry {
        entry(
            path,
            After::File {
                size: 0,
                executable: false,
                digest: None,
            },
        )
    }

    fn classes(prepare: impl Fn(&std::path::Path), mut entries: Vec<Entry>) -> Vec<Class> {
        let workspace = tempfile::tempdir().unwrap();
        prepare(workspace.path());
        let root = Root::open(&workspace.path().canonicalize().unwrap()).unwrap();
        classify(&mut entries, &root).unwrap();
        entries.into_iter().map(|entry| entry.class).collect()
    }

    #[test]
    fn every_spelling_of_a_git_directory_is_one() {
        for name in [
            ".git",
            ".GIT",
            ".Git",
            "git~1",
            "GIT~1",
            ".git.",
            ".git ",
            ".g\u{200c}it",
            ".git::$INDEX_ALLOCATION",
        ] {
            assert!(is_git_name(name.as_bytes()), "{name}");
        }
        for name in [".gitmodules", ".gitignore", ".github", "git", "a.git", ".git2"] {
            assert!(!is_git_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_symlink_is_judged_by_where_it_ends() {
        let table = [
            ("in", "a/b", true),
            ("in", "", true),
            ("a/in", "../b", true),
            ("a/in", "..", true),
            ("out", "/etc/passwd", false),
            ("out", "..", false),
            ("a/out", "../../x", false),
            ("a/out", "b/../../../x", false),
            ("via", "home/x", false),
            ("loop", "loop", false),
            ("hooks", ".git/hooks", false),
            ("hooks", "a/.GIT", false),
            ("chain", "ok/x", true),
            // Looks inside, but `up` is the workspace itself, so that the dots lead above it.
            ("evil", "deep/er/up/../x", false),
        ];
        for (path, target, inside) in table {
            let class = classes(
                |workspace| {
                    symlink("/home", workspace.join("home")).unwrap();
                    symlink("a", workspace.join("ok")).unwrap();
                    fs::create_dir_all(workspace.join("deep/er")).unwrap();
                    symlink("../..", workspace.join("deep/er/up")).unwrap();
                },
                vec![link(path, target)],
            );
            assert_eq!(class[0].symlink, !inside, "{path} -> {target}");
        }
    }

    #[test]
    fn two_new_symlinks_that_lead_out_together_are_both_seen() {
        let class = classes(|_| {}, vec![link("a/b/up", "../.."), link("evil", "a/b/up/../x")]);
        assert_eq!([class[0].symlink, class[1].symlink], [false, true]);
        let class = classes(|_| {}, vec![link("first", "second"), link("second", "/etc")]);
        assert_eq!([class[0].symlink, class[1].symlink], [true, true]);
    }

    #[test]
    fn a_directory_that_git_would_obey_is_a_git_directory_by_any_name() {
        let bare = ["x/HEAD", "x/config", "x/objects", "x/refs", "y/HEAD"]
            .map(file)
            .to_vec();
        let git: Vec<bool> = classes(|_| {}, bare).into_iter().map(|class| class.git).collect();
        assert_eq!(git, [true, true, true, true, false]);
        let class = classes(
            |workspace| {
                fs::create_dir_all(workspace.join("x/objects")).unwrap();
                fs::create_dir_all(workspace.join("x/refs")).unwrap();
                fs::write(workspace.join("x/HEAD"), "ref: refs/heads/main").unwrap();
            },
            vec![file("x/hooks/post-checkout")],
        );
        assert!(class[0].git);
    }
}
