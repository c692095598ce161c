//! Slash commands that the runtime answers itself. Anything else that begins with a slash is a prompt.

use crate::model::CallError;
use crate::session::Session;
use crate::turn::{End, Turn, Work};
use domain::Cost;
use std::fmt::Write as _;
use stream_json::{Content, User};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Compact { wishes: String },
    Cost,
}

pub(crate) const NAMES: [(&str, &str, &str); 2] = [
    (
        "compact",
        "Replace the conversation by a summary of it",
        "[what the summary should keep]",
    ),
    ("cost", "Show what the session has cost", ""),
];

impl Command {
    pub(crate) fn of(line: &User) -> Option<Self> {
        let text = line.message.content.text();
        let (name, rest) = match text.trim().split_once(char::is_whitespace) {
            Some((name, rest)) => (name, rest.trim()),
            None => (text.trim(), ""),
        };
        match name {
            "/compact" => Some(Self::Compact {
                wishes: rest.to_owned(),
            }),
            "/cost" => Some(Self::Cost),
            _ => None,
        }
    }

    /// Runs as a turn of its own that asks the model nothing on the user's behalf; whether the result is an error.
    pub(crate) async fn run(self, session: &Session, work: &mut Work, line: User) -> bool {
        let mut turn = Turn::new(session, work);
        session.state("running").await;
        crate::control::send_init(session).await;
        if let Some(uuid) = &line.uuid {
            session.output.lifecycle(uuid, "started").await;
            turn.user_uuids.push(uuid.clone());
        }
        let said = match self {
            Self::Cost => Ok(cost(&turn)),
            Self::Compact { .. } if turn.work.conversation.is_empty() => Ok("Nothing to compact.".to_owned()),
            Self::Compact { wishes } => turn
                .compact("manual", Some(&wishes))
                .await
                .map(|()| "Compacted.".to_owned()),
        };
        let end = match said {
            Ok(text) => {
                reply(session, &text).await;
                End::Completed {
                    text,
                    stop_reason: None,
                }
            }
            Err(CallError::Interrupted) => End::Interrupted { in_tools: false },
            Err(error) => End::ApiError(error),
        };
        turn.finish(end).await
    }
}

/// What a local command printed, as hosts know it.
pub(crate) async fn reply(session: &Session, text: &str) {
    let content = format!("<local-command-stdout>{text}</local-command-stdout>");
    let mut user = User::new(Content::Text(content));
    user.is_replay = Some(true);
    user.timestamp = Some(crate::clock::timestamp());
    session.output.user(user).await;
}

fn cost(turn: &Turn<'_>) -> String {
    let account = &turn.work.account;
    let mut text = format!("Total cost: {}", account.total());
    if account.has_unknown_cost {
        text.push_str(" (and models without a known price)");
    }
    for (model, usage) in &account.by_model {
        let cost = Cost::from_usd(usage.cost_usd);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n{model}: {} input, {} output, {} cache read, {} cache write ({cost})",
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_input_tokens,
            usage.cache_creation_input_tokens
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_are_commands() {
        let of = |text: &str| Command::of(&User::new(Content::Text(text.to_owned())));
        assert_eq!(
            of("/compact"),
            Some(Command::Compact {
                wishes: String::new()
            })
        );
        assert_eq!(
            of("/compact keep names"),
            Some(Command::Compact {
                wishes: "keep names".to_owned()
            })
        );
        assert_eq!(of(" /cost "), Some(Command::Cost));
        for text in ["/etc/hosts is wrong", "/costly", "compact", ""] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
