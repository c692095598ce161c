//! Puts a file's new content in place as a whole or not at all: a temporary file beside it, then a rename.
//!
//! A disk that fills up, or a crash, leaves the old file as it was. Mode and owner of an existing file are kept, and a
//! symlink stays: what it points to is replaced.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Gid, Uid};

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{path} is {kind}, not a regular file")]
    NotAFile { path: PathBuf, kind: &'static str },
    #[error("{path}: too many levels of symbolic links")]
    LinkLoop { path: PathBuf },
    #[error("the directory {path} could not be made: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("{path} could not be written, and is as it was before: {source}")]
    Write { path: PathBuf, source: io::Error },
}

/// The file behind `path`, which need not exist: symlinks are followed, also to nowhere.
pub(crate) fn target(path: &Path) -> Result<PathBuf, Failure> {
    let mut current = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&current) {
            Ok(next) => current = current.parent().unwrap_or(Path::new("/")).join(next),
            Err(_) => return Ok(current),
        }
    }
    Err(Failure::LinkLoop {
        path: path.to_owned(),
    })
}

/// `path` is a [`target`].
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let existing = match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(Failure::NotAFile {
                path: path.to_owned(),
                kind: kind(metadata.file_type()),
            });
        }
        metadata => metadata.ok(),
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory).map_err(|source| Failure::Directory {
        path: directory.to_owned(),
        source,
    })?;
    write_beside(path, directory, content, existing.as_ref()).map_err(|source| Failure::Write {
        path: path.to_owned(),
        source,
    })
}

fn write_beside(
    path: &Path,
    directory: &Path,
    content: &[u8],
    existing: Option<&fs::Metadata>,
) -> io::Result<()> {
    if existing.is_some() {
        // A rename needs no leave from the file itself: what is write-protected stays so.
        rustix::fs::access(path, Access::WRITE_OK)?;
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".hostler-").suffix(".new");
    // The umask takes its part of the mode of a new file.
    builder.permissions(Permissions::from_mode(if existing.is_some() {
        0o600
    } else {
        0o666
    }));
    let mut temporary = builder.tempfile_in(directory)?;
    temporary.write_all(content)?;
    if let Some(existing) = existing {
        keep_owner(temporary.as_file(), existing)?;
        temporary
            .as_file()
            .set_permissions(Permissions::from_mode(existing.mode() & 0o7777))?;
    }
    temporary.persist(path)?;
    Ok(())
}

fn keep_owner(file: &File, existing: &fs::Metadata) -> io::Result<()> {
    let made = file.metadata()?;
    if (made.uid(), made.gid()) == (existing.uid(), existing.gid()) {
        return Ok(());
    }
    let owner = (Uid::from_raw(existing.uid()), Gid::from_raw(existing.gid()));
    match rustix::fs::fchown(file, Some(owner.0), Some(owner.1)) {
        // Who may write a file without owning it gets a file of their own.
        Err(rustix::io::Errno::PERM) => Ok(()),
        changed => Ok(changed?),
    }
}

/// What a file that is not a regular one is called.
pub(crate) fn kind(file: fs::FileType) -> &'static str {
    if file.is_dir() {
        "a directory"
    } else if file.is_fifo() {
        "a named pipe"
    } else if file.is_socket() {
        "a socket"
    } else if file.is_char_device() || file.is_block_device() {
        "a device"
    } else {
        "a special file"
    }
}
