"""Sessions through the Python SDK: made, talked to, followed."""

import contextlib
import queue
import threading

PATIENCE = 60
TOOLSET = {"type": "agent_toolset_20260401"}


class Stream:
    """A session's stream, read by a thread from before the first event on."""

    def __init__(self, client, session, **more):
        self.queue, self.seen = queue.Queue(), []
        self.stream = client.beta.sessions.events.stream(session, **more)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        with contextlib.suppress(Exception):
            for event in self.stream:
                self.queue.put(event)
        self.queue.put(None)

    def until(self, *wanted):
        """Events up to the first of these types."""
        seen = []
        while True:
            event = self.queue.get(timeout=PATIENCE)
            assert event is not None, f"the stream ended after {types(seen)}"
            seen.append(event)
            self.seen.append(event)
            if event.type in wanted:
                return seen

    def idle(self):
        """Events up to the end of the turn, or to where it waits."""
        return self.until("session.status_idle")

    def end(self):
        """Events up to the end of the stream."""
        seen = []
        while (event := self.queue.get(timeout=PATIENCE)) is not None:
            seen.append(event)
        self.seen += seen
        return seen


def agent(client, *tools, **more):
    given = {"name": "tester", "model": "claude-sonnet-5-5", "tools": list(tools or (TOOLSET,)), **more}
    return client.beta.agents.create(**given)


def environment(client, **more):
    return client.beta.environments.create(name="plain", **more)


def session(client, *tools, environment_id=None, **more):
    made = more.pop("agent", None) or agent(client, *tools).id
    return client.beta.sessions.create(agent=made, environment_id=environment_id or environment(client).id, **more)


def asking(*names):
    """A toolset of which these ask first."""
    return {**TOOLSET, "configs": [{"name": name, "permission_policy": {"type": "always_ask"}} for name in names]}


def custom(name="get_weather"):
    return {"type": "custom", "name": name, "description": "The weather of a city.",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}


def message(words):
    return {"type": "user.message", "content": [words if isinstance(words, dict) else block(words)]}


def block(words):
    return {"type": "text", "text": words}


def send(client, session, *events):
    return client.beta.sessions.events.send(session, events=list(events)).data


def say(client, session, words):
    return send(client, session, message(words))


def allow(event_id):
    return {"type": "user.tool_confirmation", "tool_use_id": event_id, "result": "allow"}


def deny(event_id, reason):
    return {"type": "user.tool_confirmation", "tool_use_id": event_id, "result": "deny", "deny_message": reason}


def answer(event_id, words, **more):
    return {"type": "user.custom_tool_result", "custom_tool_use_id": event_id, "content": [block(words)], **more}


def budget(cents):
    return {"type": "limit", "max_list_cost": {"amount": str(cents), "currency": "USD"}}


def types(events):
    return [event.type for event in events]


def of(events, kind):
    return [event for event in events if event.type == kind]


def one(events, kind):
    [found] = of(events, kind)
    return found


def text(events):
    return "".join(part.text for event in of(events, "agent.message") for part in event.content)


@contextlib.contextmanager
def expecting(kind, words="", code=None):
    """An error of the SDK's class, which says this."""
    try:
        yield
    except kind as error:
        assert words in str(error), error
        assert error.request_id and error.request_id.startswith("req_"), error
        details = error.body["error"].get("details") or {}
        assert code is None or details.get("error_code") == code, error
    else:
        raise AssertionError(f"{kind.__name__} was expected")
