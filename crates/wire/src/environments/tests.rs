//! Environments by tables: what is refused, with what words, and what an accepted one becomes.

use super::*;
use serde_json::{Value, json};

fn create(value: Value) -> Result<Definition, String> {
    let create = Create::read(value).map_err(|invalid| invalid.to_string())?;
    Ok(create.define(&Limits::default()))
}

fn with(field: &str, value: Value) -> Value {
    let mut body = json!({"name": "n"});
    body[field] = value;
    body
}

fn limited(hosts: &Value) -> Value {
    with(
        "config",
        json!({"type": "cloud", "networking": {"type": "limited", "allowed_hosts": hosts}}),
    )
}

#[test]
fn the_least_environment_reaches_nothing_and_has_the_default_limits() {
    let definition = create(json!({"name": "n"})).unwrap();
    assert_eq!(definition.limits(), Limits::default());
    assert!(definition.rules().unwrap().is_empty());
    let environment = Environment {
        id: EnvironmentId::random(),
        definition,
        created_at: OffsetDateTime::UNIX_EPOCH,
        updated_at: OffsetDateTime::UNIX_EPOCH,
        archived_at: None,
    };
    let json = serde_json::to_value(&environment).unwrap();
    schema().check(&json).unwrap();
    let expected = json!({
        "type": "environment", "id": environment.id, "name": "n", "description": null, "metadata": {},
        "scope": "organization",
        "config": {"type": "cloud",
            "networking": {"type": "limited", "allowed_hosts": [], "allow_mcp_servers": false,
                "allow_package_managers": false},
            "packages": {"type": "packages", "apt": [], "cargo": [], "gem": [], "go": [], "npm": [], "pip": []}},
        "hostler": {"cpus": 1.0, "memory": 1_073_741_824_u64, "disk": 5_368_709_120_u64, "pids": 512,
            "runtime": "native", "runtime_version": null, "mode": "hybrid", "env": {}},
        "created_at": "1970-01-01T00:00:00Z", "updated_at": "1970-01-01T00:00:00Z", "archived_at": null,
    });
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<Environment>(json).unwrap(), environment);
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one table: what is wrong beside what is said of it"
)]
fn what_is_wrong_is_said_with_its_path_and_what_is_allowed() {
    let table = [
        (json!({}), "name: is required"),
        (
            with("scope", json!("account")),
            "scope: account is not supported by this server yet",
        ),
        (
            with("config", json!({"type": "self_hosted"})),
            "config.type: self_hosted is not supported by this server yet",
        ),
        (
            with("config", json!({"type": "cloud", "packages": {"pip": ["numpy"]}})),
            "config.packages.pip: pip is not supported by this server yet",
        ),
        (
            with("config", json!({"type": "cloud", "networking": {"type": "open"}})),
            "config.networking.type: must be one of unrestricted, limited, and not \"open\"",
        ),
        (
            with(
                "config",
                json!({"type": "cloud",
            "networking": {"type": "limited", "allow_package_managers": true}}),
            ),
            "config.networking.allow_package_managers: true is not supported by this server yet: name the \
             registries' hosts in allowed_hosts",
        ),
        (
            limited(&json!(["a.example", "https://b.example/x"])),
            "config.networking.allowed_hosts[1]: host pattern \"https://b.example/x\", character 1: a pattern \
             has no scheme; write \"b.example\"",
        ),
        (
            limited(&json!(["a.example:1", "b.example:2", "c.example:3"])),
            "config.networking.allowed_hosts: host names with ports [1, 2, 3]: besides 80 and 443 at most 2 \
             different ports can be served",
        ),
        (
            with("hostler", json!({"cpus": 0})),
            "hostler.cpus: must be a number from 0.01 to 1024, and not 0",
        ),
        (
            with("hostler", json!({"memory": "1K"})),
            "hostler.memory: memory_bytes of 1024 is outside 33554432 to 17592186044416",
        ),
        (
            with("hostler", json!({"disk": "lots"})),
            "hostler.disk: \"lots\" is not a size: use a number with K, M, G or T, like 512M or 5G",
        ),
        (
            with("hostler", json!({"disk": true})),
            "hostler.disk: must be a whole number or a string, and not a boolean",
        ),
        (
            with("hostler", json!({"pids": 1})),
            "hostler.pids: must be a whole number from 16 to 4194304, and not 1",
        ),
        (
            with("hostler", json!({"runtime": "codex"})),
            "hostler.runtime: must be one of native, claude, and not \"codex\"",
        ),
        (
            with("hostler", json!({"runtime_version": "2.1.330"})),
            "hostler.runtime_version: the native runtime has the server's own version: leave it out, or set runtime to \
             claude",
        ),
        (
            with("hostler", json!({"runtime": "claude", "runtime_version": "../x"})),
            "hostler.runtime_version: is no version: write 2.1.330, or a range of npm like ^2.1 or >=2 <3",
        ),
        (
            with("hostler", json!({"mode": "shared"})),
            "hostler.mode: shared is not supported by this server yet",
        ),
        (
            with("hostler", json!({"image": "alpine"})),
            "hostler.image: image is not supported by this server yet",
        ),
        (
            with("hostler", json!({"ports": [80]})),
            "hostler.ports: ports is not supported by this server yet",
        ),
        (
            with("hostler", json!({"idle": "5m"})),
            "hostler.idle: idle is not supported by this server yet",
        ),
        (
            with("hostler", json!({"env": {"1A": "x"}})),
            "hostler.env.1A: is not the name of a variable: use letters, digits and _, and no digit first",
        ),
        (
            with("hostler", json!({"env": {"https_proxy": "x"}})),
            "hostler.env.https_proxy: is set by hostler itself and cannot be given",
        ),
        (
            with(
                "hostler",
                json!({"env": {"A": "ä".repeat(32_768), "B": "b".repeat(32_768)}}),
            ),
            "hostler.env: has 98306 bytes of names and values, and at most 98304 can be given",
        ),
        (
            with("hostler", json!({"env": {"ANTHROPIC_API_KEY": "x"}})),
            "hostler.env.ANTHROPIC_API_KEY: is set by hostler itself and cannot be given",
        ),
        (
            with("hostler", json!({"cpu": 1})),
            "hostler.cpu: is not a field here; there are cpus, memory, disk, pids, runtime, runtime_version, \
             mode, env, idle, ports, image",
        ),
    ];
    for (body, expected) in table {
        assert_eq!(create(body.clone()).unwrap_err(), expected, "{body}");
    }
}

#[test]
fn sizes_and_cpus_become_limits() {
    let settings = json!({"cpus": 0.5, "memory": "512M", "disk": 134_217_728, "pids": 64,
        "env": {"LANG": "C", "MY_TOKEN": ""}, "runtime": "native", "runtime_version": null, "mode": "hybrid",
        "idle": null, "ports": []});
    let definition = create(with("hostler", settings)).unwrap();
    let expected = Limits {
        cpu_millis: 500,
        memory_bytes: 512 << 20,
        disk_bytes: 128 << 20,
        pids: 64,
    };
    assert_eq!(definition.limits(), expected);
    assert_eq!(definition.variables().len(), 2);
}

#[test]
fn networking_becomes_rules() {
    let some = create(limited(&json!(["A.example", "*.b.example:8443"]))).unwrap();
    assert_eq!(some.rules().unwrap().to_string(), "a.example, *.b.example:8443");
    let config = json!({"type": "cloud", "networking": {"type": "unrestricted"}, "packages": {"pip": [], "apt": null}});
    let all = create(with("config", config)).unwrap();
    assert_eq!(all.rules().unwrap(), policy::Rules::unrestricted());
}

#[test]
fn an_update_replaces_what_it_names_and_keeps_the_rest() {
    let mut body = limited(&json!(["a.example"]));
    body["config"]["networking"]["allow_mcp_servers"] = json!(true);
    body["description"] = json!("d");
    body["hostler"] = json!({"cpus": 2, "memory": "2G", "env": {"A": "1"}});
    let first = create(body).unwrap();
    let usual = Limits::default();
    let update = |value: Value| Update::read(value).unwrap().apply(first.clone(), &usual).unwrap();
    assert_eq!(update(json!({})), first);
    assert_eq!(
        update(json!({"config": {"type": "cloud"}, "name": null, "hostler": {}})),
        first
    );

    let kept = update(
        json!({"config": {"type": "cloud", "networking": {"type": "limited",
        "allow_mcp_servers": false}}}),
    );
    assert_eq!(
        kept.config.networking,
        Networking::Limited {
            allowed_hosts: vec!["a.example".to_owned()],
            allow_mcp_servers: false,
            allow_package_managers: false,
        }
    );
    assert_eq!(
        update(json!({"description": ""})).description.as_deref(),
        Some("")
    );
    assert_eq!(update(json!({"description": null})).description, None);

    let settings = update(json!({"hostler": {"cpus": null, "pids": 100}})).hostler;
    assert_eq!(
        (settings.cpus, settings.memory, settings.pids),
        (1.0, 2 << 30, 100)
    );
    assert_eq!(settings.env.len(), 1);
    assert_eq!(update(json!({"hostler": null})).hostler, Settings::from(&usual));
}

#[test]
fn a_version_of_the_runtime_goes_with_a_runtime_that_has_some() {
    let settings = json!({"runtime": "claude", "runtime_version": "^2.1"});
    let first = create(with("hostler", settings)).unwrap();
    assert_eq!(first.hostler.runtime, RuntimeName::Claude);
    let usual = Limits::default();
    let update = |settings: Value| {
        let update = Update::read(json!({"hostler": settings})).unwrap();
        update
            .apply(first.clone(), &usual)
            .map_err(|invalid| invalid.to_string())
    };
    let version = |settings: Value| update(settings).unwrap().hostler.runtime_version;
    assert_eq!(version(json!({})).as_deref(), Some("^2.1"));
    assert_eq!(
        version(json!({"runtime_version": "2.1.330"})).as_deref(),
        Some("2.1.330")
    );
    assert_eq!(version(json!({"runtime_version": null})), None);
    assert_eq!(
        version(json!({"runtime": "native", "runtime_version": null})),
        None
    );
    let error = update(json!({"runtime": null})).unwrap_err();
    assert!(
        error.starts_with("hostler.runtime_version: the native runtime"),
        "{error}"
    );
}

#[test]
fn what_an_environment_does_not_say_is_as_the_server_has_it() {
    let usual = Limits {
        cpu_millis: 2500,
        memory_bytes: 4 << 30,
        disk_bytes: 1 << 30,
        pids: 64,
    };
    let create = Create::read(json!({"name": "n", "hostler": {"cpus": 1}})).unwrap();
    let made = create.define(&usual);
    let expected = Limits {
        cpu_millis: 1000,
        ..usual
    };
    assert_eq!(made.limits(), expected);
    let update = Update::read(json!({"hostler": {"cpus": null, "pids": 100}})).unwrap();
    let updated = update.apply(made.clone(), &usual).unwrap();
    assert_eq!(updated.limits(), Limits { pids: 100, ..usual });
    let back = Update::read(json!({"hostler": null})).unwrap();
    assert_eq!(back.apply(made, &usual).unwrap().limits(), usual);
}
