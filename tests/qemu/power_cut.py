"""The power of a whole machine goes while sessions work, again and again: what was acknowledged or shown is there after
the next start, once and in its order; every session goes on or says what was cut; and no call runs twice.

The machine is a QEMU guest without KVM. Its disk forgets at a cut what was still in memory, and about half of what was
written after the last flush.
The model and the clients are on the host, and remember everything.

Run by hand as root; it takes 10 to 20 minutes for 10 cuts, 3 GiB of disk and of memory:

    apt-get install --no-install-recommends qemu-system-x86 seabios linux-image-cloud-amd64 busybox-static cpio \\
        mmdebstrap kmod e2fsprogs
    HOSTLER_BIN=target/dist/hostler python3 tests/qemu/power_cut.py

HOSTLER_QEMU_CUTS and HOSTLER_QEMU_SESSIONS say how many, HOSTLER_QEMU_PORT on which port of this machine the guest is.
HOSTLER_QEMU_PLACE is a directory that stays, with the root file system for the next run. Of a cut after which something
is wrong, the disk (`cut-N.img`), the guest's console and what is known of the sessions stay there in any case. The seed
(HOSTLER_QEMU_SEED) repeats the choices, and not the moments.
"""

import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "accept"))

import verdict
from machine import Machine
from model import Model, is_synced
from support import http as api
from support.following import Follower
from support.server import ADMIN, until

CUTS = int(os.environ.get("HOSTLER_QEMU_CUTS", "10"))
SESSIONS = int(os.environ.get("HOSTLER_QEMU_SESSIONS", "6"))
SEED = int(os.environ.get("HOSTLER_QEMU_SEED", random.randrange(1 << 32)))
PORT = int(os.environ.get("HOSTLER_QEMU_PORT", "18700"))
# Seconds after which what an agent wrote is on the disk, whether or not it asked for that.
FLUSHED = 90
# Messages of one session between two cuts.
MESSAGES = 4
PATIENCE = 300
TOOLSET = {"type": "agent_toolset_20260401"}
ASKING = {**TOOLSET, "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}]}
SMALL = {"disk": "64M", "memory": "256M"}
GONE = (OSError, http.client.HTTPException)


class Session:
    """One with its writer, its reader, and whoever allows its calls; they know what it was told, whatever it lost."""

    def __init__(self, machine, number, agent, environment, hesitates):
        self.machine, self.number, self.hesitates = machine, number, hesitates
        made = {"agent": agent, "environment_id": environment}
        self.id = machine.ask("POST", "/v1/sessions", made)["id"]
        self.acknowledged, self.unanswered, self.jobs = [], [], 0
        # Words that a cut has taken, errors that were counted, and broken promises that were told.
        self.lost, self.errors, self.told = set(), 0, set()
        self.follower = Follower(machine, self.id, ADMIN)
        self.began = len(self.log())

    def log(self):
        events, page = [], ""
        while page is not None:
            answer = self.machine.ask("GET", f"/v1/sessions/{self.id}/events?limit=1000{page}")
            events += answer["data"]
            page = f"&page={answer['next_page']}" if answer.get("next_page") else None
        return events

    def send(self, event):
        """An event, once: of one that was cut off nobody knows whether it was heard."""
        answer = api.ask(self.machine.listen, "POST", f"/v1/sessions/{self.id}/events", {"events": [event]}, key=ADMIN)
        if answer.status == 200:
            self.acknowledged += answer.json["data"]
        return answer

    def say(self, words):
        try:
            answer = self.send({"type": "user.message", "content": [{"type": "text", "text": words}]})
            assert answer.status == 200, answer
        except GONE:
            self.unanswered.append(words)

    def work(self):
        self.jobs += 1
        self.say(f"job-{self.number}-{self.jobs} do {random.randint(1, 4)}")

    def show(self):
        self.jobs += 1
        self.say(f"show-{self.number}-{self.jobs}")
        return self.jobs

    def asks(self):
        """The calls that wait for the user's word, as the reader sees it."""
        return waiting(list(self.follower.events))

    def allow(self):
        for call in self.asks():
            answer = self.send({"type": "user.tool_confirmation", "tool_use_id": call, "result": "allow"})
            heard = any(event.get("tool_use_id") == call and event["type"] != "agent.tool_use" for event in self.log())
            assert answer.status == 200 or heard, f"the word on {call} was refused: {answer}"

    def words(self, number):
        """What the call after the message came back with."""
        log = self.log()
        at = next(at for at, event in enumerate(log)
                  if event["type"] == "user.message" and f"show-{self.number}-{number}" in verdict.text(event))
        printed = [verdict.text(event) for event in log[at:] if event["type"] == "agent.tool_result"
                   and not event.get("is_error") and verdict.text(event).rstrip().endswith("shown")]
        assert printed, f"{self.id} has not shown its words: {log[at:]}"
        # What was never written to the disk is zeros.
        return [word for word in re.split(r"[\s\0\ufffd]+", printed[-1]) if word.startswith("job-")]

    def keep(self, words):
        """What it is judged by, for whoever looks for the cause."""
        known = {"log": self.log(), "shown": self.follower.events, "acknowledged": self.acknowledged, "words": words}
        (self.machine.directory / f"{self.id}.json").write_text(json.dumps(known, indent=1))

    def rests(self):
        """Whether it has nothing to do, and its reader has seen that."""
        log = self.log()
        if not log:
            return True
        waits = any(event["type"] == "user.message" and event["processed_at"] is None for event in log)
        statuses = [event["type"] for event in log if event["type"].startswith("session.status_")]
        idle = statuses[-1:] == ["session.status_idle"] and not waiting(log) and not waits
        return idle and [log[-1]["id"]] == [event["id"] for event in self.follower.events[-1:]]


def main():
    if os.geteuid() != 0 or not shutil.which("qemu-system-x86_64"):
        print("SKIP power_cut: it needs root and qemu-system-x86")
        return
    random.seed(SEED)
    place = pathlib.Path(os.environ.get("HOSTLER_QEMU_PLACE") or tempfile.mkdtemp(prefix="hostler-qemu-"))
    place.mkdir(exist_ok=True)
    print(f"seed {SEED}, in {place}", flush=True)
    model = Model()
    machine = Machine(place, os.environ["HOSTLER_BIN"], model.port, PORT)
    try:
        if broken := rounds(machine, model):
            sys.exit(f"{len(broken)} promises were broken; the disks are in {place}")
    finally:
        machine.off()
    if "HOSTLER_QEMU_PLACE" not in os.environ:
        shutil.rmtree(place)


def rounds(machine, model):
    machine.power_on()
    machine.serves()
    sessions, broken = begin(machine), []
    for number in range(CUTS):
        seconds = FLUSHED + 10 if number % 5 == 4 else random.uniform(3, 25)
        held, lost = work_until_cut(machine, sessions, seconds)
        shown = sum(len(session.follower.events) for session in sessions)
        print(f"cut {number}: {shown} events shown; {lost}", flush=True)
        if number % 3 == 2:
            # Once more, while it starts.
            machine.power_on()
            time.sleep(random.uniform(6, 20))
            print(f"cut {number} again, in the start: {machine.cut()}", flush=True)
        machine.keep(f"cut-{number}.img")
        machine.power_on()
        machine.serves()
        wrong = settle(sessions, held, machine.cut_at, model)
        broken += wrong
        tell(f"cut {number}", wrong)
        if not wrong:
            machine.forget(f"cut-{number}.img")
    machine.cut()
    machine.keep("end.img")
    ours = ledger(machine.directory / "end.img")
    wrong = list(verdict.compare(model.ledger, ours, {session.number: session.id for session in sessions}))
    whole, completed = sum(asked.whole for asked in model.ledger), sum(row["outcome"] == "completed" for row in ours)
    tell(f"ledgers: the model was asked {len(model.ledger)} times and has answered {whole} in full; ours has "
         f"{len(ours)}, {completed} completed", wrong)
    return broken + wrong


def begin(machine):
    """Each third session asks before it runs anything, and each sixth has to wait for the word until after the cut."""
    environment = machine.ask("POST", "/v1/environments", {"name": "small", "hostler": SMALL})["id"]
    made = {"name": "a", "model": "claude-sonnet-5-5"}
    plain, asking = (machine.ask("POST", "/v1/agents", {**made, "tools": [tools]})["id"] for tools in (TOOLSET, ASKING))
    return [Session(machine, number, asking if number % 3 == 1 else plain, environment, number % 6 == 4)
            for number in range(SESSIONS)]


def work_until_cut(machine, sessions, seconds):
    """Has them work for a while, and cuts the power. Hands back the calls that waited for the user, and what is lost.
    """
    over = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(len(sessions)) as pool:
        using = [pool.submit(use, session, over) for session in sessions]
        time.sleep(seconds)
        held = {session.number: session.asks() for session in sessions if session.hesitates}
        # Whoever is asking just now is cut off.
        over.set()
        lost = machine.cut()
    for one in using:
        one.result()
    return held, lost


def use(session, over):
    sent = 0
    while not over.is_set():
        try:
            if sent < MESSAGES and random.random() < 0.3:
                sent += 1
                session.work()
            if not session.hesitates and random.random() < 0.5:
                session.allow()
        except GONE:
            return
        over.wait(random.uniform(0.1, 1))


def settle(sessions, held, cut_at, model):
    """Lets them come to rest, talks to them once more, and judges."""
    broken = []
    for session in sessions:
        missing = set(held.get(session.number, [])) - set(waiting(session.log()))
        broken += [f"{session.id}: {call} waited for the user, and does not any more" for call in missing]
    rest(sessions)
    shows = {session.number: session.show() for session in sessions}
    rest(sessions)
    for session in sessions:
        broken += judge(session, session.words(shows[session.number]), cut_at, model)
    return broken


def judge(session, words, cut_at, model):
    """Tells each broken promise once, and what is gone of the files."""
    log = session.log()
    asked = [asked for asked in model.ledger if asked.session == session.number]
    shown = session.follower.events[:]
    found = [*verdict.judge(log, session.acknowledged, session.unanswered, session.began, shown, words),
             *verdict.forgotten(log, asked)]
    gone = [(word, cut_at - at) for word, at in verdict.lost(log, words) if word not in session.lost]
    session.lost.update(word for word, _ in gone)
    found += [f"{word} is gone, which was written {age:.0f} s before the cut" for word, age in gone if age > FLUSHED]
    ages = [[round(age) for word, age in gone if is_synced(word) == synced] for synced in (True, False)]
    told = [event["error"]["message"][:70] for event in verdict.errors(log)[session.errors:]]
    session.errors += len(told)
    if gone and not told:
        found.append(f"{len(gone)} words are gone since the last cut, and no event says so: {gone[0][0]}, …")
    print(f"  session {session.number}: {len(log)} events, {len(words)} words; gone are synced ones of {ages[0]} s "
          f"before the cut and others of {ages[1]} s; told: {told[:4]}", flush=True)
    new = [wrong for wrong in found if wrong not in session.told]
    session.told.update(new)
    if new:
        session.keep(words)
    return [f"{session.id}: {wrong}" for wrong in new]


def rest(sessions):
    def all_rest():
        for session in sessions:
            session.allow()
        return all(session.rests() for session in sessions)

    try:
        until("all rest", all_rest, PATIENCE, 1)
    except AssertionError as error:
        busy = {session.id: [event["type"] for event in session.log()[-6:]] for session in sessions}
        raise AssertionError(f"{error}: {busy}") from None


def waiting(log):
    """The calls that wait for the user's word."""
    [*_, last] = [event for event in log if event["type"].startswith("session.status_")] or [{}]
    answers = ("user.tool_confirmation", "agent.tool_result")
    answered = {event["tool_use_id"] for event in log if event["type"] in answers}
    return [call for call in (last.get("stop_reason") or {}).get("event_ids", []) if call not in answered]


def ledger(disk):
    """The server's own, read from the disk of a machine that is off."""
    with tempfile.TemporaryDirectory() as directory:
        where, copy = pathlib.Path(directory) / "disk", pathlib.Path(directory) / "copy"
        where.mkdir(), copy.mkdir()
        subprocess.run(["mount", "-o", "loop", disk, where], check=True)
        try:
            for file in where.glob("hostler/hostler.db*"):
                shutil.copy(file, copy)
        finally:
            subprocess.run(["umount", where], check=True)
        database = sqlite3.connect(copy / "hostler.db")
        database.row_factory = sqlite3.Row
        rows = database.execute("SELECT session_id, outcome, request_id, request_bytes FROM model_calls ORDER BY id")
        return [dict(row) for row in rows]


def tell(what, wrong):
    print(f"{'FAILED' if wrong else 'ok'} {what}", flush=True)
    for one in wrong:
        print(f"  {one}", flush=True)


if __name__ == "__main__":
    main()
