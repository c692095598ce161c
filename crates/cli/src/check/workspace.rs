//! The directory that the agent shall work on.

use rustix::fs::Access;
use sandbox::Workspace;
use std::io;
use std::path::{Path, PathBuf};
use terminal::Failure;

#[derive(Debug, thiserror::Error)]
enum WorkspaceError {
    #[error("the workspace {path} does not exist", path = path.display())]
    Missing { path: PathBuf },
    #[error("the workspace {path} is a file", path = path.display())]
    File { path: PathBuf },
    #[error("the workspace {path} is not a directory", path = path.display())]
    Kind { path: PathBuf },
    #[error("the workspace {path} cannot be read", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the workspace cannot be {path}: an agent must not work on the whole machine", path = path.display())]
    Root { path: PathBuf },
    #[error("the workspace cannot be {path}: it belongs to the kernel", path = path.display())]
    Kernel { path: PathBuf },
    #[error("the workspace {path} lies in hostler's own data directory", path = path.display())]
    Data { path: PathBuf },
}

/// Finds the directory without symlinks, and what in it the agent must not see.
pub(crate) fn open_workspace(path: &Path, data: &Path) -> Result<Workspace, Failure> {
    find(path, data).map_err(|error| {
        let hint = match &error {
            WorkspaceError::Missing { .. } => "check the path, or make the directory first",
            WorkspaceError::File { .. } | WorkspaceError::Kind { .. } => "name the directory that holds it",
            WorkspaceError::Unreadable { .. } => "run hostler as a user who may read it",
            _ => "name the directory of one project",
        };
        Failure::usage(error).hint(hint)
    })
}

fn find(path: &Path, data: &Path) -> Result<Workspace, WorkspaceError> {
    let real = path.canonicalize().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => WorkspaceError::Missing {
            path: path.to_owned(),
        },
        io::ErrorKind::NotADirectory => WorkspaceError::Kind {
            path: path.to_owned(),
        },
        _ => WorkspaceError::Unreadable {
            path: path.to_owned(),
            source,
        },
    })?;
    let metadata = real.metadata().map_err(|source| WorkspaceError::Unreadable {
        path: real.clone(),
        source,
    })?;
    if metadata.is_file() {
        return Err(WorkspaceError::File { path: real });
    }
    if !metadata.is_dir() {
        return Err(WorkspaceError::Kind { path: real });
    }
    if real.parent().is_none() {
        return Err(WorkspaceError::Root { path: real });
    }
    if ["/proc", "/sys", "/dev"]
        .iter()
        .any(|kernel| real.starts_with(kernel))
    {
        return Err(WorkspaceError::Kernel { path: real });
    }
    if real.starts_with(data) {
        return Err(WorkspaceError::Data { path: real });
    }
    rustix::fs::access(&real, Access::READ_OK | Access::EXEC_OK).map_err(|error| {
        WorkspaceError::Unreadable {
            path: real.clone(),
            source: error.into(),
        }
    })?;
    let masked = if data.starts_with(&real) {
        vec![data.to_owned()]
    } else {
        Vec::new()
    };
    Ok(Workspace { path: real, masked })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;
    use terminal::Exit;

    fn refused(path: &Path) -> String {
        let failure = open_workspace(path, Path::new("/nowhere/data")).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.hint.is_some(), "{failure}");
        failure.to_string()
    }

    #[test]
    fn what_is_no_workspace_is_refused_with_the_reason() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("file");
        fs::write(&file, "x").unwrap();
        let table = [
            (base.path().join("none"), "does not exist"),
            (file.clone(), "is a file"),
            (file.join("below"), "is not a directory"),
            (PathBuf::from("/"), "must not work on the whole machine"),
            (PathBuf::from("/tmp/.."), "must not work on the whole machine"),
            (PathBuf::from("/proc/self"), "belongs to the kernel"),
            (PathBuf::from("/dev/null"), "is not a directory"),
        ];
        for (path, reason) in table {
            let message = refused(&path);
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn symlinks_are_resolved_and_the_data_directory_in_it_is_hidden() {
        let base = tempfile::tempdir().unwrap();
        let real = base.path().canonicalize().unwrap().join("real");
        fs::create_dir_all(real.join("data/inner")).unwrap();
        let link = base.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let data = real.join("data");
        let workspace = open_workspace(&link, &data).unwrap();
        assert_eq!(
            workspace,
            Workspace {
                path: real,
                masked: vec![data.clone()]
            }
        );
        for inside in [data.clone(), data.join("inner")] {
            assert!(
                open_workspace(&inside, &data)
                    .unwrap_err()
                    .to_string()
                    .contains("own data directory")
            );
        }
    }

    #[test]
    fn a_directory_that_may_not_be_read_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("closed");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
        let ask = path.clone();
        let message = std::thread::spawn(move || {
            // Root may read everything; a thread that is nobody may not.
            if rustix::process::geteuid().is_root() {
                fs::set_permissions(
                    ask.parent().unwrap(),
                    std::os::unix::fs::PermissionsExt::from_mode(0o755),
                )
                .unwrap();
                let nobody = rustix::process::Uid::from_raw(65534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            find(&ask, Path::new("/nowhere")).unwrap_err().to_string()
        })
        .join()
        .unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(message.contains("cannot be read"), "{message}");
    }
}
