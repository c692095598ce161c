//! The tools of an agent: the built-in set, with what each may do unasked, and the client's own.

use crate::Invalid;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Across all sets.
pub const MAX_TOOLS: usize = 256;

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type")]
pub enum ToolInput {
    #[serde(rename = "agent_toolset_20260401")]
    AgentToolset(ToolsetInput),
    #[serde(rename = "custom")]
    Custom(CustomTool),
}

#[derive(Debug, Clone, Deserialize)]
pub struct ToolsetInput {
    #[serde(default)]
    default_config: Option<DefaultConfigInput>,
    #[serde(default)]
    configs: Option<Vec<ConfigInput>>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct DefaultConfigInput {
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    permission_policy: Option<PermissionPolicy>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct ConfigInput {
    name: BuiltInTool,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    permission_policy: Option<PermissionPolicy>,
}

/// Resolved: every policy is written out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Tool {
    #[serde(rename = "agent_toolset_20260401")]
    AgentToolset(AgentToolset),
    #[serde(rename = "custom")]
    Custom(CustomTool),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentToolset {
    pub default_config: DefaultConfig,
    /// The tools that were named; the others are as `default_config` says.
    pub configs: Vec<ToolConfig>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultConfig {
    pub enabled: bool,
    pub permission_policy: PermissionPolicy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolConfig {
    pub name: BuiltInTool,
    /// The name again, for clients that tell configurations apart by it.
    #[serde(rename = "type")]
    pub kind: BuiltInTool,
    pub enabled: bool,
    pub permission_policy: PermissionPolicy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuiltInTool {
    Bash,
    Edit,
    Read,
    Write,
    Glob,
    Grep,
    WebFetch,
    WebSearch,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PermissionPolicy {
    #[default]
    AlwaysAllow,
    /// The client is asked each time.
    AlwaysAsk,
}

/// A tool that the client runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CustomTool {
    pub name: String,
    pub description: String,
    pub input_schema: Map<String, Value>,
}

impl BuiltInTool {
    pub const ALL: [Self; 8] = [
        Self::Bash,
        Self::Edit,
        Self::Read,
        Self::Write,
        Self::Glob,
        Self::Grep,
        Self::WebFetch,
        Self::WebSearch,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Edit => "edit",
            Self::Read => "read",
            Self::Write => "write",
            Self::Glob => "glob",
            Self::Grep => "grep",
            Self::WebFetch => "web_fetch",
            Self::WebSearch => "web_search",
        }
    }
}

impl AgentToolset {
    /// What holds for one tool.
    pub fn config(&self, tool: BuiltInTool) -> DefaultConfig {
        let named = self.configs.iter().find(|config| config.name == tool);
        named.map_or(self.default_config, |config| DefaultConfig {
            enabled: config.enabled,
            permission_policy: config.permission_policy,
        })
    }
}

impl ToolInput {
    pub fn resolve(self) -> Tool {
        match self {
            Self::Custom(tool) => Tool::Custom(tool),
            Self::AgentToolset(toolset) => Tool::AgentToolset(toolset.resolve()),
        }
    }
}

impl ToolsetInput {
    fn resolve(self) -> AgentToolset {
        let default = self.default_config.unwrap_or_default();
        let default = DefaultConfig {
            enabled: default.enabled.unwrap_or(true),
            permission_policy: default.permission_policy.unwrap_or_default(),
        };
        let resolve = |config: ConfigInput| ToolConfig {
            name: config.name,
            kind: config.name,
            enabled: config.enabled.unwrap_or(default.enabled),
            permission_policy: config.permission_policy.unwrap_or(default.permission_policy),
        };
        AgentToolset {
            default_config: default,
            configs: self
                .configs
                .unwrap_or_default()
                .into_iter()
                .map(resolve)
                .collect(),
        }
    }
}

/// No name twice, no set twice, and not too many together.
pub(crate) fn check(tools: &[ToolInput]) -> Result<(), Invalid> {
    let has_toolset = tools
        .iter()
        .any(|tool| matches!(tool, ToolInput::AgentToolset(_)));
    let built_in = if has_toolset { BuiltInTool::ALL.len() } else { 0 };
    let count = tools.len() - usize::from(has_toolset) + built_in;
    if count > MAX_TOOLS {
        let problem = format!("must have at most {MAX_TOOLS} tools across all sets, and has {count}");
        return Err(Invalid::new("tools", problem));
    }
    let mut seen_toolset = false;
    let mut names = BTreeSet::new();
    for (index, tool) in tools.iter().enumerate() {
        let wrong = |invalid: Invalid| invalid.at(index).under("tools");
        match tool {
            ToolInput::AgentToolset(_) if std::mem::replace(&mut seen_toolset, true) => {
                return Err(wrong(Invalid::new(
                    "",
                    "is a second agent_toolset_20260401: give one",
                )));
            }
            ToolInput::AgentToolset(toolset) => toolset.check().map_err(wrong)?,
            ToolInput::Custom(tool) => {
                tool.check(has_toolset).map_err(wrong)?;
                if !names.insert(tool.name.as_str()) {
                    let problem = format!("{:?} is the name of an earlier tool", tool.name);
                    return Err(wrong(Invalid::new("name", problem)));
                }
            }
        }
    }
    Ok(())
}

impl ToolsetInput {
    fn check(&self) -> Result<(), Invalid> {
        let mut seen = BTreeSet::new();
        for (index, config) in self.configs.iter().flatten().enumerate() {
            if !seen.insert(config.name) {
                let problem = format!("{:?} is configured twice", config.name.as_str());
                return Err(Invalid::new("name", problem).at(index).under("configs"));
            }
        }
        Ok(())
    }
}

impl CustomTool {
    fn check(&self, has_toolset: bool) -> Result<(), Invalid> {
        let mut built_in = BuiltInTool::ALL.iter().map(|tool| tool.as_str());
        // Runtimes have names of their own for them, which differ by case and underscores.
        let plain = |name: &str| name.replace('_', "").to_lowercase();
        if has_toolset && built_in.any(|name| plain(name) == plain(&self.name)) {
            let problem = format!("{:?} is the name of a tool of agent_toolset_20260401", self.name);
            return Err(Invalid::new("name", problem));
        }
        Ok(())
    }
}
