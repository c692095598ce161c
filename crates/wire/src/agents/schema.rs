//! What requests about agents and their answers look like.

use super::{DESCRIPTION_CHARACTERS, MAX_TOOLS, MAX_TURNS, NAME_CHARACTERS, SYSTEM_CHARACTERS};
use crate::schema::{
    Field, Schema, any, boolean, choice, constant, either, integer, list, map, object, optional, required,
    tagged, text, text_of, timestamp, unsupported, variant,
};
use crate::{metadata, page};

/// Of a page.
pub const MAX_LIMIT: usize = 100;
const TOOL_NAME_CHARACTERS: usize = 128;
const MODEL_CHARACTERS: usize = 256;
const TEXT_CHARACTERS: usize = 100_000;

pub(super) fn create() -> Schema {
    object([
        required("name", text(1..=NAME_CHARACTERS)),
        required("model", model()),
        optional("description", description()),
        optional("system", system()),
        optional("tools", tools().nullable()),
        optional("metadata", metadata::schema().nullable()),
        optional("hostler", settings().nullable()),
        optional("mcp_servers", unsupported()),
        optional("skills", unsupported()),
        optional("multiagent", unsupported()),
        optional("execution_identity", execution_identity().nullable()),
    ])
    .named("AgentCreate")
}

pub(super) fn update() -> Schema {
    let version = integer(1..=i64::MAX).about(
        "The version that the client has seen: the update fails with 409 where the agent has another one.",
    );
    object([
        optional("version", version.nullable()),
        optional("name", text(1..=NAME_CHARACTERS).nullable()),
        optional("model", model().nullable()),
        optional("description", description()),
        optional("system", system()),
        optional("tools", tools().nullable()),
        optional("metadata", metadata::patch_schema().nullable()),
        optional("hostler", settings().nullable()),
        optional("mcp_servers", unsupported()),
        optional("skills", unsupported()),
        optional("multiagent", unsupported()),
        optional("execution_identity", execution_identity().nullable()),
    ])
    .named("AgentUpdate")
}

/// The resource.
pub fn schema() -> Schema {
    object([
        constant("type", "agent"),
        required("id", text(1..=64)),
        required("version", integer(1..=i64::MAX)),
        required("name", text(1..=NAME_CHARACTERS)),
        required("description", description()),
        required("system", system()),
        required("model", resolved_model()),
        required("tools", resolved_tools()),
        required("metadata", metadata::schema()),
        required("mcp_servers", list(any(), 0)),
        required("skills", list(any(), 0)),
        required("multiagent", unsupported()),
        required(
            "execution_identity",
            object([constant("type", "service_account")]),
        ),
        required(
            "hostler",
            object([required(
                "max_turns",
                integer(1..=i64::from(MAX_TURNS)).nullable(),
            )]),
        ),
        required("created_at", timestamp()),
        required("updated_at", timestamp()),
        required("archived_at", timestamp().nullable()),
    ])
    .named("Agent")
}

pub(super) fn list_agents() -> Schema {
    let filters = [
        optional("include_archived", boolean()),
        optional("created_at[gte]", timestamp()),
        optional("created_at[lte]", timestamp()),
    ];
    object(page::parameters(MAX_LIMIT).into_iter().chain(filters))
}

pub(super) fn list_versions() -> Schema {
    object(page::parameters(MAX_LIMIT))
}

pub(super) fn get() -> Schema {
    object([optional("version", integer(1..=i64::MAX))])
}

fn description() -> Schema {
    text(0..=DESCRIPTION_CHARACTERS).nullable()
}

pub(crate) fn system() -> Schema {
    text(0..=SYSTEM_CHARACTERS).nullable()
}

fn settings() -> Schema {
    object([optional(
        "max_turns",
        integer(1..=i64::from(MAX_TURNS)).nullable(),
    )])
}

fn execution_identity() -> Schema {
    tagged(
        "type",
        [
            variant("service_account", object([])),
            variant("aws_role", unsupported()),
        ],
    )
}

pub(crate) fn model() -> Schema {
    let effort = either([choice(["low", "medium", "high", "xhigh", "max"]), effort_object()]);
    either([
        text(1..=MODEL_CHARACTERS),
        object([
            required("id", text(1..=MODEL_CHARACTERS)),
            optional("effort", effort.nullable()),
            optional("speed", choice(["standard"]).later(["fast"]).nullable()),
            optional("inference_geo", unsupported()),
        ]),
    ])
}

fn effort_object() -> Schema {
    tagged(
        "type",
        ["low", "medium", "high", "xhigh", "max"].map(|level| variant(level, object([]))),
    )
}

pub(crate) fn resolved_model() -> Schema {
    object([
        required("id", text(1..=MODEL_CHARACTERS)),
        required("effort", effort_object()),
        required("speed", choice(["standard"])),
        required("inference_geo", unsupported()),
    ])
}

pub(crate) fn tools() -> Schema {
    list(tool(), MAX_TOOLS)
}

pub(crate) fn resolved_tools() -> Schema {
    list(resolved_tool(), MAX_TOOLS)
}

fn tool() -> Schema {
    tagged(
        "type",
        [
            variant(
                "agent_toolset_20260401",
                object([
                    optional("default_config", object(config_fields()).nullable()),
                    optional("configs", list(tool_config(), MAX_TOOLS).nullable()),
                ]),
            ),
            variant("custom", custom_tool()),
            variant("mcp_toolset", unsupported()),
        ],
    )
}

fn config_fields() -> [Field; 2] {
    [
        optional("enabled", boolean().nullable()),
        optional("permission_policy", permission_policy().nullable()),
    ]
}

fn tool_config() -> Schema {
    let plain = |name| {
        let fields = config_fields().into_iter();
        variant(name, object(fields.chain([optional("type", choice([name]))])))
    };
    let web = |name, later: &[&'static str]| {
        let fields = config_fields()
            .into_iter()
            .chain([optional("type", choice([name]))]);
        let later = later.iter().map(|field| optional(field, unsupported()));
        variant(name, object(fields.chain(later)))
    };
    tagged(
        "name",
        [
            plain("bash"),
            plain("edit"),
            plain("read"),
            plain("write"),
            plain("glob"),
            plain("grep"),
            web(
                "web_fetch",
                &[
                    "allowed_domains",
                    "blocked_domains",
                    "max_content_tokens",
                    "url_sources",
                ],
            ),
            web(
                "web_search",
                &["allowed_domains", "blocked_domains", "user_location"],
            ),
        ],
    )
}

fn permission_policy() -> Schema {
    tagged(
        "type",
        [
            variant("always_allow", object([])),
            variant("always_ask", object([])),
            variant("auto", unsupported()),
        ],
    )
}

fn custom_tool() -> Schema {
    let properties = map(any(), 1000, 1000);
    let names = list(text(0..=1000), 1000);
    let input_schema = object([
        constant("type", "object"),
        optional("properties", properties.nullable()),
        optional("required", names.nullable()),
    ]);
    object([
        required(
            "name",
            text_of(1..=TOOL_NAME_CHARACTERS, "[a-zA-Z0-9_-]", |character| {
                character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
            }),
        ),
        required("description", text(1..=TEXT_CHARACTERS)),
        required(
            "input_schema",
            input_schema.open().about("A JSON Schema of the tool's input."),
        ),
    ])
}

fn resolved_tool() -> Schema {
    let config = [
        required("enabled", boolean()),
        required("permission_policy", permission_policy()),
    ];
    let names = [
        "bash",
        "edit",
        "read",
        "write",
        "glob",
        "grep",
        "web_fetch",
        "web_search",
    ];
    let by_name = [required("name", choice(names)), required("type", choice(names))];
    let configs = object(config.clone().into_iter().chain(by_name));
    tagged(
        "type",
        [
            variant(
                "agent_toolset_20260401",
                object([
                    required("default_config", object(config)),
                    required("configs", list(configs, names.len())),
                ]),
            ),
            variant("custom", custom_tool()),
        ],
    )
}
