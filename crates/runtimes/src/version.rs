//! Versions and what may be asked of them, with npm's meaning: `2.1.330`, `^2.1`, `2.x || >=3 <4`, `latest`.
//!
//! A version is kept without build metadata, which npm drops too, so that equal versions have one name.

use js_semver as semver;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// How many versions are named on each side of one that does not exist.
const NEAREST: usize = 2;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(Arc<semver::Version>);

impl Version {
    pub fn major(&self) -> u64 {
        self.0.major
    }

    pub fn is_prerelease(&self) -> bool {
        !self.0.pre_release.is_empty()
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadVersion {
    #[error("{given:?} is no version: write three numbers, as in 2.1.330")]
    Version { given: String },
    #[error("{given:?} is no version, range or tag of npm: write 2.1.330, ^2.1, 2.x, \">=2 <3\" or latest")]
    Wanted { given: String },
}

impl FromStr for Version {
    type Err = BadVersion;

    fn from_str(given: &str) -> Result<Self, BadVersion> {
        let bad = || BadVersion::Version {
            given: given.to_owned(),
        };
        let without_build = given.trim().split('+').next().unwrap_or_default();
        semver::Version::parse(without_build)
            .map(|version| Self(Arc::new(version)))
            .map_err(|_| bad())
    }
}

impl TryFrom<String> for Version {
    type Error = BadVersion;

    fn try_from(given: String) -> Result<Self, BadVersion> {
        given.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

/// What somebody asks for. Written and read as the text that was given.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Wanted {
    Exact(Version),
    Range(Range),
    /// A name that a registry gives to one version, and may give to another tomorrow.
    Tag(String),
}

#[derive(Debug, Clone)]
pub struct Range {
    text: String,
    range: Arc<semver::Range>,
}

impl Wanted {
    pub fn latest() -> Self {
        Self::Tag("latest".to_owned())
    }

    /// The newest of the same major version.
    pub(crate) fn same_major(version: &Version) -> Self {
        let text = format!(">={version} <{}.0.0-0", version.major() + 1);
        text.parse().unwrap_or_else(|_| Self::Exact(version.clone()))
    }

    /// Whether this version is one of those asked for. Which one a tag names, only its registry knows.
    pub fn admits(&self, version: &Version) -> bool {
        match self {
            Self::Exact(wanted) => wanted == version,
            Self::Range(Range { range, .. }) => range.satisfies(&version.0),
            Self::Tag(_) => false,
        }
    }

    pub(crate) fn is_latest(&self) -> bool {
        matches!(self, Self::Tag(tag) if tag == "latest")
    }
}

impl FromStr for Wanted {
    type Err = BadVersion;

    fn from_str(given: &str) -> Result<Self, BadVersion> {
        let text = given.trim();
        if let Ok(version) = text.parse() {
            return Ok(Self::Exact(version));
        }
        let is_tag = text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.len() <= 64
            && text
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || "-_.".contains(character));
        match semver::Range::parse(text) {
            Ok(range) if !text.is_empty() => Ok(Self::Range(Range {
                text: text.to_owned(),
                range: Arc::new(range),
            })),
            _ if is_tag => Ok(Self::Tag(text.to_owned())),
            _ => Err(BadVersion::Wanted {
                given: given.to_owned(),
            }),
        }
    }
}

impl TryFrom<String> for Wanted {
    type Error = BadVersion;

    fn try_from(given: String) -> Result<Self, BadVersion> {
        given.parse()
    }
}

impl From<Wanted> for String {
    fn from(wanted: Wanted) -> Self {
        wanted.to_string()
    }
}

impl PartialEq for Wanted {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Wanted {}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(version) => version.fmt(formatter),
            Self::Range(Range { text, .. }) | Self::Tag(text) => formatter.write_str(text),
        }
    }
}

/// The versions on both sides of one that is not there; the newest, where a range or a tag was asked for.
pub(crate) fn nearest<'a>(wanted: &Wanted, versions: impl Iterator<Item = &'a Version>) -> Vec<Version> {
    let mut versions: Vec<&Version> = versions.collect();
    versions.sort();
    let at = match wanted {
        Wanted::Exact(version) => versions.partition_point(|known| *known < version),
        Wanted::Range(_) | Wanted::Tag(_) => versions.len(),
    };
    let around = at.saturating_sub(NEAREST)..versions.len().min(at + NEAREST);
    versions
        .get(around)
        .unwrap_or_default()
        .iter()
        .map(|version| (*version).clone())
        .collect()
}

/// Versions as they stand in a message.
pub(crate) fn listed<'a>(versions: impl IntoIterator<Item = &'a Version>) -> String {
    let names: Vec<String> = versions.into_iter().map(ToString::to_string).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_mean_what_npm_means_by_them() {
        for (wanted, admitted, refused) in [
            ("2.1.330", "2.1.330", "2.1.331"),
            ("v2.1.330", "2.1.330", "2.1.331"),
            ("=2.1.330", "2.1.330", "2.1.331"),
            ("^2.1", "2.9.0", "3.0.0"),
            ("^0.2.3", "0.2.9", "0.3.0"),
            ("~2.1.3", "2.1.9", "2.2.0"),
            ("2.x", "2.9.9", "3.0.0"),
            ("2", "2.0.0", "1.9.9"),
            ("*", "7.0.0", "7.0.0-beta.1"),
            (">=2 <3", "2.0.0", "3.0.0"),
            ("1.2 || ^2.1.3", "1.2.9", "2.1.2"),
            ("2.1.3 - 2.1.5", "2.1.5", "2.1.6"),
            ("^2.1.0-beta.2", "2.1.0-beta.3", "2.1.1-beta.3"),
        ] {
            let asked: Wanted = wanted.parse().unwrap();
            assert!(asked.admits(&version(admitted)), "{wanted} {admitted}");
            assert!(!asked.admits(&version(refused)), "{wanted} {refused}");
        }
    }

    #[test]
    fn texts_are_told_apart_and_written_back_as_given() {
        for (text, kind) in [
            ("2.1.330", "exact"),
            ("^2.1", "range"),
            (">=2 <3", "range"),
            ("latest", "tag"),
            ("next-1", "tag"),
        ] {
            let wanted: Wanted = text.parse().unwrap();
            let found = match &wanted {
                Wanted::Exact(_) => "exact",
                Wanted::Range(_) => "range",
                Wanted::Tag(_) => "tag",
            };
            assert_eq!((found, wanted.to_string().as_str()), (kind, text));
        }
        for text in ["", "  ", "../2.1.0", "2.1.0/..", "the newest", "^", "-1"] {
            assert!(text.parse::<Wanted>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_version_is_a_name_of_one_directory() {
        assert_eq!(version("2.1.3+build.7").to_string(), "2.1.3");
        for text in ["2.1", "2.1.3-..", "2.1.3-a/b", "../2.1.3", ""] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_nearest_stand_on_both_sides() {
        let known: Vec<Version> = ["2.1.1", "2.1.2", "2.1.4", "2.1.5", "2.1.6"]
            .map(version)
            .to_vec();
        let near = |text: &str| listed(&nearest(&text.parse().unwrap(), known.iter()));
        assert_eq!(near("2.1.3"), "2.1.1, 2.1.2, 2.1.4, 2.1.5");
        assert_eq!(near("1.0.0"), "2.1.1, 2.1.2");
        assert_eq!(near("^9"), "2.1.5, 2.1.6");
        assert_eq!(listed(&nearest(&Wanted::latest(), [].iter())), "none");
    }

    #[test]
    fn the_same_major_never_reaches_the_next() {
        let wanted = Wanted::same_major(&version("2.1.3"));
        for (text, admitted) in [
            ("2.1.3", true),
            ("2.9.0", true),
            ("2.1.2", false),
            ("3.0.0-0", false),
            ("3.0.0", false),
        ] {
            assert_eq!(wanted.admits(&version(text)), admitted, "{text}");
        }
    }
}
