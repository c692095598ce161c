"""The power goes while sessions work: a server that starts on what is on the disk then has every event that was
acknowledged or shown, every message has an answer or the word that it was cut, no call has run twice, and every session
goes on.

The data directory is an ext4 file system on a loop device, whose file lies on a btrfs. A clone of that file is what a
disk holds at one moment: all that the kernel has written to it, and nothing that was only in memory. So several cuts
are taken from one run.
"""

import contextlib
import fcntl
import json
import os
import random
import re
import shutil
import subprocess
import time

from support import http
from support.disks import mounted
from support.following import Follower
from support.model import says, uses, when
from support.server import Server, place, until
from support.turns import turns
from support.working import Working

CUTS = int(os.environ.get("HOSTLER_POWER_CUTS", "3"))
SESSIONS = 6
FICLONE = 0x40049409
SMALL = {"disk": "64M", "memory": "256M"}
TOOLSET = {"type": "agent_toolset_20260401"}
ASKING = {**TOOLSET, "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}]}


class Session:
    """One that is sent a message as soon as it has an answer to the last, and notes what it was told of."""

    def __init__(self, server, made, key):
        self.server, self.key = server, key
        self.id = server.ask("POST", "/v1/sessions", made, key=key)["id"]
        self.follower = Follower(server, self.id, key)
        self.acknowledged = []

    def ask(self, method, path="", body=None):
        return http.ask(self.server.listen, method, f"/v1/sessions/{self.id}{path}", body, key=self.key)

    def say(self, words):
        message = {"type": "user.message", "content": [{"type": "text", "text": words}]}
        answer = self.ask("POST", "/events", {"events": [message]})
        assert answer.status == 200, answer
        self.acknowledged.append(answer.json["data"][0]["id"])

    def talk(self):
        self.say(f"append line-{self.id[-6:]}-{len(self.acknowledged)}")
        time.sleep(random.uniform(0.05, 0.4))

    def known(self):
        """The events that its clients know of."""
        return list(self.acknowledged), self.follower.ids()


def main():
    if os.geteuid() != 0 or not shutil.which("mkfs.btrfs"):
        print("SKIP power_cut: it needs root and btrfs-progs")
        return
    with place() as directory, formatted(directory / "btrfs.img", "btrfs", "3G", directory / "host") as host:
        steps = directory / "script.json"
        steps.write_text(json.dumps(SCRIPT))
        with formatted(host / "disk.img", "ext4", "1G", directory / "disk") as disk:
            cuts = run_and_cut(Server(disk / "data", ["--simulate", steps]), host)
        for number, known in enumerate(cuts):
            with mounted(directory / "cut", "-o", "loop", host / f"cut-{number}.img") as disk:
                print(f"ok cut {number}: {go_on(Server(disk / 'data', ['--simulate', steps]), known)}", flush=True)


def run_and_cut(server, host):
    with server:
        where = server.ask("POST", "/v1/environments", {"name": "small", "hostler": SMALL})["id"]
        agents = [server.ask("POST", "/v1/agents", {"name": "a", "model": "claude-sonnet-5-5", "tools": [tools]})["id"]
                  for tools in (TOOLSET, ASKING)]
        sessions = [Session(server, {"agent": agents[number == 0], "environment_id": where}, server.key()["secret"])
                    for number in range(SESSIONS)]
        cuts = []
        with Working() as working:
            for session in sessions:
                working.begin(session.talk)
            for number in range(CUTS):
                time.sleep(random.uniform(0.3, 1.5))
                # What is known now must be on the disk after this.
                known = {session.id: (session.key, *session.known()) for session in sessions}
                clone(host / "disk.img", host / f"cut-{number}.img")
                cuts.append(known)
    return cuts


def go_on(server, known):
    with server:
        events, cut, missing, lines = 0, 0, [], 0
        for session, (key, acknowledged, shown) in known.items():
            log = resting(server, session, key)
            ids = [event["id"] for event in log]
            assert len(ids) == len(set(ids)), f"{session} has an event twice"
            missing += [event for event in acknowledged + shown if event not in set(ids)]
            assert [event for event in ids if event in set(shown)] == shown, f"{session} has another order"
            calls = [event["id"] for event in log if event["type"] == "agent.tool_use"]
            results = [event for event in log if event["type"] == "agent.tool_result"]
            waiting = (stop_reason(log) or {}).get("event_ids", [])
            assert sorted(calls) == sorted([event["tool_use_id"] for event in results] + waiting), f"{session}: {calls}"
            for turn in turns(log).values():
                assert waiting or "I am done." in said(turn) or turn.cut(), \
                    f"{session}: {text(turn.message)} has no answer, and no word that it was cut: {kinds(turn.events)}"
                cut += len(turn.cut())
            events += len(set(acknowledged + shown))
        assert events, "nobody knew of anything when the power went"
        assert not missing, f"{len(missing)} events that were acknowledged or shown are not there: {missing[:5]}"
        # The first one waits for its user.
        for session, (key, *_) in list(known.items())[1:]:
            lines += the_lines(session, ask(server, session, key, "show the lines"))
            log = ask(server, session, key, "say: still here")
            assert "still here" in said(list(turns(log).values())[-1]), log[-8:]
        return f"{events} known events and {lines} lines are there, {cut} words that a turn was cut"


def ask(server, session, key, words):
    """The log, when it has an answer."""
    message = {"type": "user.message", "content": [{"type": "text", "text": words}]}
    server.ask("POST", f"/v1/sessions/{session}/events", {"events": [message]}, key=key)
    return resting(server, session, key)


def the_lines(session, log):
    """How many there are. The disk may have lost the last ones; what it has is in the order of the calls, once each."""
    shown = [event for event in log if event["type"] == "agent.tool_result"][-1]
    assert not shown.get("is_error"), shown
    *lines, end = text(shown).splitlines()
    assert end == "end of lines", shown
    made = [line for event in log if event["type"] == "agent.tool_use" if (line := LINE.search(event["input"]["command"]))]
    made = [line[0] for line in made]
    assert lines == [line for line in made if line in set(lines)], f"{session} has the lines {lines} of the calls {made}"
    return len(lines)


def said(turn):
    return " ".join(text(event) for event in turn.events if event["type"] == "agent.message")


def text(event):
    return "".join(block.get("text", "") for block in event["content"])


def kinds(events):
    return [event.get("error") or event.get("stop_reason") or event["type"] for event in events]


def resting(server, session, key):
    """The log of a session, once it has nothing to do."""
    log = []

    def rests():
        log[:] = server.ask("GET", f"/v1/sessions/{session}/events", key=key)["data"]
        waits = any(event["type"] == "user.message" and event["processed_at"] is None for event in log)
        stop = stop_reason(log)
        return not log or stop and (stop["type"] == "requires_action" or not waits)

    try:
        until(f"{session} rests", rests, 60, 0.2)
    except AssertionError as error:
        raise AssertionError(f"{error}: {[event.get('error') or event['type'] for event in log]}") from None
    return log


def stop_reason(log):
    """Why a session is idle; nothing where it is not."""
    [*_, last] = [event for event in log if event["type"].startswith("session.status_")] or [{}]
    return last.get("stop_reason")


def clone(image, copy):
    """All of a file as it is at one moment."""
    with open(image, "rb") as old, open(copy, "wb") as new:
        fcntl.ioctl(new, FICLONE, old.fileno())


@contextlib.contextmanager
def formatted(image, kind, size, where):
    with open(image, "wb") as file:
        file.truncate(int(size.removesuffix("G")) << 30)
    subprocess.run([f"mkfs.{kind}", "-q", image], check=True, stdout=subprocess.DEVNULL)
    with mounted(where, "-o", "loop", image) as directory:
        yield directory


LINE = re.compile(r"line-[a-z0-9]{6}-\d+")
APPEND = "line=$(grep -o 'line-[a-z0-9-]*' <<< '{{last_user_line}}') && echo $line >> /workspace/lines; sleep 0.2"
SHOW = "test ! -e /workspace/lines || cat /workspace/lines; echo end of lines"
GO_ON = [says("I go on, and I am done.")]
SCRIPT = {
    "name": "power cut",
    "anytime": [
        when("interrupted in the middle", GO_ON),
        when("session was interrupted here", GO_ON),
        when("say:", [says("{{last_user_text}}, and I am done.")]),
        {"when": {"last_tool_result_contains": ""}, "reply": [says("I am done.")]},
        when("append", [uses("Bash", command=APPEND)]),
        when("show the lines", [uses("Bash", command=SHOW)]),
    ],
    "turns": [],
}

if __name__ == "__main__":
    main()
