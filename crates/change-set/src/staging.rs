//! The private directory, beside what it will replace, in which new contents wait and old ones are kept until the
//! apply is over. It is flat: `new-N` is what step N puts in place, `old-N` what it took away.
//!
//! Nothing in it is ever removed together with something inside it: a directory that is not empty stays, since
//! whatever is in it is not hostler's.

use crate::change_set::{After, Entry, Kind};
use crate::disk::{At, Disk, Owner};
use crate::path::STAGING_PREFIX;
use crate::root::{self, Root};
use crate::source::{self, Pieces, Source, SourceError};
use crate::stamp::{NodeKind, Stamp};
use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

pub(crate) struct Staging {
    directory: OwnedFd,
    name: OsString,
}

pub(crate) fn new_name(slot: u32) -> OsString {
    format!("new-{slot}").into()
}

pub(crate) fn old_name(slot: u32) -> OsString {
    format!("old-{slot}").into()
}

impl Staging {
    pub(crate) fn create(disk: &Disk, root: &Root, id: &str) -> io::Result<Self> {
        let name = OsString::from(format!("{STAGING_PREFIX}{id}"));
        disk.make_directory(At(root.fd(), &name), 0o700)?;
        let directory = rustix::fs::openat(root.fd(), &name, DIRECTORY, Mode::empty())?;
        Ok(Self { directory, name })
    }

    /// The staging directory of an earlier apply; nothing if it is gone, or if it is not one that this user made.
    pub(crate) fn open(root: &Root, id: &str) -> io::Result<Option<Self>> {
        let name = OsString::from(format!("{STAGING_PREFIX}{id}"));
        let directory = match rustix::fs::openat(root.fd(), &name, DIRECTORY, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stamp = Stamp::from(&rustix::fs::fstat(&directory)?);
        let own = stamp.uid == rustix::process::geteuid().as_raw() && stamp.mode == 0o700;
        Ok(own.then_some(Self { directory, name }))
    }

    pub(crate) fn path(&self, root: &Root) -> PathBuf {
        root.path().join(&self.name)
    }

    pub(crate) fn at<'a>(&'a self, name: &'a OsStr) -> At<'a> {
        At(&self.directory, name)
    }

    pub(crate) fn stamp(&self, name: &OsStr) -> io::Result<Option<Stamp>> {
        root::stamp_at(&self.directory, name)
    }

    /// Whether a directory kept here has nothing in it.
    pub(crate) fn is_empty(&self, name: &OsStr) -> io::Result<bool> {
        let directory = rustix::fs::openat(&self.directory, name, DIRECTORY, Mode::empty())?;
        Ok(root::list(directory)?.is_empty())
    }

    pub(crate) fn sync(&self, disk: &Disk) -> io::Result<()> {
        disk.sync(&self.directory)
    }

    pub(crate) fn sync_all(&self, disk: &Disk) -> io::Result<()> {
        disk.sync_all(&self.directory)
    }

    /// Removes everything but the names to keep, then the directory itself. Whether all of it is gone.
    pub(crate) fn clear(&self, disk: &Disk, root: &Root, keep: &HashSet<OsString>) -> io::Result<bool> {
        let again = rustix::fs::openat(&self.directory, ".", DIRECTORY, Mode::empty())?;
        for name in root::list(again)? {
            let name = OsStr::from_bytes(&name);
            if !keep.contains(name)
                && let Some(stamp) = self.stamp(name)?
            {
                match disk.remove(self.at(name), stamp.kind == NodeKind::Directory) {
                    Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                    other => other?,
                }
            }
        }
        match disk.remove(At(root.fd(), &self.name), true) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            other => other.map(|()| true),
        }
    }
}

/// Writes new contents into a staging directory.
pub(crate) struct Stager<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) root: &'a Root,
    pub(crate) staging: &'a Staging,
    pub(crate) disk: &'a Disk,
    pub(crate) hasher: &'a RandomState,
    /// Whether each file is made durable by itself, or all by one call at the end.
    pub(crate) sync_each: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StageError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Disk(#[from] io::Error),
}

impl Stager<'_> {
    /// Stages what shall be at an entry's path, and says how to know it again. Nothing for what is only removed.
    pub(crate) async fn stage(&self, entry: &Entry, slot: u32) -> Result<Option<Stamp>, StageError> {
        let name = new_name(slot);
        let at = self.staging.at(&name);
        match &entry.after {
            None | Some(After::Special) => return Ok(None),
            Some(After::Directory) => {
                self.disk.make_directory(at, 0o700)?;
                self.disk.change_owner(at, self.owner(entry))?;
                let directory =
                    rustix::fs::openat(at.0, at.1, DIRECTORY, Mode::empty()).map_err(io::Error::from)?;
                self.disk.change_mode(&directory, 0o755)?;
            }
            Some(After::Symlink { target }) => {
                self.disk.symlink(target, at)?;
                self.disk.change_owner(at, self.owner(entry))?;
            }
            Some(After::File {
                size,
                executable,
                digest,
            }) => {
                let mut file = self.disk.create(at)?;
                self.fill(&mut file, entry, *size, *digest).await?;
                self.disk.change_owner(at, self.owner(entry))?;
                self.dress(&file, entry, *executable)?;
                if self.sync_each {
                    self.disk.sync(&file)?;
                }
            }
        }
        Ok(self.staging.stamp(&name)?)
    }

    async fn fill(
        &self,
        file: &mut File,
        entry: &Entry,
        size: u64,
        digest: Option<u64>,
    ) -> Result<(), StageError> {
        if let Some(digest) = digest {
            let content = source::whole(self.source, &entry.path, size).await?;
            if self.hasher.hash_one(&content) != digest {
                return Err(SourceError::Changed {
                    path: entry.path.clone(),
                }
                .into());
            }
            return Ok(self.disk.write(file, &content)?);
        }
        let mut pieces = Pieces::new(self.source, &entry.path, size);
        while let Some(piece) = pieces.next().await? {
            self.disk.write(file, &piece)?;
        }
        Ok(())
    }

    /// The owner that the entry had or, for a new one made by root, that the workspace has.
    fn owner(&self, entry: &Entry) -> Owner {
        let kept = entry
            .before
            .filter(|_| matches!(entry.kind, Kind::Modified | Kind::ModeChanged));
        let root = rustix::process::geteuid().is_root();
        let wanted = kept.or(root.then(|| self.root.own_stamp()));
        let (uid, gid) = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        Owner {
            uid: wanted.map(|wanted| wanted.uid).filter(|wanted| *wanted != uid),
            gid: wanted.map(|wanted| wanted.gid).filter(|wanted| *wanted != gid),
        }
    }

    /// Mode and extended attributes: an edited file keeps its own, without set-uid and set-gid; a new one gets the
    /// usual ones.
    fn dress(&self, file: &File, entry: &Entry, executable: bool) -> io::Result<()> {
        let kept = entry.before.filter(|before| before.kind == NodeKind::File);
        if kept.is_some()
            && let Ok((live, _)) = self.root.open_file(&entry.path)
        {
            copy_attributes(&live, file);
        }
        let mode = match kept {
            None if executable => 0o755,
            None => 0o644,
            Some(before) => edited_mode(before.mode, executable),
        };
        self.disk.change_mode(file, mode)
    }
}

fn edited_mode(before: u32, executable: bool) -> u32 {
    let plain = before & 0o777;
    match (executable, plain & 0o111 != 0) {
        (true, false) => plain | (plain & 0o444) >> 2,
        (false, true) => plain & !0o111,
        _ => plain,
    }
}

/// Access lists, labels and the user's own attributes, as far as they can be set; never capabilities or signatures,
/// which were given to the old content.
fn copy_attributes(from: &File, to: &File) {
    let mut names = vec![0; 64 << 10];
    let Ok(length) = rustix::fs::flistxattr(from, &mut names[..]) else {
        return;
    };
    let mut value = vec![0; 64 << 10];
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let wanted = name.starts_with(b"user.")
            || matches!(
                name,
                b"system.posix_acl_access" | b"security.selinux" | b"security.SMACK64"
            );
        if wanted
            && let Ok(length) = rustix::fs::fgetxattr(from, name, &mut value[..])
            && let Err(error) = rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty())
        {
            tracing::debug!(%error, name = %String::from_utf8_lossy(name), "an attribute was not kept");
        }
    }
}

/// Whether so many files are each made durable by themselves: beyond that, one call for all is quicker.
pub(crate) fn sync_each(files: usize) -> bool {
    files <= 128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_file_keeps_its_mode_but_never_set_uid() {
        let table = [
            (0o644, false, 0o644),
            (0o600, true, 0o700),
            (0o640, true, 0o750),
            (0o755, false, 0o644),
            (0o4755, true, 0o755),
            (0o2664, false, 0o664),
        ];
        for (before, executable, mode) in table {
            assert_eq!(edited_mode(before, executable), mode, "{before:o}");
        }
    }
}
