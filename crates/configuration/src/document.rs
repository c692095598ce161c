//! A configuration file as text: what is wrong with it is said by line and key.

use crate::{Config, keys};
use std::io::ErrorKind;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

const MOST_BYTES: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration file {path} cannot be read", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the configuration file {path} is no text of at most {MOST_BYTES} bytes", path = path.display())]
    NoText { path: PathBuf },
    #[error("{path}, line {line}: {problem}", path = path.display())]
    Wrong {
        path: PathBuf,
        line: usize,
        problem: String,
    },
}

impl ConfigError {
    /// Also where this user may not look for the file; one that is seen and cannot be read is no absence.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Read { source, .. } if source.kind() == ErrorKind::NotFound => true,
            Self::Read { path, source } if source.kind() == ErrorKind::PermissionDenied => {
                path.symlink_metadata().is_err()
            }
            _ => false,
        }
    }
}

/// A file that was read, and what it says.
#[derive(Debug, Clone)]
pub struct Document {
    pub path: PathBuf,
    pub config: Config,
    /// The keys that are there, like `limits.ping`, each with its line.
    pub keys: Vec<(String, usize)>,
}

impl Document {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unread = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(unread)?;
        let mut bytes = Vec::new();
        file.take(MOST_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(unread)?;
        let text = String::from_utf8(bytes).ok();
        let text = text.filter(|text| text.len() as u64 <= MOST_BYTES);
        let text = text.ok_or_else(|| ConfigError::NoText {
            path: path.to_owned(),
        })?;
        Self::parse(path, &text)
    }

    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let wrong = |span: Option<Range<usize>>, problem: String| ConfigError::Wrong {
            path: path.to_owned(),
            line: line_of(text, span.map_or(0, |span| span.start)),
            problem,
        };
        let table = DeTable::parse(text).map_err(|error| wrong(error.span(), error.message().to_owned()))?;
        let mut found = Vec::new();
        list(table.get_ref(), "", &mut found);
        if let Some((entry, problem)) = found
            .iter()
            .find_map(|entry| Some((entry, keys::problem(entry)?)))
        {
            return Err(wrong(Some(entry.span.clone()), problem));
        }
        let config = toml::from_str(text).map_err(|error: toml::de::Error| {
            let span = error.span();
            let holds = |entry: &&Entry| span.as_ref().is_some_and(|span| entry.touches(span));
            let key = found.iter().rfind(holds).map_or("", |entry| entry.key.as_str());
            wrong(span, format!("`{key}` {}", error.message()))
        })?;
        let line = |entry: Entry| (!entry.is_table).then(|| (entry.key, line_of(text, entry.span.start)));
        Ok(Self {
            path: path.to_owned(),
            config,
            keys: found.into_iter().filter_map(line).collect(),
        })
    }

    /// What is wrong with the value of a key where that is known only later.
    pub fn wrong(&self, key: &str, problem: &str) -> ConfigError {
        let line = self.keys.iter().find(|(found, _)| found == key);
        ConfigError::Wrong {
            path: self.path.clone(),
            line: line.map_or(1, |(_, line)| *line),
            problem: format!("`{key}` {problem}"),
        }
    }
}

/// A key of the file, with everything above it.
#[derive(Debug)]
pub struct Entry {
    pub key: String,
    pub is_table: bool,
    /// Of the key.
    span: Range<usize>,
    value: Range<usize>,
}

impl Entry {
    fn touches(&self, span: &Range<usize>) -> bool {
        let own = self.span.start..self.value.end.max(self.span.end);
        own.start < span.end && span.start < own.end
    }
}

/// Tables before what is in them.
fn list(table: &DeTable<'_>, above: &str, found: &mut Vec<Entry>) {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let name = key.get_ref();
        let key = Entry {
            key: if above.is_empty() {
                name.to_string()
            } else {
                format!("{above}.{name}")
            },
            is_table: value.get_ref().is_table(),
            span: key.span(),
            value: value.span(),
        };
        let above = key.key.clone();
        found.push(key);
        if let DeValue::Table(inner) = value.get_ref() {
            list(inner, &above, found);
        }
    }
}

fn line_of(text: &str, position: usize) -> usize {
    let before = text.as_bytes().get(..position).unwrap_or(text.as_bytes());
    before.split(|byte| *byte == b'\n').count()
}
