//! The host's side of custom tools: an MCP server inside the control channel. Pure.
//!
//! ```text
//! runtime --mcp_message {initialize, notifications/…, ping, tools/list}--> answered at once
//! runtime --mcp_message {tools/call}------------------------------------> answered when the client has
//! ```

use crate::toolset::{CustomTool, SERVER, Toolset};
use serde_json::{Value, json};
use stream_json::{Answer, ControlResponse, Frame};
use wire::{ContentBlock, DocumentSource, ImageSource};

/// What is spoken where a runtime asks for a version that is not known here.
const VERSION: &str = "2025-06-18";
const VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// What a message of the runtime's asks for.
#[derive(Debug, PartialEq)]
pub enum Asked {
    /// Answered with this JSON-RPC message.
    Reply(Value),
    /// A tool is called.
    Call {
        rpc_id: Value,
        name: String,
        /// The model's id of the call.
        tool_use_id: Option<String>,
    },
    /// There is no such server.
    NoServer { name: String },
}

/// Reads an `mcp_message` request.
pub fn read(server: &str, message: &Value, toolset: Option<&Toolset>) -> Asked {
    let Some(toolset) = toolset.filter(|toolset| server == SERVER && !toolset.custom.is_empty()) else {
        return Asked::NoServer {
            name: server.chars().take(64).collect(),
        };
    };
    let id = message["id"].clone();
    let params = &message["params"];
    match message["method"].as_str().unwrap_or_default() {
        "initialize" => Asked::Reply(result(&id, &initialized(params))),
        "ping" => Asked::Reply(result(&id, &json!({}))),
        "tools/list" => {
            let tools: Vec<Value> = toolset.custom.iter().map(listed).collect();
            Asked::Reply(result(&id, &json!({"tools": tools})))
        }
        "tools/call" => {
            let name = params["name"].as_str().unwrap_or_default();
            if toolset.custom_tool(name).is_none() {
                let text = format!("there is no tool {}", name.chars().take(128).collect::<String>());
                return Asked::Reply(error(&id, -32602, &text));
            }
            Asked::Call {
                rpc_id: id,
                name: name.to_owned(),
                tool_use_id: params["_meta"]["claudecode/toolUseId"]
                    .as_str()
                    .map(str::to_owned),
            }
        }
        // Notifications want no answer, and the control channel wants one to every request.
        method if method.starts_with("notifications/") => {
            Asked::Reply(json!({"jsonrpc": "2.0", "result": {}}))
        }
        method => {
            let text = format!(
                "method {} is not known",
                method.chars().take(64).collect::<String>()
            );
            Asked::Reply(error(&id, -32601, &text))
        }
    }
}

fn initialized(params: &Value) -> Value {
    let asked = params["protocolVersion"].as_str().unwrap_or_default();
    let version = if VERSIONS.contains(&asked) { asked } else { VERSION };
    json!({
        "protocolVersion": version,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": SERVER, "version": env!("CARGO_PKG_VERSION")},
    })
}

fn listed(tool: &CustomTool) -> Value {
    json!({"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema})
}

fn result(id: &Value, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

fn error(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

/// The client's result of a call, for the runtime that asked under `request_id`.
pub fn answer(
    request_id: &str,
    rpc_id: &Value,
    content: Option<&[ContentBlock]>,
    is_error: Option<bool>,
) -> Frame {
    respond(request_id, &result(rpc_id, &called(content, is_error)))
}

/// The same result in a conversation that a runtime is given: bounded, as a runtime bounds it.
pub fn told(content: Option<&[ContentBlock]>, is_error: Option<bool>) -> Vec<Value> {
    mcp::Content::of(&called(content, is_error), mcp::Limits::default()).blocks
}

/// As MCP has it.
fn called(content: Option<&[ContentBlock]>, is_error: Option<bool>) -> Value {
    let blocks: Vec<Value> = content.unwrap_or_default().iter().flat_map(blocks).collect();
    json!({"content": blocks, "isError": is_error == Some(true)})
}

/// The frame that carries a JSON-RPC message back.
pub fn respond(request_id: &str, message: &Value) -> Frame {
    Frame::ControlResponse(Box::new(ControlResponse {
        response: Answer::Success {
            request_id: request_id.to_owned(),
            response: Some(json!({"mcp_response": message})),
        },
    }))
}

/// A content block as MCP has it; what MCP has no block for is told as text.
fn blocks(block: &ContentBlock) -> Vec<Value> {
    let text = |text: String| json!({"type": "text", "text": text});
    match block {
        ContentBlock::Text { text: said } => vec![text(said.clone())],
        ContentBlock::Image {
            source: ImageSource::Base64 { media_type, data },
        } => vec![json!({"type": "image", "data": data, "mimeType": media_type})],
        ContentBlock::Document {
            source: DocumentSource::Text { data, .. },
            title,
            context,
        } => {
            let head = [title, context].into_iter().flatten();
            let parts: Vec<&str> = head.chain([data]).map(String::as_str).collect();
            vec![text(parts.join("\n\n"))]
        }
        ContentBlock::Document {
            source: DocumentSource::Base64 { media_type, data },
            title,
            context,
        } => {
            let head = [title, context].into_iter().flatten().cloned().map(text);
            let uri = "document:/result";
            let document = json!({"type": "resource",
                "resource": {"uri": uri, "mimeType": media_type, "blob": data}});
            head.chain([document]).collect()
        }
        ContentBlock::SearchResult { .. } => vec![text(found(block).unwrap_or_default())],
        other => vec![text(serde_json::to_string(other).unwrap_or_default())],
    }
}

/// A search result in words.
fn found(block: &ContentBlock) -> Option<String> {
    let ContentBlock::SearchResult {
        source,
        title,
        content,
        ..
    } = block
    else {
        return None;
    };
    let body: Vec<&str> = content.iter().map(|part| part.text.as_str()).collect();
    Some(format!("{title}\n{source}\n\n{}", body.join("\n")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn toolset() -> Toolset {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        Toolset {
            custom: vec![CustomTool {
                name: "weather".to_owned(),
                description: "the weather of a city".to_owned(),
                input_schema: schema.as_object().unwrap().clone(),
            }],
            ..Toolset::default()
        }
    }

    fn asked(message: &Value) -> Asked {
        read("custom", message, Some(&toolset()))
    }

    #[test]
    fn the_handshake_and_the_list_are_answered_at_once() {
        let Asked::Reply(hello) = asked(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {"protocolVersion": "2025-11-25", "capabilities": {}}}))
        else {
            panic!()
        };
        assert_eq!(hello["id"], 0);
        assert_eq!(hello["result"]["protocolVersion"], "2025-11-25");
        let Asked::Reply(list) = asked(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})) else {
            panic!()
        };
        assert_eq!(list["result"]["tools"][0]["name"], "weather");
        assert_eq!(list["result"]["tools"][0]["inputSchema"]["type"], "object");
        assert!(matches!(
            asked(&json!({"method": "notifications/initialized"})),
            Asked::Reply(_)
        ));
    }

    #[test]
    fn a_call_waits_for_the_client_and_one_of_no_tool_does_not() {
        let call = json!({"id": 7, "method": "tools/call", "params": {"name": "weather",
            "arguments": {"city": "Ulm"}, "_meta": {"claudecode/toolUseId": "toolu_1"}}});
        let expected = Asked::Call {
            rpc_id: json!(7),
            name: "weather".to_owned(),
            tool_use_id: Some("toolu_1".to_owned()),
        };
        assert_eq!(asked(&call), expected);
        let Asked::Reply(refused) = asked(&json!({"id": 8, "method": "tools/call", "params": {"name": "x"}}))
        else {
            panic!()
        };
        assert_eq!(refused["error"]["code"], -32602);
        let Asked::Reply(unknown) = asked(&json!({"id": 9, "method": "resources/list"})) else {
            panic!()
        };
        assert_eq!(unknown["error"]["code"], -32601);
    }

    #[test]
    fn another_server_is_not_there() {
        let ping = json!({"id": 1, "method": "ping"});
        for (server, toolset) in [
            ("other", Some(&toolset())),
            ("custom", None),
            ("", Some(&toolset())),
        ] {
            assert!(matches!(read(server, &ping, toolset), Asked::NoServer { .. }));
        }
    }

    #[test]
    fn a_result_is_told_in_the_blocks_that_mcp_has() {
        let content = [
            ContentBlock::text("sunny"),
            ContentBlock::Image {
                source: ImageSource::Base64 {
                    media_type: "image/png".into(),
                    data: "AAAA".into(),
                },
            },
            ContentBlock::Document {
                source: DocumentSource::Base64 {
                    media_type: "application/pdf".into(),
                    data: "AAAA".into(),
                },
                title: Some("Report".into()),
                context: None,
            },
        ];
        let line = answer("r1", &json!(7), Some(&content), Some(true))
            .to_line()
            .unwrap();
        let line: Value = serde_json::from_slice(&line).unwrap();
        let rpc = &line["response"]["response"]["mcp_response"];
        assert_eq!(rpc["id"], 7);
        assert_eq!(rpc["result"]["isError"], true);
        assert_eq!(
            rpc["result"]["content"],
            json!([
            {"type": "text", "text": "sunny"}, {"type": "image", "data": "AAAA", "mimeType": "image/png"},
            {"type": "text", "text": "Report"}, {"type": "resource", "resource": {
                "uri": "document:/result", "mimeType": "application/pdf", "blob": "AAAA"}}])
        );
    }
}
