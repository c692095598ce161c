"""A day of one server and fifty sessions: approvals and custom tools that wait over restarts, budgets that are reached, an
upstream that is out for a minute, a disk that is full, keys that are revoked, and a server that hands over to the next
one while clients follow. In the evening every session is accounted for.
"""

import collections
import contextlib
import json
import os
import signal
import sqlite3
import time

from support import http
from support.disks import mounted
from support.following import Follower
from support.server import Server, place, until
from support.turns import turns
from support.upstream import Upstream
from support.working import Working

OUTAGE = float(os.environ.get("HOSTLER_OUTAGE_SECONDS", "60"))
FULL = 5
LARGE = "320m"
# What a session is for; each is named in the tokens of its messages.
ROLES = {"worker": 15, "approval": 10, "custom": 10, "budget": 5, "talker": 10}
TOOLSET = {"type": "agent_toolset_20260401"}
ASKING = {**TOOLSET, "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}]}
WEATHER = {"type": "custom", "name": "get_weather", "description": "Weather.", "input_schema": {"type": "object"}}
SMALL = {"disk": "64M", "memory": "256M"}
KINDS = ("input_tokens", "output_tokens")
PATIENCE = 150


class Session:
    def __init__(self, day, role):
        self.day, self.role = day, role
        made = day.server.key()
        self.key, self.key_id, self.number = made["secret"], made["id"], 0
        self.acknowledged, self.answered_calls = [], set()
        budget = {"type": "limit", "max_list_cost": {"amount": "1", "currency": "USD"}} if role == "budget" else None
        body = {"agent": day.agents[role], "environment_id": day.environment, "budget": budget}
        self.id = day.server.ask("POST", "/v1/sessions", body, key=self.key)["id"]
        self.short = self.id[-6:]
        self.path = f"/v1/sessions/{self.id}"
        self.follower = Follower(day.server, self.id, self.key)

    def ask(self, method, path="", body=None):
        return http.ask(self.day.server.listen, method, self.path + path, body, key=self.key)

    def ok(self, method, path="", body=None):
        answer = self.ask(method, path, body)
        assert answer.status == 200, (self.role, method, path, answer)
        return answer.json

    def send(self, *events):
        return self.ok("POST", "/events", {"events": list(events)})["data"]

    def next_message(self, word):
        self.number += 1
        token = f"m-{self.short}-{self.number}"
        return token, {"type": "user.message", "content": [{"type": "text", "text": f"{word} {token}"}]}

    def say(self, word):
        token, message = self.next_message(word)
        self.acknowledged.append((token, self.send(message)[0]["id"]))
        return token

    def log(self):
        return self.ok("GET", "/events")["data"]

    def last_stop(self):
        """Why the session is idle; nothing while it is not, or while messages wait."""
        if self.ok("GET")["status"] != "idle":
            return None
        log = self.log()
        stops = [event["stop_reason"] for event in log if event["type"] == "session.status_idle"]
        waits = any(event["type"] == "user.message" and event["processed_at"] is None for event in log)
        return stops[-1] if stops and (not waits or stops[-1]["type"] == "requires_action") else None

    def rests(self, *reasons):
        stop = until(f"{self.role} {self.id} rests", self.last_stop, PATIENCE, 0.2)
        assert stop["type"] in reasons, (self.role, stop, [event.get("error") or event["type"] for event in self.log()][-20:])
        return stop

    def answer_what_waits(self):
        for call in self.rests("requires_action")["event_ids"]:
            kind, field = ("user.tool_confirmation", "tool_use_id") if self.role == "approval" else \
                ("user.custom_tool_result", "custom_tool_use_id")
            more = {"result": "allow"} if self.role == "approval" else {"content": [{"type": "text", "text": "sunny"}]}
            self.send({"type": kind, field: call, **more})
            self.answered_calls.add(call)


class Day:
    def __init__(self, server, upstream):
        self.server, self.upstream = server, upstream
        tools = {"approval": [ASKING], "custom": [WEATHER]}
        self.agents = {role: server.ask("POST", "/v1/agents", {
            "name": role, "model": "claude-sonnet-5-5", "tools": tools.get(role, [TOOLSET])})["id"] for role in ROLES}
        self.environment = server.ask("POST", "/v1/environments", {"name": "small", "hostler": SMALL})["id"]
        self.sessions = [Session(self, role) for role, number in ROLES.items() for _ in range(number)]
        self.deleted, self.refused = [], 0

    def of(self, *roles):
        return [session for session in self.sessions if session.role in roles]

    def all_rest(self, *roles):
        for session in self.of(*(roles or ROLES)):
            session.rests("end_turn", "requires_action", "budget_reached")

    def waiting(self):
        return {session.id: session.rests("requires_action")["event_ids"] for session in self.of("approval", "custom")
                if not session.answered_calls}


def morning(day):
    """Everybody gets to work, and what waits for an answer waits."""
    words = {"worker": "append", "approval": "append", "custom": "custom", "budget": "spend", "talker": "say"}
    for session in day.sessions:
        session.say(words[session.role])
    day.all_rest()
    assert len(day.waiting()) == 20


def a_restart_leaves_what_waits(day):
    waiting = day.waiting()
    day.server.end(signal.SIGTERM)
    day.server.start()
    assert day.waiting() == waiting, "what waited does not wait any more"
    for session in day.of("approval")[:4] + day.of("custom")[:4]:
        session.answer_what_waits()
        session.rests("end_turn")


def a_kill_leaves_what_waits_and_what_works(day):
    waiting = day.waiting()
    for session in day.of("worker", "talker"):
        session.say("slow" if session.role == "talker" else "append")
    day.server.end(signal.SIGKILL)
    for pid in day.server.jailers():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    day.server.start()
    assert day.waiting() == waiting, "what waited does not wait any more"
    for session in day.of("approval")[4:7] + day.of("custom")[4:7]:
        session.answer_what_waits()
        session.rests("end_turn")
    day.all_rest()


def budgets_end_the_work(day):
    for session in day.of("budget"):
        asked = len(day.upstream.sent(session.short))
        session.say("say")
        session.rests("budget_reached")
        assert len(day.upstream.sent(session.short)) == asked, "a session without money has asked the model"
    raised = day.of("budget")[0]
    raised.ok("POST", "", {"budget": {"type": "limit", "max_list_cost": {"amount": "100000", "currency": "USD"}}})
    raised.say("say")
    raised.rests("end_turn")


def a_server_hands_over_while_clients_follow(day):
    """Nobody is refused a connection; streams stay with the old server for as long as they like, and miss nothing."""
    def talk(session):
        session.say("say")
        time.sleep(0.1)

    for session in day.of("worker"):
        session.say("append")
    connections = [session.follower.connections for session in day.sessions]
    with Working() as working:
        for session in day.of("talker"):
            working.begin(talk, session)
        before = day.server.take_over()
        time.sleep(0.5)
    day.all_rest()
    assert before.poll() is None, "the old server left its streams"
    for session in day.sessions:
        until("the stream of the old server has all", lambda: session.follower.ids()[-1:] == [session.log()[-1]["id"]])
    assert [session.follower.connections for session in day.sessions] == connections, "a stream was cut by the handover"
    before.send_signal(signal.SIGTERM)
    assert before.wait(60) == 0
    before.stdout.close()
    for session, number in zip(day.sessions, connections):
        until("the client came back", lambda: session.follower.connections > number)


def an_upstream_that_is_out_is_waited_for(day):
    """Each session that asks meanwhile is told so in the turn that asks, and told how that ends."""
    concerned, asked = day.of("worker", "talker"), {}
    for number, how in enumerate(("refused", "reset", "503")):
        with day.upstream.outage(how):
            for session in concerned[number::3]:
                session.say("append" if session.role == "worker" else "say")
                asked[session] = how, *session.acknowledged[-1]
            time.sleep(OUTAGE / 3)
    for session in concerned:
        stop = session.rests("end_turn", "retries_exhausted")
        how, token, event = asked[session]
        turn = turns(session.log())[event]
        failed = [error for error in turn.errors() if error["type"] == "model_request_failed_error"]
        assert failed, f"{session.id} was not told of the outage ({how}) in the turn of {token}: {brief(turn.events)}"
        assert bool(turn.given_up()) == (stop["type"] == "retries_exhausted"), (session.id, stop, brief(turn.events))
        assert turn.given_up() or answered(turn, token), f"{token} has no answer after the outage: {brief(turn.events)}"


def answered(turn, token):
    """It ends with a text of the agent's, and something of what the agent did is about it."""
    did = [event for event in turn.events if event["type"].startswith("agent.")]
    return token in json.dumps(did) and did[-1]["type"] == "agent.message"


def no_tool_ran_twice(day):
    """Every call that was not interrupted has run once."""
    for session in day.of("worker"):
        log = session.log()
        session.say("show")
        session.rests("end_turn")
        shown = of(session.log(), "agent.tool_result")[-1]
        lines = shown["content"][0]["text"].split()
        assert len(lines) == len(set(lines)), f"a tool of {session.id} ran twice: {lines}"
        calls = {event["id"]: event["input"]["command"].split()[1] for event in of(log, "agent.tool_use")}
        results = [event for event in of(log, "agent.tool_result") if not event.get("is_error")]
        whole = {calls[event["tool_use_id"]] for event in results}
        assert whole <= set(lines) <= set(calls.values()), (session.id, whole ^ set(lines), brief(log))


def a_disk_that_is_full_is_waited_for(day):
    """What agents wrote to files of theirs shortly before is not looked at: their disks had no room to keep it."""
    if not day.server.data.is_mount():
        print("SKIP a_disk_that_is_full_is_waited_for: a small file system needs root")
        return
    working, resting = day.of("worker")[:5], day.of("worker")[5:]
    for session in working:
        session.say("slow")
    with full(day.server.data / "ballast"):
        for session in resting:
            _, message = session.next_message("say")
            # A small one finds room in what the log had before.
            message["content"].insert(0, {"type": "text", "text": "x" * (8 << 20)})
            answer = session.ask("POST", "/events", {"events": [message]})
            assert answer.error == (500, "api_error") and "disk" in answer.message, answer
        made = {"agent": day.agents["worker"], "environment_id": day.environment, "metadata": {"a": "x" * 500}}
        tries = [http.ask(day.server.listen, "POST", "/v1/sessions", made, key=resting[0].key) for _ in range(20)]
        assert {answer.status for answer in tries} <= {200, 500}, tries
        assert day.server.ask("GET", "/v1/agents")["data"], "what is stored can be read"
        time.sleep(FULL)
    for answer in tries:
        if answer.status == 200:
            day.server.ask("DELETE", f"/v1/sessions/{answer.json['id']}")
    for session in working + resting:
        session.say("append")
    day.all_rest("worker")


@contextlib.contextmanager
def full(ballast):
    """Nothing more goes onto the disk."""
    for size in (1 << 20, 4096):
        with contextlib.suppress(OSError), open(ballast, "ab", buffering=0) as file:
            while True:
                file.write(bytes(size))
    yield
    ballast.unlink()


def revoked_keys_open_nothing(day):
    for session in day.of("talker")[:3]:
        session.say("slow")
        # The stream ends with its key, and its client comes back with another one.
        other = session.follower.key = day.server.key()["secret"]
        day.server.ask("POST", f"/host/v1/keys/{session.key_id}/revoke")
        assert session.ask("GET").error == (401, "authentication_error")
        assert session.ask("POST", "/events", {"events": [session.next_message("say")[1]]}).status == 401
        session.key = other
        session.rests("end_turn")


def evening(day):
    for session in day.of("approval", "custom"):
        if not session.answered_calls:
            session.answer_what_waits()
    day.all_rest()
    for session in day.of("talker")[-2:]:
        assert session.ok("POST", "/archive")["archived_at"]
        assert session.ask("POST", "/events", {"events": [session.next_message("say")[1]]}).code == "session_archived"
    for session in day.of("custom")[-2:]:
        day.deleted.append(session)
        session.log_at_the_end = session.log()
        session.ok("DELETE")
        until("the client was told", lambda: session.follower.ended)
        assert session.ask("GET").code == "session_not_found"


def every_session_is_accounted_for(day):
    left = [session for session in day.sessions if session not in day.deleted]
    listed, page = [], ""
    while page is not None:
        answer = day.server.ask("GET", f"/v1/sessions?include_archived=true&limit=100{page and '&page=' + page}")
        listed, page = listed + answer["data"], answer["next_page"]
    assert {each["id"] for each in listed} == {session.id for session in left}
    assert {each["status"] for each in listed} == {"idle"}, collections.Counter(each["status"] for each in listed)
    assert sum(each["archived_at"] is not None for each in listed) == 2
    for session in left:
        account_for(day, session, session.log())
    for session in day.deleted:
        account_for(day, session, session.log_at_the_end)
    exact = sum(session.usage_is_exact for session in left)
    messages = sum(len(session.acknowledged) for session in day.sessions)
    print(f"{len(day.sessions)} sessions, {messages} messages, {len(day.upstream.calls)} calls of the model: "
          f"all accounted for, {exact} to the token")


def account_for(day, session, log):
    ids = [event["id"] for event in log]
    assert len(ids) == len(set(ids)), f"{session.id} has an event twice"
    until("its client has all", lambda: set(ids) <= set(session.follower.ids()))
    followed = session.follower.ids()
    assert len(followed) == len(set(followed)), f"a client of {session.id} was shown an event twice"
    assert [each for each in followed if each in set(ids)] == ids, f"a client of {session.id} saw another order"
    by_message = turns(log)
    for token, event in session.acknowledged:
        assert event in set(ids), f"{token} was acknowledged and is not there"
        assert event in by_message, f"{token} still waits"
        turn = by_message[event]
        told = turn.cut() or turn.given_up() or "budget_reached" in turn.stops()
        assert told or answered(turn, token), \
            f"{token} was neither answered nor told of in its turn: {brief(turn.events)[:20]}"
    uses = [event["id"] for event in of(log, "agent.tool_use")]
    results = [event["tool_use_id"] for event in of(log, "agent.tool_result")]
    assert sorted(uses) == sorted(results), f"{session.id} has calls without a result, or two: {brief(log)}"
    if session not in day.deleted:
        account_for_usage(day, session)


def account_for_usage(day, session):
    """To the token, but for calls whose end the gateway did not see; and never more than the upstream has begun."""
    usage, sent = session.ok("GET")["usage"], day.upstream.sent(session.short)
    ours = [usage[kind] for kind in KINDS]
    theirs, most = ([sum(call[which][kind] for call in sent) for kind in KINDS] for which in (0, 1))
    session.usage_is_exact = ours == theirs
    if not session.usage_is_exact:
        assert cut_calls(day, session), f"{session.id} used {ours}, and the upstream sent {theirs}"
        assert ours[0] <= most[0] and ours[1] <= most[1], f"{session.id} used {ours} of {most}"


def of(log, kind):
    return [event for event in log if event["type"] == kind]


def brief(log):
    return [event.get("error") or event.get("stop_reason") or event["type"] for event in log]


def cut_calls(day, session):
    """Calls of the ledger whose end the gateway has not seen."""
    with contextlib.closing(sqlite3.connect(f"file:{day.server.database()}?mode=ro", uri=True)) as store:
        rows = store.execute("SELECT count(*) FROM model_calls WHERE session_id = ? AND outcome NOT IN "
                             "('completed', 'refused', 'unreachable')", [session.id])
        return rows.fetchone()[0]


@contextlib.contextmanager
def small_disk(directory):
    """A data directory on a file system of its own, as root."""
    directory.mkdir()
    if os.geteuid() != 0:
        yield
        return
    with mounted(directory, "-t", "tmpfs", "-o", f"size={LARGE},mode=0755", "tmpfs"):
        yield


HOURS = [
    morning,
    a_restart_leaves_what_waits,
    a_kill_leaves_what_waits_and_what_works,
    budgets_end_the_work,
    a_server_hands_over_while_clients_follow,
    an_upstream_that_is_out_is_waited_for,
    no_tool_ran_twice,
    a_disk_that_is_full_is_waited_for,
    revoked_keys_open_nothing,
    evening,
    every_session_is_accounted_for,
]


def main():
    upstream = Upstream()
    with place() as directory, small_disk(directory / "data"):
        model = {"ANTHROPIC_BASE_URL": upstream.url, "ANTHROPIC_API_KEY": "sk-ant-of-this-test"}
        with Server(directory / "data", [], model) as server:
            day = Day(server, upstream)
            for hour in HOURS:
                began = time.monotonic()
                hour(day)
                print(f"ok {hour.__name__} ({time.monotonic() - began:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
