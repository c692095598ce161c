//! Copying and removing small directory trees. Links are copied as links, and never followed.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// Trees that are deeper are not what they should be.
const DEEPEST: usize = 16;

/// Copies a file, a link or a directory with all below it. Nothing there is fine; sockets and devices are left out, and
/// so is what others may not read.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    copy_below(from, to, DEEPEST)
}

fn copy_below(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let kind = metadata.file_type();
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if metadata.permissions().mode() & 0o004 == 0 {
        return Ok(());
    }
    if kind.is_file() {
        fs::copy(from, to)?;
        return fs::set_permissions(
            to,
            fs::Permissions::from_mode(0o644 | metadata.permissions().mode() & 0o111),
        );
    }
    if !kind.is_dir() || depth == 0 {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_below(&entry.path(), &to.join(entry.file_name()), depth - 1)?;
    }
    Ok(())
}

/// Removes a tree. Nothing there is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_not_read_is_left_out() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("public"), "1").unwrap();
        fs::write(from.join("secret.key"), "2").unwrap();
        fs::set_permissions(from.join("secret.key"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("/etc/shadow", from.join("link")).unwrap();
        copy(&from, &to).unwrap();
        assert!(to.join("public").exists());
        assert!(!to.join("secret.key").exists());
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/etc/shadow"));
    }
}
