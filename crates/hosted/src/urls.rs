//! Images and documents by URL. The model API fetches them, with every turn that they are in the conversation: what the
//! session's networking does not allow is refused before it is there. Pure.

use policy::{Destination, Rules};
use wire::event_input::EventInput;
use wire::{ContentBlock, DocumentSource, ImageSource, Invalid};

/// Whether the events have any.
pub(crate) fn any(events: &[EventInput]) -> bool {
    events.iter().flat_map(content).any(|block| url(block).is_some())
}

/// Events are at `field` of the request.
pub(crate) fn check(field: &str, events: &[EventInput], rules: &Rules) -> Result<(), Invalid> {
    for (event, sent) in events.iter().enumerate() {
        for (block, shown) in content(sent).iter().enumerate() {
            let Some(url) = url(shown) else { continue };
            if let Err(problem) = allowed(url, rules) {
                let wrong = Invalid::new("source.url", problem).at(block).under("content");
                return Err(wrong.at(event).under(field));
            }
        }
    }
    Ok(())
}

fn allowed(url: &str, rules: &Rules) -> Result<(), String> {
    let destination = Destination::of_url(url).map_err(|error| error.to_string())?;
    let decision = rules.decide(&destination);
    if decision.allowed {
        return Ok(());
    }
    Err(format!(
        "{destination} is not allowed by the networking of this session's environment ({}): allow its host there, or \
         send the file in base 64",
        decision.reason
    ))
}

fn content(event: &EventInput) -> &[ContentBlock] {
    match event {
        EventInput::UserMessage { content }
        | EventInput::UserCustomToolResult {
            content: Some(content),
            ..
        } => content,
        _ => &[],
    }
}

fn url(block: &ContentBlock) -> Option<&str> {
    match block {
        ContentBlock::Image {
            source: ImageSource::Url { url },
        }
        | ContentBlock::Document {
            source: DocumentSource::Url { url },
            ..
        } => Some(url),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn events(url: &str) -> Vec<EventInput> {
        let text = json!({"type": "text", "text": "what is this?"});
        let document = json!({"type": "document", "source": {"type": "url", "url": url}});
        serde_json::from_value(json!([
            {"type": "user.interrupt"},
            {"type": "user.message", "content": [text, document]},
        ]))
        .unwrap()
    }

    #[test]
    fn a_url_is_taken_where_the_networking_allows_its_host() {
        let table = [
            (
                "https://files.example.com/a.pdf",
                Rules::parse(["*.example.com"]).unwrap(),
                None,
            ),
            ("https://files.example.org/a.pdf", Rules::unrestricted(), None),
            (
                "https://files.example.com/a.pdf",
                Rules::none(),
                Some("no rule allows it"),
            ),
            (
                "https://files.example.com:8443/a.pdf",
                Rules::parse(["*.example.com"]).unwrap(),
                Some("ports 80 and 443"),
            ),
            (
                "http://169.254.169.254/latest",
                Rules::unrestricted(),
                Some("169.254.169.254"),
            ),
            (
                "file:///etc/passwd",
                Rules::unrestricted(),
                Some("does not begin with https://"),
            ),
        ];
        for (url, rules, expected) in table {
            let checked = check("events", &events(url), &rules);
            let said = checked
                .err()
                .map(|invalid| (invalid.path.clone(), invalid.to_string()));
            match (expected, said) {
                (None, None) => {}
                (Some(expected), Some((path, said))) => {
                    assert_eq!(path, "events[1].content[1].source.url");
                    assert!(said.contains(expected), "{url}: {said}");
                }
                (expected, said) => panic!("{url}: {expected:?}, {said:?}"),
            }
        }
        assert!(any(&events("https://files.example.com")));
        assert!(!any(&events("https://files.example.com")[..1]));
    }
}
