//! Where hostler keeps its sessions.

use crate::arguments::DataArgument;
use crate::layers::Layers;
use std::path::{Path, PathBuf};
use terminal::{Environment, Failure};

#[derive(Debug, thiserror::Error)]
enum DataError {
    #[error("there is no place for hostler's data: HOME is not set")]
    NoHome,
    #[error("the data directory must not be {path}", path = path.display())]
    Root { path: PathBuf },
    #[error("the present directory cannot be found out")]
    Here(#[source] std::io::Error),
}

/// The flag, `HOSTLER_DATA`, the configuration file, `/var/lib/hostler` for root, and the place for state of an ordinary
/// user.
pub(crate) fn data_directory(argument: &DataArgument, environment: &Environment) -> Result<PathBuf, Failure> {
    let chosen = match argument.data.as_ref().or(environment.data.as_ref()) {
        Some(path) => Some(path.clone()),
        None => Layers::find(None, environment)?.config.data.map(|path| path.0),
    };
    place_for_data(chosen, environment)
}

/// The one that was chosen, or the usual one.
pub(crate) fn place_for_data(chosen: Option<PathBuf>, environment: &Environment) -> Result<PathBuf, Failure> {
    let path = match chosen {
        Some(path) => path,
        None if environment.is_root => PathBuf::from("/var/lib/hostler"),
        None => match (&environment.state_home, &environment.home) {
            // The specification says that a relative path there is to be ignored.
            (Some(state), _) if state.is_absolute() => state.join("hostler"),
            (_, Some(home)) => home.join(".local/state/hostler"),
            _ => {
                return Err(
                    Failure::usage(DataError::NoHome).hint("set HOSTLER_DATA to a directory of yours")
                );
            }
        },
    };
    let path = std::path::absolute(&path).map_err(|error| Failure::usage(DataError::Here(error)))?;
    let path = resolved(&path);
    if path.parent().is_none() {
        return Err(Failure::usage(DataError::Root { path }).hint("use a directory of its own"));
    }
    Ok(path)
}

/// Without symlinks as far as it exists, so that it can be told whether it lies in a workspace.
fn resolved(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        if let Ok(real) = above.canonicalize() {
            return match path.strip_prefix(above) {
                Ok(rest) if rest.as_os_str().is_empty() => real,
                Ok(rest) => real.join(rest),
                Err(_) => break,
            };
        }
    }
    path.to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chosen(argument: Option<&str>, environment: &Environment) -> Result<PathBuf, Failure> {
        data_directory(
            &DataArgument {
                data: argument.map(PathBuf::from),
            },
            environment,
        )
    }

    #[test]
    fn the_nearest_word_counts() {
        let user = Environment {
            home: Some("/nowhere/u".into()),
            ..Environment::default()
        };
        let root = Environment {
            is_root: true,
            ..user.clone()
        };
        let set = Environment {
            data: Some("/nowhere/d".into()),
            ..root.clone()
        };
        let state = Environment {
            state_home: Some("/nowhere/s".into()),
            ..user.clone()
        };
        let relative = Environment {
            state_home: Some("s".into()),
            ..user.clone()
        };
        let table = [
            (Some("/nowhere/flag"), &set, "/nowhere/flag"),
            (None, &set, "/nowhere/d"),
            (None, &root, "/var/lib/hostler"),
            (None, &state, "/nowhere/s/hostler"),
            (None, &relative, "/nowhere/u/.local/state/hostler"),
            (None, &user, "/nowhere/u/.local/state/hostler"),
        ];
        for (argument, environment, path) in table {
            assert_eq!(chosen(argument, environment).unwrap(), PathBuf::from(path));
        }
    }

    #[test]
    fn without_a_home_and_at_the_root_there_is_no_place() {
        assert!(
            chosen(None, &Environment::default())
                .unwrap_err()
                .hint
                .unwrap()
                .contains("HOSTLER_DATA")
        );
        assert!(chosen(Some("/"), &Environment::default()).is_err());
    }

    #[test]
    fn symlinks_are_resolved_as_far_as_the_path_exists() {
        let base = tempfile::tempdir().unwrap();
        let real = base.path().canonicalize().unwrap().join("real");
        std::fs::create_dir(&real).unwrap();
        let link = base.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let path = chosen(
            Some(link.join("new/data").to_str().unwrap()),
            &Environment::default(),
        )
        .unwrap();
        assert_eq!(path, real.join("new/data"));
    }
}
