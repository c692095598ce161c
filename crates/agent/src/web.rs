//! The tools that reach the web. A page is fetched through the sandbox's own proxy; a search is done by the model API.
//!
//! Both end in a call of the model beside the conversation, so that what strangers wrote reaches the conversation only
//! as another reader's words.

mod fetch;
mod search;

use crate::model::ToolDefinition;
use crate::session::{Runner, Session, Tool};
use crate::turn::Performed;
use agent_tools::{Concurrency, Kind};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WebTool {
    Fetch,
    Search,
}

/// In the order in which the model is told of them.
pub(crate) fn tools() -> [Tool; 2] {
    [
        (WebTool::Fetch, fetch::definition()),
        (WebTool::Search, search::definition()),
    ]
    .map(tool)
}

fn tool((web, definition): (WebTool, ToolDefinition)) -> Tool {
    Tool {
        definition,
        kind: Kind::Network,
        concurrency: Concurrency::Safe,
        runner: Runner::Web(web),
    }
}

/// `input` fits the tool's schema.
pub(crate) async fn call(
    session: &Session,
    tool: WebTool,
    input: Value,
    token: &CancellationToken,
) -> Performed {
    match tool {
        WebTool::Fetch => fetch::call(session, input, token).await,
        WebTool::Search => search::call(session, input, token).await,
    }
}

/// The texts of a reply, together.
fn text_of(blocks: &[stream_json::Block]) -> String {
    let texts: Vec<&str> = blocks.iter().filter_map(stream_json::Block::as_text).collect();
    texts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_schemas_are_of_a_kind_that_inputs_can_be_held_against() {
        let [fetch, search] = tools();
        for (tool, input, fits) in [
            (&fetch, json!({"url":"https://x","prompt":"p"}), true),
            (&fetch, json!({"url":"https://x","prompt":"p","offset":7}), true),
            (&fetch, json!({"url":"https://x"}), false),
            (&fetch, json!({"url":"https://x","prompt":"p","offset":-1}), false),
            (&search, json!({"query":"rust"}), true),
            (&search, json!({"query":"rust","allowed_domains":["a","b"]}), true),
            (&search, json!({"query":"rust","blocked_domains":"a"}), false),
            (&search, json!({"query":"rust","blocked_domains":[1]}), false),
            (&search, json!({"query":7}), false),
        ] {
            let definition = &tool.definition;
            let misfit = agent_tools::misfit(&definition.name, &definition.input_schema, &input);
            assert_eq!(misfit.is_none(), fits, "{} {input}: {misfit:?}", definition.name);
        }
    }
}
