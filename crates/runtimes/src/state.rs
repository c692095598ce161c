//! `state.json`: the channel as a file. Read as a whole, replaced as a whole, changed by one at a time.

use crate::channel::Channel;
use crate::file::{FileError, Lock, replace};
use serde::{Deserialize, Serialize};
use std::io::{self, Read as _};
use std::path::PathBuf;

/// The format that is written; others are refused, since they may say what this code would lose.
const FORMAT: u32 = 1;
const MAX_BYTES: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{path} is damaged: {reason}; put it right, or move it away: the installed versions stay, the pin, the canary and \
         what was refused are forgotten, and the newest version becomes the default"
    )]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "{path} has format {format}, and this hostler reads {FORMAT}: use the hostler that wrote it, or a newer one"
    )]
    Format { path: PathBuf, format: u64 },
}

#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    channel: Channel,
}

pub(crate) struct StateFile {
    path: PathBuf,
    lock: PathBuf,
}

impl StateFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        let lock = path.with_extension("lock");
        Self { path, lock }
    }

    /// Without a file, that of a machine on which nothing was decided.
    pub(crate) fn read(&self) -> Result<Channel, StateError> {
        let mut text = Vec::new();
        match std::fs::File::open(&self.path) {
            Ok(file) => file
                .take(MAX_BYTES + 1)
                .read_to_end(&mut text)
                .map_err(FileError::reading(&self.path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Channel::default()),
            Err(error) => return Err(FileError::reading(&self.path)(error).into()),
        };
        let damaged = |reason: String| StateError::Damaged {
            path: self.path.clone(),
            reason,
        };
        if text.len() as u64 > MAX_BYTES {
            return Err(damaged(format!("it is larger than {MAX_BYTES} bytes")));
        }
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => {
                return Err(StateError::Format {
                    path: self.path.clone(),
                    format,
                });
            }
            None => return Err(damaged("it has no format".to_owned())),
        }
        let written: Written = serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
        Ok(written.channel)
    }

    /// Nothing is written where the change fails or changes nothing.
    pub(crate) fn change<T, E: From<StateError>>(
        &self,
        change: impl FnOnce(&mut Channel) -> Result<T, E>,
    ) -> Result<T, E> {
        let _lock = Lock::wait(&self.lock).map_err(StateError::from)?;
        let before = self.read()?;
        let mut channel = before.clone();
        let result = change(&mut channel)?;
        if channel != before {
            self.write(channel)?;
        }
        Ok(result)
    }

    fn write(&self, channel: Channel) -> Result<(), StateError> {
        let written = Written {
            format: FORMAT,
            channel,
        };
        let mut text = serde_json::to_vec_pretty(&written).map_err(|error| StateError::Damaged {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        text.push(b'\n');
        Ok(replace(&self.path, &text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Trial;
    use std::path::Path;

    fn file(directory: &Path) -> StateFile {
        StateFile::new(directory.join("state.json"))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let state = file(directory.path());
        assert_eq!(state.read().unwrap(), Channel::default());
        let changed: Result<Channel, StateError> = state.change(|channel| {
            channel.settle_on(&"2.1.1".parse().unwrap());
            channel
                .offer(&"2.1.2".parse().unwrap(), Trial::default())
                .unwrap();
            channel.roll_back(&["2.1.1".parse().unwrap()].into()).unwrap();
            channel
                .offer(&"2.1.3".parse().unwrap(), Trial::default())
                .unwrap();
            Ok(channel.clone())
        });
        assert_eq!(file(directory.path()).read().unwrap(), changed.unwrap());
        let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(names.len(), 2, "state.json and state.lock only");
    }

    #[test]
    fn damage_is_told_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let state = file(directory.path());
        for (text, reason) in [
            ("", "state.json is damaged: EOF"),
            ("{\"format\":1}", "missing field `channel`"),
            ("{}", "it has no format"),
            ("[]", "it has no format"),
            (
                "{\"format\":2,\"channel\":{}}",
                "has format 2, and this hostler reads 1",
            ),
            (
                "{\"format\":1,\"channel\":{\"before\":[],\"refused\":{\"x\":\"\"}}}",
                "\"x\" is no version",
            ),
            (
                "{\"format\":1,\"channel\":{\"before\":[],\"refused\":{},\"more\":1}}",
                "unknown field `more`",
            ),
        ] {
            std::fs::write(directory.path().join("state.json"), text).unwrap();
            let changed: Result<(), StateError> = state.change(|channel| {
                channel.settle_on(&"2.1.1".parse().unwrap());
                Ok(())
            });
            let error = changed.unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            let left = std::fs::read_to_string(directory.path().join("state.json")).unwrap();
            assert_eq!(left, text);
        }
    }

    #[test]
    fn changes_at_the_same_time_are_all_kept() {
        let directory = tempfile::tempdir().unwrap();
        let state = file(directory.path());
        let start = |channel: &mut Channel| {
            channel.settle_on(&"2.1.1".parse().unwrap());
            let trial = Trial {
                share_percent: 5,
                sessions: 1_000_000,
            };
            channel.offer(&"2.1.2".parse().unwrap(), trial).unwrap();
            Ok::<_, StateError>(())
        };
        state.change(start).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let one = crate::Tally {
                            sessions: 1,
                            errors: 0,
                        };
                        let counted = file(directory.path()).change(|channel| {
                            channel.observe(&"2.1.2".parse().unwrap(), one);
                            Ok::<_, StateError>(())
                        });
                        counted.unwrap();
                    }
                });
            }
        });
        assert_eq!(state.read().unwrap().canary().unwrap().candidate.sessions, 100);
    }
}
