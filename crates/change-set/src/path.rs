//! Paths below the workspace. A [`RelativePath`] has been checked, so it cannot name anything above the workspace
//! by itself; that no symlink leads out is for [`crate::root::Root`] to hold.

use crate::limits::{MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// What hostler's own staging directories in a workspace begin with.
pub(crate) const STAGING_PREFIX: &str = ".hostler-apply-";

/// A path of one or more ordinary names, relative to the workspace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct RelativePath(Vec<u8>);

/// Why bytes are not such a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path is missing or not encoded as agreed")]
    Encoding,
    #[error("the path is empty")]
    Empty,
    #[error("the path is absolute")]
    Absolute,
    #[error("the path holds a NUL byte")]
    Nul,
    #[error("the path has an empty, \".\" or \"..\" part")]
    Dots,
    #[error("a name in the path is longer than {MAX_NAME_BYTES} bytes")]
    LongName,
    #[error("the path is longer than {MAX_PATH_BYTES} bytes")]
    LongPath,
    #[error("the path is more than {MAX_DEPTH} names deep")]
    Deep,
}

impl RelativePath {
    pub fn new(bytes: Vec<u8>) -> Result<Self, PathError> {
        if bytes.is_empty() {
            return Err(PathError::Empty);
        }
        if bytes.len() > MAX_PATH_BYTES {
            return Err(PathError::LongPath);
        }
        if bytes.contains(&0) {
            return Err(PathError::Nul);
        }
        if bytes.starts_with(b"/") {
            return Err(PathError::Absolute);
        }
        let mut depth = 0;
        for name in bytes.split(|byte| *byte == b'/') {
            depth += 1;
            match name {
                b"" | b"." | b".." => return Err(PathError::Dots),
                long if long.len() > MAX_NAME_BYTES => return Err(PathError::LongName),
                _ => {}
            }
        }
        if depth > MAX_DEPTH {
            return Err(PathError::Deep);
        }
        Ok(Self(bytes))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The path of `name` below this one.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        Self::new([&self.0, b"/".as_slice(), name].concat())
    }

    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/')
    }

    /// The directory that holds it; nothing at the top of the workspace.
    pub fn parent(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|byte| *byte == b'/')?;
        Some(Self(self.0[..slash].to_vec()))
    }

    /// The last name.
    pub fn name(&self) -> &OsStr {
        let start = self
            .0
            .iter()
            .rposition(|byte| *byte == b'/')
            .map_or(0, |slash| slash + 1);
        OsStr::from_bytes(&self.0[start..])
    }

    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// Whether it is `other` or below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0
            .strip_prefix(other.0.as_slice())
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// Whether it is one of hostler's own staging directories or below one.
    pub(crate) fn is_staging(&self) -> bool {
        self.0.starts_with(STAGING_PREFIX.as_bytes())
    }
}

/// Text with everything escaped that could move a terminal's cursor or turn the order of what is read.
pub fn printable(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_deceptive(character) {
                // Writing to a string does not fail.
                let _ = write!(shown, "{}", character.escape_unicode());
            } else {
                shown.push(character);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

impl fmt::Display for RelativePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&printable(&self.0))
    }
}

impl fmt::Debug for RelativePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", printable(&self.0))
    }
}

impl TryFrom<&str> for RelativePath {
    type Error = PathError;
    fn try_from(text: &str) -> Result<Self, PathError> {
        Self::new(text.as_bytes().to_vec())
    }
}

/// The form in a journal: text where it is UTF-8.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<RelativePath> for Stored {
    fn from(path: RelativePath) -> Self {
        String::from_utf8(path.0).map_or_else(|error| Self::Bytes(error.into_bytes()), Self::Text)
    }
}

impl TryFrom<Stored> for RelativePath {
    type Error = PathError;
    fn try_from(stored: Stored) -> Result<Self, PathError> {
        match stored {
            Stored::Text(text) => Self::new(text.into_bytes()),
            Stored::Bytes(bytes) => Self::new(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_lead_anywhere_else_are_refused() {
        let deep = vec!["a"; MAX_DEPTH + 1].join("/");
        let long = ["a".repeat(250), "b".repeat(250)].join("/").repeat(9);
        let table: [(&[u8], PathError); 14] = [
            (b"", PathError::Empty),
            (b"/", PathError::Absolute),
            (b"/etc/passwd", PathError::Absolute),
            (b"..", PathError::Dots),
            (b"a/../b", PathError::Dots),
            (b"a/..", PathError::Dots),
            (b"./a", PathError::Dots),
            (b"a//b", PathError::Dots),
            (b"a/", PathError::Dots),
            (b".", PathError::Dots),
            (b"a\0b", PathError::Nul),
            (&[b'x'; 256], PathError::LongName),
            (long.as_bytes(), PathError::LongPath),
            (deep.as_bytes(), PathError::Deep),
        ];
        for (bytes, error) in table {
            assert_eq!(
                RelativePath::new(bytes.to_vec()),
                Err(error),
                "{}",
                printable(bytes)
            );
        }
    }

    #[test]
    fn a_path_knows_its_parent_name_and_what_is_within_it() {
        let path = RelativePath::try_from("a/b/c").unwrap();
        assert_eq!(path.parent(), Some(RelativePath::try_from("a/b").unwrap()));
        assert_eq!(path.name(), "c");
        assert!(path.is_within(&RelativePath::try_from("a").unwrap()));
        assert!(
            !RelativePath::try_from("ab")
                .unwrap()
                .is_within(&RelativePath::try_from("a").unwrap())
        );
    }

    #[test]
    fn names_that_would_deceive_a_reader_are_shown_escaped() {
        assert_eq!(
            printable("a\u{1b}[2Kb\u{202e}txt\n".as_bytes()),
            "a\\u{1b}[2Kb\\u{202e}txt\\u{a}"
        );
        assert_eq!(printable(b"caf\xe9 \xc3\xa9"), "caf\\xe9 é");
    }

    #[test]
    fn a_journal_keeps_names_that_are_not_text() {
        for bytes in [b"plain/name".to_vec(), b"caf\xe9".to_vec()] {
            let path = RelativePath::new(bytes).unwrap();
            let json = serde_json::to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<RelativePath>(&json).unwrap(), path);
        }
        assert!(serde_json::from_str::<RelativePath>("\"../up\"").is_err());
    }
}
