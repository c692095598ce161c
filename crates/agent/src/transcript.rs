//! The conversation on disk: JSON lines chained by `parentUuid`, appended before the frame that shows them.
//!
//! The chain is linear. What a retried reply had written already is left as a dead branch: the next line names the
//! parent before it.

mod entry;
mod load;

pub(crate) use entry::{Body, Entry};
pub(crate) use load::{Loaded, ResumeError, find, load};

use crate::clock::timestamp;
use serde::Serialize;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What every line of a session says.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    pub(crate) session_id: String,
    pub(crate) cwd: String,
    pub(crate) git_branch: String,
    pub(crate) entrypoint: String,
    pub(crate) version: String,
}

pub(crate) struct Transcript {
    /// `None` keeps nothing.
    path: Option<PathBuf>,
    file: Option<File>,
    stamp: Stamp,
    /// The line the next one follows.
    leaf: Option<String>,
    /// Why lines were lost, until it has been reported.
    lost: Option<io::Error>,
}

/// `<config>/projects/<slug of the working directory>`.
pub(crate) fn project_directory(config: &Path, name: Option<&str>, cwd: &Path) -> PathBuf {
    let name = name.filter(|name| !name.is_empty() && !name.contains('/') && !name.starts_with('.'));
    config
        .join("projects")
        .join(name.map_or_else(|| slug(cwd), str::to_owned))
}

/// The real path with everything but letters and digits as `-`; a long one is cut and marked with a hash.
fn slug(cwd: &Path) -> String {
    const MAX: usize = 200;
    let real = cwd.canonicalize().unwrap_or_else(|_| cwd.to_owned());
    let text = real.to_string_lossy();
    let slug: String = text
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character
            } else {
                '-'
            }
        })
        .collect();
    if slug.len() <= MAX {
        return slug;
    }
    // FNV-1a: stable over versions, which the standard library's hasher does not promise.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{}-{hash:x}", &slug[..MAX])
}

impl Transcript {
    /// Opens nothing yet: a session without a turn leaves no file.
    pub(crate) fn new(path: Option<PathBuf>, stamp: Stamp, leaf: Option<String>) -> Self {
        Self {
            path,
            file: None,
            stamp,
            leaf,
            lost: None,
        }
    }

    pub(crate) fn leaf(&self) -> Option<&str> {
        self.leaf.as_deref()
    }

    /// Goes back to an earlier line; what came after it becomes a dead branch.
    pub(crate) fn rewind(&mut self, leaf: Option<String>) {
        self.leaf = leaf;
    }

    /// Appends a line to the chain and returns its uuid. A line that cannot be written is reported through `take_loss`.
    pub(crate) fn append(&mut self, body: Body) -> String {
        self.append_as(Uuid::new_v4().to_string(), body)
    }

    pub(crate) fn append_as(&mut self, uuid: String, body: Body) -> String {
        let is_boundary = matches!(body, Body::System { .. });
        let entry = Entry {
            body,
            parent_uuid: if is_boundary { None } else { self.leaf.clone() },
            logical_parent_uuid: if is_boundary { self.leaf.clone() } else { None },
            uuid: uuid.clone(),
            session_id: self.stamp.session_id.clone(),
            is_sidechain: false,
            timestamp: timestamp(),
            cwd: self.stamp.cwd.clone(),
            version: self.stamp.version.clone(),
            git_branch: self.stamp.git_branch.clone(),
            user_type: "external".to_owned(),
            entrypoint: self.stamp.entrypoint.clone(),
        };
        self.write(&entry);
        self.leaf = Some(uuid.clone());
        uuid
    }

    /// Appends a record beside the chain.
    pub(crate) fn note(&mut self, record: &impl Serialize) {
        self.write(record);
    }

    /// Why lines were lost since the last call.
    pub(crate) fn take_loss(&mut self) -> Option<io::Error> {
        self.lost.take()
    }

    fn write(&mut self, line: &impl Serialize) {
        if let Err(error) = self.try_write(line) {
            self.lost.get_or_insert(error);
        }
    }

    fn try_write(&mut self, line: &impl Serialize) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if self.file.is_none() {
            self.file = Some(open(path)?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(&text)
    }
}

/// Opens for appending, after a line end if a kill left half a line.
fn open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    if load::ends_inside_a_line(&file)? {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_keeps_letters_and_digits_and_a_long_one_is_cut() {
        assert_eq!(slug(Path::new("/no/such_dir/a.b")), "-no-such-dir-a-b");
        let long = slug(Path::new(&format!("/{}", "x".repeat(400))));
        assert!(long.len() < 220 && long.starts_with("-xxx"), "{long}");
    }

    #[test]
    fn a_project_name_cannot_leave_the_projects_directory() {
        let cwd = Path::new("/no/such");
        for name in ["../../etc", ".hidden", "a/b", ""] {
            assert_eq!(
                project_directory(Path::new("/c"), Some(name), cwd),
                Path::new("/c/projects/-no-such"),
                "{name}"
            );
        }
        assert_eq!(
            project_directory(Path::new("/c"), Some("mine"), cwd),
            Path::new("/c/projects/mine")
        );
    }
}
