//! What requests about environments and their answers look like.

use super::{DESCRIPTION_CHARACTERS, NAME_CHARACTERS};
use crate::schema::{
    Schema, boolean, choice, constant, either, integer, list, map, number, object, optional, required,
    tagged, text, timestamp, unsupported, variant,
};
use crate::{metadata, page};

/// Of a page.
pub const MAX_LIMIT: usize = 100;
/// As many as `policy` takes.
const HOSTS: usize = 1000;
const HOST_CHARACTERS: usize = 300;
const RUNTIME_VERSION_CHARACTERS: usize = 64;
const VARIABLES: usize = 64;
const VARIABLE_NAME_CHARACTERS: usize = 128;
const VARIABLE_CHARACTERS: usize = 32_768;
const MAX_BYTES: i64 = 1 << 44;

pub(super) fn create() -> Schema {
    object([
        required("name", text(1..=NAME_CHARACTERS)),
        optional("description", description()),
        optional("metadata", metadata::schema().nullable()),
        optional("scope", scope().nullable()),
        optional("config", config().nullable()),
        optional("hostler", settings().nullable()),
    ])
    .named("EnvironmentCreate")
}

pub(super) fn update() -> Schema {
    object([
        optional("name", text(1..=NAME_CHARACTERS).nullable()),
        optional("description", description()),
        optional("metadata", metadata::patch_schema().nullable()),
        optional("scope", scope().nullable()),
        optional("config", config().nullable()),
        optional("hostler", settings().nullable()),
    ])
    .named("EnvironmentUpdate")
}

/// The resource.
pub fn schema() -> Schema {
    let packages = ["apt", "cargo", "gem", "go", "npm", "pip"].map(|manager| required(manager, none()));
    let config = object([
        constant("type", "cloud"),
        required("networking", resolved_networking()),
        required(
            "packages",
            object(packages.into_iter().chain([constant("type", "packages")])),
        ),
    ]);
    object([
        constant("type", "environment"),
        required("id", text(1..=64)),
        required("name", text(1..=NAME_CHARACTERS)),
        required("description", description()),
        required("metadata", metadata::schema()),
        required("scope", choice(["organization"])),
        required("config", config),
        required("hostler", resolved_settings()),
        required("created_at", timestamp()),
        required("updated_at", timestamp()),
        required("archived_at", timestamp().nullable()),
    ])
    .named("Environment")
}

pub fn deleted_schema() -> Schema {
    object([
        constant("type", "environment_deleted"),
        required("id", text(1..=64)),
    ])
    .named("EnvironmentDeleted")
}

pub(super) fn list_environments() -> Schema {
    let parameters = page::parameters(MAX_LIMIT).into_iter();
    object(parameters.chain([optional("include_archived", boolean())]))
}

fn none() -> Schema {
    list(text(0..=0), 0)
}

fn description() -> Schema {
    text(0..=DESCRIPTION_CHARACTERS).nullable()
}

fn scope() -> Schema {
    choice(["organization"]).later(["account"])
}

fn config() -> Schema {
    let packages =
        ["apt", "cargo", "gem", "go", "npm", "pip"].map(|manager| optional(manager, unsupported()));
    let kind = optional("type", choice(["packages"]));
    let cloud = object([
        optional("networking", networking().nullable()),
        optional("packages", object(packages.into_iter().chain([kind])).nullable()),
    ]);
    tagged(
        "type",
        [variant("cloud", cloud), variant("self_hosted", unsupported())],
    )
}

fn networking() -> Schema {
    let hosts = list(text(1..=HOST_CHARACTERS), HOSTS)
        .nullable()
        .about("Hosts like api.example.com, *.example.com, example.com:8443 or 10.0.0.0/8:5432.");
    let limited = object([
        optional("allowed_hosts", hosts),
        optional("allow_mcp_servers", boolean().nullable()),
        optional("allow_package_managers", boolean().nullable()),
    ]);
    tagged(
        "type",
        [variant("unrestricted", object([])), variant("limited", limited)],
    )
}

fn resolved_networking() -> Schema {
    let limited = object([
        required("allowed_hosts", list(text(1..=HOST_CHARACTERS), HOSTS)),
        required("allow_mcp_servers", boolean()),
        required("allow_package_managers", boolean()),
    ]);
    tagged(
        "type",
        [variant("unrestricted", object([])), variant("limited", limited)],
    )
}

fn settings() -> Schema {
    let size = || {
        let size = either([integer(1..=MAX_BYTES), text(1..=32)]).nullable();
        size.about("Bytes, or a text like 512M or 5G.")
    };
    object([
        optional("cpus", number(0.01..=1024.0).nullable()),
        optional("memory", size()),
        optional("disk", size()),
        optional("pids", integer(16..=4_194_304).nullable()),
        optional("runtime", choice(["native", "claude"]).nullable()),
        optional("runtime_version", runtime_version()),
        optional(
            "mode",
            choice(["hybrid"])
                .later(["ephemeral", "long_running", "shared"])
                .nullable(),
        ),
        optional("env", variables().nullable()),
        optional("idle", unsupported()),
        optional("ports", unsupported()),
        optional("image", unsupported()),
    ])
}

fn resolved_settings() -> Schema {
    object([
        required("cpus", number(0.01..=1024.0)),
        required("memory", integer(1..=MAX_BYTES)),
        required("disk", integer(1..=MAX_BYTES)),
        required("pids", integer(16..=4_194_304)),
        required("runtime", choice(["native", "claude"])),
        required("runtime_version", runtime_version()),
        required("mode", choice(["hybrid"])),
        required("env", variables()),
    ])
}

fn runtime_version() -> Schema {
    let version = text(1..=RUNTIME_VERSION_CHARACTERS).nullable();
    version.about("A version like 2.1.330 or a range of npm like ^2.1; null is the server's default.")
}

fn variables() -> Schema {
    map(text(0..=VARIABLE_CHARACTERS), VARIABLES, VARIABLE_NAME_CHARACTERS)
}
