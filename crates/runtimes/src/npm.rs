//! Where packages come from: what this machine's npm configuration says, and nothing else. No address is built in.
//!
//! Asked in npm's order: the environment, the user's `.npmrc`, the global one, `npm` itself. A scope's own registry goes
//! before the one for everything. The project's `.npmrc` is left out: hostler belongs to no project.

use crate::credentials::Credentials;
use crate::npmrc::Npmrc;
use outbound::{BadProxy, Proxies};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use url::Url;

/// The scope of the packages that hostler takes.
const SCOPED_REGISTRY: &str = "@anthropic-ai:registry";
const MAX_FILE_BYTES: u64 = 1 << 20;
const MAX_ANSWER_BYTES: u64 = 8 << 10;
/// npm needs half a second, on a slow disk several.
const NPM_DEADLINE: Duration = Duration::from_secs(30);
const GLOBAL_FILES: [&str; 3] = ["/usr/local/etc/npmrc", "/usr/etc/npmrc", "/etc/npmrc"];

/// What the configuration is read from.
#[derive(Clone)]
pub struct Surroundings {
    /// The environment, also that of `npm` where it is asked.
    pub variables: BTreeMap<String, String>,
    /// The first of these that exists is the global file, unless the environment names one.
    pub global_files: Vec<PathBuf>,
}

impl Surroundings {
    pub fn of_this_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self {
            variables: variables.collect(),
            global_files: GLOBAL_FILES.iter().map(PathBuf::from).collect(),
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// A key of npm's configuration, whose variables npm reads in any case.
    fn npm_variable(&self, key: &str) -> Option<&str> {
        let wanted = key.replace('-', "_");
        self.variables.iter().find_map(|(name, value)| {
            let (prefix, name) = name.split_at_checked("npm_config_".len())?;
            let is_it = prefix.eq_ignore_ascii_case("npm_config_")
                && name.replace('-', "_").eq_ignore_ascii_case(&wanted);
            let value = value.trim();
            (is_it && !value.is_empty()).then_some(value)
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NpmError {
    #[error(
        "no npm registry is configured on this machine, and there is no npm to ask: set npm_config_registry, write \
         registry=URL into ~/.npmrc, or install from a file"
    )]
    NoRegistry,
    #[error("{told_by} names the registry {given:?}, which is no http or https URL: mend it there")]
    BadRegistry { told_by: String, given: String },
    #[error("{path} cannot be read: {source}; hostler needs it to know the npm registry and its credentials")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is larger than {MAX_FILE_BYTES} bytes, which no .npmrc is")]
    FileSize { path: PathBuf },
    #[error(
        "`npm config get registry` failed: {reason}; set npm_config_registry, or write registry=URL into ~/.npmrc"
    )]
    Npm { reason: String },
    #[error("{0}; it stands in the npm configuration or in HTTP_PROXY, HTTPS_PROXY")]
    Proxy(BadProxy),
}

/// What npm on this machine would use.
#[derive(Debug, Clone)]
pub struct NpmConfiguration {
    /// With a slash at its end and without credentials.
    pub(crate) registry: Url,
    pub(crate) credentials: Credentials,
    pub(crate) proxies: Proxies,
}

impl NpmConfiguration {
    pub async fn of_this_machine() -> Result<Self, NpmError> {
        Self::read(&Surroundings::of_this_process()).await
    }

    pub async fn read(surroundings: &Surroundings) -> Result<Self, NpmError> {
        let from = surroundings.clone();
        let files = tokio::task::spawn_blocking(move || files(&from))
            .await
            .map_err(|error| NpmError::Npm {
                reason: error.to_string(),
            })??;
        let (given, told_by) = match configured(surroundings, &files) {
            Some(found) => found,
            None => (ask_npm(surroundings).await?, "npm config get registry".to_owned()),
        };
        let mut registry = parse(&given).ok_or_else(|| NpmError::BadRegistry {
            told_by,
            given: given.rsplit('@').next().unwrap_or_default().to_owned(),
        })?;
        let mut credentials = Credentials::default();
        for (_, file) in files.iter().rev() {
            credentials.take(file);
        }
        credentials.take_from_url(&mut registry);
        Ok(Self {
            registry,
            credentials,
            proxies: proxies(surroundings, &files)?,
        })
    }

    /// The registry's address, without credentials.
    pub fn registry(&self) -> &Url {
        &self.registry
    }
}

fn parse(given: &str) -> Option<Url> {
    let mut url = Url::parse(given).ok()?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return None;
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Some(url)
}

/// The user's file, then the global one; what does not exist is left out.
fn files(surroundings: &Surroundings) -> Result<Vec<(PathBuf, Npmrc)>, NpmError> {
    let home = || {
        surroundings
            .variable("HOME")
            .map(|home| Path::new(home).join(".npmrc"))
    };
    let user = surroundings
        .npm_variable("userconfig")
        .map(PathBuf::from)
        .or_else(home);
    let global = match surroundings.npm_variable("globalconfig") {
        Some(path) => Some(PathBuf::from(path)),
        None => surroundings
            .global_files
            .iter()
            .find(|path| path.exists())
            .cloned(),
    };
    let mut found = Vec::new();
    for path in [user, global].into_iter().flatten() {
        if let Some(text) = read_bounded(&path)? {
            let npmrc = Npmrc::parse(&text, &surroundings.variables);
            found.push((path, npmrc));
        }
    }
    Ok(found)
}

fn read_bounded(path: &Path) -> Result<Option<String>, NpmError> {
    let size = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(NpmError::File {
                path: path.to_owned(),
                source,
            });
        }
    };
    if size > MAX_FILE_BYTES {
        return Err(NpmError::FileSize {
            path: path.to_owned(),
        });
    }
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(source) => Err(NpmError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The registry, and who names it.
fn configured(surroundings: &Surroundings, files: &[(PathBuf, Npmrc)]) -> Option<(String, String)> {
    [SCOPED_REGISTRY, "registry"].into_iter().find_map(|key| {
        let of_environment = surroundings
            .npm_variable(key)
            .map(|value| (value.to_owned(), format!("npm_config_{key} of the environment")));
        of_environment.or_else(|| {
            files
                .iter()
                .find_map(|(path, file)| Some((file.get(key)?.to_owned(), path.display().to_string())))
        })
    })
}

async fn ask_npm(surroundings: &Surroundings) -> Result<String, NpmError> {
    let failed = |reason: String| NpmError::Npm { reason };
    let path = surroundings.variable("PATH").unwrap_or_default();
    let program = std::env::split_paths(path)
        .map(|directory| directory.join("npm"))
        .find(|program| program.is_file())
        .ok_or(NpmError::NoRegistry)?;
    let mut child = tokio::process::Command::new(program)
        .args(["config", "get", "registry"])
        .env_clear()
        .envs(&surroundings.variables)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let asked = async {
        let mut answer = String::new();
        if let Some(output) = child.stdout.take() {
            output.take(MAX_ANSWER_BYTES).read_to_string(&mut answer).await?;
        }
        let status = child.wait().await?;
        io::Result::Ok((status, answer))
    };
    let (status, answer) = tokio::time::timeout(NPM_DEADLINE, asked)
        .await
        .map_err(|_| failed(format!("no answer within {} s", NPM_DEADLINE.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    let answer = answer.trim();
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    match answer {
        "" | "undefined" | "null" => Err(NpmError::NoRegistry),
        registry => Ok(registry.to_owned()),
    }
}

/// npm's own keys go before the variables that all programs read.
fn proxies(surroundings: &Surroundings, files: &[(PathBuf, Npmrc)]) -> Result<Proxies, NpmError> {
    let find = |keys: &[&str], variables: &[&str]| {
        let of_npm = keys.iter().find_map(|key| {
            let of_files = || files.iter().find_map(|(_, file)| file.get(key));
            surroundings.npm_variable(key).or_else(of_files)
        });
        let of_all = || variables.iter().find_map(|name| surroundings.variable(name));
        of_npm.or_else(of_all).unwrap_or_default().to_owned()
    };
    let http = find(&["http-proxy", "proxy"], &["HTTP_PROXY", "http_proxy"]);
    let https = find(
        &["https-proxy", "proxy"],
        &["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"],
    );
    let direct = find(&["noproxy"], &["NO_PROXY", "no_proxy"]);
    Proxies::new(&http, &https, &direct).map_err(NpmError::Proxy)
}

#[cfg(test)]
mod tests;
