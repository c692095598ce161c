//! Control requests from the host. Each is answered exactly once, also in the middle of a turn.

use crate::arguments::mcp_server_names;
use crate::commands::{self, NAMES};
use crate::compaction::context_usage;
use crate::model::Thinking;
use crate::session::{PROTOCOL_VERSION, Session};
use permissions::{Mode, Rule};
use serde_json::{Value, json};
use stream_json::{
    Answer, ControlRequest, ControlResponse, Extra, Frame, Init, Initialize, Request, SystemEvent,
};

/// What the session does after an answer was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    GoOn,
    Interrupt,
    End,
}

struct Refusal {
    error: String,
    code: &'static str,
}

fn refuse<T>(code: &'static str, error: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        error: error.into(),
        code,
    })
}

/// What hosts may rely on.
const CAPABILITIES: [&str; 2] = ["interrupt_receipt_v1", "msg_lifecycle_v1"];

pub(crate) async fn serve(session: &Session, request: ControlRequest) -> Next {
    let ControlRequest { request_id, request } = request;
    let mut next = Next::GoOn;
    let mut new_mode = None;
    let mut new_model = None;
    let answered = match request {
        Request::Initialize(initialize) => self::initialize(session, &initialize).map(Some),
        Request::Interrupt { cancel_queued } => {
            next = Next::Interrupt;
            Ok(Some(interrupt(session, cancel_queued == Some(true)).await))
        }
        Request::SetPermissionMode { mode } => set_mode(session, &mode).map(|mode| {
            new_mode = Some(mode);
            Some(json!({"mode": mode.name()}))
        }),
        Request::SetModel { model } => {
            let model = set_model(session, model.as_deref());
            let answer = json!({"model": model});
            new_model = Some(model);
            Ok(Some(answer))
        }
        Request::SetMaxThinkingTokens { max_thinking_tokens } => {
            session.live.borrow_mut().thinking = match max_thinking_tokens {
                None => Thinking::Unset,
                Some(0) => Thinking::Disabled,
                Some(tokens) => Thinking::Budget(tokens),
            };
            Ok(None)
        }
        Request::McpStatus { .. } => Ok(Some(json!({"mcpServers": session.servers.described()}))),
        Request::GetContextUsage { .. } => Ok(Some(context_usage(session))),
        Request::EndSession { .. } => {
            next = Next::End;
            Ok(None)
        }
        other => unserved(&other),
    };
    let response = match answered {
        Ok(response) => Answer::Success { request_id, response },
        Err(Refusal { error, code }) => Answer::Error {
            request_id,
            error,
            error_code: Some(code.to_owned()),
        },
    };
    session
        .output
        .send(Frame::ControlResponse(Box::new(ControlResponse { response })))
        .await;
    if let Some(mode) = new_mode {
        send_mode(session, mode).await;
    }
    if let Some(model) = new_model {
        commands::reply(session, &format!("Set model to {model}")).await;
    }
    next
}

fn unserved(request: &Request) -> Result<Option<Value>, Refusal> {
    match request.subtype() {
        name @ ("initialize"
        | "interrupt"
        | "set_permission_mode"
        | "set_model"
        | "set_max_thinking_tokens"
        | "mcp_status"
        | "get_context_usage"
        | "end_session") => refuse("invalid_request", format!("Malformed control request: {name}")),
        name => refuse(
            "unsupported_request",
            format!("Unsupported control request subtype: {name}"),
        ),
    }
}

/// Refuses what the host relies on and this runtime does not do; a turn without it would be wrong.
fn initialize(session: &Session, request: &Initialize) -> Result<Value, Refusal> {
    let asks_for = |value: Option<&Value>| match value {
        None | Some(Value::Null) => false,
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(_) => true,
    };
    if asks_for(request.hooks.as_ref()) {
        return refuse("unsupported_request", "hostler-agent does not implement hooks");
    }
    for key in ["jsonSchema", "plugins", "managedSettings"] {
        if asks_for(request.extra.get(key)) {
            return refuse(
                "unsupported_request",
                format!("hostler-agent does not implement `{key}`"),
            );
        }
    }
    declare_servers(session, request)?;
    session.is_initialized.set(true);
    {
        let mut live = session.live.borrow_mut();
        if let Some(prompt) = &request.system_prompt {
            live.system = crate::prompt::with_custom(&live.system, prompt);
        }
        if let Some(appended) = request
            .append_system_prompt
            .as_ref()
            .filter(|text| !text.is_empty())
        {
            live.system.push(appended.clone());
        }
        let denied = request
            .disallowed_tools
            .iter()
            .flatten()
            .map(|rule| Rule::parse(rule));
        live.permissions.deny.extend(denied);
    }
    let commands: Vec<Value> = NAMES
        .iter()
        .map(|(name, description, hint)| json!({"name":name,"description":description,"argumentHint":hint,"builtin":true}))
        .collect();
    Ok(json!({
        "commands": commands,
        "agents": [],
        "output_style": "default",
        "available_output_styles": ["default"],
        "models": models(session),
        "account": {"apiKeySource": session.environment.credential_source(), "apiProvider": "firstParty"},
        "pid": std::process::id(),
        "claude_code_version": PROTOCOL_VERSION,
        "hostler_agent_version": env!("CARGO_PKG_VERSION"),
        "current_permission_mode": session.live.borrow().permissions.mode.name(),
        "hook_on_failure_supported": false,
        "session_state": if session.is_running.get() { "running" } else { "idle" },
        "capabilities": CAPABILITIES,
    }))
}

fn declare_servers(session: &Session, request: &Initialize) -> Result<(), Refusal> {
    let mut names = request.sdk_mcp_servers.clone().unwrap_or_default();
    if let Some(configs) = request.extra.get("mcpServers") {
        match mcp_server_names(configs) {
            Ok(own) => names.extend(own),
            Err(foreign) => return refuse("unsupported_request", foreign.to_string()),
        }
    }
    session
        .servers
        .declare(&names)
        .or_else(|error| refuse("invalid_request", error.to_string()))
}

fn models(session: &Session) -> Vec<Value> {
    let environment = &session.environment;
    [("default", &environment.opus), ("sonnet", &environment.sonnet), ("haiku", &environment.haiku)]
        .into_iter()
        .map(|(value, resolved)| json!({"value":value,"resolvedModel":resolved,"displayName":value,"description":resolved}))
        .collect()
}

/// Says what stays queued; with `cancel_queued` nothing does.
async fn interrupt(session: &Session, cancels_queued: bool) -> Value {
    let queued: Vec<String> = session
        .inbox
        .borrow()
        .iter()
        .filter_map(|line| line.uuid.clone())
        .collect();
    if !cancels_queued {
        return json!({"still_queued": queued});
    }
    session.inbox.borrow_mut().clear();
    for uuid in &queued {
        session.output.lifecycle(uuid, "cancelled").await;
    }
    json!({"still_queued": [], "cancelled": queued})
}

fn set_mode(session: &Session, name: &str) -> Result<Mode, Refusal> {
    let Some(mode) = Mode::parse(name) else {
        return refuse("invalid_mode", format!("Invalid permission mode: {name}"));
    };
    if mode == Mode::BypassPermissions && !session.options.may_bypass {
        return refuse(
            "invalid_mode",
            "Cannot set permission mode to bypassPermissions because the session was not started with --allow-dangerously-skip-permissions",
        );
    }
    session.change_permissions(|permissions| permissions.mode = mode);
    Ok(mode)
}

fn set_model(session: &Session, name: Option<&str>) -> String {
    let mut live = session.live.borrow_mut();
    live.model = match name.filter(|name| !name.is_empty() && *name != "default") {
        Some(name) => session.environment.resolve_model(name),
        None => live.default_model.clone(),
    };
    live.model.clone()
}

pub(crate) async fn send_mode(session: &Session, mode: Mode) {
    session
        .output
        .system(SystemEvent::Status {
            status: None,
            permission_mode: Some(mode.name().to_owned()),
            compact_result: None,
            compact_error: None,
        })
        .await;
}

/// The init frame: at the start of every turn.
pub(crate) async fn send_init(session: &Session) {
    let mut extra = Extra::new();
    extra.insert("plugins".to_owned(), json!([]));
    extra.insert(
        "hostler_agent_version".to_owned(),
        json!(env!("CARGO_PKG_VERSION")),
    );
    if let Some(effort) = &session.options.effort {
        extra.insert("effort".to_owned(), json!(effort));
    }
    let init = Init {
        cwd: session.cwd.to_string_lossy().into_owned(),
        tools: session
            .tool_definitions()
            .into_iter()
            .map(|tool| tool.name)
            .collect(),
        mcp_servers: session.servers.listed(),
        model: session.model(),
        permission_mode: session.live.borrow().permissions.mode.name().to_owned(),
        slash_commands: NAMES.iter().map(|(name, ..)| (*name).to_owned()).collect(),
        api_key_source: session.environment.credential_source().to_owned(),
        claude_code_version: PROTOCOL_VERSION.to_owned(),
        output_style: "default".to_owned(),
        agents: Vec::new(),
        skills: Vec::new(),
        capabilities: CAPABILITIES.iter().map(|name| (*name).to_owned()).collect(),
        extra,
    };
    session.output.system(SystemEvent::Init(Box::new(init))).await;
}
