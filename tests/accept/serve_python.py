"""The official Python SDK, unchanged, against `hostler serve`: agents, environments, sessions and every event.

The model is simulated; sandboxes, tools, approvals and the server's restarts are real.
"""

import contextlib
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import venv

SDK = "anthropic==2.12.0"
PATIENCE = 60


def main():
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        # A server that was started as root reads it as another user.
        place.chmod(0o755)
        sys.path.insert(0, str(site_packages(place)))
        script = place / "script.json"
        script.write_text(json.dumps(SCRIPT))
        server = Server(place / "data", script)
        with server:
            for name, check in CHECKS:
                check(server)
                print("ok", name, flush=True)


def site_packages(place):
    """The SDK in an environment of its own."""
    target = place / "venv"
    venv.create(target, with_pip=True)
    python = target / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", SDK], check=True, timeout=300)
    found = subprocess.run([python, "-c", "import site; print(site.getsitepackages()[0])"],
                           check=True, capture_output=True, text=True)
    return pathlib.Path(found.stdout.strip())


class Server:
    def __init__(self, data, script):
        self.data, self.script, self.process, self.listen = data, script, None, "127.0.0.1:0"

    def __enter__(self):
        self.start()
        return self

    def start(self):
        environment = {**os.environ, "HOSTLER_API_KEY": "the-admin-key-of-this-test"}
        for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "HOSTLER_URL", "HOSTLER_DATA"):
            environment.pop(name, None)
        command = [os.environ["HOSTLER_BIN"], "serve", "--listen", self.listen, "--data", self.data,
                   "--simulate", self.script, "--pool", "2"]
        self.log = open(self.data.parent / "serve.log", "a")
        self.process = subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)
        first = self.process.stdout.readline()
        assert first.startswith("export ANTHROPIC_BASE_URL="), (first, self.said())
        self.url = first.split("=", 1)[1].strip()
        self.listen = self.url.removeprefix("http://")
        assert self.process.stdout.readline().startswith("export ANTHROPIC_API_KEY=")

    def said(self):
        return (self.data.parent / "serve.log").read_text()

    def client(self, **more):
        import anthropic

        key = more.pop("api_key", "the-admin-key-of-this-test")
        return anthropic.Anthropic(base_url=self.url, api_key=key, max_retries=0, **more)

    def end(self, how=signal.SIGINT):
        self.process.send_signal(how)
        code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        return code

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.end()
        if kind:
            print(self.said()[-4000:], file=sys.stderr)


class Stream:
    """A session's stream, read by a thread from before the first event on."""

    def __init__(self, client, session, **more):
        self.events, self.seen = queue.Queue(), []
        self.stream = client.beta.sessions.events.stream(session, **more)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        with contextlib.suppress(Exception):
            for event in self.stream:
                self.events.put(event)
        self.events.put(None)

    def until(self, *types):
        """Events up to the first of these types."""
        seen = []
        while True:
            event = self.events.get(timeout=PATIENCE)
            assert event is not None, f"the stream ended after {[e.type for e in seen]}"
            seen.append(event)
            self.seen.append(event)
            if event.type in types:
                return seen

    def idle(self):
        return self.until("session.status_idle")[-1].stop_reason


def types(events):
    return [event.type for event in events]


def text(events):
    return "".join(block.text for event in events if event.type == "agent.message" for block in event.content)


def say(client, session, words):
    message = {"type": "user.message", "content": [{"type": "text", "text": words}]}
    return client.beta.sessions.events.send(session, events=[message])


def agent(client, tools=({"type": "agent_toolset_20260401"},), **more):
    return client.beta.agents.create(name="tester", model="claude-sonnet-5-5", tools=list(tools), **more)


def session(client, **more):
    made = more.pop("agent", None) or agent(client).id
    environment = client.beta.environments.create(name="plain")
    return client.beta.sessions.create(agent=made, environment_id=environment.id, **more)


def works_in_its_sandbox(server):
    client = server.client()
    made = session(client, title="first", metadata={"team": "a"})
    assert made.status == "idle" and made.title == "first" and made.agent.version == 1
    stream = Stream(client, made.id)
    sent = say(client, made.id, "run: echo from-the-sandbox")
    assert sent.data[0].type == "user.message" and sent.data[0].id.startswith("sevt_")
    events = stream.until("session.status_idle")
    assert events[-1].stop_reason.type == "end_turn", events
    assert "from-the-sandbox" in text(events)
    for kind in ("session.status_running", "span.model_request_start", "agent.tool_use", "agent.tool_result",
                 "span.model_request_end", "session.usage"):
        assert kind in types(events), (kind, types(events))
    use = next(event for event in events if event.type == "agent.tool_use")
    assert use.name == "bash" and use.evaluated_permission == "allow"
    listed = [event for event in client.beta.sessions.events.list(made.id)]
    assert [event.id for event in listed] == [event.id for event in events]
    after = client.beta.sessions.retrieve(made.id)
    assert after.usage.output_tokens > 0 and after.stats.active_seconds > 0
    assert after.model_extra["hostler"]["sandbox"]["state"] == "idle"


def previews_are_the_beginning_of_what_follows(server):
    client = server.client()
    made = session(client)
    stream = Stream(client, made.id, event_deltas=["agent.message"])
    say(client, made.id, "say: one two three four five")
    events = stream.until("session.status_idle")
    start = next(event for event in events if event.type == "event_start")
    parts = [event.delta.content.text for event in events
             if event.type == "event_delta" and event.event_id == start.event.id]
    whole = next(event for event in events if event.type == "agent.message" and event.id == start.event.id)
    assert "".join(parts) == whole.content[0].text and len(parts) > 1, parts


def a_call_is_approved_and_another_denied(server):
    client = server.client()
    toolset = {"type": "agent_toolset_20260401",
               "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}]}
    made = session(client, agent=agent(client, [toolset]).id)
    stream = Stream(client, made.id)
    say(client, made.id, "run: echo approved")
    stop = stream.idle()
    assert stop.type == "requires_action" and len(stop.event_ids) == 1, stop
    assert client.beta.sessions.retrieve(made.id).status == "idle"
    allow = {"type": "user.tool_confirmation", "tool_use_id": stop.event_ids[0], "result": "allow"}
    client.beta.sessions.events.send(made.id, events=[allow])
    events = stream.until("session.status_idle")
    assert events[-1].stop_reason.type == "end_turn" and "approved" in text(events), types(events)
    refused(lambda: client.beta.sessions.events.send(made.id, events=[allow]), 400)
    say(client, made.id, "run: echo denied")
    stop = stream.idle()
    deny = {"type": "user.tool_confirmation", "tool_use_id": stop.event_ids[0], "result": "deny",
            "deny_message": "not on a Sunday"}
    client.beta.sessions.events.send(made.id, events=[deny])
    events = stream.until("session.status_idle")
    assert "not on a Sunday" in text(events), text(events)


def a_custom_tool_is_answered_by_the_client(server):
    client = server.client()
    weather = {"type": "custom", "name": "get_weather", "description": "The weather of a city.",
               "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
    made = session(client, agent=agent(client, [weather]).id)
    stream = Stream(client, made.id)
    say(client, made.id, "weather: Ulm")
    events = stream.until("session.status_idle")
    call = next(event for event in events if event.type == "agent.custom_tool_use")
    assert call.name == "get_weather" and call.input == {"city": "Ulm"}
    assert events[-1].stop_reason.event_ids == [call.id]
    result = {"type": "user.custom_tool_result", "custom_tool_use_id": call.id,
              "content": [{"type": "text", "text": "sunny, 21 degrees"}]}
    client.beta.sessions.events.send(made.id, events=[result])
    events = stream.until("session.status_idle")
    assert "sunny, 21 degrees" in text(events), text(events)


def an_interrupt_ends_the_turn(server):
    client = server.client()
    made = session(client)
    stream = Stream(client, made.id)
    say(client, made.id, "run: sleep 600")
    stream.until("agent.tool_use")
    client.beta.sessions.events.send(made.id, events=[{"type": "user.interrupt"}])
    assert stream.idle().type == "end_turn"
    say(client, made.id, "say: still here")
    assert "still here" in text(stream.until("session.status_idle"))


def messages_queue_while_the_agent_works(server):
    client = server.client()
    made = session(client)
    stream = Stream(client, made.id)
    say(client, made.id, "run: sleep 1; echo first")
    say(client, made.id, "say: second")
    seen = text(stream.until("session.status_idle"))
    assert "first" in seen and "second" in seen, seen


def a_session_goes_on_after_a_restart(server):
    client = server.client()
    made = session(client)
    stream = Stream(client, made.id)
    say(client, made.id, "run: echo kept > /workspace/file")
    stream.idle()
    server.end(signal.SIGTERM)
    server.start()
    client = server.client()
    stream = Stream(client, made.id)
    say(client, made.id, "run: cat /workspace/file")
    assert "kept" in text(stream.until("session.status_idle"))


def what_is_not_there_is_refused_by_name(server):
    client = server.client()
    import anthropic

    with expecting(anthropic.NotFoundError):
        client.beta.sessions.retrieve("sesn_00000000000000000000000000")
    made = session(client)
    with expecting(anthropic.BadRequestError, "not supported"):
        client.beta.sessions.create(agent=made.agent.id, environment_id=made.environment_id,
                                    vault_ids=["vlt_1"])
    with expecting(anthropic.BadRequestError, "not supported"):
        client.beta.sessions.events.send(made.id, events=[
            {"type": "user.define_outcome", "description": "x", "rubric": {"type": "text", "content": "y"}}])
    client.beta.sessions.archive(made.id)
    with expecting(anthropic.ConflictError):
        say(client, made.id, "say: too late")
    client.beta.sessions.delete(made.id)
    with expecting(anthropic.NotFoundError):
        client.beta.sessions.retrieve(made.id)


def sessions_are_listed_and_updated(server):
    client = server.client()
    who = agent(client)
    made = [session(client, agent=who.id, metadata={"number": str(number)}) for number in range(3)]
    listed = [each.id for each in client.beta.sessions.list(agent_id=who.id, limit=2)]
    assert listed == [each.id for each in reversed(made)], listed
    stream = Stream(client, made[0].id)
    changed = client.beta.sessions.update(made[0].id, title="new", metadata={"number": None, "kind": "x"})
    assert changed.title == "new" and changed.metadata == {"kind": "x"}
    event = stream.until("session.updated")[-1]
    assert event.title == "new" and event.metadata == {"kind": "x"}
    assert client.beta.sessions.update(made[0].id, title="new").title == "new"


def a_budget_ends_the_work(server):
    client = server.client()
    import anthropic

    made = session(client, budget={"type": "limit", "max_list_cost": {"amount": "1", "currency": "USD"}})
    stream = Stream(client, made.id)
    say(client, made.id, "expensive")
    stream.idle()
    say(client, made.id, "say: more")
    events = stream.until("session.status_idle")
    assert events[-1].stop_reason.type == "budget_reached", events[-1]
    assert "session.usage" in types(events)
    with expecting(anthropic.BadRequestError, "higher budget"):
        client.beta.sessions.update(made.id, budget={"type": "limit",
                                                     "max_list_cost": {"amount": "1", "currency": "USD"}})
    client.beta.sessions.update(made.id, budget={"type": "limit",
                                                 "max_list_cost": {"amount": "100000", "currency": "USD"}})
    say(client, made.id, "say: goes on")
    assert "goes on" in text(stream.until("session.status_idle"))


@contextlib.contextmanager
def expecting(kind, words=""):
    try:
        yield
    except kind as error:
        assert words in str(error), error
        assert error.request_id and error.request_id.startswith("req_"), error
    else:
        raise AssertionError(f"{kind.__name__} was expected")


def refused(call, status):
    import anthropic

    try:
        call()
    except anthropic.APIStatusError as error:
        assert error.status_code == status, error
    else:
        raise AssertionError(f"{status} was expected")


def when(words, reply, **more):
    return {"when": {"last_user_text_contains": words, **more}, "reply": reply}


COMMANDS = ["echo from-the-sandbox", "echo approved", "echo denied", "sleep 600", "sleep 1; echo first",
            "echo kept > /workspace/file", "cat /workspace/file"]
SCRIPT = {
    "name": "acceptance",
    "anytime": [
        when("say:", [{"text": "{{last_user_text}}", "chunk": 5}]),
        {"when": {"last_tool_result_contains": ""}, "reply": [{"text": "It says: {{last_tool_result}}"}]},
        *[when(f"run: {command}", [{"tool_use": {"name": "Bash", "input": {"command": command}}}])
          for command in COMMANDS],
        when("weather:", [{"tool_use": {"name": "get_weather", "input": {"city": "Ulm"}}}]),
        {**when("expensive", [{"text": "That was a lot."}]), "usage": {"output_tokens": 2_000_000}},
    ],
    "turns": [],
}

CHECKS = [(check.__name__, check) for check in (
    works_in_its_sandbox,
    previews_are_the_beginning_of_what_follows,
    sessions_are_listed_and_updated,
    what_is_not_there_is_refused_by_name,
    messages_queue_while_the_agent_works,
    an_interrupt_ends_the_turn,
    a_budget_ends_the_work,
    a_call_is_approved_and_another_denied,
    a_custom_tool_is_answered_by_the_client,
    a_session_goes_on_after_a_restart,
)]

if __name__ == "__main__":
    main()
