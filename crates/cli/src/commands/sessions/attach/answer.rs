//! What a typed line means: an answer to what is asked, or else a message.

use crate::render::waiting::{Asks, Call};
use wire::{Body, Confirmation, ContentBlock};

#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Said {
    Nothing,
    /// It answers a question with neither yes nor no.
    Unclear,
    Something(Body),
}

pub(super) fn understood(line: &str, asked: Option<&Call>) -> Said {
    let line = line.trim();
    if line.is_empty() {
        return Said::Nothing;
    }
    let content = || vec![ContentBlock::text(line)];
    match asked {
        None => Said::Something(Body::UserMessage { content: content() }),
        Some(call) if call.asks == Asks::Result => Said::Something(Body::UserCustomToolResult {
            custom_tool_use_id: call.id.clone(),
            content: Some(content()),
            is_error: None,
            session_thread_id: None,
        }),
        Some(call) => confirmation(line).map_or(Said::Unclear, |(result, deny_message)| {
            Said::Something(Body::UserToolConfirmation {
                tool_use_id: call.id.clone(),
                result,
                deny_message,
                session_thread_id: None,
            })
        }),
    }
}

fn confirmation(line: &str) -> Option<(Confirmation, Option<String>)> {
    let (word, rest) = line
        .split_once(|character: char| character.is_whitespace() || character == ',')
        .unwrap_or((line, ""));
    let reason = rest.trim();
    match (word.to_lowercase().as_str(), reason) {
        ("y" | "yes", "") => Some((Confirmation::Allow, None)),
        ("n" | "no", "") => Some((Confirmation::Deny, None)),
        ("n" | "no", reason) => Some((Confirmation::Deny, Some(reason.to_owned()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::EventId;
    use serde_json::Map;

    #[test]
    fn only_a_plain_yes_lets_a_call_run() {
        for (line, meant) in [
            ("y", Some((Confirmation::Allow, None))),
            ("YES", Some((Confirmation::Allow, None))),
            ("n", Some((Confirmation::Deny, None))),
            ("no, not today", Some((Confirmation::Deny, Some("not today")))),
            ("n because", Some((Confirmation::Deny, Some("because")))),
            ("yes but", None),
            ("yy", None),
            ("nothing", None),
            ("do it", None),
        ] {
            let meant = meant.map(|(result, why): (_, Option<&str>)| (result, why.map(str::to_owned)));
            assert_eq!(confirmation(line), meant, "{line}");
        }
    }

    #[test]
    fn a_line_is_a_message_where_nothing_is_asked() {
        let mut call = Call {
            id: EventId::random(),
            name: "bash".to_owned(),
            input: Map::new(),
            asks: Asks::Confirmation,
        };
        assert_eq!(understood(" \r", Some(&call)), Said::Nothing);
        assert_eq!(understood("perhaps", Some(&call)), Said::Unclear);
        call.asks = Asks::Result;
        let Said::Something(Body::UserCustomToolResult {
            custom_tool_use_id, ..
        }) = understood("y", Some(&call))
        else {
            panic!("a result");
        };
        assert_eq!(custom_tool_use_id, call.id);
        assert!(matches!(
            understood("y", None),
            Said::Something(Body::UserMessage { .. })
        ));
    }
}
