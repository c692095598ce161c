//! Which tools an agent has, and which of them ask first. Pure.
//!
//! A runtime is told by its command line: tools that are not enabled are not offered to the model, and those that ask
//! have a rule that goes before its permission mode. Custom tools are a server of the host's, reached over the control
//! channel.

use crate::runtime_tool_name;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use wire::agents::BuiltInTool;
use wire::{EvaluatedPermission, Evaluation};

/// The host's server of custom tools, as runtimes know it.
pub const SERVER: &str = "custom";

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Toolset {
    /// The enabled ones of the agent toolset, by their names on the wire.
    pub built_in: BTreeMap<String, Permission>,
    pub custom: Vec<CustomTool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    AlwaysAllow,
    AlwaysAsk,
}

/// A tool that the client plays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CustomTool {
    pub name: String,
    pub description: String,
    pub input_schema: Map<String, Value>,
}

/// What a call is, by the name that a runtime gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    Custom,
    BuiltIn {
        permission: EvaluatedPermission,
        /// Nothing where no policy applies, since the tool is not enabled.
        evaluation: Option<Evaluation>,
    },
}

impl Judged {
    /// Whether the call waits for the user.
    pub fn asks(self) -> bool {
        match self {
            Self::Custom => true,
            Self::BuiltIn { permission, .. } => permission == EvaluatedPermission::Ask,
        }
    }
}

/// A session that was given no toolset may use all that its runtime has, without asking.
pub fn judge(toolset: Option<&Toolset>, name: &str) -> Judged {
    let allow = Judged::BuiltIn {
        permission: EvaluatedPermission::Allow,
        evaluation: Some(Evaluation::AlwaysAllow),
    };
    let Some(toolset) = toolset else { return allow };
    if toolset.custom_tool(name).is_some() {
        return Judged::Custom;
    }
    match toolset.built_in.get(name) {
        Some(Permission::AlwaysAllow) => allow,
        Some(Permission::AlwaysAsk) => Judged::BuiltIn {
            permission: EvaluatedPermission::Ask,
            evaluation: Some(Evaluation::AlwaysAsk),
        },
        None => Judged::BuiltIn {
            permission: EvaluatedPermission::Deny,
            evaluation: None,
        },
    }
}

impl Toolset {
    pub fn custom_tool(&self, name: &str) -> Option<&CustomTool> {
        self.custom.iter().find(|tool| tool.name == name)
    }

    pub fn has_web_search(&self) -> bool {
        self.built_in.contains_key(BuiltInTool::WebSearch.as_str())
    }

    /// What a runtime's command line says of its tools.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--tools".to_owned(), self.names(|_| true).join(",")];
        if !self.settings().is_empty() {
            arguments.extend(["--permission-prompt-tool".to_owned(), "stdio".to_owned()]);
        }
        arguments
    }

    /// What its settings say of them.
    pub fn settings(&self) -> Map<String, Value> {
        let asking = self.names(|permission| *permission == Permission::AlwaysAsk);
        let rules = (!asking.is_empty()).then(|| ("permissions".to_owned(), json!({"ask": asking})));
        rules.into_iter().collect()
    }

    fn names(&self, wanted: fn(&Permission) -> bool) -> Vec<&str> {
        let found = self.built_in.iter().filter(|(_, permission)| wanted(permission));
        found.map(|(name, _)| runtime_tool_name(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn toolset() -> Toolset {
        Toolset {
            built_in: [
                ("bash".to_owned(), Permission::AlwaysAsk),
                ("read".to_owned(), Permission::AlwaysAllow),
            ]
            .into(),
            custom: vec![CustomTool {
                name: "weather".to_owned(),
                description: "the weather".to_owned(),
                input_schema: Map::new(),
            }],
        }
    }

    #[test]
    fn each_tool_is_judged_by_its_policy() {
        let toolset = toolset();
        let permission = |name| match judge(Some(&toolset), name) {
            Judged::Custom => None,
            Judged::BuiltIn { permission, .. } => Some(permission),
        };
        assert_eq!(permission("bash"), Some(EvaluatedPermission::Ask));
        assert_eq!(permission("read"), Some(EvaluatedPermission::Allow));
        assert_eq!(permission("write"), Some(EvaluatedPermission::Deny));
        assert_eq!(permission("weather"), None);
        assert!(!judge(None, "bash").asks() && judge(Some(&toolset), "weather").asks());
    }

    #[test]
    fn a_runtime_is_told_what_it_has_and_what_asks() {
        let expected = ["--tools", "Bash,Read", "--permission-prompt-tool", "stdio"];
        assert_eq!(toolset().arguments(), expected);
        let settings = Value::Object(toolset().settings());
        assert_eq!(settings, json!({"permissions": {"ask": ["Bash"]}}));
        assert_eq!(Toolset::default().arguments(), ["--tools", ""]);
        assert!(Toolset::default().settings().is_empty());
    }
}
