"""`hostler serve` is killed again and again under load, each third time with its jailer: nothing is lost, nothing is
doubled, no tool runs twice.

Each message has its agent append one line of its own to a file in the sandbox. Whatever happens to the server, in the end
every line is there once, and every event stands in the log once.
"""

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

KILLS = int(os.environ.get("HOSTLER_CHAOS_KILLS", "15"))
SESSIONS = 6
MESSAGES = max(5, KILLS // 3)
KEY = "the-admin-key-of-this-test"
PATIENCE = 120


def main():
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        # A server that was started as root reads it as another user.
        place.chmod(0o755)
        script = place / "script.json"
        script.write_text(json.dumps(SCRIPT))
        server = Server(place / "data", script, place / "serve.log")
        server.start()
        try:
            chaos(server)
        except BaseException:
            print((place / "serve.log").read_text()[-6000:])
            raise
        finally:
            server.end()


def chaos(server):
    agent = server.ask("POST", "/v1/agents", {"name": "a", "model": "claude-sonnet-5-5",
                                              "tools": [{"type": "agent_toolset_20260401"}]})
    environment = server.ask("POST", "/v1/environments", {"name": "e"})
    made = {"agent": agent["id"], "environment_id": environment["id"]}
    sessions = [server.ask("POST", "/v1/sessions", made)["id"] for _ in range(SESSIONS)]
    acknowledged = {session: [] for session in sessions}
    writers = [threading.Thread(target=write, args=(server, session, acknowledged[session]))
               for session in sessions]
    for writer in writers:
        writer.start()
    for number in range(KILLS):
        time.sleep(random.uniform(0.05, 1.2))
        if number % 3 == 2:
            server.kill_jailer()
        server.kill()
        server.start()
    for writer in writers:
        writer.join()
    for session in sessions:
        wait_idle(server, session)
        check(server, session, acknowledged[session])
    print(f"{KILLS} kills, {SESSIONS} sessions, {SESSIONS * MESSAGES} messages: nothing lost, nothing doubled")


def write(server, session, acknowledged):
    for number in range(MESSAGES):
        words = f"append: {session[-4:]}-{number}"
        event = {"type": "user.message", "content": [{"type": "text", "text": words}]}
        answer = server.ask("POST", f"/v1/sessions/{session}/events", {"events": [event]}, once=True)
        if answer is not None:
            acknowledged.append((answer["data"][0]["id"], words))
        time.sleep(random.uniform(0.05, 0.6))


def wait_idle(server, session):
    end = time.monotonic() + PATIENCE
    while True:
        status = server.ask("GET", f"/v1/sessions/{session}")["status"]
        waiting = [event for event in events(server, session)
                   if event["type"] == "user.message" and event["processed_at"] is None]
        if status == "idle" and not waiting:
            return
        assert time.monotonic() < end, f"{session} is {status}, {len(waiting)} wait: {brief(server, session)}"
        time.sleep(0.2)


def check(server, session, acknowledged):
    log = events(server, session)
    ids = [event["id"] for event in log]
    assert len(ids) == len(set(ids)), "an event stands twice in the log"
    for event, words in acknowledged:
        assert event in ids, f"{words} was acknowledged and is not there"
    uses = [event["id"] for event in log if event["type"] == "agent.tool_use"]
    results = [event["tool_use_id"] for event in log if event["type"] == "agent.tool_result"]
    assert sorted(uses) == sorted(results), f"calls and results differ: {brief(server, session)}"
    message = {"type": "user.message", "content": [{"type": "text", "text": "show: lines"}]}
    server.ask("POST", f"/v1/sessions/{session}/events", {"events": [message]})
    wait_idle(server, session)
    last = [event for event in events(server, session) if event["type"] == "agent.tool_result"][-1]
    lines = last["content"][0]["text"].split()
    assert len(lines) == len(set(lines)), f"a tool ran twice: {lines}"
    ran = {event["input"]["command"].split()[2] for event in log if event["type"] == "agent.tool_use"}
    assert set(lines) <= ran, (lines, ran)
    interrupted = sum(1 for event in log if event["type"] == "agent.tool_result" and event.get("is_error"))
    assert len(lines) + interrupted >= len(ran), f"a call is unaccounted for: {lines}, {ran}"


def events(server, session):
    return server.ask("GET", f"/v1/sessions/{session}/events")["data"]


def brief(server, session):
    return [event["type"] for event in events(server, session)][-30:]


class Server:
    def __init__(self, data, script, log):
        self.data, self.script, self.log, self.listen = data, script, log, "127.0.0.1:0"
        self.process = None

    def start(self):
        environment = {**os.environ, "HOSTLER_API_KEY": KEY}
        for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "HOSTLER_URL", "HOSTLER_DATA"):
            environment.pop(name, None)
        command = [os.environ["HOSTLER_BIN"], "serve", "--listen", self.listen, "--data", self.data,
                   "--simulate", self.script, "--pool", "2"]
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.PIPE,
                                            stderr=log, text=True)
        first = self.process.stdout.readline()
        assert first.startswith("export ANTHROPIC_BASE_URL="), (first, self.log.read_text()[-2000:])
        self.listen = first.split("http://", 1)[1].strip()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def kill_jailer(self):
        """The jailer and whoever watches over it, until both are gone."""
        while found := self.jailers():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)

    def jailers(self):
        return [int(process.name) for process in pathlib.Path("/proc").glob("[0-9]*") if self.is_jailer(process)]

    def is_jailer(self, process):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return b"jailer" in words and str(self.data).encode() in words

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(PATIENCE)

    def ask(self, method, path, body=None, once=False):
        """Asks until there is an answer; `once` says that an unanswered question may have been heard."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return self.try_once(method, path, body)
            except urllib.error.HTTPError as error:
                # 529 is an answer: nothing was done.
                if error.code != 529 or time.monotonic() > end:
                    raise AssertionError(f"{method} {path}: {error.code} {error.read()}") from error
            except OSError:
                if once:
                    return None
                if time.monotonic() > end:
                    raise
            time.sleep(0.05)

    def try_once(self, method, path, body):
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        request = urllib.request.Request(f"http://{self.listen}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def command(words, text):
    return {"when": {"last_user_text_contains": words},
            "reply": [{"tool_use": {"name": "Bash", "input": {"command": text}}}]}


SCRIPT = {
    "name": "chaos",
    "anytime": [
        {"when": {"last_user_text_contains": "interrupted in the middle"}, "reply": [{"text": "going on"}]},
        {"when": {"last_tool_result_contains": "appended"}, "reply": [{"text": "done"}]},
        command("append:", "echo {{last_user_text}} >> /workspace/lines && sleep 0.2 && echo appended"),
        {"when": {"last_tool_result_contains": ""}, "reply": [{"text": "shown"}]},
        command("show:", "sed 's/append: //' /workspace/lines"),
    ],
    "turns": [],
}

if __name__ == "__main__":
    main()
