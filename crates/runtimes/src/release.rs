//! From what is asked for to one archive: the package's description, its version, and of that the native executable for
//! this platform, which lies in an optional dependency of its own.

use crate::platform::Platform;
use crate::registry::{Place, Registry, RegistryError};
use crate::version::{Version, Wanted, listed, nearest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use url::Url;

pub(crate) const PACKAGE: &str = "@anthropic-ai/claude-code";
const ABBREVIATED: &str = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8";
const WHOLE: &str = "application/json";

#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(
        "{package} has no version {wanted} at {registry}; the nearest are {}",
        listed(nearest)
    )]
    NoVersion {
        package: String,
        wanted: Version,
        registry: Place,
        nearest: Vec<Version>,
    },
    #[error(
        "{package} {version} was published on {published} and taken back: it cannot be had from {registry} any more; the \
         nearest are {}",
        listed(nearest)
    )]
    Unpublished {
        package: String,
        version: Version,
        published: String,
        registry: Place,
        nearest: Vec<Version>,
    },
    #[error(
        "no version of {package} at {registry} is {wanted}; the newest are {}",
        listed(newest)
    )]
    NoMatch {
        package: String,
        wanted: Wanted,
        registry: Place,
        newest: Vec<Version>,
    },
    #[error("{package} has no tag {tag} at {registry}; it has {}", tags.join(", "))]
    NoTag {
        package: String,
        tag: String,
        registry: Place,
        tags: Vec<String>,
    },
    #[error("{package} {version} has no executable for {platform}; {}", told(first.as_deref()))]
    NoExecutable {
        package: String,
        version: Version,
        platform: Platform,
        first: Option<Box<Version>>,
    },
    #[error(
        "{registry} gives no sha512 of {package} {version}, so what it sends cannot be checked: use another registry"
    )]
    NoIntegrity {
        package: String,
        version: Version,
        registry: Place,
    },
}

fn told(first: Option<&Version>) -> String {
    match first {
        Some(version) => format!("the first that has one is {version}"),
        None => "install it from a file".to_owned(),
    }
}

/// One archive, and what it must sum up to.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    pub(crate) version: Version,
    pub(crate) package: String,
    /// Where to ask, in this order.
    pub(crate) archives: Vec<Url>,
    pub(crate) sha512: [u8; 64],
}

#[derive(Deserialize)]
struct Description {
    #[serde(rename = "dist-tags", default)]
    tags: BTreeMap<String, String>,
    /// Each read by itself, so that one that is damaged hides no other.
    #[serde(default)]
    versions: BTreeMap<String, Box<RawValue>>,
    /// When each version was published, also those that are gone. Only in the whole description.
    #[serde(default)]
    time: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "optionalDependencies", default)]
    optional: BTreeMap<String, String>,
    #[serde(default)]
    deprecated: Option<serde_json::Value>,
    dist: Distribution,
}

#[derive(Deserialize)]
struct Distribution {
    tarball: String,
    #[serde(default)]
    integrity: String,
}

impl Manifest {
    fn is_deprecated(&self) -> bool {
        use serde_json::Value::{Bool, Null, String};
        !matches!(&self.deprecated, None | Some(Null | Bool(false)))
            && !matches!(&self.deprecated, Some(String(reason)) if reason.is_empty())
    }
}

/// A package, without what is no version.
struct Package {
    name: String,
    tags: BTreeMap<String, Version>,
    versions: BTreeMap<Version, Manifest>,
    time: BTreeMap<String, serde_json::Value>,
}

impl Registry {
    /// The version that is meant, as this registry has it now.
    pub async fn newest(&self, wanted: &Wanted) -> Result<Version, ResolveError> {
        let package = self.package(PACKAGE, ABBREVIATED).await?;
        self.pick(&package, wanted).await
    }

    pub(crate) async fn release(&self, wanted: &Wanted, platform: Platform) -> Result<Release, ResolveError> {
        let package = self.package(PACKAGE, ABBREVIATED).await?;
        let version = self.pick(&package, wanted).await?;
        let dependency = format!("{PACKAGE}-{platform}");
        let specification = package
            .versions
            .get(&version)
            .and_then(|manifest| manifest.optional.get(&dependency));
        let Some(specification) = specification else {
            let first = package
                .versions
                .iter()
                .find(|(_, manifest)| manifest.optional.contains_key(&dependency));
            return Err(ResolveError::NoExecutable {
                package: PACKAGE.to_owned(),
                version,
                platform,
                first: first.map(|(version, _)| Box::new(version.clone())),
            });
        };
        let (name, wanted) = dependency_of(&dependency, specification);
        let native = self.package(name, ABBREVIATED).await?;
        let wanted = wanted.parse().unwrap_or_else(|_| Wanted::Exact(version.clone()));
        let found = self.pick(&native, &wanted).await?;
        let Some(manifest) = native.versions.get(&found) else {
            return Err(self.no_version(&native, &found));
        };
        let sha512 = sha512_of(&manifest.dist.integrity).ok_or_else(|| ResolveError::NoIntegrity {
            package: name.to_owned(),
            version: found,
            registry: self.place(),
        })?;
        Ok(Release {
            version,
            package: name.to_owned(),
            archives: archives(&self.configuration.registry, &manifest.dist.tarball).ok_or_else(|| {
                RegistryError::Malformed {
                    url: self.place(),
                    reason: format!("the archive of {name} has no http or https address"),
                }
            })?,
            sha512,
        })
    }

    pub(crate) fn place(&self) -> Place {
        Place::of(&self.configuration.registry)
    }

    async fn package(&self, name: &str, accept: &'static str) -> Result<Package, ResolveError> {
        let url = package_url(&self.configuration.registry, name);
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
        let bytes = self.read(&url, &headers).await?;
        let description: Description =
            serde_json::from_slice(&bytes).map_err(|error| RegistryError::Malformed {
                url: Place::of(&url),
                reason: error.to_string(),
            })?;
        Ok(Package {
            name: name.to_owned(),
            tags: parsed(
                description
                    .tags
                    .iter()
                    .map(|(tag, text)| (tag.clone(), text.as_str())),
            )
            .collect(),
            versions: description
                .versions
                .into_iter()
                .filter_map(|(text, manifest)| {
                    Some((text.parse().ok()?, serde_json::from_str(manifest.get()).ok()?))
                })
                .collect(),
            time: description.time,
        })
    }

    /// As npm picks: the tag `latest` where it is in the range, else the newest, one that is not deprecated if there is.
    async fn pick(&self, package: &Package, wanted: &Wanted) -> Result<Version, ResolveError> {
        match wanted {
            Wanted::Exact(version) if package.versions.contains_key(version) => Ok(version.clone()),
            Wanted::Exact(version) => Err(self.gone(package, version).await),
            Wanted::Tag(tag) => package.tags.get(tag).cloned().ok_or_else(|| ResolveError::NoTag {
                package: package.name.clone(),
                tag: tag.clone(),
                registry: self.place(),
                tags: package.tags.keys().cloned().collect(),
            }),
            Wanted::Range(_) => {
                let latest = package
                    .tags
                    .get("latest")
                    .filter(|version| wanted.admits(version));
                let newest = || {
                    let admitted = package
                        .versions
                        .iter()
                        .filter(|(version, _)| wanted.admits(version));
                    admitted
                        .max_by_key(|(version, manifest)| (!manifest.is_deprecated(), *version))
                        .map(|(version, _)| version)
                };
                latest
                    .or_else(newest)
                    .cloned()
                    .ok_or_else(|| ResolveError::NoMatch {
                        package: package.name.clone(),
                        wanted: wanted.clone(),
                        registry: self.place(),
                        newest: nearest(wanted, package.versions.keys()),
                    })
            }
        }
    }

    /// Why a version is not there. That it once was, only the whole description says, if that.
    async fn gone(&self, package: &Package, version: &Version) -> ResolveError {
        let whole = self.package(&package.name, WHOLE).await.ok();
        let published =
            whole.and_then(|whole| whole.time.get(&version.to_string())?.as_str().map(str::to_owned));
        match published {
            Some(published) => ResolveError::Unpublished {
                package: package.name.clone(),
                version: version.clone(),
                published: published.chars().take(10).collect(),
                registry: self.place(),
                nearest: nearest(&Wanted::Exact(version.clone()), package.versions.keys()),
            },
            None => self.no_version(package, version),
        }
    }

    fn no_version(&self, package: &Package, version: &Version) -> ResolveError {
        ResolveError::NoVersion {
            package: package.name.clone(),
            wanted: version.clone(),
            registry: self.place(),
            nearest: nearest(&Wanted::Exact(version.clone()), package.versions.keys()),
        }
    }
}

fn parsed<'a, K>(pairs: impl Iterator<Item = (K, &'a str)>) -> impl Iterator<Item = (K, Version)> {
    pairs.filter_map(|(key, text)| Some((key, text.parse().ok()?)))
}

/// The name and version that a dependency stands for: `npm:name@version` is npm's way to call it something else.
fn dependency_of<'a>(name: &'a str, specification: &'a str) -> (&'a str, &'a str) {
    specification
        .strip_prefix("npm:")
        .and_then(|alias| alias.rsplit_once('@'))
        .filter(|(name, _)| !name.is_empty())
        .unwrap_or((name, specification))
}

fn package_url(registry: &Url, name: &str) -> Url {
    let mut url = registry.clone();
    // One segment: its slash is written as npm writes it.
    url.set_path(&format!("{}{}", registry.path(), name.replace('/', "%2f")));
    url
}

/// Where an archive may lie. A mirror may repeat the addresses of what it mirrors: then the mirror is asked first, since
/// it is what the machine's owner configured.
fn archives(registry: &Url, given: &str) -> Option<Vec<Url>> {
    let url = Url::parse(given)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())?;
    let of_registry = |path: &str| {
        let mut here = registry.clone();
        here.set_path(path);
        here
    };
    if url.origin() == registry.origin() {
        return Some(vec![url]);
    }
    let is_downgrade = registry.scheme() == "https" && url.scheme() == "http";
    let below = of_registry(&format!(
        "{}{}",
        registry.path(),
        url.path().trim_start_matches('/')
    ));
    Some(
        [below]
            .into_iter()
            .chain((!is_downgrade).then_some(url))
            .collect(),
    )
}

fn sha512_of(integrity: &str) -> Option<[u8; 64]> {
    integrity.split_whitespace().find_map(|sum| {
        let encoded = sum.strip_prefix("sha512-")?.split('?').next()?;
        STANDARD.decode(encoded).ok()?.try_into().ok()
    })
}

pub(crate) fn integrity(sha512: &[u8]) -> String {
    format!("sha512-{}", STANDARD.encode(sha512))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_asked_for_what_it_says_lies_elsewhere() {
        for (registry, given, expected) in [
            (
                "http://r.test/npm/",
                "http://r.test/npm/a/-/a.tgz",
                "http://r.test/npm/a/-/a.tgz",
            ),
            (
                "http://r.test/npm/",
                "https://public.test/a/-/a.tgz",
                "http://r.test/npm/a/-/a.tgz https://public.test/a/-/a.tgz",
            ),
            ("https://r.test/", "http://r.test/a.tgz", "https://r.test/a.tgz"),
            ("http://r.test/", "file:///etc/passwd", ""),
            ("http://r.test/", "nothing", ""),
        ] {
            let found = archives(&Url::parse(registry).unwrap(), given).unwrap_or_default();
            let found: Vec<&str> = found.iter().map(Url::as_str).collect();
            assert_eq!(found.join(" "), expected, "{given}");
        }
    }

    #[test]
    fn only_a_whole_sha512_is_a_sum() {
        let sum = integrity(&[7; 64]);
        assert_eq!(sha512_of(&format!("sha1-abc {sum}?x")), Some([7; 64]));
        for text in ["", "sha1-abc", "sha512-", "sha512-AAAA"] {
            assert_eq!(sha512_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_dependency_may_have_another_name() {
        assert_eq!(dependency_of("@a/b-x", "npm:@a/b@2.1.3-x"), ("@a/b", "2.1.3-x"));
        assert_eq!(dependency_of("@a/b-x", "2.1.3"), ("@a/b-x", "2.1.3"));
        assert_eq!(dependency_of("@a/b-x", "npm:@a"), ("@a/b-x", "npm:@a"));
    }
}
