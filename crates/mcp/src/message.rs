//! JSON-RPC messages: what a client sends, and what it makes of an answer.

use serde::Deserialize;
use serde_json::{Value, json};

/// The revision this client speaks; a server may answer with an older one, and the tools are the same.
const PROTOCOL_VERSION: &str = "2025-11-25";

/// The longest text of a server's error that is passed on.
const MAX_ERROR_CHARACTERS: usize = 10_000;
const MAX_INFO_CHARACTERS: usize = 200;

/// Why an answer holds no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    #[error("MCP error {code}: {message}")]
    Refused { code: i64, message: String },
    #[error("the server's answer is not a JSON-RPC response")]
    NotAResponse,
}

/// One call of a tool.
#[derive(Debug, Clone, Copy)]
pub struct CallRequest<'a> {
    pub id: u64,
    /// As the server named it.
    pub tool: &'a str,
    pub arguments: &'a Value,
    /// The model's `tool_use` that asked for it, under which the server may find its own record.
    pub tool_use_id: &'a str,
}

/// What a server calls itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerInfo {
    pub name: String,
    pub version: String,
}

pub fn initialize(id: u64, client_name: &str, client_version: &str) -> Value {
    request(
        id,
        "initialize",
        &json!({
            "protocolVersion": PROTOCOL_VERSION,
            "capabilities": {},
            "clientInfo": {"name": client_name, "version": client_version},
        }),
    )
}

pub fn initialized() -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/initialized"})
}

pub fn list_tools(id: u64, cursor: Option<&str>) -> Value {
    match cursor {
        Some(cursor) => request(id, "tools/list", &json!({"cursor": cursor})),
        None => request(id, "tools/list", &json!({})),
    }
}

pub fn call(call: CallRequest<'_>) -> Value {
    request(
        call.id,
        "tools/call",
        &json!({
            "name": call.tool,
            "arguments": call.arguments,
            "_meta": {"claudecode/toolUseId": call.tool_use_id, "progressToken": call.id},
        }),
    )
}

/// Tells a server that nobody waits for the answer to `id` any more.
pub fn cancelled(id: u64, reason: &str) -> Value {
    json!({
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": id, "reason": reason},
    })
}

fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// The result in an answer. The transport has matched it to its request already.
pub fn response(mut message: Value) -> Result<Value, ResponseError> {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(default)]
        code: i64,
        #[serde(default)]
        message: String,
    }
    if let Some(error) = message.get("error").filter(|error| !error.is_null()) {
        let refusal = Refusal::deserialize(error).map_err(|_| ResponseError::NotAResponse)?;
        return Err(ResponseError::Refused {
            code: refusal.code,
            message: shortened(&refusal.message, MAX_ERROR_CHARACTERS),
        });
    }
    match message.get_mut("result") {
        Some(result @ Value::Object(_)) => Ok(result.take()),
        _ => Err(ResponseError::NotAResponse),
    }
}

/// Who answered `initialize`; empty where the server does not say.
pub fn server_info(result: &Value) -> ServerInfo {
    let text = |key: &str| {
        let said = result["serverInfo"][key].as_str().unwrap_or_default();
        shortened(said, MAX_INFO_CHARACTERS)
    };
    ServerInfo {
        name: text("name"),
        version: text("version"),
    }
}

pub(crate) fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_result_an_error_or_nonsense() {
        let refused = |code, message: &str| {
            Err(ResponseError::Refused {
                code,
                message: message.to_owned(),
            })
        };
        for (answer, expected) in [
            (
                json!({"jsonrpc":"2.0","id":1,"result":{"a":1}}),
                Ok(json!({"a":1})),
            ),
            (json!({"result":{},"error":null}), Ok(json!({}))),
            (
                json!({"id":1,"error":{"code":-32601,"message":"no such method"}}),
                refused(-32601, "no such method"),
            ),
            (json!({"error":{}}), refused(0, "")),
            (json!({"error":"broken"}), Err(ResponseError::NotAResponse)),
            (json!({"error":{"code":"x"}}), Err(ResponseError::NotAResponse)),
            (json!({"result":7}), Err(ResponseError::NotAResponse)),
            (json!({}), Err(ResponseError::NotAResponse)),
            (json!([1]), Err(ResponseError::NotAResponse)),
            (Value::Null, Err(ResponseError::NotAResponse)),
        ] {
            assert_eq!(response(answer.clone()), expected, "{answer}");
        }
    }

    #[test]
    fn what_a_server_says_of_itself_and_of_its_errors_is_bounded() {
        let long = "é".repeat(50_000);
        let info = server_info(&json!({"serverInfo":{"name":long,"version":7}}));
        assert_eq!((info.name.chars().count(), info.version.as_str()), (201, ""));
        let Err(ResponseError::Refused { message, .. }) =
            response(json!({"error":{"code":1,"message":long}}))
        else {
            panic!("an error")
        };
        assert_eq!(message.chars().count(), MAX_ERROR_CHARACTERS + 1);
    }
}
