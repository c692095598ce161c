//! Agents by tables: what is refused, with what words, and what an accepted one becomes.

use super::*;
use serde_json::json;

fn create(value: Value) -> Result<Definition, String> {
    let create = Create::read(value).map_err(|invalid| invalid.to_string())?;
    Ok(create.into())
}

fn with(field: &str, value: Value) -> Value {
    let mut body = json!({"name": "n", "model": "m"});
    body[field] = value;
    body
}

#[test]
fn the_least_agent_is_resolved_in_full() {
    let definition = create(json!({"name": "n", "model": "claude-x"})).unwrap();
    let agent = Agent {
        id: AgentId::random(),
        version: 1,
        definition,
        created_at: OffsetDateTime::UNIX_EPOCH,
        updated_at: OffsetDateTime::UNIX_EPOCH,
        archived_at: None,
    };
    let json = serde_json::to_value(&agent).unwrap();
    schema().check(&json).unwrap();
    let expected = json!({
        "type": "agent", "id": agent.id, "version": 1, "name": "n", "description": null, "system": null,
        "model": {"id": "claude-x", "effort": {"type": "high"}, "speed": "standard", "inference_geo": null},
        "tools": [], "metadata": {}, "mcp_servers": [], "skills": [], "multiagent": null,
        "execution_identity": {"type": "service_account"}, "hostler": {"max_turns": null},
        "created_at": "1970-01-01T00:00:00Z", "updated_at": "1970-01-01T00:00:00Z", "archived_at": null,
    });
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<Agent>(json).unwrap(), agent);
}

fn check_refusals(table: &[(Value, &str)]) {
    for (body, expected) in table {
        assert_eq!(create(body.clone()).unwrap_err(), *expected, "{body}");
    }
}

#[test]
fn a_wrong_field_is_said_with_its_path_and_what_is_allowed() {
    let pairs: serde_json::Map<String, Value> =
        (0..17).map(|number| (number.to_string(), json!("v"))).collect();
    let table = [
        (json!({"model": "m"}), "name: is required"),
        (json!({"name": "n"}), "model: is required"),
        (
            with("name", json!("")),
            "name: must have 1 to 256 characters, and has 0",
        ),
        (
            with("name", json!("é".repeat(257))),
            "name: must have 1 to 256 characters, and has 257",
        ),
        (with("name", json!(null)), "name: must be a string, and not null"),
        (
            with("model", json!(5)),
            "model: must be a string or an object, and not a number",
        ),
        (with("model", json!({})), "model.id: is required"),
        (
            with("model", json!({"id": "m", "effort": "huge"})),
            "model.effort: must be one of low, medium, high, xhigh, max, and not \"huge\"",
        ),
        (
            with("model", json!({"id": "m", "effort": {"type": "huge"}})),
            "model.effort.type: must be one of low, medium, high, xhigh, max, and not \"huge\"",
        ),
        (
            with("model", json!({"id": "m", "speed": "fast"})),
            "model.speed: fast is not supported by this server yet",
        ),
        (
            with("model", json!({"id": "m", "inference_geo": "eu"})),
            "model.inference_geo: inference_geo is not supported by this server yet",
        ),
        (
            with("description", json!("d".repeat(2049))),
            "description: must have 0 to 2048 characters, and has 2049",
        ),
        (
            with("system", json!("s".repeat(100_001))),
            "system: must have 0 to 100000 characters, and has 100001",
        ),
        (
            with("nmae", json!("n")),
            "nmae: is not a field here; there are name, model, description, system, tools, metadata, hostler, \
             mcp_servers, skills, multiagent, execution_identity",
        ),
        (
            with("metadata", json!({"k": 1})),
            "metadata.k: must be a string, and not a number",
        ),
        (
            with("metadata", json!({"k": "v".repeat(513)})),
            "metadata.k: must have 0 to 512 characters, and has 513",
        ),
        (
            with("metadata", json!({"": "v"})),
            "metadata: the key \"\" must have 1 to 64 characters, and has 0",
        ),
        (
            with("metadata", Value::Object(pairs)),
            "metadata: must have at most 16 keys, and has 17",
        ),
        (
            with("hostler", json!({"max_turns": 0})),
            "hostler.max_turns: must be a whole number from 1 to 10000, and not 0",
        ),
        (
            with("hostler", json!({"max_turns": 10_001})),
            "hostler.max_turns: must be a whole number from 1 to 10000, and not 10001",
        ),
        (
            with("hostler", json!({"turns": 1})),
            "hostler.turns: is not a field here; there are max_turns",
        ),
        (
            with("mcp_servers", json!([{"type": "url"}])),
            "mcp_servers: mcp_servers is not supported by this server yet",
        ),
        (
            with("skills", json!([{}])),
            "skills: skills is not supported by this server yet",
        ),
        (
            with("multiagent", json!({"type": "coordinator"})),
            "multiagent: multiagent is not supported by this server yet",
        ),
        (
            with("execution_identity", json!({"type": "aws_role", "role_arn": "r"})),
            "execution_identity.type: aws_role is not supported by this server yet",
        ),
    ];
    check_refusals(&table);
}

#[test]
fn a_wrong_tool_is_said_with_its_path_and_what_is_allowed() {
    let toolset = |configs: Value| json!([{"type": "agent_toolset_20260401", "configs": configs}]);
    let custom = |name: &str| json!({"type": "custom", "name": name, "description": "d", "input_schema": {"type": "object"}});
    let many: Vec<Value> = (0..257).map(|number| custom(&format!("t{number}"))).collect();
    let table = [
        (
            with("tools", json!([{"type": "mcp_toolset", "mcp_server_name": "m"}])),
            "tools[0].type: mcp_toolset is not supported by this server yet",
        ),
        (
            with("tools", json!([{"type": "computer"}])),
            "tools[0].type: must be one of agent_toolset_20260401, custom, mcp_toolset, and not \"computer\"",
        ),
        (
            with("tools", toolset(json!([{"name": "bsh"}]))),
            "tools[0].configs[0].name: must be one of bash, edit, read, write, glob, grep, web_fetch, \
             web_search, and not \"bsh\"",
        ),
        (
            with(
                "tools",
                toolset(json!([{"name": "bash", "permission_policy": {"type": "auto"}}])),
            ),
            "tools[0].configs[0].permission_policy.type: auto is not supported by this server yet",
        ),
        (
            with("tools", toolset(json!([{"name": "bash"}, {"name": "bash"}]))),
            "tools[0].configs[1].name: \"bash\" is configured twice",
        ),
        (
            with(
                "tools",
                toolset(json!([{"name": "web_fetch", "allowed_domains": ["a.example"]}])),
            ),
            "tools[0].configs[0].allowed_domains: allowed_domains is not supported by this server yet",
        ),
        (
            with("tools", toolset(json!([{"name": "bash", "type": "edit"}]))),
            "tools[0].configs[0].type: must be one of bash, and not \"edit\"",
        ),
        (
            with(
                "tools",
                json!([{"type": "agent_toolset_20260401"}, {"type": "agent_toolset_20260401"}]),
            ),
            "tools[1]: is a second agent_toolset_20260401: give one",
        ),
        (
            with("tools", json!([custom("a b")])),
            "tools[0].name: must have characters of [a-zA-Z0-9_-] only, and has ' '",
        ),
        (
            with("tools", json!([custom("x"), custom("x")])),
            "tools[1].name: \"x\" is the name of an earlier tool",
        ),
        (
            with(
                "tools",
                json!([custom("bash"), {"type": "agent_toolset_20260401"}]),
            ),
            "tools[0].name: \"bash\" is the name of a tool of agent_toolset_20260401",
        ),
        (
            with(
                "tools",
                json!([{"type": "custom", "name": "x", "description": "d",
            "input_schema": {"type": "string"}}]),
            ),
            "tools[0].input_schema.type: must be one of object, and not \"string\"",
        ),
        (
            with("tools", json!(many)),
            "tools: must have at most 256 items, and has 257",
        ),
    ];
    check_refusals(&table);
}

#[test]
fn built_in_tools_count_towards_the_limit() {
    let custom = |number: usize| {
        json!({"type": "custom", "name": format!("t{number}"), "description": "d",
            "input_schema": {"type": "object"}})
    };
    let mut tools: Vec<Value> = (0..248).map(custom).collect();
    tools.push(json!({"type": "agent_toolset_20260401"}));
    assert!(create(with("tools", json!(tools))).is_ok());
    tools.push(custom(248));
    assert!(
        create(with("tools", json!(tools)))
            .unwrap_err()
            .contains("has 257")
    );
}

#[test]
fn empty_lists_of_what_is_not_supported_are_fine() {
    let body = json!({"name": "n", "model": {"id": "m", "effort": {"type": "low"}, "inference_geo": null},
        "mcp_servers": [], "skills": [], "multiagent": null, "execution_identity": {"type": "service_account"},
        "description": "", "metadata": null, "tools": null, "hostler": null});
    let definition = create(body).unwrap();
    assert_eq!(definition.model.effort, Effort::Low);
    assert_eq!(definition.description, None);
}

#[test]
fn a_toolset_is_resolved_by_its_default() {
    let tools = json!([{"type": "agent_toolset_20260401",
        "default_config": {"enabled": false, "permission_policy": {"type": "always_ask"}},
        "configs": [{"name": "bash", "enabled": true}, {"name": "read", "permission_policy": {"type": "always_allow"}}]}]);
    let definition = create(with("tools", tools)).unwrap();
    let Tool::AgentToolset(toolset) = &definition.tools[0] else {
        panic!("a toolset");
    };
    let config = |enabled, permission_policy| DefaultConfig {
        enabled,
        permission_policy,
    };
    assert_eq!(
        toolset.config(BuiltInTool::Bash),
        config(true, PermissionPolicy::AlwaysAsk)
    );
    assert_eq!(
        toolset.config(BuiltInTool::Read),
        config(false, PermissionPolicy::AlwaysAllow)
    );
    assert_eq!(
        toolset.config(BuiltInTool::Grep),
        config(false, PermissionPolicy::AlwaysAsk)
    );
    let json = serde_json::to_value(&definition.tools[0]).unwrap();
    assert_eq!(json["configs"][0]["type"], "bash");
}

#[test]
fn an_update_replaces_what_it_names_and_keeps_the_rest() {
    let first = create(
        json!({"name": "n", "model": {"id": "m", "effort": "low"}, "system": "s",
        "description": "d", "tools": [{"type": "agent_toolset_20260401"}], "metadata": {"a": "1", "b": "2"},
        "hostler": {"max_turns": 3}}),
    )
    .unwrap();
    let update = |value: Value| Update::read(value).unwrap().apply(first.clone()).unwrap();
    assert_eq!(update(json!({})), first);
    assert_eq!(
        update(json!({"name": null, "model": null, "metadata": null, "version": null})),
        first
    );
    let changed = update(
        json!({"model": "m2", "system": "", "description": null, "tools": [],
        "metadata": {"a": null, "b": "", "c": "3"}, "hostler": {}}),
    );
    assert_eq!(
        (changed.model.id.as_str(), changed.model.effort),
        ("m2", Effort::Low)
    );
    assert_eq!((changed.system, changed.description), (None, None));
    assert_eq!(changed.tools, []);
    assert_eq!(changed.metadata, [("c".to_owned(), "3".to_owned())].into());
    assert_eq!(changed.hostler.max_turns, None);
    let wrong = Update::read(json!({"version": 0})).unwrap_err();
    assert_eq!(wrong.path, "version");
}
