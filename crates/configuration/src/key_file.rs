//! A file that holds a key and nothing else.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const MOST_BYTES: u64 = 4096;
const OTHERS: u32 = 0o007;

#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("names {path}, which cannot be read ({reason}): the server's user must be able to")]
    Unreadable { path: String, reason: String },
    #[error("names {path}, which is no file")]
    NoFile { path: String },
    #[error("names {path}, which everybody on this machine can reach: chmod o= {path}")]
    Open { path: String },
    #[error("names {path}, which does not hold a key: one line, without spaces")]
    NoKey { path: String },
}

/// Without the end of its line. What it holds is in no error.
pub fn read(path: &Path) -> Result<String, KeyFileError> {
    let shown = || path.display().to_string();
    let unreadable = |error: std::io::Error| KeyFileError::Unreadable {
        path: shown(),
        reason: error.to_string(),
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(KeyFileError::NoFile { path: shown() });
    }
    if metadata.permissions().mode() & OTHERS != 0 {
        return Err(KeyFileError::Open { path: shown() });
    }
    let mut text = String::new();
    let read = file.take(MOST_BYTES + 1).read_to_string(&mut text);
    let key = text.trim_end();
    let sound =
        !key.is_empty() && text.len() as u64 <= MOST_BYTES && key.bytes().all(|byte| byte.is_ascii_graphic());
    match read {
        Ok(_) if sound => Ok(key.to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::InvalidData => Err(unreadable(error)),
        _ => Err(KeyFileError::NoKey { path: shown() }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};

    #[test]
    fn a_key_is_read_from_a_file_that_not_everybody_can_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let said = |bytes: &[u8], mode| {
            write(&path, bytes).unwrap();
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            read(&path).map_err(|error| error.to_string())
        };
        assert_eq!(said(b"sk-secret\n", 0o640), Ok("sk-secret".to_owned()));
        for (bytes, mode, problem) in [
            (&b"sk-secret"[..], 0o644, "chmod o="),
            (b"", 0o600, "does not hold a key"),
            (b"two words", 0o600, "does not hold a key"),
            (b"one\ntwo", 0o600, "does not hold a key"),
            (b"\xff\xfe", 0o600, "does not hold a key"),
            (&[b'x'; 5000], 0o600, "does not hold a key"),
        ] {
            let error = said(bytes, mode).unwrap_err();
            assert!(error.contains(problem) && !error.contains("secret"), "{error}");
        }
        assert!(
            read(directory.path())
                .unwrap_err()
                .to_string()
                .contains("no file")
        );
        let absent = read(&directory.path().join("absent")).unwrap_err();
        assert!(absent.to_string().contains("cannot be read"), "{absent}");
    }
}
