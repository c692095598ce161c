//! Every option the SDKs and the official command line know, and what this runtime does with it.

/// What follows an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Value,
    /// A value after `=`, or none.
    Inline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    AddDir,
    AllowBypass,
    AllowedTools,
    AppendSystemPrompt,
    AppendSystemPromptFile,
    Betas,
    Continue,
    DisallowedTools,
    DropTurn,
    Effort,
    Fork,
    Help,
    InputFormat,
    MaxBudget,
    MaxThinkingTokens,
    MaxTurns,
    McpConfig,
    Model,
    NoPersistence,
    OutputFormat,
    PartialMessages,
    PermissionMode,
    PermissionPromptTool,
    Replay,
    Resume,
    ResumeAt,
    RunToolUses,
    SessionId,
    SettingSources,
    Settings,
    SkipPermissions,
    SystemPrompt,
    SystemPromptFile,
    TaskBudget,
    Thinking,
    Tools,
    Version,
    /// Accepted; what it asks for is a nicety, or what this runtime does anyway.
    Ignored,
    /// The turn would go wrong without it.
    Refused(&'static str),
    /// The same, if its value asks for anything.
    RefusedUnlessEmpty(&'static str),
}

const PLUGINS: &str = "plugins are not implemented";

const TABLE: &[(&str, Flag, Takes)] = &[
    ("--add-dir", Flag::AddDir, Takes::Value),
    (
        "--agent",
        Flag::Refused("agent definitions are not implemented"),
        Takes::Value,
    ),
    (
        "--allow-dangerously-skip-permissions",
        Flag::AllowBypass,
        Takes::Nothing,
    ),
    ("--allowedTools", Flag::AllowedTools, Takes::Value),
    ("--allowed-tools", Flag::AllowedTools, Takes::Value),
    ("--append-system-prompt", Flag::AppendSystemPrompt, Takes::Value),
    (
        "--append-system-prompt-file",
        Flag::AppendSystemPromptFile,
        Takes::Value,
    ),
    ("--await-initialize", Flag::Ignored, Takes::Nothing),
    ("--bare", Flag::Ignored, Takes::Nothing),
    ("--betas", Flag::Betas, Takes::Value),
    ("--channels", Flag::Ignored, Takes::Value),
    ("--continue", Flag::Continue, Takes::Nothing),
    ("-c", Flag::Continue, Takes::Nothing),
    (
        "--dangerously-skip-permissions",
        Flag::SkipPermissions,
        Takes::Nothing,
    ),
    ("--debug", Flag::Ignored, Takes::Inline),
    ("--debug-file", Flag::Ignored, Takes::Value),
    ("--debug-to-stderr", Flag::Ignored, Takes::Nothing),
    ("--disallowedTools", Flag::DisallowedTools, Takes::Value),
    ("--disallowed-tools", Flag::DisallowedTools, Takes::Value),
    ("--effort", Flag::Effort, Takes::Value),
    ("--fallback-model", Flag::Ignored, Takes::Value),
    ("--fork-session", Flag::Fork, Takes::Nothing),
    ("--help", Flag::Help, Takes::Nothing),
    ("-h", Flag::Help, Takes::Nothing),
    ("--include-hook-events", Flag::Ignored, Takes::Nothing),
    (
        "--include-partial-messages",
        Flag::PartialMessages,
        Takes::Nothing,
    ),
    ("--initialize-fields", Flag::Ignored, Takes::Value),
    ("--input-format", Flag::InputFormat, Takes::Value),
    (
        "--json-schema",
        Flag::Refused("structured output is not implemented"),
        Takes::Value,
    ),
    (
        "--managed-settings",
        Flag::RefusedUnlessEmpty("managed settings are not implemented"),
        Takes::Value,
    ),
    ("--managed-settings-in-initialize", Flag::Ignored, Takes::Nothing),
    ("--max-budget-usd", Flag::MaxBudget, Takes::Value),
    ("--max-thinking-tokens", Flag::MaxThinkingTokens, Takes::Value),
    ("--max-turns", Flag::MaxTurns, Takes::Value),
    ("--mcp-config", Flag::McpConfig, Takes::Value),
    ("--model", Flag::Model, Takes::Value),
    ("--name", Flag::Ignored, Takes::Value),
    ("--no-session-persistence", Flag::NoPersistence, Takes::Nothing),
    ("--output-format", Flag::OutputFormat, Takes::Value),
    ("--permission-mode", Flag::PermissionMode, Takes::Value),
    (
        "--permission-prompt-tool",
        Flag::PermissionPromptTool,
        Takes::Value,
    ),
    ("--permission-prompts", Flag::Ignored, Takes::Value),
    ("--plugin-dir", Flag::Refused(PLUGINS), Takes::Value),
    ("--plugin-dir-no-mcp", Flag::Refused(PLUGINS), Takes::Value),
    ("--plugin-url", Flag::Refused(PLUGINS), Takes::Value),
    ("--print", Flag::Ignored, Takes::Nothing),
    ("-p", Flag::Ignored, Takes::Nothing),
    ("--project-config-root", Flag::Ignored, Takes::Value),
    ("--prompt-suggestions", Flag::Ignored, Takes::Inline),
    ("--replay-user-messages", Flag::Replay, Takes::Nothing),
    ("--resume", Flag::Resume, Takes::Value),
    ("-r", Flag::Resume, Takes::Value),
    ("--resume-drops-turn", Flag::DropTurn, Takes::Value),
    ("--resume-session-at", Flag::ResumeAt, Takes::Value),
    (
        "--rewind-files",
        Flag::Refused("file checkpoints are not implemented"),
        Takes::Value,
    ),
    // Not of the official command line: hosts of ours use it to go on after a crash.
    ("--run-tool-uses", Flag::RunToolUses, Takes::Value),
    ("--safe-mode", Flag::Ignored, Takes::Nothing),
    ("--session-id", Flag::SessionId, Takes::Value),
    (
        "--session-mirror",
        Flag::Refused("mirroring the transcript is not implemented"),
        Takes::Nothing,
    ),
    ("--setting-sources", Flag::SettingSources, Takes::Value),
    ("--settings", Flag::Settings, Takes::Value),
    ("--strict-mcp-config", Flag::Ignored, Takes::Nothing),
    ("--system-prompt", Flag::SystemPrompt, Takes::Value),
    ("--system-prompt-file", Flag::SystemPromptFile, Takes::Value),
    ("--task-budget", Flag::TaskBudget, Takes::Value),
    ("--thinking", Flag::Thinking, Takes::Value),
    ("--thinking-display", Flag::Ignored, Takes::Value),
    ("--tools", Flag::Tools, Takes::Value),
    ("--verbose", Flag::Ignored, Takes::Nothing),
    ("--version", Flag::Version, Takes::Nothing),
    ("-v", Flag::Version, Takes::Nothing),
];

pub(super) fn find(option: &str) -> Option<(Flag, Takes)> {
    TABLE
        .iter()
        .find(|(name, ..)| *name == option)
        .map(|&(_, flag, takes)| (flag, takes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_stands_once_in_the_table() {
        for (index, (name, ..)) in TABLE.iter().enumerate() {
            assert!(
                TABLE[index + 1..].iter().all(|(other, ..)| other != name),
                "{name} stands twice"
            );
        }
    }
}
