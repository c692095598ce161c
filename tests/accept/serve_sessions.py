"""`hostler sessions` against `hostler serve`: everything from the command line, with the commands that it prints itself.

The model is simulated; sandboxes, tools, approvals and the server's restarts are real.
"""

import contextlib
import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import threading
import time

from support import server as real
from support.server import ADMIN, PATIENCE, environment, place, until

HOSTLER = os.environ["HOSTLER_BIN"]


def main():
    with place() as directory:
        script = directory / "script.json"
        script.write_text(json.dumps(SCRIPT))
        with Server(directory / "data", ["--simulate", script]) as server:
            for check in CHECKS:
                check(server)
                print("ok", check.__name__, flush=True)


class Server(real.Server):
    """With the commands of whoever may read its data directory."""

    def session(self, *tools, title="a session"):
        agent = {"name": "tester", "model": "claude-sonnet-5-5", "tools": list(tools)}
        made = {"agent": self.ask("POST", "/v1/agents", agent)["id"], "title": title,
                "environment_id": self.ask("POST", "/v1/environments", {"name": "plain"})["id"]}
        return self.ask("POST", "/v1/sessions", made)["id"]

    def command(self, *words):
        return [HOSTLER, "sessions", *words, "--data", str(self.data)]

    def sessions(self, *words, code=0, said=""):
        done = subprocess.run(self.command(*words), env=environment(HOSTLER_API_KEY=ADMIN), input=said,
                              capture_output=True, text=True, timeout=2 * PATIENCE)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done

    def begin(self, *words, **more):
        """A command that goes on, and whose output is read."""
        return subprocess.Popen(self.command(*words), env=environment(HOSTLER_API_KEY=ADMIN), stdout=subprocess.PIPE,
                                text=True, **more)

    def events(self, session):
        done = self.sessions("logs", session, "--json")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def until(self, session, kind):
        """Waits until the log has one of this type."""
        until(f"{session} has {kind}", lambda: any(event["type"] == kind for event in self.events(session)))


TOOLSET = {"type": "agent_toolset_20260401"}
ASKING = {**TOOLSET, "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}]}
WEATHER = {"type": "custom", "name": "get_weather", "description": "The weather of a city.",
           "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


def printed(done, flag):
    """The command that answers, as it was printed, without the program's own place."""
    line = next(line for line in done.stderr.splitlines() + done.stdout.splitlines() if f" {flag} " in line)
    words = shlex.split(line)
    assert words[:2] == ["hostler", "sessions"], line
    place = words.index("--data")
    return [word for at, word in enumerate(words[2:], 2) if at not in (place, place + 1)]


def a_session_is_asked_and_answers(server):
    session = server.session(TOOLSET, title="first of all")
    assert session in server.sessions("list").stdout
    listed = [json.loads(line) for line in server.sessions("list", "--json", "--status", "idle").stdout.splitlines()]
    assert any(each["id"] == session and each["title"] == "first of all" for each in listed), listed
    done = server.sessions("send", session, "-", said="run: echo from-the-sandbox")
    assert done.stdout == "It says: from-the-sandbox\n", done
    assert "• bash  echo from-the-sandbox" in done.stderr, done.stderr
    shown = server.sessions("show", session).stdout
    for words in ("title       first of all", "> run: echo from-the-sandbox", "• bash  echo from-the-sandbox",
                  "agent       tester (agent_", "sandbox     idle (sbx_"):
        assert words in shown, (words, shown)


def a_call_is_approved_and_another_denied_with_the_commands_that_are_printed(server):
    session = server.session(ASKING)
    done = server.sessions("send", session, "run: echo approved", code=1)
    assert "it waits for an answer:" in done.stderr and done.stdout == "", done
    shown = server.sessions("show", session)
    assert printed(shown, "--allow") == printed(done, "--allow")
    allowed = server.sessions(*printed(done, "--allow"))
    assert "approved" in allowed.stdout, allowed
    again = server.sessions(*printed(done, "--allow"), code=1)
    assert "(request req_" in again.stderr, again.stderr
    done = server.sessions("send", session, "run: echo denied", code=1)
    words = [word if word != "WHY" else "not on a Sunday" for word in printed(done, "--deny")]
    assert "not on a Sunday" in server.sessions(*words).stdout
    assert "bash is denied: not on a Sunday" in server.sessions("show", session).stdout


def a_message_to_a_session_that_waits_does_not_answer_it(server):
    session = server.session(ASKING)
    done = server.sessions("send", session, "run: echo approved", code=1)
    queued = server.sessions("send", session, "say: later", code=1)
    assert printed(queued, "--allow") == printed(done, "--allow"), queued.stderr
    assert "(waits for its turn)" in server.sessions("show", session).stdout
    assert "later" in server.sessions(*printed(queued, "--allow")).stdout


def a_custom_tool_is_answered(server):
    session = server.session(WEATHER)
    done = server.sessions("send", session, "weather: Ulm", code=1)
    assert 'get_weather  {"city":"Ulm"}' in done.stderr, done.stderr
    words = [word if word != "TEXT" else "sunny" for word in printed(done, "--result")]
    assert "It says: sunny" in server.sessions(*words).stdout


def an_agent_at_work_is_interrupted_and_its_session_removed_by_force(server):
    session = server.session(TOOLSET)
    server.sessions("send", session, "run: sleep 600", "--no-wait")
    server.until(session, "agent.tool_use")
    refused = server.sessions("rm", session, code=1)
    assert "hint: --force interrupts it first" in refused.stderr, refused.stderr
    server.sessions("send", session, "--interrupt")
    idle = [event for event in server.events(session) if event["type"] == "session.status_idle"]
    assert idle[-1]["stop_reason"] == {"type": "end_turn"}, idle
    server.sessions("send", session, "--interrupt")
    server.sessions("send", session, "run: sleep 600", "--no-wait")
    assert f"removed {session}" in server.sessions("rm", session, "--force").stderr
    gone = server.sessions("show", session, code=1)
    assert f"there is no session {session} (request req_" in gone.stderr, gone.stderr


def a_log_is_followed_over_restarts_and_handovers(server):
    session = server.session(TOOLSET)
    follower = server.begin("logs", session, "--follow", "--json", stderr=subprocess.PIPE)
    seen, came = [], threading.Condition()

    def read():
        for line in follower.stdout:
            with came:
                seen.append(json.loads(line)["id"])
                came.notify()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()

    def followed():
        wanted = [event["id"] for event in server.events(session)]
        with came:
            assert came.wait_for(lambda: len(seen) >= len(wanted), PATIENCE), (len(seen), len(wanted))
            assert seen == wanted, "each event once, in order"

    server.sessions("send", session, "say: one")
    followed()
    server.end(signal.SIGTERM)
    server.start()
    server.sessions("send", session, "say: two")
    followed()
    before = server.take_over()
    server.sessions("send", session, "say: three")
    followed()
    before.send_signal(signal.SIGTERM)
    before.wait(PATIENCE)
    before.stdout.close()
    server.sessions("send", session, "say: four")
    followed()
    server.end(signal.SIGKILL)
    server.start()
    server.sessions("send", session, "say: five")
    followed()
    server.sessions("rm", session)
    assert follower.wait(PATIENCE) == 0, follower.stderr.read()
    reader.join(PATIENCE)
    follower.stdout.close()
    assert follower.stderr.read().endswith("the session has ended\n")
    follower.stderr.close()


def who_reads_no_more_is_not_followed_for(server):
    session = server.session(TOOLSET)
    server.sessions("send", session, "say: one")
    follower = server.begin("logs", session, "--follow", stderr=subprocess.DEVNULL)
    assert session.startswith("sesn_") and "user.message" in follower.stdout.readline()
    follower.stdout.close()
    server.sessions("send", session, "say: two")
    assert follower.wait(PATIENCE) == 0


class Typist:
    """Somebody at a terminal."""

    def __init__(self, server, session):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execve(HOSTLER, server.command("attach", session),
                      environment(HOSTLER_API_KEY=ADMIN, TERM="xterm", NO_COLOR="1"))
        self.screen = ""

    def sees(self, words):
        end = time.monotonic() + PATIENCE
        while words not in self.screen:
            left = end - time.monotonic()
            assert left > 0 and select.select([self.terminal], [], [], left)[0], (words, self.screen)
            self.screen += os.read(self.terminal, 65536).decode(errors="replace").replace("\r", "")
        before, self.screen = self.screen.split(words, 1)
        return before

    def types(self, text):
        os.write(self.terminal, text.encode())

    def leaves(self):
        with contextlib.suppress(OSError):
            while os.read(self.terminal, 65536):
                pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.terminal)
        return os.waitstatus_to_exitcode(status)


def a_conversation_is_held_at_a_terminal(server):
    session = server.session(ASKING, WEATHER)
    server.sessions("send", session, "say: before")
    typist = Typist(server, session)
    typist.sees("> say: before")
    typist.sees("before")
    typist.sees("Ctrl-D leaves")
    typist.types("run: echo approved\n")
    typist.sees("bash  echo approved run it? [y/n REASON]")
    typist.types("perhaps\n")
    typist.sees("y lets it run")
    typist.types("y\n")
    typist.sees("It says: approved")
    typist.types("run: echo denied\n")
    typist.sees("run it?")
    typist.types("n not on a Sunday\n")
    typist.sees("bash is denied: not on a Sunday")
    typist.sees("It says:")
    typist.types("weather: Ulm\n")
    typist.sees("the result?")
    typist.types("sunny\n")
    typist.sees("It says: sunny")
    typist.types("\x04")
    assert typist.leaves() == 0

    working = server.session(TOOLSET)
    typist = Typist(server, working)
    typist.sees("Ctrl-D leaves")
    typist.types("run: sleep 600\n")
    typist.sees("• bash  sleep 600")
    typist.types("\x03")
    typist.sees("interrupting the agent")
    typist.sees("interrupted")
    server.until(working, "session.status_idle")
    typist.types("say: still here\n")
    typist.sees("still here")
    typist.sees("still here")
    typist.types("\x03")
    assert typist.leaves() == 0


def a_run_works_on_the_server_that_is_named(server):
    there = environment(HOSTLER_URL=server.url, HOSTLER_API_KEY=ADMIN)
    command = [HOSTLER, "run", "--json", "run: echo from-the-sandbox"]
    done = subprocess.run(command, env=there, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert done.returncode == 0, done
    came = json.loads(done.stdout)
    assert "from-the-sandbox" in came["result"] and came["usage"]["output_tokens"] > 0, came
    shown = server.sessions("show", came["session_id"]).stdout
    assert "status      archived" in shown, shown
    assert re.search("sandbox     destroyed", shown), shown


def without_its_server_a_session_is_looked_at_and_left_alone(server):
    session = server.session(ASKING)
    server.sessions("send", session, "run: echo approved", code=1)
    before = server.events(session)
    server.end(signal.SIGTERM)
    assert session in server.sessions("list").stdout
    shown = server.sessions("show", session)
    assert "> run: echo approved" in shown.stdout and "--allow" in shown.stdout, shown.stdout
    assert server.events(session) == before
    for words in (["send", session, "more"], ["logs", session, "--follow"], ["rm", session]):
        refused = server.sessions(*words, code=1)
        assert "no server runs on" in refused.stderr and "hint: start one: hostler serve --data" in refused.stderr
    server.start()
    assert server.events(session) == before
    assert "approved" in server.sessions(*printed(shown, "--allow")).stdout


def when(words, reply):
    return {"when": {"last_user_text_contains": words}, "reply": reply}


COMMANDS = ["echo from-the-sandbox", "echo approved", "echo denied", "sleep 600"]
SCRIPT = {
    "name": "sessions",
    "anytime": [
        when("say:", [{"text": "{{last_user_text}}", "chunk": 5}]),
        {"when": {"last_tool_result_contains": ""}, "reply": [{"text": "It says: {{last_tool_result}}"}]},
        *[when(f"run: {command}", [{"tool_use": {"name": "Bash", "input": {"command": command}}}])
          for command in COMMANDS],
        when("weather:", [{"tool_use": {"name": "get_weather", "input": {"city": "Ulm"}}}]),
    ],
    "turns": [],
}

CHECKS = [
    a_session_is_asked_and_answers,
    a_call_is_approved_and_another_denied_with_the_commands_that_are_printed,
    a_message_to_a_session_that_waits_does_not_answer_it,
    a_custom_tool_is_answered,
    an_agent_at_work_is_interrupted_and_its_session_removed_by_force,
    a_log_is_followed_over_restarts_and_handovers,
    who_reads_no_more_is_not_followed_for,
    a_conversation_is_held_at_a_terminal,
    a_run_works_on_the_server_that_is_named,
    without_its_server_a_session_is_looked_at_and_left_alone,
]

if __name__ == "__main__":
    main()
