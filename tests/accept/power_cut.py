"""The power goes while sessions work: a server that starts on what is on the disk then has every event that was
acknowledged or shown, and every session goes on or says what was cut.

The data directory is an ext4 file system on a loop device, whose file lies on a btrfs. A clone of that file is what a
disk holds at one moment: all that the kernel has written to it, and nothing that was only in memory. So several cuts
are taken from one run.
"""

import contextlib
import fcntl
import json
import os
import random
import shutil
import subprocess
import threading
import time

from support import http
from support.following import Follower
from support.model import says, script, uses, when
from support.server import Server, place, until

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

    def talk(self, over):
        number = 0
        while not over.is_set():
            self.say(f"append line {number}")
            number += 1
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
            with mounted(host / f"cut-{number}.img", directory / "cut") as disk:
                print(f"ok cut {number}: {go_on(Server(disk / 'data', ['--simulate', steps]), known)}", flush=True)


def run_and_cut(server, host):
    with server:
        where = server.ask("POST", "/v1/environments", {"name": "small", "hostler": SMALL})["id"]
        agents = [server.ask("POST", "/v1/agents", {"name": "a", "model": "claude-sonnet-5-5", "tools": [tools]})["id"]
                  for tools in (TOOLSET, ASKING)]
        sessions = [Session(server, {"agent": agents[number == 0], "environment_id": where}, server.key()["secret"])
                    for number in range(SESSIONS)]
        over, cuts = threading.Event(), []
        threads = [threading.Thread(target=session.talk, args=[over]) for session in sessions]
        for thread in threads:
            thread.start()
        for number in range(CUTS):
            time.sleep(random.uniform(0.3, 1.5))
            # What is known now must be on the disk after this.
            known = {session.id: (session.key, *session.known()) for session in sessions}
            clone(host / "disk.img", host / f"cut-{number}.img")
            cuts.append(known)
        over.set()
        for thread in threads:
            thread.join()
    return cuts


def go_on(server, known):
    with server:
        events, cut, missing = 0, 0, []
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
            events += len(set(acknowledged + shown))
            cut += sum(event["type"] == "session.error" for event in log)
        assert events, "nobody knew of anything when the power went"
        assert not missing, f"{len(missing)} events that were acknowledged or shown are not there: {missing[:5]}"
        for session, (key, *_) in list(known.items())[1:]:
            say = {"events": [{"type": "user.message", "content": [{"type": "text", "text": "say: still here"}]}]}
            server.ask("POST", f"/v1/sessions/{session}/events", say, key=key)
            log = resting(server, session, key)
            assert "still here" in str(log[-8:]), log[-8:]
        return f"{events} known events are there, {cut} turns were cut and told"


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
    with mounted(image, where) as directory:
        yield directory


@contextlib.contextmanager
def mounted(image, where):
    where.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, where], check=True)
    where.chmod(0o755)
    try:
        yield where
    finally:
        with contextlib.suppress(AssertionError):
            until("nothing holds it", lambda: not subprocess.run(["umount", where], capture_output=True).returncode, 20)
        if where.is_mount():
            subprocess.run(["umount", "--lazy", where], check=True)


SCRIPT = script(when("append", [uses("Bash", command="echo '{{last_user_line}}' >> /workspace/lines; sleep 0.2")]),
                before=[when("interrupted in the middle", [says("I go on.")])])

if __name__ == "__main__":
    main()
