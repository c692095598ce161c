//! What is in force: defaults, the file, the environment and the flags, one above the other, and where each value is from.

use crate::arguments::ServeArguments;
use crate::check::place_for_data;
use configuration::document::{ConfigError, Document};
use configuration::values::{Addresses, Allowed, BaseUrl, FilePath, Filter, Flag, Whole};
use configuration::{Config, values_of};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use terminal::{Environment, Failure};
use toml::Value;

const SHOWN: usize = 200;

#[derive(Debug, Clone)]
pub(crate) struct Layers {
    pub(crate) config: Config,
    pub(crate) document: Option<Document>,
    sources: BTreeMap<&'static str, Source>,
}

/// Where a value is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    Line(usize),
    Variable(&'static str),
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::Line(line) => write!(formatter, "line {line}"),
            Self::Variable(name) | Self::Flag(name) => formatter.write_str(name),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{name} must be {allowed}, and not {text:?}")]
struct WrongVariable {
    name: &'static str,
    allowed: String,
    text: String,
}

#[derive(Debug, thiserror::Error)]
#[error("`{key}` {problem}")]
struct WrongValue {
    key: String,
    problem: String,
}

impl Layers {
    /// The defaults and the file: the one that is named, the one of `HOSTLER_CONFIG`, or that of the machine or the user if
    /// it is there.
    pub(crate) fn find(named: Option<&Path>, environment: &Environment) -> Result<Self, Failure> {
        let named = named.or(environment.config.as_deref());
        let document = match named {
            Some(path) => Some(Document::read(path)),
            None => environment
                .usual_config
                .as_deref()
                .map(Document::read)
                .filter(|read| !read.as_ref().is_err_and(ConfigError::is_absence)),
        };
        let document = document.transpose().map_err(refused)?;
        let config = document.as_ref().map(|document| document.config.clone());
        Ok(Self {
            config: config.unwrap_or_default(),
            sources: BTreeMap::new(),
            document,
        })
    }

    /// Variables that say what a key says. Keys and what goes with them are looked at apart.
    pub(crate) fn add_environment(&mut self, environment: &Environment) -> Result<(), Failure> {
        let config = &mut self.config;
        if let Some(text) = &environment.listen {
            config.listen = variable("HOSTLER_LISTEN", text, Addresses::parse)?;
            self.sources.insert("listen", Source::Variable("HOSTLER_LISTEN"));
        }
        if let Some(path) = &environment.data {
            config.data = Some(FilePath(path.clone()));
            self.sources.insert("data", Source::Variable("HOSTLER_DATA"));
        }
        if let Some(text) = &environment.log {
            config.log = variable("HOSTLER_LOG", text, Filter::parse)?;
            self.sources.insert("log", Source::Variable("HOSTLER_LOG"));
        }
        if let Some(text) = &environment.base_url {
            let name = "ANTHROPIC_BASE_URL";
            config.upstream.base_url = Some(variable(name, text, BaseUrl::parse)?);
            self.sources.insert("upstream.base_url", Source::Variable(name));
        }
        Ok(())
    }

    pub(crate) fn add_flags(&mut self, arguments: &ServeArguments) {
        let config = &mut self.config;
        if !arguments.listen.is_empty() {
            config.listen = Addresses(arguments.listen.clone());
            self.sources.insert("listen", Source::Flag("--listen"));
        }
        if let Some(path) = &arguments.data.data {
            config.data = Some(FilePath(path.clone()));
            self.sources.insert("data", Source::Flag("--data"));
        }
        if let Some(pool) = arguments.pool {
            config.pool = Whole(pool.into());
            self.sources.insert("pool", Source::Flag("--pool"));
        }
        if let Some(jailer) = arguments.jailer {
            config.jailer = jailer;
            self.sources.insert("jailer", Source::Flag("--jailer"));
        }
        if arguments.open_metrics {
            config.open_metrics = Flag(true);
            self.sources
                .insert("open_metrics", Source::Flag("--open-metrics"));
        }
    }

    /// What is usual depends on who asks.
    pub(crate) fn add_usual_data(&mut self, environment: &Environment) -> Result<(), Failure> {
        if self.config.data.is_none() {
            self.config.data = Some(FilePath(place_for_data(None, environment)?));
        }
        Ok(())
    }

    pub(crate) fn source(&self, key: &str) -> Source {
        let line = || {
            let keys = &self.document.as_ref()?.keys;
            let (_, line) = keys.iter().find(|(found, _)| found == key)?;
            Some(Source::Line(*line))
        };
        let above = self.sources.get(key).copied();
        above.or_else(line).unwrap_or(Source::Default)
    }

    /// Every key that has a value.
    pub(crate) fn values(&self) -> BTreeMap<String, Value> {
        values_of(&self.config)
    }

    /// That the value of a key cannot be used, where it is from the file.
    pub(crate) fn wrong(&self, key: &str, problem: &str) -> Failure {
        match &self.document {
            Some(document) => refused(document.wrong(key, problem)),
            None => Failure::usage(WrongValue {
                key: key.to_owned(),
                problem: problem.to_owned(),
            }),
        }
    }
}

fn refused(error: ConfigError) -> Failure {
    Failure::usage(error).hint("`hostler config default` prints every key with what it may be")
}

fn variable<T: Allowed>(
    name: &'static str,
    text: &OsStr,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Failure> {
    text.to_str().and_then(parse).ok_or_else(|| {
        let text = change_set::printable(text.as_encoded_bytes());
        Failure::usage(WrongVariable {
            name,
            allowed: T::allowed(),
            text: text.chars().take(SHOWN).collect(),
        })
    })
}
