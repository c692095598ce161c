"""The official `claude` program, from the machine's npm registry, as the runtime of sessions: the same script of the API as on
the native runtime, and what is installed, chosen, held and removed meanwhile.

A program of 180 MB is downloaded once and kept beside the binary. Without a registry the script says so and skips.
"""

import json
import os
import pathlib
import signal
import subprocess

from support import sdk
from support.model import script, uses, when
from support.server import ADMIN, Server, environment as variables, place
from support.session import (Stream, allow, answer, asking, custom, deny, expecting, of, one, say, send, session, text,
                             types)

HOSTLER = os.environ["HOSTLER_BIN"]
KEPT = pathlib.Path(HOSTLER).parent / "accept" / "runtimes"
# The first thing that is said in a session waits for the runtime.
FAKE = "#!/bin/sh\necho it speaks no protocol\n"


def runtimes(data, *words, code=0):
    """What `hostler runtimes` says."""
    called = subprocess.run([HOSTLER, "runtimes", *words, "--data", data], env=variables(HOSTLER_API_KEY=ADMIN),
                            capture_output=True, text=True, timeout=600)
    assert called.returncode == code, (words, called)
    return called.stdout + called.stderr


def listed(data):
    return {one["version"]: one for one in map(json.loads, runtimes(data, "list", "--json").splitlines())}


def installed():
    """The program, downloaded at most once on this machine."""
    KEPT.parent.mkdir(exist_ok=True)
    called = subprocess.run([HOSTLER, "runtimes", "install", "claude@^2.1", "--data", KEPT], env=variables(),
                            capture_output=True, text=True, timeout=500)
    if called.returncode != 0:
        return None, called.stderr.strip().splitlines()[-2]
    version = max(listed(KEPT), key=lambda version: [int(part) for part in version.split(".")])
    return version, KEPT / "runtimes" / "claude" / version / "claude"


def where(client, runtime, **more):
    return client.beta.environments.create(name="e", extra_body={"hostler": {"runtime": runtime, **more}}).id


def told(events):
    """What both runtimes tell alike: without model requests, which end sooner or later beside what is done meanwhile."""
    return [kind for kind in types(events) if not kind.startswith("span.")]


def the_same_script(client, runtime):
    """One turn after another; answers what was told, by turn."""
    turns = []
    made = session(client, environment_id=where(client, runtime))
    assert made.model_extra["hostler"]["runtime"]["name"] == runtime
    stream = Stream(client, made.id)
    say(client, made.id, "echo hello > /workspace/f; cat /workspace/f # run")
    turns.append(stream.idle())
    assert text(turns[-1]) == "It says: hello" and turns[-1][-1].stop_reason.type == "end_turn"
    say(client, made.id, "while true; do sleep 1; done # run")
    started = stream.until("agent.tool_use")
    send(client, made.id, {"type": "user.interrupt"})
    turns.append(started + stream.idle())
    assert one(turns[-1], "agent.tool_result").is_error
    say(client, made.id, "say: still here")
    turns.append(stream.idle())
    assert "still here" in text(turns[-1])

    made = session(client, asking("bash"), custom(), environment_id=where(client, runtime))
    stream = Stream(client, made.id)
    for reply in (allow, lambda call: deny(call, "not today")):
        say(client, made.id, "echo asked # run")
        turns.append(stream.idle())
        use = one(turns[-1], "agent.tool_use")
        assert use.evaluated_permission == "ask" and turns[-1][-1].stop_reason.event_ids == [use.id]
        send(client, made.id, reply(use.id))
        turns.append(stream.idle())
    assert text(turns[-3]) == "It says: asked" and "not today" in text(turns[-1])
    say(client, made.id, "use weather now")
    turns.append(stream.idle())
    use = one(turns[-1], "agent.custom_tool_use")
    assert (use.name, use.input) == ("get_weather", {"city": "Rome"})
    send(client, made.id, answer(use.id, "sunny"))
    turns.append(stream.idle())
    assert text(turns[-1]) == "It says: sunny"
    return [told(turn) for turn in turns]


def both_runtimes_tell_the_same(server, version):
    client = server.client()
    native, official = the_same_script(client, "native"), the_same_script(client, "claude")
    for ours, theirs in zip(native, official, strict=True):
        assert ours == theirs, (ours, theirs)


def a_session_goes_on_after_its_runtime_and_after_its_server(server, version):
    client = server.client()
    made = session(client, environment_id=where(client, "claude"))
    stream = Stream(client, made.id)
    say(client, made.id, "echo kept > /workspace/f # run")
    stream.idle()
    for how in (signal.SIGINT, signal.SIGKILL):
        server.end(how)
        server.start()
        client = server.client()
        stream = Stream(client, made.id)
        say(client, made.id, "cat /workspace/f # run")
        assert text(stream.idle()) == "It says: kept"
    facts = client.beta.sessions.retrieve(made.id).model_extra["hostler"]
    assert facts["runtime"] == {"name": "claude", "version": version}, facts


def a_version_is_chosen_when_a_session_is_made(server, version):
    import anthropic

    client = server.client()
    before = session(client, environment_id=where(client, "claude"))
    fake = server.data.parent / "fake"
    fake.write_text(FAKE)
    runtimes(server.data, "install", "--file", fake, "--version", "1.0.0")
    exact = where(client, "claude", runtime_version="1.0.0")
    assert session(client, environment_id=exact).model_extra["hostler"]["runtime"]["version"] == "1.0.0"
    assert session(client, environment_id=where(client, "claude", runtime_version="^2.1")
                   ).model_extra["hostler"]["runtime"]["version"] == version
    missing = where(client, "claude", runtime_version="^9")
    with expecting(anthropic.BadRequestError, "hostler runtimes install 'claude@^9'"):
        session(client, environment_id=missing)
    refused = runtimes(server.data, "rm", "claude@1.0.0", code=1)
    assert "is used by a session" in refused, refused
    assert listed(server.data)["1.0.0"]["pinned_by"] == ['environment "e"']
    runtimes(server.data, "pin", "claude@1.0.0")
    # New sessions get it, and it cannot play an agent; one that was there keeps what it has.
    after = session(client, environment_id=where(client, "claude"))
    assert after.model_extra["hostler"]["runtime"]["version"] == "1.0.0"
    stream = Stream(client, after.id)
    say(client, after.id, "say: anything")
    stop = stream.idle()
    assert stop[-1].stop_reason.type == "retries_exhausted" and of(stop, "session.error"), types(stop)
    stream = Stream(client, before.id)
    say(client, before.id, "say: kept")
    assert "kept" in text(stream.idle())
    runtimes(server.data, "pin", f"claude@{version}")


CHECKS = [both_runtimes_tell_the_same, a_session_goes_on_after_its_runtime_and_after_its_server,
          a_version_is_chosen_when_a_session_is_made]
SCRIPT = script(when("use weather now", [uses("get_weather", city="Rome")]))


def main():
    version, program = installed()
    if version is None:
        print(f"SKIP sdk_runtimes: {program}")
        return
    sdk.install()
    with place() as directory:
        path = directory / "script.json"
        path.write_text(json.dumps(SCRIPT))
        runtimes(directory / "data", "install", "--file", program, "--version", version)
        with Server(directory / "data", ["--simulate", path]) as server:
            for check in CHECKS:
                check(server, version)
                print(f"ok {check.__name__}", flush=True)


if __name__ == "__main__":
    main()
