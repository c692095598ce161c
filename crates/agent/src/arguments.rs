//! The command line, as the SDKs write it: `--flag value` and `--flag=value`, camel case and kebab case mixed.
//!
//! Every flag of the official command line is accepted. One that asks for what this runtime does not do is refused
//! where going on without it would give a wrong answer, and accepted where only a nicety is lost.

mod mcp_config;
mod table;

use domain::Cost;
pub(crate) use mcp_config::{Foreign, names as mcp_server_names};
use permissions::{Mode, split_rules};
use std::ffi::OsString;
use std::path::PathBuf;
use table::{Flag, Takes, find};

/// The base set of tools, before deny rules take some away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolSet {
    #[default]
    Default,
    Named(Vec<String>),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Resume {
    #[default]
    New,
    /// The newest session of this directory.
    Newest,
    /// A session id, or the path of a transcript.
    Named(String),
}

/// Which settings files, and which CLAUDE.md with them, are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingSources {
    pub user: bool,
    pub project: bool,
    pub local: bool,
}

impl Default for SettingSources {
    fn default() -> Self {
        Self {
            user: true,
            project: true,
            local: true,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Arguments {
    /// A prompt given as an argument; the first turn.
    pub prompt: Option<String>,
    pub reads_stdin: bool,
    pub shows_version: bool,
    pub shows_help: bool,
    pub model: Option<String>,
    pub system_prompt: Option<String>,
    pub append_system_prompt: Option<String>,
    pub tools: ToolSet,
    pub allowed_tools: Vec<String>,
    pub disallowed_tools: Vec<String>,
    pub max_turns: Option<u32>,
    pub max_budget: Option<Cost>,
    pub task_budget: Option<u64>,
    pub betas: Vec<String>,
    /// `can_use_tool` over the control channel.
    pub asks_host: bool,
    pub permission_mode: Option<Mode>,
    pub allows_bypass: bool,
    pub resume: Resume,
    pub session_id: Option<String>,
    pub forks: bool,
    pub resume_at: Option<String>,
    pub drop_turn: Option<String>,
    /// Open tool uses of the resumed session that are run as if the model had just asked; `Some` goes on without a
    /// new prompt.
    pub run_tool_uses: Option<Vec<String>>,
    /// MCP servers inside the host.
    pub mcp_servers: Vec<String>,
    /// JSON text or a path.
    pub settings: Option<String>,
    pub setting_sources: SettingSources,
    pub additional_directories: Vec<PathBuf>,
    pub partial_messages: bool,
    pub replays_user_messages: bool,
    pub skips_transcript: bool,
    pub thinking_disabled: bool,
    pub thinking_adaptive: bool,
    pub max_thinking_tokens: Option<u64>,
    pub effort: Option<String>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    #[error("unknown option '{option}'")]
    Unknown { option: String },
    #[error("option '{option}' argument missing")]
    MissingValue { option: String },
    #[error("option '{option}' takes no argument")]
    UnexpectedValue { option: String },
    #[error("option '{option}' argument '{value}' is invalid. {expected}")]
    BadValue {
        option: String,
        value: String,
        expected: &'static str,
    },
    #[error("option '{option}' is not supported by hostler-agent: {reason}")]
    Unsupported { option: String, reason: &'static str },
    #[error("option '{option}' is not supported by hostler-agent: {foreign}")]
    ForeignServer { option: String, foreign: Foreign },
    #[error("option '{option}' needs {other}")]
    Needs {
        option: &'static str,
        other: &'static str,
    },
    #[error("an argument is not UTF-8")]
    NotUtf8,
    #[error("cannot read {path}: {reason}")]
    Unreadable { path: String, reason: String },
}

impl Arguments {
    /// Reads the arguments after the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ArgumentError> {
        let mut arguments = arguments
            .into_iter()
            .map(|argument| argument.into_string().map_err(|_| ArgumentError::NotUtf8))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .peekable();
        let mut parsed = Self::default();
        let mut only_words = false;
        while let Some(argument) = arguments.next() {
            if only_words || !argument.starts_with('-') || argument == "-" {
                parsed.prompt = Some(argument);
                continue;
            }
            if argument == "--" {
                only_words = true;
                continue;
            }
            let (option, inline) = match argument.split_once('=') {
                Some((option, value)) if option.starts_with("--") => {
                    (option.to_owned(), Some(value.to_owned()))
                }
                _ => (argument, None),
            };
            let Some((flag, takes)) = find(&option) else {
                return Err(ArgumentError::Unknown { option });
            };
            let value = match (takes, inline) {
                (Takes::Nothing, Some(_)) => return Err(ArgumentError::UnexpectedValue { option }),
                (Takes::Nothing | Takes::Inline, None) => String::new(),
                (Takes::Value | Takes::Inline, Some(value)) => value,
                (Takes::Value, None) => match arguments.next() {
                    Some(value) => value,
                    None => return Err(ArgumentError::MissingValue { option }),
                },
            };
            parsed.apply(flag, &option, value)?;
        }
        if parsed.system_prompt.is_some() && parsed.append_system_prompt.as_deref() == Some("") {
            parsed.append_system_prompt = None;
        }
        if parsed.run_tool_uses.is_some() && !matches!(parsed.resume, Resume::Named(_)) {
            return Err(ArgumentError::Needs {
                option: "--run-tool-uses",
                other: "--resume",
            });
        }
        Ok(parsed)
    }

    fn apply(&mut self, flag: Flag, option: &str, value: String) -> Result<(), ArgumentError> {
        match flag {
            Flag::Ignored => {}
            Flag::Refused(reason) => {
                return Err(ArgumentError::Unsupported {
                    option: option.to_owned(),
                    reason,
                });
            }
            Flag::RefusedUnlessEmpty(reason) => {
                if !names_nothing(&value) {
                    return Err(ArgumentError::Unsupported {
                        option: option.to_owned(),
                        reason,
                    });
                }
            }
            Flag::Version => self.shows_version = true,
            Flag::Help => self.shows_help = true,
            Flag::InputFormat => {
                self.reads_stdin = one_of(
                    option,
                    &value,
                    &["stream-json", "text"],
                    "Allowed choices are text, stream-json.",
                )? == "stream-json";
            }
            Flag::OutputFormat => {
                one_of(
                    option,
                    &value,
                    &["stream-json"],
                    "hostler-agent writes stream-json only.",
                )?;
            }
            Flag::Model => self.model = Some(value),
            Flag::SystemPrompt => self.system_prompt = Some(value),
            Flag::SystemPromptFile => self.system_prompt = Some(read(&value)?),
            Flag::AppendSystemPrompt => self.append_system_prompt = Some(value),
            Flag::AppendSystemPromptFile => self.append_system_prompt = Some(read(&value)?),
            Flag::Tools if value == "default" => self.tools = ToolSet::Default,
            Flag::Tools => self.tools = ToolSet::Named(split_rules(&value)),
            Flag::AllowedTools => self.allowed_tools.extend(split_rules(&value)),
            Flag::DisallowedTools => self.disallowed_tools.extend(split_rules(&value)),
            Flag::Betas => self.betas.extend(split_rules(&value)),
            _ => return self.apply_limit_or_session(flag, option, value),
        }
        Ok(())
    }

    fn apply_limit_or_session(
        &mut self,
        flag: Flag,
        option: &str,
        value: String,
    ) -> Result<(), ArgumentError> {
        match flag {
            Flag::MaxTurns => self.max_turns = Some(number(option, &value)?),
            Flag::MaxBudget => self.max_budget = Some(budget(option, &value)?),
            Flag::TaskBudget => self.task_budget = Some(number(option, &value)?),
            Flag::MaxThinkingTokens => self.max_thinking_tokens = Some(number(option, &value)?),
            Flag::Thinking => match one_of(
                option,
                &value,
                &["adaptive", "enabled", "disabled"],
                "Allowed choices are adaptive, enabled, disabled.",
            )? {
                "disabled" => self.thinking_disabled = true,
                _ => self.thinking_adaptive = true,
            },
            Flag::Effort => {
                let efforts = ["low", "medium", "high", "xhigh", "max"];
                one_of(
                    option,
                    &value,
                    &efforts,
                    "Allowed choices are low, medium, high, xhigh, max.",
                )?;
                self.effort = Some(value);
            }
            Flag::PermissionPromptTool => {
                if value != "stdio" {
                    let reason = "only 'stdio' can be asked";
                    return Err(ArgumentError::Unsupported {
                        option: option.to_owned(),
                        reason,
                    });
                }
                self.asks_host = true;
            }
            Flag::PermissionMode => {
                let expected =
                    "Allowed choices are acceptEdits, auto, bypassPermissions, manual, dontAsk, plan.";
                let mode = Mode::parse(&value).ok_or_else(|| ArgumentError::BadValue {
                    option: option.to_owned(),
                    value,
                    expected,
                })?;
                self.permission_mode = Some(mode);
            }
            Flag::SkipPermissions => self.permission_mode = Some(Mode::BypassPermissions),
            Flag::AllowBypass => self.allows_bypass = true,
            Flag::Continue => self.resume = Resume::Newest,
            Flag::Resume => self.resume = Resume::Named(value),
            Flag::SessionId => {
                let expected = "It must be a UUID.";
                if uuid::Uuid::try_parse(&value).is_err() {
                    return Err(ArgumentError::BadValue {
                        option: option.to_owned(),
                        value,
                        expected,
                    });
                }
                self.session_id = Some(value);
            }
            Flag::Fork => self.forks = true,
            Flag::RunToolUses => self.run_tool_uses = Some(ids(&value)),
            Flag::McpConfig => self.mcp_servers.extend(mcp_servers(option, &value)?),
            Flag::ResumeAt => self.resume_at = Some(value),
            Flag::DropTurn => self.drop_turn = Some(value),
            Flag::Settings => self.settings = Some(value),
            Flag::SettingSources => self.setting_sources = sources(option, &value)?,
            Flag::AddDir => self.additional_directories.push(PathBuf::from(value)),
            Flag::PartialMessages => self.partial_messages = true,
            Flag::Replay => self.replays_user_messages = true,
            Flag::NoPersistence => self.skips_transcript = true,
            _ => {}
        }
        Ok(())
    }
}

fn ids(value: &str) -> Vec<String> {
    let ids = value.split(',').map(str::trim).filter(|id| !id.is_empty());
    ids.map(str::to_owned).collect()
}

/// The servers in the option's JSON, or in the file it names.
fn mcp_servers(option: &str, value: &str) -> Result<Vec<String>, ArgumentError> {
    let bad = || ArgumentError::BadValue {
        option: option.to_owned(),
        value: value.chars().take(200).collect(),
        expected: "It must be a JSON object with 'mcpServers', or the path of a file that holds one.",
    };
    let value = value.trim();
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let text = if value.starts_with('{') {
        value.to_owned()
    } else {
        read(value)?
    };
    let config: serde_json::Value = serde_json::from_str(&text).map_err(|_| bad())?;
    match config.get("mcpServers") {
        None => Ok(Vec::new()),
        Some(servers) if servers.is_object() => {
            mcp_server_names(servers).map_err(|foreign| ArgumentError::ForeignServer {
                option: option.to_owned(),
                foreign,
            })
        }
        Some(_) => Err(bad()),
    }
}

/// Whether an option that would add something names nothing to add: `""`, `{}`, `{"mcpServers":{}}`.
fn names_nothing(value: &str) -> bool {
    match serde_json::from_str::<serde_json::Value>(value) {
        Ok(serde_json::Value::Object(map)) => map
            .values()
            .all(|value| value.as_object().is_some_and(serde_json::Map::is_empty)),
        _ => value.trim().is_empty(),
    }
}

fn one_of<'a>(
    option: &str,
    value: &'a str,
    choices: &[&str],
    expected: &'static str,
) -> Result<&'a str, ArgumentError> {
    if choices.contains(&value) {
        return Ok(value);
    }
    Err(ArgumentError::BadValue {
        option: option.to_owned(),
        value: value.to_owned(),
        expected,
    })
}

fn number<N: std::str::FromStr>(option: &str, value: &str) -> Result<N, ArgumentError> {
    let expected = "It must be a whole number, not negative.";
    value.parse().map_err(|_| ArgumentError::BadValue {
        option: option.to_owned(),
        value: value.to_owned(),
        expected,
    })
}

fn budget(option: &str, value: &str) -> Result<Cost, ArgumentError> {
    let expected = "It must be an amount in US dollars above zero.";
    match value.parse::<f64>() {
        Ok(usd) if usd.is_finite() && usd > 0.0 => Ok(Cost::from_usd(usd)),
        _ => Err(ArgumentError::BadValue {
            option: option.to_owned(),
            value: value.to_owned(),
            expected,
        }),
    }
}

fn sources(option: &str, value: &str) -> Result<SettingSources, ArgumentError> {
    let mut sources = SettingSources {
        user: false,
        project: false,
        local: false,
    };
    for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match name {
            "user" => sources.user = true,
            "project" => sources.project = true,
            "local" => sources.local = true,
            _ => {
                let expected = "Allowed choices are user, project, local.";
                return Err(ArgumentError::BadValue {
                    option: option.to_owned(),
                    value: value.to_owned(),
                    expected,
                });
            }
        }
    }
    Ok(sources)
}

fn read(path: &str) -> Result<String, ArgumentError> {
    std::fs::read_to_string(path).map_err(|error| ArgumentError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Arguments, ArgumentError> {
        Arguments::parse(line.iter().map(OsString::from))
    }

    #[test]
    fn both_spellings_of_a_value_are_read() {
        for line in [
            &["--model", "m", "--max-turns", "3"][..],
            &["--model=m", "--max-turns=3"],
        ] {
            let arguments = parse(line).unwrap();
            assert_eq!(
                (arguments.model.as_deref(), arguments.max_turns),
                (Some("m"), Some(3))
            );
        }
    }

    #[test]
    fn the_line_the_python_sdk_writes_is_read() {
        let arguments = parse(&[
            "--output-format",
            "stream-json",
            "--verbose",
            "--system-prompt",
            "",
            "--allowedTools",
            "Read,Bash(git diff:*),Edit(src/**)",
            "--permission-prompt-tool",
            "stdio",
            "--permission-mode",
            "acceptEdits",
            "--resume=abc",
            "--fork-session",
            "--setting-sources=",
            "--include-partial-messages",
            "--input-format",
            "stream-json",
        ])
        .unwrap();
        assert_eq!(arguments.system_prompt.as_deref(), Some(""));
        assert_eq!(
            arguments.allowed_tools,
            ["Read", "Bash(git diff:*)", "Edit(src/**)"]
        );
        assert_eq!(
            arguments.setting_sources,
            SettingSources {
                user: false,
                project: false,
                local: false
            }
        );
        assert!(
            arguments.asks_host && arguments.forks && arguments.partial_messages && arguments.reads_stdin
        );
        assert_eq!(arguments.resume, Resume::Named("abc".into()));
        assert_eq!(arguments.permission_mode, Some(Mode::AcceptEdits));
    }

    #[test]
    fn bad_arguments_say_what_is_wrong() {
        for (line, text) in [
            (&["--x"][..], "unknown option '--x'"),
            (&["--x=1"], "unknown option '--x'"),
            (&["-q"], "unknown option '-q'"),
            (&["--model"], "option '--model' argument missing"),
            (&["--verbose=1"], "option '--verbose' takes no argument"),
            (
                &["--permission-mode", "yolo"],
                "option '--permission-mode' argument 'yolo' is invalid. Allowed choices are acceptEdits, auto, bypassPermissions, manual, dontAsk, plan.",
            ),
            (
                &["--max-turns", "-1"],
                "option '--max-turns' argument '-1' is invalid. It must be a whole number, not negative.",
            ),
            (
                &["--max-budget-usd", "NaN"],
                "option '--max-budget-usd' argument 'NaN' is invalid. It must be an amount in US dollars above zero.",
            ),
            (
                &["--session-id", "me"],
                "option '--session-id' argument 'me' is invalid. It must be a UUID.",
            ),
            (
                &["--json-schema", "{\"type\":\"object\"}"],
                "option '--json-schema' is not supported by hostler-agent: structured output is not implemented",
            ),
            (
                &["--mcp-config", "{\"mcpServers\":{\"a\":{}}}"],
                "option '--mcp-config' is not supported by hostler-agent: the MCP server 'a' is of type 'stdio', and only servers of type 'sdk', inside the host, can be reached",
            ),
            (
                &["--mcp-config", "{\"mcpServers\":[]}"],
                "option '--mcp-config' argument '{\"mcpServers\":[]}' is invalid. It must be a JSON object with 'mcpServers', or the path of a file that holds one.",
            ),
            (
                &["--mcp-config", "/no/such.json"],
                "cannot read /no/such.json: No such file or directory (os error 2)",
            ),
            (
                &["--run-tool-uses", "t1"],
                "option '--run-tool-uses' needs --resume",
            ),
            (
                &["--continue", "--run-tool-uses="],
                "option '--run-tool-uses' needs --resume",
            ),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn the_host_s_own_servers_and_open_tool_uses_are_named() {
        let arguments = parse(&[
            "--resume=abc",
            "--run-tool-uses",
            "t1, t2,,",
            "--mcp-config",
            "{\"mcpServers\":{\"a\":{\"type\":\"sdk\",\"name\":\"a\"},\"b c\":{\"type\":\"sdk\"}}}",
        ])
        .unwrap();
        assert_eq!(
            arguments.run_tool_uses,
            Some(vec!["t1".to_owned(), "t2".to_owned()])
        );
        assert_eq!(arguments.mcp_servers, ["a", "b c"]);
        let arguments = parse(&["--resume=abc", "--run-tool-uses", ""]).unwrap();
        assert_eq!(arguments.run_tool_uses, Some(Vec::new()));
    }

    #[test]
    fn options_that_add_nothing_are_accepted() {
        for line in [
            &["--mcp-config", "{\"mcpServers\":{}}"][..],
            &["--mcp-config="],
            &["--debug"],
            &["--debug=api"],
            &["--strict-mcp-config"],
        ] {
            assert!(parse(line).is_ok(), "{line:?}");
        }
    }
}
