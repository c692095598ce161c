//! The admin key: given by the environment, or made at the first start and kept in the data directory.

use super::secret::{self, Secret};
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use store::KeyHash;

const FILE: &str = "admin.key";
const LEAST_CHARACTERS: usize = 16;
const MOST_CHARACTERS: u64 = 1024;

/// Opens every workspace.
#[derive(Clone)]
pub struct AdminKey(String);

/// Where it comes from, so that a new one can be shown once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Given,
    Kept,
    Made,
}

#[derive(Debug, thiserror::Error)]
pub enum AdminKeyError {
    #[error(
        "HOSTLER_API_KEY must have {LEAST_CHARACTERS} to {MOST_CHARACTERS} visible characters without spaces"
    )]
    Given,
    #[error("{path} does not hold an admin key: remove it, and the next start makes a new one", path = path.display())]
    Broken { path: PathBuf },
    #[error("the admin key cannot be kept in {path}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
}

impl AdminKey {
    /// Whether it may be one: it has to go through an HTTP header.
    pub fn check(given: &str) -> Result<(), AdminKeyError> {
        if is_key(given) {
            Ok(())
        } else {
            Err(AdminKeyError::Given)
        }
    }

    /// The given one; else the one that is kept in the data directory, which is made where there is none.
    pub fn find(directory: &Path, given: Option<&str>) -> Result<(Self, Origin), AdminKeyError> {
        if let Some(given) = given {
            Self::check(given)?;
            return Ok((Self(given.to_owned()), Origin::Given));
        }
        let path = directory.join(FILE);
        if let Some(key) = read(&path)? {
            return Ok((Self(key), Origin::Kept));
        }
        let key = Secret::random().reveal().to_owned();
        write(&path, &key).map_err(|source| AdminKeyError::File { path, source })?;
        Ok((Self(key), Origin::Made))
    }

    /// The one that is kept in the data directory, if there is one.
    pub fn kept(directory: &Path) -> Result<Option<Self>, AdminKeyError> {
        Ok(read(&directory.join(FILE))?.map(Self))
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(&self) -> KeyHash {
        secret::hash(&self.0)
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AdminKey")
    }
}

fn is_key(text: &str) -> bool {
    (LEAST_CHARACTERS..=MOST_CHARACTERS as usize).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn read(path: &Path) -> Result<Option<String>, AdminKeyError> {
    let wrong = |source| AdminKeyError::File {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    };
    let mut text = String::new();
    file.take(2 * MOST_CHARACTERS)
        .read_to_string(&mut text)
        .map_err(wrong)?;
    match text.trim_end() {
        key if is_key(key) => Ok(Some(key.to_owned())),
        _ => Err(AdminKeyError::Broken {
            path: path.to_owned(),
        }),
    }
}

/// Whole or not at all, and readable by its owner alone from the first moment.
fn write(path: &Path, key: &str) -> std::io::Result<()> {
    let staged = path.with_extension("new");
    match std::fs::remove_file(&staged) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&staged)?;
    file.write_all(key.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&staged, path)?;
    path.parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_and_kept_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (made, origin) = AdminKey::find(directory.path(), None).unwrap();
        assert_eq!(origin, Origin::Made);
        let permissions = directory.path().join(FILE).metadata().unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, 0o600);
        let (kept, origin) = AdminKey::find(directory.path(), None).unwrap();
        assert_eq!((kept.reveal(), origin), (made.reveal(), Origin::Kept));
        let (given, origin) = AdminKey::find(directory.path(), Some("0123456789abcdef")).unwrap();
        assert_eq!((given.reveal(), origin), ("0123456789abcdef", Origin::Given));
        assert_eq!(format!("{given:?}"), "AdminKey");
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        for given in [
            "",
            "short",
            "with a space in the middle",
            "l\u{e4}nger als sechzehn",
        ] {
            let error = AdminKey::find(directory.path(), Some(given)).unwrap_err();
            assert!(matches!(error, AdminKeyError::Given), "{given:?}");
        }
        std::fs::write(directory.path().join(FILE), "").unwrap();
        let error = AdminKey::find(directory.path(), None).unwrap_err();
        assert!(error.to_string().contains("remove it"), "{error}");
    }
}
