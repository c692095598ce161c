//! Names as models know them: `mcp__<server>__<tool>`, of letters, digits, `_` and `-` only.

/// What the Messages API takes as the name of a tool.
const MAX_NAME: usize = 128;

/// The name with every other character as `_`, as the official command line has it.
pub fn sanitized(name: &str) -> String {
    name.chars()
        .map(|character| match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => character,
            _ => '_',
        })
        .collect()
}

/// The name of a server's tool for the model; `None` if no model could be told of it.
pub fn qualified(server: &str, tool: &str) -> Option<String> {
    if server.is_empty() || tool.is_empty() {
        return None;
    }
    let name = format!("mcp__{}__{}", sanitized(server), sanitized(tool));
    (name.len() <= MAX_NAME).then_some(name)
}

/// The tool's name alone.
pub fn bare(tool: &str) -> Option<String> {
    let name = sanitized(tool);
    (!name.is_empty() && name.len() <= MAX_NAME).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_only_what_a_model_may_be_told() {
        let long = "x".repeat(200);
        for (server, tool, expected) in [
            ("calc", "add", Some("mcp__calc__add")),
            ("my server", "a.b/c", Some("mcp__my_server__a_b_c")),
            ("é", "ü-1", Some("mcp______-1")),
            ("a\u{0}b", "c\nd", Some("mcp__a_b__c_d")),
            ("", "add", None),
            ("calc", "", None),
            ("calc", long.as_str(), None),
        ] {
            assert_eq!(
                qualified(server, tool).as_deref(),
                expected,
                "{server:?} {tool:?}"
            );
        }
    }
}
