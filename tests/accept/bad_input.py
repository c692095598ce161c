"""Bad input over the wire: each is answered with an error of the API's shape that says what is wrong, or the connection
is ended; and nothing has changed afterwards.
"""

import contextlib
import itertools
import json
import re
import socket
import sqlite3
import threading
import time

from support import http
from support.model import script, uses, when
from support.server import main, until

AGENT = {"name": "tester", "model": "claude-sonnet-5-5", "tools": [
    {"type": "agent_toolset_20260401", "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}]},
    {"type": "custom", "name": "get_weather", "description": "Weather.", "input_schema": {"type": "object"}}]}
INTERRUPT = {"events": [{"type": "user.interrupt"}]}


class World:
    """A workspace with one of everything, and what it all is."""

    def __init__(self, server, name):
        self.server, self.key = server, server.key(name)["secret"]
        self.agent = self.ok("POST", "/v1/agents", AGENT)
        self.environment = self.ok("POST", "/v1/environments", {"name": "plain"})
        self.session = self.new_session()

    def new_session(self):
        made = {"agent": self.agent["id"], "environment_id": self.environment["id"]}
        return self.ok("POST", "/v1/sessions", made)

    @property
    def events(self):
        return f"/v1/sessions/{self.session['id']}/events"

    def ask(self, method, path, body=None, **more):
        return http.ask(self.server.listen, method, path, body, key=self.key, **more)

    def ok(self, method, path, body=None):
        answer = self.ask(method, path, body)
        assert answer.status == 200, (method, path, answer)
        return answer.json

    def state(self):
        everything = {path: self.ok("GET", path)["data"] for path in (
            "/v1/agents?include_archived=true", "/v1/environments?include_archived=true",
            "/v1/sessions?include_archived=true", f"/v1/agents/{self.agent['id']}/versions", self.events)}
        for session in everything["/v1/sessions?include_archived=true"]:
            # These go on by themselves.
            del session["stats"]["duration_seconds"], session["hostler"]["cost"]
        return everything

    @contextlib.contextmanager
    def unchanged(self):
        before = self.state()
        yield
        assert self.state() == before, "a request that was refused has changed something"

    def refused(self, method, path, body=None, status=400, words="", code=None, **more):
        answer = self.ask(method, path, body, **more)
        kinds = {400: "invalid_request_error", 404: "not_found_error", 409: "invalid_request_error",
                 413: "request_too_large", 401: "authentication_error", 405: "invalid_request_error"}
        shown = (method, path[:200], str(body)[:200], answer)
        assert answer.status == status and answer.error == (status, kinds[status]), shown
        assert words in answer.message and code in (None, answer.code), shown
        retry = answer.headers.get("x-should-retry")
        assert retry == ("false" if status == 409 else None), shown
        return answer

    def send(self, *events):
        return self.ask("POST", self.events, {"events": list(events)})

    def idle(self):
        """Until the session is idle: why it is."""
        until("the session is idle", lambda: self.ok("GET", self.events[:-7])["status"] == "idle")
        return self.ok("GET", f"{self.events}?order=desc&types[]=session.status_idle&limit=1")["data"][0]["stop_reason"]


def endpoints(server):
    """(method, path, operation) of all that the server's own document has."""
    paths = server.ask("GET", "/openapi.json")["paths"]
    return [(method.upper(), path, operation) for path, item in paths.items() for method, operation in item.items()
            if method in ("get", "post", "delete")]


def filled(world, path):
    ids = {"agent_id": world.agent["id"], "environment_id": world.environment["id"],
           "session_id": world.session["id"], "model_id": "claude-sonnet-5-5", "key_id": "key_0"}
    return re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], path)


def bodies_that_are_no_json_of_the_right_shape(server):
    world = World(server, "bodies")
    takes_body = [path for method, path, operation in endpoints(server)
                  if "requestBody" in operation and not path.startswith("/host/")]
    assert len(takes_body) >= 7, takes_body
    with world.unchanged():
        for path in takes_body:
            path = filled(world, path)
            for body, words in ((b"", "empty"), (b"{", "not JSON"), (b'{"name": "x"', "not JSON"), (b"{}}", "not JSON"),
                                (b"nul", "not JSON"), (b'{"name": "\xff\xfe"}', "UTF-8"), (b"[]", "object"),
                                (b"null", "object"), (b'"text"', "object"), (b"1e999", ""), (b"\x00", "not JSON"),
                                (b"[" * 100_000, ""), (b'{"a":' * 5000 + b"1" + b"}" * 5000, ""),
                                (b'{"name": "a\\u0000b", "model": "m"}', ""), (b'{"name": "\\ud800", "model": "m"}', ""),
                                (b'{"no_such_field": 1}', ""), (b'{"name": 1, "name": 2}', "")):
                world.refused("POST", path, body, words=words)
    world.refused("POST", "/v1/agents", {**AGENT, "name": "x" * 257}, words="name")


def wrong_types_are_named_by_their_place(server):
    world = World(server, "types")
    session, text = {"agent": world.agent["id"], "environment_id": world.environment["id"]}, {"type": "text", "text": "a"}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/tiff", "data": "AA=="}}

    def message(*content):
        return {"events": [{"type": "user.message", "content": list(content)}]}

    with world.unchanged():
        for path, body, words in (
                ("/v1/agents", {**AGENT, "name": 5}, "name"),
                ("/v1/agents", {**AGENT, "name": None}, "name"),
                ("/v1/agents", {**AGENT, "tools": {}}, "tools"),
                ("/v1/agents", {**AGENT, "tools": [{"type": "agent_toolset_20260401", "configs": [{"name": "sh"}]}]},
                 "tools[0].configs[0].name"),
                ("/v1/agents", {**AGENT, "metadata": {"a": 1}}, "metadata"),
                ("/v1/agents", {**AGENT, "metadata": {str(n): "" for n in range(17)}}, "metadata"),
                ("/v1/agents", {**AGENT, "system": "x" * 100_001}, "system"),
                ("/v1/agents", {**AGENT, "hostler": {"max_turns": 0}}, "hostler.max_turns"),
                ("/v1/agents", {**AGENT, "hostler": {"max_turns": 1.5}}, "hostler.max_turns"),
                ("/v1/environments", {"name": "x", "config": {"type": "cloud", "networking": "open"}}, "networking"),
                ("/v1/environments", {"name": "x", "hostler": {"memory": -1}}, "hostler.memory"),
                ("/v1/environments", {"name": "x", "hostler": {"env": {"ANTHROPIC_API_KEY": "x"}}}, "hostler.env"),
                ("/v1/sessions", {**session, "agent": 7}, "agent"),
                ("/v1/sessions", {**session, "agent": {"type": "agent", "id": world.agent["id"], "version": -1}}, "version"),
                ("/v1/sessions", {**session, "budget": {"type": "limit", "max_list_cost": {"amount": 5, "currency": "USD"}}},
                 "budget"),
                ("/v1/sessions", {**session, "hostler": {"sandbox": None}}, "hostler"),
                (world.events, {"events": []}, "events"),
                (world.events, {"events": INTERRUPT["events"] * 101}, "events"),
                (world.events, {"events": [{"type": "agent.message", "content": [text]}]}, "events[0].type"),
                (world.events, message({"type": "text", "text": 5}), "events[0].content[0].text"),
                (world.events, message({"type": "text", "text": "a\0b"}), "NUL"),
                (world.events, message(text, image), "events[0].content[1].source.media_type"),
                (world.events, message(text, {"type": "image", "source": {
                    "type": "base64", "media_type": "image/png", "data": "not base64!"}}), "events[0].content[1]"),
                (world.events, message({"type": "text", "text": " \n"}), "empty"),
                (world.events, {"events": [{"type": "user.tool_confirmation", "tool_use_id": 1, "result": "allow"}]},
                 "tool_use_id"),
                (world.events, {"events": [{"type": "system.message", "content": [text]}]}, "must be the last event")):
            world.refused("POST", path, body, words=words)


def ids_of_nothing_and_of_another_kind(server):
    world, theirs = World(server, "ids"), World(server, "ids-of-others")
    mine = [world.agent["id"], world.environment["id"], world.session["id"]]
    nonsense = ["x", "agent_", "sesn_0", "%00", "%ff", "..%2f..%2fetc%2fpasswd", "a" * 3000, "%F0%9F%92%A9", "-1"]
    with world.unchanged(), theirs.unchanged():
        for method, path, operation in endpoints(server):
            names = re.findall(r"\{(\w+)\}", path)
            if not names or path.startswith("/host/v1/keys"):
                continue
            # What is asked for is known by its id, whatever else is wrong.
            body = INTERRUPT if path.endswith("/events") else {"name": "taken"} if "requestBody" in operation else None
            if path in ("/v1/sessions/{session_id}", "/v1/agents/{agent_id}", "/v1/environments/{environment_id}"):
                body = body and {"metadata": {"a": "b"}}
            [name] = names
            own = {"agent_id": mine[0], "environment_id": mine[1], "session_id": mine[2]}.get(name)
            others = {"agent_id": theirs.agent, "environment_id": theirs.environment, "session_id": theirs.session}
            of_others = [others[name]["id"]] if name in others else []
            for each in [each for each in mine if each != own] + nonsense + of_others:
                world.refused(method, path.replace(f"{{{name}}}", each), body, status=404)
        for field, ids in (("agent", mine[1:] + ["x"]), ("environment_id", [mine[0], mine[2], "x"])):
            made = {"agent": mine[0], "environment_id": mine[1]}
            for each in ids:
                world.refused("POST", "/v1/sessions", {**made, field: each}, status=404)
        world.refused("GET", "/v1/nothing", status=404)
        world.refused("PATCH", "/v1/agents", status=405)


def limits_and_cursors(server):
    world, theirs = World(server, "cursors"), World(server, "cursors-of-others")
    for each in (world, theirs):
        for _ in range(3):
            each.new_session()
            each.ok("POST", "/v1/agents", AGENT)
            each.ok("POST", "/v1/environments", {"name": "x"})
        each.ok("POST", f"/v1/agents/{each.agent['id']}", {"name": "renamed"})
        for _ in range(2):
            each.ok("POST", each.events, INTERRUPT)
    versions = "/v1/agents/%s/versions"
    lists = {"agents": ("/v1/agents", 100), "environments": ("/v1/environments", 100), "sessions": ("/v1/sessions", 100),
             "versions": (versions % world.agent["id"], 100), "events": (world.events, 1000)}
    with world.unchanged():
        cursors = {}
        for name, (path, most) in lists.items():
            for limit in ("0", "-1", str(most + 1), "99999999999999999999", "-99999999999999999999", "1.5", "1e1", "ten", "",
                          "1&limit=2"):
                world.refused("GET", f"{path}?limit={limit}", words="limit")
            cursors[name] = world.ok("GET", f"{path}?limit=1")["next_page"]
            assert cursors[name], name
        for (name, (path, _)), (other, cursor) in itertools.product(lists.items(), cursors.items()):
            if name == other:
                assert world.ok("GET", f"{path}?limit=1&page={cursor}")["data"]
            else:
                world.refused("GET", f"{path}?page={cursor}", words="cursor")
        for name, path in (("agents", "/v1/agents"), ("environments", "/v1/environments"), ("sessions", "/v1/sessions"),
                           ("versions", versions % theirs.agent["id"]), ("events", theirs.events)):
            theirs.refused("GET", f"{path}?page={cursors[name]}", words="cursor")
        for path, more in (("sessions", "order=asc"), ("sessions", "statuses[]=idle"), ("agents", "include_archived=true")):
            world.refused("GET", f"/v1/{path}?{more}&page={cursors[path]}", words="cursor")
        world.refused("GET", f"{world.events}?types[]=user.interrupt&page={cursors['events']}", words="cursor")
        for page in ("x", "", cursors["agents"][:-3], cursors["agents"] + "AAAA", "e30", "bnVsbA", "A" * 2001):
            world.refused("GET", f"/v1/agents?page={page}", words="page")
        for query in ("unknown=1", "order=up", "created_at[gte]=yesterday", "created_at[gte]=0000-00-00T00:00:00Z",
                      "statuses[]=asleep", "include_archived=perhaps", "agent_version=1", "%ff=%ff", "limit=%00", "page=%00"):
            world.refused("GET", f"/v1/sessions?{query}")
    # A cursor stays good where what it points at is gone, and when much has come meanwhile.
    stale = world.ok("GET", "/v1/sessions?limit=1")
    world.ok("DELETE", f"/v1/sessions/{stale['data'][0]['id']}")
    before = world.new_session()["id"]
    rest = world.ok("GET", f"/v1/sessions?page={stale['next_page']}")["data"]
    assert len(rest) == 3 and before not in [each["id"] for each in rest], rest


def confirmations_of_what_does_not_wait(server):
    world = World(server, "confirmations")

    def allow(event):
        return {"type": "user.tool_confirmation", "tool_use_id": event, "result": "allow"}

    def result(event):
        return {"type": "user.custom_tool_result", "custom_tool_use_id": event, "content": []}

    def said(words):
        return {"type": "user.message", "content": [{"type": "text", "text": words}]}

    assert world.send(said("echo once # run")).status == 200
    call = world.idle()["event_ids"][0]
    with world.unchanged():
        for wrong in (allow(world.session["id"]), allow("sevt_00000000000000000000000000"), allow("x"), result(call),
                      {**allow(call), "result": "maybe"}, {**allow(call), "deny_message": "x"},
                      {**allow(call), "result": "deny", "deny_message": "x" * 10_001}):
            world.refused("POST", world.events, {"events": [wrong]})
        # All events of a request are taken, or none.
        world.refused("POST", world.events, {"events": [said("say: hello"), allow(call), allow(call)]})
    assert world.send(allow(call)).status == 200
    assert world.idle()["type"] == "end_turn"
    with world.unchanged():
        for late in (allow(call), {**allow(call), "result": "deny"}):
            world.refused("POST", world.events, {"events": [late]})
    assert world.send(said("weather")).status == 200
    call = world.idle()["event_ids"][0]
    with world.unchanged():
        world.refused("POST", world.events, {"events": [allow(call)]})
    assert world.send(result(call)).status == 200
    assert world.idle()["type"] == "end_turn"
    with world.unchanged():
        world.refused("POST", world.events, {"events": [result(call)]})
    assert world.send(said("echo never # run")).status == 200
    call = world.idle()["event_ids"][0]
    assert world.send(INTERRUPT["events"][0]).status == 200
    assert until("it is interrupted", lambda: world.idle()["type"] == "end_turn")
    with world.unchanged():
        world.refused("POST", world.events, {"events": [allow(call)]})


def sessions_that_take_nothing_any_more(server):
    world = World(server, "ended")
    archived = world.session["id"]
    world.ok("POST", f"/v1/sessions/{archived}/archive")
    terminated = world.new_session()["id"]
    # No session of a server ends by itself, so one is ended here as another version might have left it.
    server.end()
    with contextlib.closing(sqlite3.connect(server.database())) as store:
        changed = store.execute("UPDATE sessions SET status = 'terminated' WHERE id = ?", [terminated]).rowcount
        store.commit()
    assert changed == 1
    server.start()
    assert [each["id"] for each in world.ok("GET", "/v1/sessions?statuses[]=terminated")["data"]] == [terminated]
    said = {"events": [{"type": "user.message", "content": [{"type": "text", "text": "too late"}]}]}
    for session, code in ((archived, "session_archived"), (terminated, "session_terminated")):
        path = f"/v1/sessions/{session}"
        with world.unchanged():
            for body in (said, INTERRUPT):
                world.refused("POST", f"{path}/events", body, status=409, code=code)
            world.refused("POST", path, {"title": "new"}, status=409, code=code)
        assert world.ok("GET", path)["id"] == session and world.ok("GET", f"{path}/events")["data"] == []
    world.ok("POST", f"/v1/sessions/{terminated}/archive")
    for session in (archived, terminated):
        world.ok("DELETE", f"/v1/sessions/{session}")
    world.session = world.new_session()
    with world.unchanged():
        world.refused("POST", f"/v1/agents/{world.agent['id']}", {"version": 9, "name": "x"}, status=409,
                      code="version_conflict")
        world.refused("DELETE", f"/v1/environments/{world.environment['id']}", status=409, code="environment_in_use")


def messages_of_every_size(server):
    world = World(server, "sizes")

    def said(size):
        return {"events": [{"type": "user.message", "content": [{"type": "text", "text": "say: " + "é" * (size // 2)}]}]}

    for size in (100_000, 20 << 20):
        sent = world.ok("POST", world.events, said(size))["data"][0]
        world.idle()
        listed = world.ok("GET", f"{world.events}?types[]=user.message&order=desc&limit=1")["data"][0]
        assert listed["id"] == sent["id"] and listed["content"] == said(size)["events"][0]["content"], size
    with world.unchanged():
        for size in (25 << 20, 33 << 20):
            world.refused("POST", world.events, said(size), status=413)
        # Of one that is far too large the rest is not read.
        with contextlib.suppress(ConnectionError):
            world.refused("POST", world.events, said(100 << 20), status=413)
        world.refused("POST", "/v1/agents", {**AGENT, "system": "x" * (5 << 20)}, status=413)


def connections_that_dawdle_break_off_or_speak_something_else(server):
    world = World(server, "connections")
    host, port = server.listen.split(":")
    head = f"POST /v1/agents HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {world.key}\r\n"
    body = json.dumps(AGENT).encode()
    whole = head.encode() + b"content-length: %d\r\n\r\n" % len(body)

    def connect():
        return socket.create_connection((host, int(port)), timeout=50)

    def all_of(connection):
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                received += part
        return received

    def dawdle(first, end):
        """A byte a second until the server has had enough; whether anything was answered."""
        with connect() as connection:
            connection.sendall(first)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                while time.monotonic() < end:
                    connection.sendall(b"x")
                    connection.settimeout(1)
                    with contextlib.suppress(TimeoutError):
                        return connection.recv(65536)
            return b""

    with world.unchanged():
        slow, end = [], time.monotonic() + 45
        for first in [b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: "] * 50 + [whole.replace(b"Bearer ", b"Bearer x")] * 5:
            thread = threading.Thread(target=lambda first=first: slow.append((first, dawdle(first, end))))
            thread.start()
        with connect() as silent:
            # Others are served meanwhile.
            for nonsense in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HELLO\r\n\r\n", b"\0" * 1000,
                             b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/agents HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
                             b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
                             b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 200 + b"\r\n"):
                with connect() as connection:
                    connection.sendall(nonsense)
                    connection.shutdown(socket.SHUT_WR)
                    received = all_of(connection)
                    assert received == b"" or re.match(rb"HTTP/1\.[01] 4\d\d ", received), (nonsense[:40], received)
            # One that breaks off in the body has done nothing.
            for cut in (0, 1, len(body) - 1):
                with connect() as connection:
                    connection.sendall(whole + body[:cut])
            # One that is half closed, and has said all, gets its answer.
            with connect() as connection:
                connection.sendall(head.replace("POST /v1/agents", "GET /v1/models").encode() + b"\r\n")
                connection.shutdown(socket.SHUT_WR)
                assert all_of(connection).startswith(b"HTTP/1.1 200 OK"), "a half-closed connection got no answer"
            with connect() as connection:
                connection.sendall(whole + body[:10])
                connection.shutdown(socket.SHUT_WR)
                received = all_of(connection)
                assert received == b"" or received.startswith(b"HTTP/1.1 400"), received
            until("the slow ones are cut", lambda: len(slow) == 55, 60)
            silent.settimeout(1)
            assert silent.recv(1) == b"", "a connection that says nothing stays open"
    assert time.monotonic() < end, "a slow client held its connection for as long as it liked"
    assert world.ok("GET", "/v1/agents")["data"]


CHECKS = [
    bodies_that_are_no_json_of_the_right_shape,
    wrong_types_are_named_by_their_place,
    ids_of_nothing_and_of_another_kind,
    limits_and_cursors,
    confirmations_of_what_does_not_wait,
    sessions_that_take_nothing_any_more,
    messages_of_every_size,
    connections_that_dawdle_break_off_or_speak_something_else,
]
SCRIPT = script(when("weather", [uses("get_weather", city="Ulm")]))

if __name__ == "__main__":
    main(CHECKS, SCRIPT)
