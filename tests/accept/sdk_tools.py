"""The official Python SDK, unchanged: the eight tools of the toolset, and what an agent's configuration makes of them."""

import contextlib
import http.server
import threading

from support import sdk
from support.model import says, script, uses, when
from support.server import main
from support.session import (TOOLSET, Stream, agent, allow, asking, deny, environment, of, one, say, send, session, text,
                             types)

# In an order in which each finds what it needs: the name on the wire, and what its result says.
TOOLS = [
    ("bash", "in the shell"),
    ("write", "/workspace/notes.txt"),
    ("read", "a first line"),
    ("edit", "/workspace/notes.txt"),
    ("glob", "notes.txt"),
    ("grep", "a changed line"),
    ("web_fetch", "The page is about lighthouses."),
    ("web_search", "https://example.com/lighthouses"),
]


@contextlib.contextmanager
def web_page():
    """A page on this machine, and who asked for it. 127.0.0.1 would be the sandbox itself."""
    asked = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = b"<html><body><h1>Lighthouses</h1><p>They are tall.</p></body></html>"
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.5.1", 0), Page) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"127.0.5.1:{serving.server_address[1]}", asked
        serving.shutdown()


def reaching(client, host):
    networking = {"type": "limited", "allowed_hosts": [host]}
    return environment(client, config={"type": "cloud", "networking": networking}).id


def words(name, host):
    return f"http://{host}/page" if name == "web_fetch" else f"use {name} now"


def each_tool_works_by_its_name(server):
    client = server.client()
    with web_page() as (host, asked):
        made = session(client, environment_id=reaching(client, host))
        stream = Stream(client, made.id)
        for name, result in TOOLS:
            say(client, made.id, words(name, host))
            events = stream.idle()
            use, told = one(events, "agent.tool_use"), one(events, "agent.tool_result")
            assert use.name == name and use.evaluated_permission == "allow", use
            assert told.tool_use_id == use.id and not told.is_error, (name, told)
            assert result in told.content[0].text, (name, told)
        assert asked == ["/page"], asked
        usage = client.beta.sessions.retrieve(made.id).usage
        assert usage.server_tool_use.web_search_requests == 1, usage


def each_tool_asks_where_it_shall(server):
    client = server.client()
    with web_page() as (host, asked):
        everything = {**TOOLSET, "default_config": {"permission_policy": {"type": "always_ask"}}}
        made = session(client, everything, environment_id=reaching(client, host))
        stream = Stream(client, made.id)
        for name, result in TOOLS:
            say(client, made.id, words(name, host))
            use = one(stream.idle(), "agent.tool_use")
            assert use.name == name and use.evaluated_permission == "ask", use
            before = len(asked)
            send(client, made.id, deny(use.id, f"no {name} today"))
            told = one(stream.idle(), "agent.tool_result")
            assert told.is_error and f"no {name} today" in told.content[0].text, told
            assert len(asked) == before, "a denied call has done something"
            say(client, made.id, words(name, host))
            send(client, made.id, allow(one(stream.idle(), "agent.tool_use").id))
            told = one(stream.idle(), "agent.tool_result")
            assert not told.is_error and result in told.content[0].text, (name, told)


def the_web_is_closed_where_nobody_opened_it(server):
    client = server.client()
    with web_page() as (host, asked):
        made = session(client)
        stream = Stream(client, made.id)
        say(client, made.id, words("web_fetch", host))
        told = one(stream.idle(), "agent.tool_result")
        assert told.is_error and asked == [], told


def one_tool_asks_and_the_others_do_not(server):
    client = server.client()
    made = session(client, asking("write"))
    stream = Stream(client, made.id)
    say(client, made.id, "use bash now")
    assert stream.idle()[-1].stop_reason.type == "end_turn"
    say(client, made.id, "use write now")
    assert stream.idle()[-1].stop_reason.type == "requires_action"


def a_disabled_tool_is_not_offered_and_not_played(server):
    client = server.client()
    allowed = {**TOOLSET, "default_config": {"enabled": False}, "configs": [{"name": "read", "enabled": True}]}
    made = session(client, allowed)
    stream = Stream(client, made.id)
    say(client, made.id, "which tools are offered?")
    assert text(stream.idle()) == "read"
    for name, _ in TOOLS:
        if name in ("read", "web_fetch"):
            continue
        say(client, made.id, words(name, ""))
        events = stream.idle()
        told = one(events, "agent.tool_result")
        assert one(events, "agent.tool_use").evaluated_permission == "deny" and told.is_error, (name, types(events))
    no_tools = session(client, agent=agent(client, TOOLSET, extra_body={"tools": []}).id)
    stream = Stream(client, no_tools.id)
    say(client, no_tools.id, "which tools are offered?")
    assert text(stream.idle()) == "none"


def tools_that_change_in_a_session_change_what_is_asked(server):
    client = server.client()
    made = session(client)
    stream = Stream(client, made.id)
    say(client, made.id, "use bash now")
    assert not of(stream.idle(), "session.error")
    client.beta.sessions.update(made.id, agent={"tools": [asking("bash")]})
    say(client, made.id, "use bash now")
    use = one(stream.idle(), "agent.tool_use")
    assert use.evaluated_permission == "ask"
    send(client, made.id, allow(use.id))
    assert stream.idle()[-1].stop_reason.type == "end_turn"


def now(name, tool, **given):
    return when(f"use {name} now", [uses(tool, **given)])


FILE = "/workspace/notes.txt"
RESULTS = [{"title": "Lighthouses", "url": "https://example.com/lighthouses"}]
SCRIPT = script(
    now("bash", "Bash", command="echo in the shell"),
    now("write", "Write", file_path=FILE, content="a first line\nand another\n"),
    now("read", "Read", file_path=FILE),
    now("edit", "Edit", file_path=FILE, old_string="a first line", new_string="a changed line"),
    now("glob", "Glob", pattern="**/*.txt"),
    now("grep", "Grep", pattern="changed", output_mode="content"),
    now("web_search", "WebSearch", query="lighthouses"),
    when("<page url=", [says("The page is about lighthouses.")]),
    when("/page", [uses("WebFetch", url="{{last_user_line}}", prompt="What is it about?")]),
    when("web search for the query", [{"web_search": {"query": "lighthouses", "results": RESULTS}},
                                      says("There are some.")], has_tool="web_search"),
    when("which tools are offered?", [says("all")], has_tool="Bash"),
    when("which tools are offered?", [says("read")], has_tool="Read"),
    when("which tools are offered?", [says("none")]))

CHECKS = [
    each_tool_works_by_its_name,
    each_tool_asks_where_it_shall,
    the_web_is_closed_where_nobody_opened_it,
    one_tool_asks_and_the_others_do_not,
    a_disabled_tool_is_not_offered_and_not_played,
    tools_that_change_in_a_session_change_what_is_asked,
]

if __name__ == "__main__":
    sdk.install()
    main(CHECKS, SCRIPT)
