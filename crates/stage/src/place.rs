//! Where a server keeps its things: a directory that is gone afterwards, unless it is kept to be looked at. With it go
//! the processes that are left of the server, however whoever used it came to an end.

use crate::{Failure, Victims};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

#[derive(Debug)]
pub struct Place {
    directory: TempDir,
}

impl Place {
    pub fn new() -> Result<Self, Failure> {
        let failed = |source| Failure::File {
            path: std::env::temp_dir(),
            source,
        };
        let directory = tempfile::Builder::new()
            .prefix("hostler-bench-")
            .tempdir()
            .map_err(failed)?;
        // A server that was started as root reads it as another user.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
        Ok(Self { directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// What the servers of this place log.
    pub fn log(&self) -> PathBuf {
        self.path().join("serve.log")
    }

    /// The directory stays; nobody works in it any more.
    pub fn keep(mut self) -> PathBuf {
        self.directory.disable_cleanup(true);
        self.path().to_owned()
    }
}

impl Drop for Place {
    /// A server that was killed has left its jailer and its sandboxes. Who will not die cannot be helped here.
    fn drop(&mut self) {
        Victims::of(&self.data()).end(&Victims::ALL).ok();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command, Stdio};

    /// Called as hostler's jailer is, once it runs.
    fn jailer(place: &Place) -> Child {
        let mut command = Command::new("/bin/sh");
        command.arg("jailer").arg(place.data());
        command.current_dir(place.path());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        child
    }

    #[test]
    fn what_is_left_of_a_server_goes_with_its_place() {
        for is_kept in [false, true] {
            let place = Place::new().unwrap();
            // The shell runs it as a script.
            std::fs::write(place.path().join("jailer"), "echo\nread line\n").unwrap();
            let mut left = jailer(&place);
            let path = place.path().to_owned();
            if is_kept {
                assert_eq!(place.keep(), path);
            } else {
                drop(place);
            }
            assert_eq!(left.wait().unwrap().signal(), Some(9));
            assert_eq!(path.exists(), is_kept);
            std::fs::remove_dir_all(&path).ok();
        }
    }
}
