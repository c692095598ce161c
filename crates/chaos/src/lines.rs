//! The lines that tools have left, read the way that a user would: the agent is asked for them, page by page.

use crate::check::{PATIENCE, settled};
use crate::script::{PAGE, show};
use serde_json::Value;
use stage::{Api, Failure, calm, message};

/// The lines, and the messages that asked for them as they were answered.
pub(crate) async fn read(api: &Api, session: &str) -> Result<(Vec<String>, Vec<Value>), Failure> {
    let (mut lines, mut messages) = (Vec::new(), Vec::new());
    for page in 0.. {
        let text = show(page);
        let asking = [message(&text)];
        let sent = calm(|| api.send(session, &asking)).await?;
        let log = settled(api, session).await?;
        let asked = sent.first().map(|event| event["id"].clone()).unwrap_or_default();
        let found = page_of(&log, &asked).ok_or_else(|| Failure::Late {
            what: format!("{session} answers {text:?} with a page"),
            seconds: PATIENCE.as_secs(),
        })?;
        messages.extend(sent);
        let last = found.len() < PAGE;
        lines.extend(found);
        if last {
            break;
        }
    }
    Ok((lines, messages))
}

/// What the first call after a message came back with, if that is a whole page.
fn page_of(log: &[Value], message: &Value) -> Option<Vec<String>> {
    let from = log.iter().position(|event| event["id"] == *message)?;
    let result = log[from..]
        .iter()
        .find(|event| event["type"] == "agent.tool_result")?;
    let text = result["content"][0]["text"].as_str()?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // Of a file that is not there sed says so, and there are no lines.
    let end = lines.pop()?;
    lines.retain(|line| !line.starts_with("sed: "));
    (end == "end of page").then_some(lines)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn log(text: &str) -> Vec<Value> {
        vec![
            json!({"id": "0", "type": "agent.tool_result", "content": [{"text": "job\nend of page"}]}),
            json!({"id": "1", "type": "user.message"}),
            json!({"id": "2", "type": "agent.tool_result", "content": [{"type": "text", "text": text}]}),
        ]
    }

    #[test]
    fn a_page_is_what_came_back_after_the_message_and_whole() {
        let page = |text: &str| page_of(&log(text), &json!("1"));
        assert_eq!(page("a\nb\nend of page").unwrap(), ["a", "b"]);
        assert_eq!(page("end of page").unwrap(), [""; 0]);
        assert_eq!(page("sed: can't read x\nend of page").unwrap(), [""; 0]);
        assert_eq!(page("a\nb"), None);
        assert_eq!(page_of(&log("x"), &json!("9")), None);
    }
}
