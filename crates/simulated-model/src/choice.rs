//! Which turn of the script a request gets.

use crate::request::MessagesRequest;
use crate::script::{Script, Turn, When};

/// A turn, or why there is none.
pub(crate) enum Choice<'script> {
    Turn { label: String, turn: &'script Turn },
    Ended { position: usize },
    NoMatch { position: usize },
}

/// `position` counts from 0.
pub(crate) fn choose<'script>(
    script: &'script Script,
    position: usize,
    request: &MessagesRequest,
) -> Choice<'script> {
    let anytime = script
        .anytime
        .iter()
        .enumerate()
        .find(|(_, turn)| matches(&turn.when, request));
    if let Some((number, turn)) = anytime {
        return Choice::Turn {
            label: format!("anytime[{number}]"),
            turn,
        };
    }
    let Some(place) = script.turns.get(position) else {
        return Choice::Ended { position };
    };
    match place
        .0
        .iter()
        .enumerate()
        .find(|(_, turn)| matches(&turn.when, request))
    {
        Some((number, turn)) => Choice::Turn {
            label: format!("turns[{position}][{number}]"),
            turn,
        },
        None => Choice::NoMatch { position },
    }
}

fn matches(when: &When, request: &MessagesRequest) -> bool {
    let result = request.last_tool_result();
    let contains = |wanted: &Option<String>, text: &dyn Fn() -> String| match wanted {
        Some(wanted) => text().contains(wanted),
        None => true,
    };
    contains(&when.last_user_text_contains, &|| request.last_user_text())
        && contains(&when.first_user_text_contains, &|| request.first_user_text())
        && contains(&when.system_contains, &|| request.system_text())
        && when
            .last_tool_result_contains
            .as_ref()
            .is_none_or(|wanted| result.as_ref().is_some_and(|result| result.text.contains(wanted)))
        && when
            .last_tool_result_is_error
            .is_none_or(|wanted| result.as_ref().is_some_and(|result| result.is_error == wanted))
        && when
            .last_user_has
            .as_ref()
            .is_none_or(|kind| request.last_user_has(kind))
        && when.has_tool.as_ref().is_none_or(|name| request.has_tool(name))
        && when.model.as_ref().is_none_or(|model| request.model == *model)
        && when.stream.is_none_or(|stream| request.stream == stream)
}
