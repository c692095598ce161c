//! One permission rule: `Tool`, or `Tool(specifier)`.
//!
//! `Bash(git diff:*)` is a prefix of words, `Bash(git *)` a pattern, `Bash(make)` exact. `Read(…)` and `Edit(…)` take
//! a path pattern, relative to the working directory, `//absolute`, or `~/home`, and cover every tool that reads or
//! edits. `WebFetch(domain:example.com)` is about a host. `mcp__server` and `mcp__server__*` are all tools of an MCP server, `mcp__server__tool` is one of them.

use crate::command::Subcommand;
use crate::{Call, Directories};
use agent_tools::Kind;
use globset::{GlobBuilder, GlobMatcher};
use std::fmt;
use std::path::Path;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    tool: String,
    specifier: Option<String>,
}

/// Splits a list at commas and blanks outside parentheses.
pub fn split_rules(list: &str) -> Vec<String> {
    let (mut rules, mut rule, mut depth) = (Vec::new(), String::new(), 0_usize);
    for character in list.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (character == ',' || character.is_whitespace()) {
            rules.push(std::mem::take(&mut rule));
        } else {
            rule.push(character);
        }
    }
    rules.push(rule);
    rules.retain(|rule| !rule.is_empty());
    rules
}

impl Rule {
    pub fn new(tool: &str, specifier: Option<&str>) -> Self {
        let specifier = specifier.filter(|specifier| !matches!(*specifier, "" | "*"));
        Self {
            tool: tool.to_owned(),
            specifier: specifier.map(str::to_owned),
        }
    }

    pub fn parse(text: &str) -> Self {
        match text.split_once('(') {
            Some((tool, rest)) => Self::new(tool, Some(rest.strip_suffix(')').unwrap_or(rest))),
            None => Self::new(text, None),
        }
    }

    pub(crate) fn is_bare(&self) -> bool {
        self.specifier.is_none()
    }

    /// Whether it is about this tool, which may be one of an MCP server.
    pub(crate) fn names(&self, tool: &str, server: Option<&str>) -> bool {
        self.tool == tool || server.is_some_and(|server| self.names_server_tool(tool, server))
    }

    /// The server is compared as a whole: a rule for server `a` says nothing of a server called `a__b`.
    fn names_server_tool(&self, tool: &str, server: &str) -> bool {
        let prefix = format!("mcp__{}", mcp::sanitized(server));
        if self.tool == prefix || self.tool == "mcp__*" {
            return true;
        }
        let own = |name: &'_ str| -> Option<String> {
            Some(name.strip_prefix(&prefix)?.strip_prefix("__")?.to_owned())
        };
        match (own(&self.tool), own(tool)) {
            (Some(pattern), Some(tool)) => wildcard_matches(pattern.as_bytes(), tool.as_bytes()),
            _ => false,
        }
    }

    fn covers(&self, call: Call<'_>) -> bool {
        self.names(call.tool, call.server)
            || self.specifier.is_some()
                && match self.tool.as_str() {
                    "Edit" => call.kind == Kind::Edit,
                    "Read" => call.kind == Kind::Read,
                    _ => false,
                }
    }

    /// Whether a deny or ask rule applies: to any part of a command, to the path as written or where it leads.
    pub(crate) fn forbids(&self, call: Call<'_>, directories: &Directories) -> bool {
        if !self.covers(call) {
            return false;
        }
        let Some(specifier) = &self.specifier else {
            return true;
        };
        if call.tool == "WebFetch" {
            return domain_matches(specifier, call);
        }
        if let Some(command) = call.command() {
            return command_matches(specifier, command.trim())
                || Subcommand::every_in(command)
                    .iter()
                    .any(|part| command_matches(specifier, part.text()));
        }
        let path = Path::new(call.path().unwrap_or("."));
        path_matcher(specifier, directories).is_some_and(|matcher| {
            matcher.is_match(directories.absolute(path)) || matcher.is_match(directories.real(path))
        })
    }

    /// Whether an allow rule covers the whole call.
    pub(crate) fn allows(&self, call: Call<'_>, directories: &Directories) -> bool {
        if !self.covers(call) {
            return false;
        }
        let Some(specifier) = &self.specifier else {
            return true;
        };
        if call.tool == "WebFetch" {
            return domain_matches(specifier, call);
        }
        if let Some(command) = call.command() {
            return command.trim() == specifier;
        }
        let Some(path) = call.path() else { return false };
        path_matcher(specifier, directories)
            .is_some_and(|matcher| matcher.is_match(directories.real(Path::new(path))))
    }

    /// Whether an allow rule covers one command of a line.
    pub(crate) fn allows_command(&self, command: &Subcommand) -> bool {
        self.tool == "Bash"
            && !command.redirects()
            && self
                .specifier
                .as_ref()
                .is_none_or(|specifier| command_matches(specifier, command.text()))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.specifier {
            Some(specifier) => write!(formatter, "{}({specifier})", self.tool),
            None => formatter.write_str(&self.tool),
        }
    }
}

/// `domain:example.com` is that host alone, `domain:*.example.com` all below it, `domain:*` all.
fn domain_matches(specifier: &str, call: Call<'_>) -> bool {
    let Some(pattern) = specifier.strip_prefix("domain:") else {
        return false;
    };
    let pattern = pattern.trim().trim_end_matches('.').to_ascii_lowercase();
    call.domain()
        .is_some_and(|domain| match pattern.strip_prefix('*') {
            Some(below) => domain.ends_with(below) && domain.len() > below.len(),
            None => domain == pattern,
        })
}

fn command_matches(specifier: &str, command: &str) -> bool {
    let prefix = specifier
        .strip_suffix(":*")
        .or_else(|| specifier.strip_suffix(" *"));
    if let Some(prefix) = prefix.filter(|prefix| !prefix.contains('*')) {
        return command
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
    }
    wildcard_matches(specifier.as_bytes(), command.as_bytes())
}

/// `*` stands for any text; linear in the product of the lengths at worst.
fn wildcard_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at_pattern, mut at_text, mut star, mut resume) = (0, 0, None, 0);
    while at_text < text.len() {
        if pattern.get(at_pattern) == Some(&b'*') {
            star = Some(at_pattern);
            resume = at_text;
            at_pattern += 1;
        } else if pattern.get(at_pattern) == Some(&text[at_text]) {
            at_pattern += 1;
            at_text += 1;
        } else if let Some(star) = star {
            resume += 1;
            at_text = resume;
            at_pattern = star + 1;
        } else {
            return false;
        }
    }
    pattern[at_pattern..].iter().all(|&byte| byte == b'*')
}

/// `None` for a pattern that does not parse: it matches nothing.
fn path_matcher(specifier: &str, directories: &Directories) -> Option<GlobMatcher> {
    let absolute = if let Some(path) = specifier.strip_prefix("//") {
        format!("/{path}")
    } else if let Some(path) = specifier.strip_prefix("~/") {
        format!("{}/{path}", std::env::var("HOME").ok()?)
    } else {
        let relative = specifier.trim_start_matches("./").trim_start_matches('/');
        let root = directories
            .working()
            .canonicalize()
            .unwrap_or_else(|_| directories.working().to_owned());
        // A bare name matches at any depth, as in a gitignore file.
        let anywhere = if relative.contains('/') || specifier.starts_with(['.', '/']) {
            ""
        } else {
            "**/"
        };
        format!("{}/{anywhere}{relative}", root.display())
    };
    GlobBuilder::new(&absolute)
        .literal_separator(true)
        .build()
        .ok()
        .map(|glob| glob.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_print_as_they_are_written() {
        for text in ["Bash", "Bash(git *)", "Edit(src/**)", "mcp__a__b"] {
            assert_eq!(Rule::parse(text).to_string(), text);
        }
        assert_eq!(Rule::parse("Bash(*)").to_string(), "Bash");
    }

    #[test]
    fn lists_split_outside_parentheses() {
        assert_eq!(
            split_rules("Read, Bash(git a,b *) Edit"),
            ["Read", "Bash(git a,b *)", "Edit"]
        );
        assert_eq!(split_rules(""), Vec::<String>::new());
    }

    #[test]
    fn rules_for_servers_cover_their_tools_and_no_others() {
        for (rule, server, tool, expected) in [
            ("mcp__calc", "calc", "mcp__calc__add", true),
            ("mcp__calc__*", "calc", "mcp__calc__add", true),
            ("mcp__calc__add", "calc", "mcp__calc__add", true),
            ("mcp__calc__a*", "calc", "mcp__calc__add", true),
            ("mcp__calc__s*", "calc", "mcp__calc__add", false),
            ("mcp__calc__add", "calc", "mcp__calc__add_all", false),
            ("mcp__my_calc", "my calc", "mcp__my_calc__add", true),
            ("mcp__a", "a__b", "mcp__a__b__c", false),
            ("mcp__a__*", "a__b", "mcp__a__b__c", false),
            ("mcp__a__b", "a__b", "mcp__a__b__c", true),
            ("mcp__*", "calc", "mcp__calc__add", true),
            ("mcp__cal", "calc", "mcp__calc__add", false),
            ("*", "calc", "mcp__calc__add", false),
        ] {
            assert_eq!(
                Rule::parse(rule).names(tool, Some(server)),
                expected,
                "{rule} on {tool}"
            );
        }
        assert!(!Rule::parse("mcp__*").names("Bash", None));
    }

    #[test]
    fn commands_match_by_prefix_of_words_by_pattern_or_exactly() {
        for (specifier, command, expected) in [
            ("git diff:*", "git diff", true),
            ("git diff:*", "git diff HEAD", true),
            ("git diff:*", "git difftool", false),
            ("npm run *:ci", "npm run test:ci", true),
            ("npm run *:ci", "npm run test", false),
            ("* --version", "node --version", true),
            ("make", "make all", false),
            ("*", "", true),
        ] {
            assert_eq!(
                command_matches(specifier, command),
                expected,
                "{specifier} on {command}"
            );
        }
    }
}
