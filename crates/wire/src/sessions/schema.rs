//! What requests about sessions and their answers look like.

use super::{INITIAL_EVENTS, TITLE_CHARACTERS};
use crate::agents::{
    model_schema, resolved_model_schema, resolved_tools_schema, system_schema, tools_schema,
};
use crate::event_input;
use crate::schema::{
    Schema, any, boolean, choice, constant, either, integer, list, number, object, optional, required,
    tagged, text, timestamp, unsupported, variant,
};
use crate::{metadata, page};

/// Of a page.
pub const MAX_LIMIT: usize = 100;
const ID: usize = 64;
const STATUSES: [&str; 4] = ["rescheduling", "running", "idle", "terminated"];
const SECONDS: f64 = 1e12;

pub(super) fn create() -> Schema {
    object([
        required("agent", either([text(1..=ID), agent_reference()])),
        required("environment_id", text(1..=ID)),
        optional("title", title()),
        optional("metadata", metadata::schema().nullable()),
        optional(
            "initial_events",
            list(event_input::schema(), INITIAL_EVENTS).nullable(),
        ),
        optional("budget", budget().nullable()),
        optional("resources", unsupported()),
        optional("vault_ids", unsupported()),
        optional("hostler", unsupported()),
    ])
    .named("SessionCreate")
}

pub(super) fn update() -> Schema {
    object([
        optional("title", title()),
        optional("metadata", metadata::patch_schema().nullable()),
        optional(
            "budget",
            budget().nullable().about("null removes the budget for good."),
        ),
        optional(
            "agent",
            object([
                optional("tools", tools_schema().nullable()),
                optional("mcp_servers", unsupported()),
            ])
            .nullable(),
        ),
        optional("vault_ids", unsupported()),
    ])
    .named("SessionUpdate")
}

fn agent_reference() -> Schema {
    let id = || required("id", text(1..=ID));
    let version = || optional("version", integer(1..=i64::MAX).nullable());
    tagged(
        "type",
        [
            variant("agent", object([id(), version()])),
            variant(
                "agent_with_overrides",
                object([
                    id(),
                    version(),
                    optional("model", model_schema().nullable()),
                    optional("system", system_schema()),
                    optional("tools", tools_schema().nullable()),
                    optional("mcp_servers", unsupported()),
                    optional("skills", unsupported()),
                ]),
            ),
        ],
    )
}

pub(super) fn list_sessions() -> Schema {
    let filters = [
        optional("order", choice(["asc", "desc"])),
        optional("agent_id", text(1..=ID)),
        optional("agent_version", integer(1..=i64::MAX)),
        optional("deployment_id", text(1..=ID)),
        optional("memory_store_id", text(1..=ID)),
        optional("statuses[]", list(choice(STATUSES), 16)),
        optional("include_archived", boolean()),
        optional("created_at[gt]", timestamp()),
        optional("created_at[gte]", timestamp()),
        optional("created_at[lt]", timestamp()),
        optional("created_at[lte]", timestamp()),
    ];
    object(page::parameters(MAX_LIMIT).into_iter().chain(filters))
}

/// The resource.
pub fn schema() -> Schema {
    object([
        constant("type", "session"),
        required("id", text(1..=ID)),
        required("status", choice(STATUSES)),
        required("agent", agent()),
        required("environment_id", text(1..=ID)),
        required("title", title()),
        required("metadata", metadata::schema()),
        required("resources", list(any(), 0)),
        required("vault_ids", list(any(), 0)),
        required("outcome_evaluations", list(any(), 0)),
        required(
            "stats",
            object([
                required("active_seconds", number(0.0..=SECONDS)),
                required("duration_seconds", number(0.0..=SECONDS)),
            ]),
        ),
        required(
            "usage",
            any().about("Tokens, active seconds and list cost of all turns."),
        ),
        required("budget", budget().nullable()),
        required("deployment_id", unsupported()),
        required("created_at", timestamp()),
        required("updated_at", timestamp()),
        required("archived_at", timestamp().nullable()),
        required("hostler", facts()),
    ])
    .named("Session")
}

fn agent() -> Schema {
    object([
        constant("type", "agent"),
        required("id", text(1..=ID)),
        required("version", integer(1..=i64::MAX)),
        required("name", text(1..=crate::agents::NAME_CHARACTERS)),
        required(
            "description",
            text(0..=crate::agents::DESCRIPTION_CHARACTERS).nullable(),
        ),
        required("system", system_schema()),
        required("model", resolved_model_schema()),
        required("tools", resolved_tools_schema()),
        required("mcp_servers", list(any(), 0)),
        required("skills", list(any(), 0)),
        required("multiagent", unsupported()),
        required(
            "execution_identity",
            object([constant("type", "service_account")]),
        ),
        required("hostler", any()),
    ])
    .named("SessionAgent")
}

fn facts() -> Schema {
    let states = ["starting", "running", "idle", "frozen", "hibernated", "destroyed"];
    let sandbox = object([required("id", text(1..=ID)), required("state", choice(states))]);
    let runtime = object([required("name", text(1..=ID)), required("version", text(1..=ID))]);
    let cost = object([
        required("tokens", money().nullable()),
        required("sandbox_seconds", number(0.0..=SECONDS)),
        required("sandbox_time", money()),
    ]);
    object([
        required("sandbox", sandbox.nullable()),
        required("runtime", runtime),
        required("cost", cost),
    ])
}

pub fn deleted_schema() -> Schema {
    object([constant("type", "session_deleted"), required("id", text(1..=ID))]).named("SessionDeleted")
}

fn title() -> Schema {
    text(0..=TITLE_CHARACTERS).nullable()
}

fn budget() -> Schema {
    object([constant("type", "limit"), required("max_list_cost", money())])
}

fn money() -> Schema {
    object([
        required("amount", text(1..=16).about("Cents, as a string of digits.")),
        required("currency", choice(["USD"])),
    ])
}
