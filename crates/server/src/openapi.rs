//! The `OpenAPI` 3.1 document, printed from the table of routes.

use crate::route::{Access, Answer, Route};
use crate::routes;
use http::Method;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;
use wire::schema::{Schema, constant, object, optional, required, text};

/// The document never changes while the program runs.
pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

/// What this server can be asked, for programs.
pub fn document() -> Value {
    let mut schemas = error_schemas();
    let mut paths = Map::new();
    for route in routes::all() {
        let written = operation(&route, &mut schemas);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = written;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hostler",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The Managed Agents API on a server of your own. What that API has no field for is in \
                objects named `hostler`, or under /host/v1.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    })
}

fn operation(route: &Route, schemas: &mut Map<String, Value>) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "parameters": parameters(route, schemas),
        "responses": {
            "default": {
                "description": "What went wrong.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    });
    let (status, good) = good(&route.answer, schemas);
    operation["responses"][status] = good;
    if route.access != Access::Open {
        operation["security"] = json!([{"bearer": []}, {"key": []}]);
    }
    if let Some(body) = &route.body {
        let schema = body.schema.document(schemas);
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    operation
}

/// Like `post_v1_agents_agent_id_archive`.
fn operation_id(route: &Route) -> String {
    let path = route.path.replace(['{', '}'], "").replace(['/', '.'], "_");
    format!("{}{path}", route.method.as_str().to_ascii_lowercase())
}

/// The status and the form of the answer when all went well.
fn good(answer: &Answer, schemas: &mut Map<String, Value>) -> (&'static str, Value) {
    let done = |content: Value| ("200", json!({"description": "Done.", "content": content}));
    match answer {
        Answer::Json(schema) => done(json!({"application/json": {"schema": schema.document(schemas)}})),
        Answer::Other(media_type) => done(json!({*media_type: {}})),
        Answer::Upgrade => (
            "101",
            json!({"description": "The connection is a WebSocket now."}),
        ),
    }
}

fn parameters(route: &Route, schemas: &mut Map<String, Value>) -> Vec<Value> {
    let named = route.path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?.strip_suffix('}')?;
        let schema = json!({"type": "string", "minLength": 1});
        Some(json!({"name": name, "in": "path", "required": true, "schema": schema}))
    });
    let mut parameters: Vec<Value> = named.collect();
    for field in route.query.fields() {
        parameters.push(json!({
            "name": field.name(),
            "in": "query",
            "required": field.is_required(),
            "schema": field.schema().document(schemas),
        }));
    }
    if route.access == Access::Workspace && route.method != Method::HEAD {
        parameters.push(json!({
            "name": "anthropic-workspace-id",
            "in": "header",
            "description": "The workspace, for a key that may act in several.",
            "schema": wire::workspaces::id().document(schemas),
        }));
    }
    parameters
}

fn error_schemas() -> Map<String, Value> {
    let mut schemas = Map::new();
    let details: Schema = object([
        optional("error_code", text(1..=100)),
        optional("field", text(1..=1000)),
    ]);
    let error = object([
        required("type", text(1..=100)),
        required("message", text(1..=10_000)),
        optional("details", details.open()),
    ]);
    object([
        constant("type", "error"),
        required("error", error),
        required("request_id", text(28..=28)),
    ])
    .named("Error")
    .document(&mut schemas);
    schemas
}
