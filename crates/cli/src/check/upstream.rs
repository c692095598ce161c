//! Who answers the agent's model requests. The simulated model is never taken without being said.

use crate::example;
use crate::services::Upstream;
use configuration::BaseUrl;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use terminal::{Environment, Failure};

/// As the simulated model's own limit.
const MAX_SCRIPT_BYTES: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
enum UpstreamError {
    #[error("ANTHROPIC_API_KEY is not set")]
    NoKey,
    #[error("ANTHROPIC_API_KEY is not a key: it holds spaces, line ends or other characters that no key has")]
    Key,
    #[error("ANTHROPIC_BASE_URL is not an http or https URL: {url:?}")]
    Url { url: String },
    #[error("the script {path} cannot be read", path = path.display())]
    Script { path: PathBuf, source: std::io::Error },
    #[error("the script {path} is larger than {MAX_SCRIPT_BYTES} bytes", path = path.display())]
    LargeScript { path: PathBuf },
}

/// The upstream, and what is to be said about it.
pub(crate) fn choose_upstream(
    script: Option<&Path>,
    workspace: Option<&Path>,
    environment: &Environment,
) -> Result<(Upstream, Option<String>), Failure> {
    if let Some(path) = script {
        let name = path.display().to_string();
        let notice = format!(
            "the simulated model plays {name}: sandbox, tools and changes are real, the replies are not"
        );
        return Ok((
            Upstream::Simulated {
                name,
                json: read_script(path)?,
            },
            Some(notice),
        ));
    }
    if let Some(key) = &environment.api_key {
        let key = text(key).filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()));
        let key = key.ok_or_else(|| {
            Failure::usage(UpstreamError::Key).hint("set it again, without quotes or a line end")
        })?;
        let base_url = environment.base_url.as_deref().map(check_url).transpose()?;
        return Ok((
            Upstream::Model {
                key: key.to_owned(),
                base_url,
            },
            None,
        ));
    }
    if workspace.is_some_and(example::is_example) {
        let notice =
            "no ANTHROPIC_API_KEY is set. This workspace is hostler's example, so the simulated model plays \
                      the script that comes with it: sandbox, tools and changes are real, the replies are not"
                .to_owned();
        let (name, json) = (example::NAME.to_owned(), example::SCRIPT.to_owned());
        return Ok((Upstream::Simulated { name, json }, Some(notice)));
    }
    Err(Failure::usage(UpstreamError::NoKey).hint(
        "set it to your key, or try the example without one: `hostler run --workspace examples/bugfix \"Fix it.\"`, \
         or let the simulated model play a script of yours with --simulate FILE",
    ))
}

fn text(value: &OsStr) -> Option<&str> {
    value.to_str()
}

fn check_url(value: &OsStr) -> Result<String, Failure> {
    if let Some(url) = value.to_str().and_then(BaseUrl::parse) {
        return Ok(url.0);
    }
    let url = change_set::printable(value.as_encoded_bytes())
        .chars()
        .take(200)
        .collect();
    Err(Failure::usage(UpstreamError::Url { url }).hint("use one like https://models.example.com"))
}

fn read_script(path: &Path) -> Result<String, Failure> {
    let failed = |source| {
        Failure::usage(UpstreamError::Script {
            path: path.to_owned(),
            source,
        })
        .hint("name a file as docs/simulated-model.md describes it")
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(std::io::Error::other("it is not a file")));
    }
    if metadata.len() > MAX_SCRIPT_BYTES {
        return Err(Failure::usage(UpstreamError::LargeScript {
            path: path.to_owned(),
        }));
    }
    fs::read_to_string(path).map_err(failed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn example_directory() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/bugfix")
    }

    fn with_key(key: &str) -> Environment {
        Environment {
            api_key: Some(key.into()),
            ..Environment::default()
        }
    }

    #[test]
    fn a_key_is_used_and_never_shown() {
        let (upstream, notice) =
            choose_upstream(None, Some(&example_directory()), &with_key("sk-secret")).unwrap();
        assert!(matches!(&upstream, Upstream::Model { key, base_url: None } if key == "sk-secret"));
        assert!(!format!("{upstream:?}").contains("secret"));
        assert_eq!(notice, None);
    }

    #[test]
    fn without_a_key_only_the_example_is_played_and_it_is_said() {
        let (upstream, notice) =
            choose_upstream(None, Some(&example_directory()), &Environment::default()).unwrap();
        assert!(matches!(upstream, Upstream::Simulated { .. }));
        assert!(notice.unwrap().starts_with("no ANTHROPIC_API_KEY is set."));
        for workspace in [None, Some(Path::new("/tmp"))] {
            let failure = choose_upstream(None, workspace, &Environment::default()).unwrap_err();
            assert_eq!(failure.to_string(), "ANTHROPIC_API_KEY is not set");
            assert!(failure.hint.unwrap().contains("--simulate"));
        }
    }

    #[test]
    fn a_script_is_played_when_asked_for_even_with_a_key() {
        let script = example_directory().join("../bugfix.script.json");
        let (upstream, notice) = choose_upstream(Some(&script), None, &with_key("sk-x")).unwrap();
        assert!(matches!(upstream, Upstream::Simulated { .. }));
        assert!(notice.unwrap().contains("the replies are not"));
        for path in ["/nowhere/script.json", "/tmp"] {
            assert!(choose_upstream(Some(Path::new(path)), None, &Environment::default()).is_err());
        }
    }

    #[test]
    fn keys_urls_and_servers_that_cannot_be_used_are_refused() {
        for key in ["two words", "line\n", "schl\u{fc}ssel"] {
            let failure = choose_upstream(None, None, &with_key(key)).unwrap_err();
            assert!(
                !failure.to_string().contains(key),
                "a key is not repeated: {failure}"
            );
        }
        for (url, sound) in [
            ("https://x.example/", true),
            ("http://127.0.0.1:8080", true),
            ("ftp://x", false),
            ("x.example", false),
            ("https://", false),
            ("http://a b", false),
        ] {
            let environment = Environment {
                base_url: Some(url.into()),
                ..with_key("sk-x")
            };
            assert_eq!(choose_upstream(None, None, &environment).is_ok(), sound, "{url}");
        }
    }
}
