//! The environment this runtime honours, read once; nothing else looks at environment variables.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The credential of model calls.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    None,
    ApiKey(String),
    Bearer(String),
}

/// Whether `session_state_changed` frames are sent, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateFrames {
    Silent,
    HostOnly,
    Visible,
}

#[derive(Clone)]
pub struct Environment {
    pub base_url: String,
    pub credential: Credential,
    pub custom_headers: Vec<(String, String)>,
    pub betas: Vec<String>,
    pub model: Option<String>,
    pub opus: String,
    pub sonnet: String,
    pub haiku: String,
    /// For questions beside the conversation; the session's own model where none is named.
    pub small_model: Option<String>,
    /// As commands see them too.
    pub http_proxy: String,
    pub https_proxy: String,
    pub no_proxy: String,
    /// From sending a request to the head of its answer.
    pub answer_timeout: Duration,
    /// How long a stream may be silent.
    pub stream_idle_timeout: Duration,
    pub max_retries: u32,
    pub first_retry_delay: Duration,
    pub max_output_tokens: Option<u64>,
    pub max_thinking_tokens: Option<u64>,
    pub caches_prompts: bool,
    pub caches_for_an_hour: bool,
    pub home: PathBuf,
    pub config_directory: PathBuf,
    pub project_directory_name: Option<String>,
    pub bash_default_timeout: Duration,
    pub bash_max_timeout: Duration,
    pub bash_max_output: usize,
    /// How long the greeting of an MCP server may take; calls take as long as they take.
    pub mcp_timeout: Duration,
    /// In characters, of one call's answer.
    pub max_mcp_output: usize,
    pub state_frames: StateFrames,
    /// Tools of the host's servers have the names that the servers give them.
    pub bare_mcp_names: bool,
    pub is_sandbox: bool,
    pub entrypoint: String,
    /// What commands inherit: everything but the credentials stays as it is.
    pub inherited: BTreeMap<String, String>,
}

impl Environment {
    pub fn from_process() -> Self {
        Self::read(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// A number that does not parse counts as not set.
    pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let inherited: BTreeMap<String, String> = variables.into_iter().collect();
        let text = |name: &str| inherited.get(name).filter(|value| !value.is_empty()).cloned();
        let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
        let milliseconds = |name: &str, default: u64| Duration::from_millis(number(name).unwrap_or(default));
        let truthy = |name: &str| {
            text(name).is_some_and(|value| matches!(value.as_str(), "1" | "true" | "yes" | "on"))
        };
        let either = |lower: &str, upper: &str| text(lower).or_else(|| text(upper)).unwrap_or_default();
        let home = PathBuf::from(text("HOME").unwrap_or_else(|| "/".to_owned()));
        let credential = match (text("ANTHROPIC_API_KEY"), text("ANTHROPIC_AUTH_TOKEN")) {
            (_, Some(token)) => Credential::Bearer(token),
            (Some(key), None) => Credential::ApiKey(key),
            (None, None) => Credential::None,
        };
        Self {
            base_url: text("ANTHROPIC_BASE_URL")
                .unwrap_or_else(|| "https://api.anthropic.com".to_owned())
                .trim_end_matches('/')
                .to_owned(),
            credential,
            custom_headers: text("ANTHROPIC_CUSTOM_HEADERS")
                .map(|lines| headers(&lines))
                .unwrap_or_default(),
            betas: text("ANTHROPIC_BETAS")
                .map(|list| comma_list(&list))
                .unwrap_or_default(),
            model: text("ANTHROPIC_MODEL"),
            opus: text("ANTHROPIC_DEFAULT_OPUS_MODEL").unwrap_or_else(|| "claude-opus-5-5".to_owned()),
            sonnet: text("ANTHROPIC_DEFAULT_SONNET_MODEL").unwrap_or_else(|| "claude-sonnet-4-5".to_owned()),
            haiku: text("ANTHROPIC_DEFAULT_HAIKU_MODEL").unwrap_or_else(|| "claude-haiku-4-5".to_owned()),
            small_model: text("ANTHROPIC_SMALL_FAST_MODEL"),
            http_proxy: either("http_proxy", "HTTP_PROXY"),
            https_proxy: either("https_proxy", "HTTPS_PROXY"),
            no_proxy: either("no_proxy", "NO_PROXY"),
            answer_timeout: milliseconds("API_TIMEOUT_MS", 600_000),
            stream_idle_timeout: milliseconds("CLAUDE_STREAM_IDLE_TIMEOUT_MS", 300_000),
            max_retries: number("CLAUDE_CODE_MAX_RETRIES").unwrap_or(10).min(15) as u32,
            first_retry_delay: Duration::from_millis(500),
            max_output_tokens: number("CLAUDE_CODE_MAX_OUTPUT_TOKENS").filter(|&tokens| tokens > 0),
            max_thinking_tokens: number("MAX_THINKING_TOKENS"),
            caches_prompts: !truthy("DISABLE_PROMPT_CACHING"),
            caches_for_an_hour: truthy("ENABLE_PROMPT_CACHING_1H"),
            config_directory: text("CLAUDE_CONFIG_DIR").map_or_else(|| home.join(".claude"), PathBuf::from),
            home,
            project_directory_name: text("CLAUDE_CODE_PROJECT_DIR_NAME"),
            bash_default_timeout: milliseconds("BASH_DEFAULT_TIMEOUT_MS", 120_000),
            bash_max_timeout: milliseconds("BASH_MAX_TIMEOUT_MS", 600_000),
            bash_max_output: number("BASH_MAX_OUTPUT_LENGTH")
                .unwrap_or(30_000)
                .clamp(1_000, 150_000) as usize,
            mcp_timeout: milliseconds("MCP_TIMEOUT", 30_000),
            // A token is about four characters.
            max_mcp_output: number("MAX_MCP_OUTPUT_TOKENS")
                .unwrap_or(25_000)
                .clamp(1_000, 250_000) as usize
                * 4,
            state_frames: if truthy("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS") {
                StateFrames::Visible
            } else if truthy("CLAUDE_CODE_SDK_READS_SESSION_STATE") {
                StateFrames::HostOnly
            } else {
                StateFrames::Silent
            },
            bare_mcp_names: truthy("CLAUDE_AGENT_SDK_MCP_NO_PREFIX"),
            is_sandbox: truthy("IS_SANDBOX"),
            entrypoint: text("CLAUDE_CODE_ENTRYPOINT").unwrap_or_else(|| "cli".to_owned()),
            inherited,
        }
    }

    /// What `apiKeySource` says in the init frame.
    pub fn credential_source(&self) -> &'static str {
        match self.credential {
            Credential::ApiKey(_) => "ANTHROPIC_API_KEY",
            Credential::Bearer(_) | Credential::None => "none",
        }
    }

    /// What the shell's commands see: the credentials of the model are not theirs.
    pub fn of_commands(&self) -> BTreeMap<String, String> {
        let mut variables = self.inherited.clone();
        for name in [
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "ANTHROPIC_CUSTOM_HEADERS",
        ] {
            variables.remove(name);
        }
        variables.insert("CLAUDECODE".to_owned(), "1".to_owned());
        variables.insert("CLAUDE_CODE_ENTRYPOINT".to_owned(), self.entrypoint.clone());
        variables
    }

    /// The model's full id; an alias stands for the newest of its family.
    pub fn resolve_model(&self, name: &str) -> String {
        match name {
            "default" | "opus" | "best" => self.opus.clone(),
            "sonnet" => self.sonnet.clone(),
            "haiku" => self.haiku.clone(),
            other => other.to_owned(),
        }
    }
}

/// `Name: value` lines.
fn headers(lines: &str) -> Vec<(String, String)> {
    lines
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

fn comma_list(list: &str) -> Vec<String> {
    list.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        Environment::read(
            variables
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned())),
        )
    }

    #[test]
    fn what_is_not_set_or_does_not_parse_has_its_default() {
        let environment = read(&[
            ("HOME", "/h"),
            ("CLAUDE_CODE_MAX_RETRIES", "many"),
            ("ANTHROPIC_BASE_URL", ""),
        ]);
        assert_eq!(environment.base_url, "https://api.anthropic.com");
        assert_eq!(environment.max_retries, 10);
        assert_eq!(environment.config_directory, PathBuf::from("/h/.claude"));
        assert_eq!(environment.state_frames, StateFrames::Silent);
    }

    #[test]
    fn commands_do_not_inherit_the_model_s_credentials() {
        let environment = read(&[
            ("ANTHROPIC_API_KEY", "k"),
            ("ANTHROPIC_CUSTOM_HEADERS", "A: b\nC:d"),
            ("PATH", "/bin"),
        ]);
        let commands = environment.of_commands();
        assert!(
            !commands.contains_key("ANTHROPIC_API_KEY") && !commands.contains_key("ANTHROPIC_CUSTOM_HEADERS")
        );
        assert_eq!(commands["PATH"], "/bin");
        assert_eq!(commands["CLAUDECODE"], "1");
        assert_eq!(
            environment.custom_headers,
            [("A".into(), "b".into()), ("C".into(), "d".into())]
        );
    }

    #[test]
    fn aliases_resolve_and_full_ids_stay() {
        let environment = read(&[("ANTHROPIC_DEFAULT_SONNET_MODEL", "claude-sonnet-9")]);
        assert_eq!(environment.resolve_model("sonnet"), "claude-sonnet-9");
        assert_eq!(environment.resolve_model("claude-x"), "claude-x");
    }
}
