"""The official Python SDK, unchanged: sessions as resources, and how their events are listed and followed."""

import signal

from support import sdk
from support.model import script, when, says
from support.server import main, until
from support.session import (TOOLSET, Stream, agent, allow, asking, budget, custom, environment, expecting, message, of,
                             one, say, send, session, text, types)


def a_session_has_every_field_that_it_was_made_with(server):
    import anthropic

    client = server.client()
    who, where = agent(client, system="The agent's."), environment(client)
    client.beta.agents.update(who.id, system="The second.")
    made = client.beta.sessions.create(
        agent={"type": "agent", "id": who.id, "version": 1}, environment_id=where.id, title="A title",
        metadata={"team": "a"}, budget=budget(2500), resources=[], vault_ids=[],
        initial_events=[message("say: first"), message("say: second")])
    assert made.type == "session" and made.id.startswith("sesn_") and made.environment_id == where.id, made
    assert (made.title, made.metadata, made.budget.max_list_cost.amount) == ("A title", {"team": "a"}, "2500")
    assert made.agent.id == who.id and made.agent.version == 1 and made.agent.system == "The agent's."
    assert made.resources == [] and made.vault_ids == [] and made.outcome_evaluations == []
    assert made.status == "running" and made.archived_at is None and made.deployment_id is None
    idle = until("it is idle", lambda: idle_one(client, made.id))
    assert idle.usage.output_tokens > 0 and idle.usage.list_cost.currency == "USD" and idle.stats.active_seconds > 0
    facts = idle.model_extra["hostler"]
    assert facts["sandbox"]["state"] == "idle" and facts["runtime"]["name"] == "native", facts
    assert facts["cost"]["sandbox_seconds"] > 0 and facts["cost"]["tokens"]["currency"] == "USD", facts
    said = text(list(client.beta.sessions.events.list(made.id)))
    assert "first" in said and "second" in said, said
    for wrong in ({"initial_events": [{"type": "user.interrupt"}]}, {"initial_events": [message("x")] * 51},
                  {"budget": budget(0)}, {"metadata": {"k": "v" * 513}}, {"title": "x" * 513}):
        with expecting(anthropic.BadRequestError):
            session(client, agent=who.id, environment_id=where.id, **wrong)
    for missing in ({"agent": "agent_00000000000000000000000000"}, {"environment_id": made.id}):
        with expecting(anthropic.NotFoundError):
            session(client, **{"agent": who.id, "environment_id": where.id, **missing})


def idle_one(client, session_id):
    found = client.beta.sessions.retrieve(session_id)
    return found if found.status == "idle" else None


def overrides_are_the_session_s_own(server):
    client = server.client()
    who = agent(client, custom(), system="The agent's.")
    other = {"type": "agent_with_overrides", "id": who.id, "version": 1, "model": {"id": "claude-haiku-5-5"},
             "system": "The session's.", "tools": [TOOLSET]}
    made = session(client, agent=other)
    assert made.agent.model.id == "claude-haiku-5-5" and made.agent.system == "The session's."
    assert [tool.type for tool in made.agent.tools] == ["agent_toolset_20260401"]
    kept = session(client, agent={"type": "agent_with_overrides", "id": who.id})
    assert kept.agent.system == "The agent's." and [tool.type for tool in kept.agent.tools] == ["custom"]
    cleared = session(client, agent={"type": "agent_with_overrides", "id": who.id, "system": None, "tools": []})
    assert cleared.agent.system is None and cleared.agent.tools == []
    assert client.beta.agents.retrieve(who.id).version == 1, "the agent is as it was"
    stream = Stream(client, made.id)
    say(client, made.id, "which system?")
    assert text(stream.idle()) == "The session's one, with claude-haiku-5-5."


def sessions_are_listed_by_every_filter_both_ways_and_back(server):
    import anthropic

    client = server.client(server.key("sessions-list")["secret"])
    who, other, where = agent(client), agent(client), environment(client).id
    client.beta.agents.update(who.id, system="newer")
    first = {"type": "agent", "id": who.id, "version": 1}
    made = [session(client, agent=agent_of, environment_id=where) for agent_of in (who.id, first, other.id, who.id, who.id)]
    oldest = [each.id for each in made]
    newest = oldest[::-1]

    def listed(**filters):
        return [each.id for each in client.beta.sessions.list(limit=2, **filters)]

    assert listed() == newest and listed(order="asc") == oldest and listed(order="desc") == newest
    assert listed(agent_id=other.id) == [oldest[2]]
    assert listed(agent_id=who.id, agent_version=1) == [oldest[1]]
    assert listed(agent_id=who.id, agent_version=2, order="asc") == [oldest[0], oldest[3], oldest[4]]
    edge = made[2].created_at
    assert listed(created_at_gt=edge, order="asc") == oldest[3:]
    assert listed(created_at_gte=edge, order="asc") == oldest[2:]
    assert listed(created_at_lt=edge, order="asc") == oldest[:2]
    assert listed(created_at_lte=edge, order="asc") == oldest[:3]
    assert listed(created_at_gt=made[0].created_at, created_at_lt=edge) == [oldest[1]]
    assert listed(deployment_id="depl_1") == listed(memory_store_id="memstore_1") == []

    stream = Stream(client, oldest[0])
    say(client, oldest[0], "sleep 600 # run")
    stream.until("agent.tool_use")
    assert listed(statuses=["running"]) == [oldest[0]]
    assert listed(statuses=["idle", "terminated"]) == newest[:-1]
    assert sorted(listed(statuses=["running", "idle"])) == sorted(oldest)
    send(client, oldest[0], {"type": "user.interrupt"})
    stream.idle()
    client.beta.sessions.archive(oldest[4])
    assert listed() == newest[1:] and listed(include_archived=True) == newest

    page = client.beta.sessions.list(limit=2, include_archived=True)
    assert page.prev_page is None and [each.id for each in page.data] == newest[:2]
    second = client.beta.sessions.list(limit=2, include_archived=True, page=page.next_page)
    third = client.beta.sessions.list(limit=2, include_archived=True, page=second.next_page)
    assert [each.id for each in third.data] == newest[4:] and third.next_page is None
    for back, before in ((third.prev_page, second), (second.prev_page, page)):
        again = client.beta.sessions.list(limit=2, include_archived=True, page=back)
        assert (again.next_page, again.prev_page) == (before.next_page, before.prev_page)
        assert [each.id for each in again.data] == [each.id for each in before.data]
    for wrong in ({"page": page.next_page, "order": "asc", "include_archived": True}, {"page": page.next_page},
                  {"page": "x"}, {"limit": 101}, {"limit": 0}, {"limit": -1}, {"agent_version": 1}):
        with expecting(anthropic.BadRequestError):
            client.beta.sessions.list(**wrong)


def a_session_is_updated_and_tells_it(server):
    import anthropic

    client = server.client()
    made = session(client, title="old", metadata={"a": "1", "b": "2"}, budget=budget(100))
    stream = Stream(client, made.id)
    changed = client.beta.sessions.update(made.id, title="new", metadata={"a": None, "c": "3"}, budget=budget(200),
                                          agent={"tools": [asking("bash"), custom()]})
    assert changed.title == "new" and changed.metadata == {"b": "2", "c": "3"}
    assert changed.budget.max_list_cost.amount == "200"
    assert [tool.type for tool in changed.agent.tools] == ["agent_toolset_20260401", "custom"]
    told = stream.until("session.updated")[-1]
    assert told.title == "new" and told.metadata == {"b": "2", "c": "3"}
    assert told.budget.max_list_cost.amount == "200" and told.agent.tools == changed.agent.tools
    assert client.beta.sessions.update(made.id, title="new").title == "new"
    say(client, made.id, "echo with the new tools # run")
    events = stream.idle()
    assert not of(events, "session.updated"), "what changed nothing tells nothing"
    assert events[-1].stop_reason.type == "requires_action", events[-1]
    send(client, made.id, allow(events[-1].stop_reason.event_ids[0]))
    assert "with the new tools" in text(stream.idle())
    say(client, made.id, "half a dollar")
    stream.idle()
    assert int(client.beta.sessions.retrieve(made.id).usage.list_cost.amount) >= 50
    with expecting(anthropic.BadRequestError, code="budget_not_raised"):
        client.beta.sessions.update(made.id, budget=budget(50))
    assert client.beta.sessions.update(made.id, budget=budget(150)).budget.max_list_cost.amount == "150"
    removed = client.beta.sessions.update(made.id, budget=None)
    assert removed.budget is None
    for wrong in (lambda: client.beta.sessions.update(made.id, budget=budget(300)),
                  lambda: client.beta.sessions.update(session(client).id, budget=budget(300))):
        with expecting(anthropic.BadRequestError, code="budget_create_only"):
            wrong()
    with expecting(anthropic.BadRequestError, code="model_not_budgetable"):
        session(client, agent=agent(client, model="a-model-of-mine").id, budget=budget(1))


def a_session_is_archived_and_deleted_when_it_is_idle(server):
    import anthropic

    client = server.client()
    made = session(client)
    stream = Stream(client, made.id)
    say(client, made.id, "sleep 600 # run")
    stream.until("agent.tool_use")
    for change in (client.beta.sessions.archive, client.beta.sessions.delete):
        with expecting(anthropic.ConflictError, code="session_running"):
            change(made.id)
    with expecting(anthropic.ConflictError, code="session_running"):
        client.beta.sessions.update(made.id, agent={"tools": []})
    send(client, made.id, {"type": "user.interrupt"})
    stream.idle()
    archived = client.beta.sessions.archive(made.id)
    assert archived.archived_at is not None and archived.status == "idle"
    assert archived.model_extra["hostler"]["sandbox"]["state"] == "destroyed"
    assert client.beta.sessions.archive(made.id).archived_at == archived.archived_at
    for change in (lambda: say(client, made.id, "say: too late"),
                   lambda: client.beta.sessions.update(made.id, title="late")):
        with expecting(anthropic.ConflictError, code="session_archived"):
            change()
    assert types(client.beta.sessions.events.list(made.id)), "its events can be read"
    stream = Stream(client, made.id)
    deleted = client.beta.sessions.delete(made.id)
    assert deleted.type == "session_deleted" and deleted.id == made.id
    assert types(stream.end()) == ["session.deleted"]
    for gone in (client.beta.sessions.retrieve, client.beta.sessions.delete, client.beta.sessions.events.list):
        with expecting(anthropic.NotFoundError, code="session_not_found"):
            gone(made.id)


def events_are_listed_by_type_time_order_and_pages(server):
    import anthropic

    client = server.client()
    made = session(client)
    stream = Stream(client, made.id)
    say(client, made.id, "echo one # run")
    first = stream.idle()
    say(client, made.id, "say: two")
    second = stream.idle()
    every = [event.id for event in first + second]

    def listed(**filters):
        return [event.id for event in client.beta.sessions.events.list(made.id, **filters)]

    assert listed() == listed(limit=3) == listed(order="asc", limit=1) == every, "what was streamed is what is listed"
    assert listed(order="desc") == listed(order="desc", limit=4) == every[::-1]
    kinds = ["agent.message", "user.message"]
    assert listed(types=kinds, limit=1) == [event.id for event in first + second if event.type in kinds]
    assert listed(types=["agent.of_tomorrow"]) == []
    edge = second[0].processed_at or one(second, "session.status_running").processed_at
    after = [event.id for event in first + second if event.processed_at >= edge]
    assert listed(created_at_gte=edge) == after and set(listed(created_at_lt=edge)) == set(every) - set(after)
    exact = [event.id for event in first + second if event.processed_at == edge]
    assert listed(created_at_gte=edge, created_at_lte=edge) == exact
    assert set(listed(created_at_gt=edge)) == set(after) - set(exact)
    page = client.beta.sessions.events.list(made.id, limit=2)
    for wrong in ({"page": page.next_page, "order": "desc"}, {"page": page.next_page, "types": kinds}, {"limit": 1001}):
        with expecting(anthropic.BadRequestError):
            client.beta.sessions.events.list(made.id, **wrong)


def a_session_goes_on_after_a_restart(server):
    key = server.key()["secret"]
    client = server.client(key)
    made = session(client, asking("write"))
    stream = Stream(client, made.id)
    say(client, made.id, "echo kept > /workspace/file # run")
    stream.idle()
    for how in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        server.end(how)
        server.start()
        client = server.client(key)
        stream = Stream(client, made.id)
        say(client, made.id, "cat /workspace/file # run")
        assert "kept" in text(stream.idle()), how


CHECKS = [
    a_session_has_every_field_that_it_was_made_with,
    overrides_are_the_session_s_own,
    sessions_are_listed_by_every_filter_both_ways_and_back,
    a_session_is_updated_and_tells_it,
    a_session_is_archived_and_deleted_when_it_is_idle,
    events_are_listed_by_type_time_order_and_pages,
    a_session_goes_on_after_a_restart,
]
HALF_A_DOLLAR = when("half a dollar", [says("That was a lot.")], usage={"output_tokens": 50_000})
SYSTEM = when("which system?", [says("The session's one, with {{model}}.")], system_contains="The session's.")

if __name__ == "__main__":
    sdk.install()
    main(CHECKS, script(SYSTEM, HALF_A_DOLLAR))
