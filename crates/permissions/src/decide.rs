//! The decision about one call, and what a host's answers change for the next.

use crate::command::split;
use crate::{Directories, Rule};
use agent_tools::Kind;
use serde_json::Value;
use stream_json::{PermissionRule, PermissionUpdate};
use web_fetch::Target;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Default,
    AcceptEdits,
    BypassPermissions,
    Plan,
    DontAsk,
    /// Judged by a classifier in the official command line; here it asks like the default mode.
    Auto,
}

impl Mode {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "default" | "manual" => Self::Default,
            "acceptEdits" => Self::AcceptEdits,
            "bypassPermissions" => Self::BypassPermissions,
            "plan" => Self::Plan,
            "dontAsk" => Self::DontAsk,
            "auto" => Self::Auto,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::AcceptEdits => "acceptEdits",
            Self::BypassPermissions => "bypassPermissions",
            Self::Plan => "plan",
            Self::DontAsk => "dontAsk",
            Self::Auto => "auto",
        }
    }
}

/// Why, in the words of the protocol: `rule`, `mode`, `other`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Ask {
        reason: String,
        reason_type: &'static str,
    },
    Deny {
        message: String,
        reason_type: &'static str,
    },
}

/// The call to judge.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub tool: &'a str,
    pub kind: Kind,
    /// The MCP server whose tool it is.
    pub server: Option<&'a str>,
    pub input: &'a Value,
}

impl Call<'_> {
    /// The file a file tool works on, or the directory a search starts in. What others call a path is not known.
    pub fn path(&self) -> Option<&str> {
        if self.server.is_some() || self.kind == Kind::Network {
            return None;
        }
        ["file_path", "notebook_path", "path"]
            .iter()
            .find_map(|key| self.input.get(key)?.as_str())
    }

    /// The host that a page is fetched from.
    pub fn domain(&self) -> Option<String> {
        let is_fetch = self.tool == "WebFetch" && self.server.is_none();
        let url = is_fetch.then(|| self.input.get("url")?.as_str()).flatten()?;
        Some(Target::parse(url).ok()?.host())
    }

    pub fn command(&self) -> Option<&str> {
        (self.tool == "Bash")
            .then(|| self.input.get("command")?.as_str())
            .flatten()
    }
}

#[derive(Debug, Clone, Default)]
pub struct Permissions {
    pub mode: Mode,
    pub deny: Vec<Rule>,
    pub ask: Vec<Rule>,
    pub allow: Vec<Rule>,
    pub directories: Directories,
}

impl Permissions {
    /// Whether a bare deny rule takes the whole tool away.
    pub fn removes(&self, tool: &str, server: Option<&str>) -> bool {
        self.deny
            .iter()
            .any(|rule| rule.is_bare() && rule.names(tool, server))
    }

    pub fn decide(&self, call: Call<'_>) -> Decision {
        if let Some(rule) = self
            .deny
            .iter()
            .find(|rule| rule.forbids(call, &self.directories))
        {
            let message = format!(
                "Permission to use {} has been denied by the rule {rule}.",
                call.tool
            );
            return Decision::Deny {
                message,
                reason_type: "rule",
            };
        }
        if let Some(rule) = self.ask.iter().find(|rule| rule.forbids(call, &self.directories)) {
            return Decision::Ask {
                reason: format!("The rule {rule} asks for confirmation."),
                reason_type: "rule",
            };
        }
        match self.by_mode(call) {
            Some(decision) => decision,
            None if self.allowed_by_rule(call) || self.harmless(call) => Decision::Allow,
            None if self.mode == Mode::DontAsk => Decision::Deny {
                message: format!(
                    "Permission to use {} has been denied because don't-ask mode is on.",
                    call.tool
                ),
                reason_type: "mode",
            },
            None => Decision::Ask {
                reason: format!("{} needs permission.", call.tool),
                reason_type: "other",
            },
        }
    }

    fn by_mode(&self, call: Call<'_>) -> Option<Decision> {
        match self.mode {
            Mode::BypassPermissions => Some(Decision::Allow),
            Mode::AcceptEdits if self.is_edit_inside(call) => Some(Decision::Allow),
            Mode::Plan if !matches!(call.kind, Kind::Read | Kind::Network) && !self.harmless(call) => {
                Some(Decision::Deny {
                    message: format!("{} cannot be used in plan mode, which only reads.", call.tool),
                    reason_type: "mode",
                })
            }
            _ => None,
        }
    }

    fn is_edit_inside(&self, call: Call<'_>) -> bool {
        match call.kind {
            Kind::Edit => call
                .path()
                .is_some_and(|path| self.directories.contain_plain(path)),
            Kind::Execute => call.command().and_then(split).is_some_and(|commands| {
                commands.iter().all(|command| {
                    command.edits_only_inside(&self.directories) || command.is_harmless(&self.directories)
                })
            }),
            Kind::Read | Kind::Network => false,
        }
    }

    /// Each command of a line must be allowed, by a rule or by being harmless; a line that cannot be taken apart
    /// is allowed only by a rule for all of Bash or for exactly this line.
    fn allowed_by_rule(&self, call: Call<'_>) -> bool {
        if self.allow.iter().any(|rule| rule.allows(call, &self.directories)) {
            return true;
        }
        call.command().and_then(split).is_some_and(|commands| {
            commands.iter().all(|command| {
                command.is_harmless(&self.directories)
                    || self.allow.iter().any(|rule| rule.allows_command(command))
            })
        })
    }

    fn harmless(&self, call: Call<'_>) -> bool {
        match call.kind {
            Kind::Read => call.path().is_none_or(|path| self.directories.contain(path)),
            Kind::Edit | Kind::Network => false,
            Kind::Execute => match call.command() {
                Some(command) => split(command).is_some_and(|commands| {
                    commands
                        .iter()
                        .all(|command| command.is_harmless(&self.directories))
                }),
                // A tool that only watches or stops what an allowed command started.
                None => call.tool == "BashOutput" || call.tool == "KillShell",
            },
        }
    }

    /// Applies what the host answered to a question, for this session.
    pub fn update(&mut self, update: &PermissionUpdate) {
        match update.kind.as_str() {
            "setMode" => {
                if let Some(mode) = update.mode.as_deref().and_then(Mode::parse) {
                    self.mode = mode;
                }
            }
            "addDirectories" => self.directories.add(update.directories.iter().flatten()),
            "removeDirectories" => self.directories.remove(update.directories.iter().flatten()),
            "addRules" | "replaceRules" | "removeRules" => {
                let list = match update.behavior.as_deref() {
                    Some("allow") => &mut self.allow,
                    Some("deny") => &mut self.deny,
                    Some("ask") => &mut self.ask,
                    _ => return,
                };
                let rules: Vec<Rule> = update.rules.iter().flatten().map(rule_of).collect();
                if update.kind != "addRules" {
                    list.retain(|rule| update.kind == "removeRules" && !rules.contains(rule));
                }
                if update.kind != "removeRules" {
                    list.extend(rules);
                }
            }
            _ => {}
        }
    }

    /// What a host may offer as "always allow".
    pub fn suggestions(&self, call: Call<'_>) -> Vec<PermissionUpdate> {
        let update = |kind: &str| PermissionUpdate {
            kind: kind.to_owned(),
            rules: None,
            behavior: None,
            mode: None,
            directories: None,
            destination: Some("session".to_owned()),
        };
        if call.kind == Kind::Edit
            && call
                .path()
                .is_some_and(|path| self.directories.contain_plain(path))
        {
            return vec![PermissionUpdate {
                mode: Some("acceptEdits".to_owned()),
                ..update("setMode")
            }];
        }
        let rule = PermissionRule {
            tool_name: call.tool.to_owned(),
            rule_content: match call.domain() {
                Some(domain) => Some(format!("domain:{domain}")),
                None => call.command().or_else(|| call.path()).map(str::to_owned),
            },
        };
        vec![PermissionUpdate {
            rules: Some(vec![rule]),
            behavior: Some("allow".to_owned()),
            ..update("addRules")
        }]
    }
}

fn rule_of(rule: &PermissionRule) -> Rule {
    Rule::new(&rule.tool_name, rule.rule_content.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn permissions(mode: Mode, deny: &[&str], ask: &[&str], allow: &[&str]) -> Permissions {
        let rules = |list: &[&str]| list.iter().map(|rule| Rule::parse(rule)).collect();
        Permissions {
            mode,
            deny: rules(deny),
            ask: rules(ask),
            allow: rules(allow),
            directories: Directories::new("/w".into(), vec!["/extra".into()]),
        }
    }

    fn decide(permissions: &Permissions, tool: &str, argument: &str) -> &'static str {
        let (kind, input) = match tool {
            "Bash" => (Kind::Execute, json!({"command": argument})),
            "WebFetch" => (Kind::Network, json!({"url": argument, "prompt": "p"})),
            "WebSearch" => (Kind::Network, json!({"query": argument})),
            "Read" | "Grep" => (Kind::Read, json!({"file_path": argument})),
            _ => (Kind::Edit, json!({"file_path": argument})),
        };
        match permissions.decide(Call {
            tool,
            kind,
            server: None,
            input: &input,
        }) {
            Decision::Allow => "allow",
            Decision::Ask { .. } => "ask",
            Decision::Deny { .. } => "deny",
        }
    }

    #[test]
    fn modes_decide_what_rules_do_not() {
        for (mode, tool, argument, expected) in [
            (Mode::Default, "Bash", "echo hi", "allow"),
            (Mode::Default, "Bash", "touch a", "ask"),
            (Mode::Default, "Read", "/w/a", "allow"),
            (Mode::Default, "Read", "a/b", "allow"),
            (Mode::Default, "Read", "/extra/b", "allow"),
            (Mode::Default, "Read", "/etc/passwd", "ask"),
            (Mode::Default, "Read", "/w/../etc/passwd", "ask"),
            (Mode::Default, "Write", "/w/a", "ask"),
            (Mode::AcceptEdits, "Write", "/w/a", "allow"),
            (Mode::AcceptEdits, "Write", "/w/../a", "ask"),
            (Mode::AcceptEdits, "Write", "/w/.git/hooks/pre-commit", "ask"),
            (Mode::AcceptEdits, "Bash", "cp a .git/config", "ask"),
            (Mode::AcceptEdits, "Write", "/w/.gitignore", "allow"),
            (Mode::AcceptEdits, "Bash", "mkdir -p a && touch a/b", "allow"),
            (Mode::AcceptEdits, "Bash", "rm -rf /", "ask"),
            (Mode::AcceptEdits, "Bash", "touch $HOME/a", "ask"),
            (Mode::AcceptEdits, "Bash", "make", "ask"),
            (Mode::BypassPermissions, "Bash", "rm -rf /", "allow"),
            (Mode::Plan, "Write", "/w/a", "deny"),
            (Mode::Plan, "Bash", "ls", "allow"),
            (Mode::Plan, "Bash", "make", "deny"),
            (Mode::Plan, "WebFetch", "https://a.com", "ask"),
            (Mode::Default, "WebFetch", "https://a.com", "ask"),
            (Mode::Default, "WebSearch", "rust", "ask"),
            (Mode::AcceptEdits, "WebFetch", "https://a.com", "ask"),
            (Mode::BypassPermissions, "WebSearch", "rust", "allow"),
            (Mode::DontAsk, "WebSearch", "rust", "deny"),
            (Mode::DontAsk, "Bash", "make", "deny"),
            (Mode::DontAsk, "Bash", "ls", "allow"),
        ] {
            assert_eq!(
                decide(&permissions(mode, &[], &[], &[]), tool, argument),
                expected,
                "{mode:?} {tool} {argument}"
            );
        }
    }

    #[test]
    fn deny_goes_before_ask_before_mode_before_allow() {
        let all = permissions(
            Mode::BypassPermissions,
            &["Bash(rm *)"],
            &["Bash(git push:*)"],
            &["Bash"],
        );
        for (command, expected) in [
            ("rm -rf a", "deny"),
            ("ls; rm a", "deny"),
            ("FOO=1 rm a", "deny"),
            ("echo $(rm a)", "deny"),
            ("git push origin", "ask"),
            ("make", "allow"),
        ] {
            assert_eq!(decide(&all, "Bash", command), expected, "{command}");
        }
    }

    #[test]
    fn allow_rules_cover_each_command_of_a_line() {
        let git = permissions(
            Mode::Default,
            &[],
            &[],
            &[
                "Bash(git *)",
                "Bash(npm run test:*)",
                "Edit(src/**)",
                "Read(/etc/hosts)",
                "Read(//etc/hosts)",
            ],
        );
        for (tool, argument, expected) in [
            ("Bash", "git commit -m 'a b'", "allow"),
            ("Bash", "git", "allow"),
            ("Bash", "gitk", "ask"),
            ("Bash", "git status && rm a", "ask"),
            ("Bash", "git status && echo done", "allow"),
            ("Bash", "git log $(rm a)", "ask"),
            ("Bash", "git log > /etc/x", "ask"),
            ("Bash", "npm run test -- a", "allow"),
            ("Bash", "npm run testing", "ask"),
            ("Edit", "/w/src/a/b.rs", "allow"),
            ("Write", "src/a.rs", "allow"),
            ("Edit", "/w/src/../a.rs", "ask"),
            ("Edit", "/other/src/a.rs", "ask"),
            ("Read", "/etc/hosts", "allow"),
            ("Read", "/etc/passwd", "ask"),
        ] {
            assert_eq!(decide(&git, tool, argument), expected, "{tool} {argument}");
        }
    }

    #[test]
    fn rules_for_pages_are_about_their_host() {
        let rules = permissions(
            Mode::Default,
            &["WebFetch(domain:bad.com)", "WebFetch(domain:*.bad.com)"],
            &[],
            &[
                "WebFetch(domain:good.com)",
                "WebFetch(domain:*.docs.org)",
                "WebFetch(https://x.com)",
            ],
        );
        for (url, expected) in [
            ("https://good.com/a", "allow"),
            ("http://GOOD.com./a", "allow"),
            ("https://www.good.com/", "ask"),
            ("https://good.com.evil.net/", "ask"),
            ("https://user@good.com/", "ask"),
            ("https://good.com@evil.net/", "ask"),
            ("https://a.b.docs.org/", "allow"),
            ("https://docs.org/", "ask"),
            ("https://evildocs.org/", "ask"),
            ("https://x.com", "ask"),
            ("https://bad.com/", "deny"),
            ("https://BAD.com.:443/", "deny"),
            ("https://a.bad.com/", "deny"),
            ("https://notbad.com/", "ask"),
            ("good.com", "ask"),
        ] {
            assert_eq!(decide(&rules, "WebFetch", url), expected, "{url}");
        }
        let all = permissions(Mode::Default, &["WebFetch(domain:*)"], &[], &["WebSearch"]);
        assert_eq!(decide(&all, "WebFetch", "https://a.com"), "deny");
        assert_eq!(decide(&all, "WebSearch", "rust"), "allow");
    }

    #[test]
    fn a_bare_deny_removes_the_tool_and_a_path_deny_covers_reading_tools() {
        let permissions = permissions(Mode::Default, &["Write", "Read(./secrets/**)"], &[], &["Read"]);
        assert!(permissions.removes("Write", None) && !permissions.removes("Read", None));
        assert_eq!(decide(&permissions, "Read", "secrets/key"), "deny");
        assert_eq!(decide(&permissions, "Grep", "/w/secrets/key"), "deny");
        assert_eq!(decide(&permissions, "Read", "/anywhere"), "allow");
    }

    #[test]
    fn the_host_s_updates_change_rules_mode_and_directories() {
        let mut permissions = permissions(Mode::Default, &[], &[], &[]);
        for update in [
            json!({"type":"addRules","rules":[{"toolName":"Bash","ruleContent":"make:*"}],"behavior":"allow","destination":"session"}),
            json!({"type":"setMode","mode":"acceptEdits","destination":"session"}),
            json!({"type":"addDirectories","directories":["/more"],"destination":"session"}),
        ] {
            permissions.update(&serde_json::from_value(update).unwrap());
        }
        assert_eq!(decide(&permissions, "Bash", "make all"), "allow");
        assert_eq!(decide(&permissions, "Write", "/more/a"), "allow");
        let remove = json!({"type":"removeRules","rules":[{"toolName":"Bash","ruleContent":"make:*"}],"behavior":"allow"});
        permissions.update(&serde_json::from_value(remove).unwrap());
        assert_eq!(decide(&permissions, "Bash", "make all"), "ask");
    }
}
