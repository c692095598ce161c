"""The official Python SDK, unchanged: agents, environments, models, keys and workspaces."""

import datetime

from support import sdk
from support.model import script
from support.server import ADMIN, main
from support.session import TOOLSET, agent, custom, environment, expecting, session


def an_agent_has_every_field_that_it_was_made_with(server):
    client = server.client()
    toolset = {**TOOLSET,
               "default_config": {"enabled": False, "permission_policy": {"type": "always_ask"}},
               "configs": [{"name": "bash", "enabled": True, "permission_policy": {"type": "always_allow"}},
                           {"name": "web_search", "enabled": True}]}
    made = client.beta.agents.create(
        name="every field", model={"id": "claude-opus-5-5", "effort": "high", "speed": "standard"},
        description="What it is for.", system="Be brief.", tools=[toolset, custom()], metadata={"team": "a", "b": ""},
        mcp_servers=[], skills=[], execution_identity={"type": "service_account"},
        extra_body={"hostler": {"max_turns": 40}})
    assert made.type == "agent" and made.id.startswith("agent_") and made.version == 1, made
    assert (made.name, made.description, made.system) == ("every field", "What it is for.", "Be brief.")
    assert made.model.id == "claude-opus-5-5" and made.model.effort.type == "high" and made.model.speed == "standard"
    assert made.metadata == {"team": "a", "b": ""} and made.mcp_servers == [] and made.skills == []
    assert made.execution_identity.type == "service_account" and made.model_extra["hostler"] == {"max_turns": 40}
    assert made.archived_at is None and made.created_at == made.updated_at
    [built_in, weather] = made.tools
    assert not built_in.default_config.enabled and built_in.default_config.permission_policy.type == "always_ask"
    resolved = {each.name: (each.enabled, each.permission_policy.type) for each in built_in.configs}
    # What a configuration does not say, the default says.
    assert resolved["bash"] == (True, "always_allow") and resolved["web_search"] == (True, "always_ask"), resolved
    assert weather.name == "get_weather" and weather.input_schema.required == ["city"], weather
    assert client.beta.agents.retrieve(made.id) == made


def an_agent_is_updated_in_versions(server):
    import anthropic

    client = server.client()
    made = agent(client, system="one", metadata={"kept": "1", "gone": "2"}, description="first")
    second = client.beta.agents.update(made.id, version=1, name="renamed", model="claude-haiku-5-5", system="two",
                                       description=None, metadata={"gone": None, "new": "3"}, tools=[custom()])
    assert second.version == 2 and second.name == "renamed" and second.model.id == "claude-haiku-5-5"
    assert second.description is None and second.metadata == {"kept": "1", "new": "3"}
    assert [tool.type for tool in second.tools] == ["custom"] and second.created_at == made.created_at
    assert client.beta.agents.update(made.id, name="renamed").version == 2, "nothing changed"
    with expecting(anthropic.ConflictError, code="version_conflict"):
        client.beta.agents.update(made.id, version=1, name="late")
    requests = []
    patient = client.with_options(max_retries=2, http_client=counting(requests))
    with expecting(anthropic.ConflictError):
        patient.beta.agents.update(made.id, version=1, name="late")
    assert len(requests) == 1, f"a conflict was tried {len(requests)} times"
    third = client.beta.agents.update(made.id, system="", tools=None)
    assert third.version == 3 and third.system is None and third.tools == []
    versions = [each for each in client.beta.agents.versions.list(made.id, limit=2)]
    assert [each.version for each in versions] == [3, 2, 1] and versions[-1].system == "one"
    assert client.beta.agents.retrieve(made.id, version=1) == versions[-1]
    assert client.beta.agents.retrieve(made.id).version == 3
    with expecting(anthropic.NotFoundError):
        client.beta.agents.retrieve(made.id, version=4)


def counting(requests):
    """A client of the SDK's own that notes each request."""
    import anthropic

    return anthropic.DefaultHttpxClient(event_hooks={"request": [requests.append]})


def agents_are_listed_and_archived(server):
    import anthropic

    client = server.client(server.key("agents-list")["secret"])
    made = [agent(client, name=f"number {number}") for number in range(5)]
    newest_first = [each.id for each in reversed(made)]
    first = client.beta.agents.list(limit=2)
    assert [each.id for each in first.data] == newest_first[:2] and first.has_next_page()
    assert [each.id for each in client.beta.agents.list(limit=2)] == newest_first
    since = [each.id for each in client.beta.agents.list(created_at_gte=made[3].created_at)]
    assert since == newest_first[:2], since
    until = [each.id for each in client.beta.agents.list(created_at_lte=made[1].created_at)]
    assert until == newest_first[3:], until
    future = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    assert client.beta.agents.list(created_at_gte=future).data == []

    archived = client.beta.agents.archive(made[0].id)
    assert archived.archived_at is not None and client.beta.agents.archive(made[0].id) == archived
    assert [each.id for each in client.beta.agents.list()] == newest_first[:-1]
    assert [each.id for each in client.beta.agents.list(include_archived=True)] == newest_first
    for change in (lambda: client.beta.agents.update(made[0].id, name="x"), lambda: session(client, agent=made[0].id)):
        with expecting(anthropic.BadRequestError, code="agent_archived"):
            change()
    assert client.beta.agents.retrieve(made[0].id) == archived


def environments_go_round(server):
    import anthropic

    client = server.client(server.key("environments")["secret"])
    limits = {"cpus": 0.5, "memory": "512M", "disk": "1G", "pids": 100, "env": {"GREETING": "hello"}}
    made = client.beta.environments.create(
        name="every field", description="For tests.", metadata={"team": "a"}, scope="organization",
        config={"type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["api.example.com"]}},
        extra_body={"hostler": limits})
    assert made.type == "environment" and made.id.startswith("env_"), made
    assert (made.name, made.description, made.metadata) == ("every field", "For tests.", {"team": "a"})
    assert made.config.networking.allowed_hosts == ["api.example.com"] and not made.config.networking.allow_mcp_servers
    assert made.config.packages.pip == [] and made.archived_at is None
    mine = made.model_extra["hostler"]
    assert (mine["cpus"], mine["memory"], mine["disk"], mine["pids"]) == (0.5, 512 << 20, 1 << 30, 100), mine
    assert mine["env"] == {"GREETING": "hello"} and mine["runtime"] == "native" and mine["mode"] == "hybrid"
    assert client.beta.environments.retrieve(made.id) == made

    changed = client.beta.environments.update(
        made.id, name="renamed", description=None, metadata={"team": None, "b": "c"},
        config={"type": "cloud", "networking": {"type": "unrestricted"}}, extra_body={"hostler": {"pids": None}})
    assert changed.name == "renamed" and changed.description is None and changed.metadata == {"b": "c"}
    assert changed.config.networking.type == "unrestricted"
    assert changed.model_extra["hostler"] == {**mine, "pids": 512}, "what is not named stays"
    others = [environment(client) for _ in range(2)]
    newest_first = [others[1].id, others[0].id, made.id]
    assert [each.id for each in client.beta.environments.list(limit=1)] == newest_first

    using = session(client, environment_id=made.id)
    archived = client.beta.environments.archive(made.id)
    assert archived.archived_at is not None
    assert [each.id for each in client.beta.environments.list()] == newest_first[:2]
    assert [each.id for each in client.beta.environments.list(include_archived=True)] == newest_first
    with expecting(anthropic.BadRequestError, code="environment_archived"):
        session(client, environment_id=made.id)
    with expecting(anthropic.BadRequestError, code="environment_archived"):
        client.beta.environments.update(made.id, name="x")
    with expecting(anthropic.ConflictError, code="environment_in_use"):
        client.beta.environments.delete(made.id)
    client.beta.sessions.delete(using.id)
    deleted = client.beta.environments.delete(made.id)
    assert deleted.type == "environment_deleted" and deleted.id == made.id
    for gone in (client.beta.environments.retrieve, client.beta.environments.archive, client.beta.environments.delete):
        with expecting(anthropic.NotFoundError, code="environment_not_found"):
            gone(made.id)


def what_is_not_there_yet_is_refused_by_its_name(server):
    import anthropic

    client = server.client()
    plain = {"name": "x", "model": "claude-sonnet-5-5"}
    mcp = {"name": "s", "type": "url", "url": "https://mcp.example"}
    auto = {**TOOLSET, "default_config": {"permission_policy": {"type": "auto"}}}
    for more, name in (
            ({"mcp_servers": [mcp]}, "mcp_servers"),
            ({"skills": [{"type": "anthropic", "skill_id": "xlsx"}]}, "skills"),
            ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "s"}]}, "mcp_toolset"),
            ({"tools": [auto]}, "auto"),
            ({"multiagent": {"type": "coordinator", "agents": []}}, "multiagent"),
            ({"model": {"id": "claude-sonnet-5-5", "speed": "fast"}}, "fast"),
            ({"execution_identity": {"type": "aws_role", "role_arn": "x"}}, "aws_role")):
        with expecting(anthropic.BadRequestError, "is not supported by this server yet"):
            client.beta.agents.create(**{**plain, **more})
        with expecting(anthropic.BadRequestError, name):
            client.beta.agents.create(**{**plain, **more})
    for config in ({"type": "self_hosted"}, {"type": "cloud", "packages": {"pip": ["numpy"]}}):
        with expecting(anthropic.BadRequestError, "is not supported by this server yet"):
            client.beta.environments.create(name="x", config=config)


def models_are_listed_and_got(server):
    import anthropic

    client = server.client()
    listed = list(client.models.list(limit=1000))
    assert "claude-sonnet-5-5" in [each.id for each in listed]
    assert [each.id for each in client.models.list(limit=7)] == [each.id for each in listed], "page by page"
    got = client.models.retrieve("claude-sonnet-5-5")
    assert got.type == "model" and got.id == "claude-sonnet-5-5" and got.display_name
    assert client.beta.models.retrieve("claude-sonnet-5-5").id == got.id
    with expecting(anthropic.NotFoundError):
        client.models.retrieve("claude-of-tomorrow")


def a_workspace_sees_its_own_alone(server):
    import anthropic

    ours, theirs = (server.client(server.key(name)["secret"]) for name in ("ours", "theirs"))
    made, where = agent(ours), environment(ours)
    worked = session(ours, agent=made.id, environment_id=where.id)
    beta = theirs.beta
    for ask in (lambda: beta.agents.retrieve(made.id), lambda: beta.agents.archive(made.id),
                lambda: beta.environments.retrieve(where.id), lambda: beta.environments.delete(where.id),
                lambda: beta.sessions.retrieve(worked.id), lambda: beta.sessions.delete(worked.id),
                lambda: beta.sessions.events.list(worked.id), lambda: beta.sessions.events.stream(worked.id)):
        with expecting(anthropic.NotFoundError):
            ask()
    assert list(beta.agents.list()) == list(beta.environments.list()) == list(beta.sessions.list()) == []
    admin = server.client(ADMIN)
    assert admin.beta.agents.retrieve(made.id, workspace_id="ours").id == made.id
    with expecting(anthropic.NotFoundError):
        admin.beta.agents.retrieve(made.id)
    with expecting(anthropic.PermissionDeniedError):
        beta.agents.list(workspace_id="ours")


def a_key_opens_until_it_is_revoked(server):
    import anthropic

    made = server.key("keys")
    client = server.client(made["secret"])
    agent(client)
    listed = [each for each in server.ask("GET", "/host/v1/keys")["data"] if each["id"] == made["id"]]
    assert listed and "secret" not in listed[0] and listed[0]["last_used_at"], listed
    assert "keys" in [each["id"] for each in server.ask("GET", "/host/v1/workspaces")["data"]]
    with expecting(anthropic.PermissionDeniedError):
        client.post("/host/v1/keys", body={}, cast_to=object)
    older = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0,
                                default_headers={"authorization": anthropic.Omit(), "x-api-key": made["secret"]})
    older.beta.agents.list()
    server.ask("POST", f"/host/v1/keys/{made['id']}/revoke")
    for ended in (client, older):
        with expecting(anthropic.AuthenticationError):
            ended.beta.agents.list()
    with expecting(anthropic.AuthenticationError):
        server.client("no-such-key-at-all-0000").beta.agents.list()


CHECKS = [
    an_agent_has_every_field_that_it_was_made_with,
    an_agent_is_updated_in_versions,
    agents_are_listed_and_archived,
    environments_go_round,
    what_is_not_there_yet_is_refused_by_its_name,
    models_are_listed_and_got,
    a_workspace_sees_its_own_alone,
    a_key_opens_until_it_is_revoked,
]

if __name__ == "__main__":
    sdk.install()
    main(CHECKS, script())
