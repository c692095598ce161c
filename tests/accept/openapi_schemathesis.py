"""schemathesis asks a real server for all that its own OpenAPI document describes, and much that it does not: nothing is
answered with 500, and every answer is as the document says.
"""

import json
import os
import pathlib
import subprocess
import time

from support import sdk
from support.model import script
from support.server import ADMIN, serving

SCHEMATHESIS = "schemathesis==4.32.5"
EXAMPLES = "25"
# Streams do not end; they have checks of their own.
ENDLESS = "/events/(stream|ws)$"
CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
          "response_schema_conformance", "unsupported_method", "use_after_free", "negative_data_rejection"]
KEYS, THERE = 60, 40


def main():
    tools = sdk.environment("schemathesis", SCHEMATHESIS)
    with serving(script()) as server:
        ask(server, tools)
        assert server.process.poll() is None, "the server has ended"
        assert '"level":"ERROR"' not in server.said(), [line for line in server.said().splitlines() if "ERROR" in line][:5]


def ask(server, tools):
    keys = [server.key()["secret"] for _ in range(KEYS)]
    agents, environments, sessions = [], [], []
    for key in keys[:THERE]:
        agents.append(server.ask("POST", "/v1/agents", {"name": "a", "model": "claude-sonnet-5-5"}, key=key)["id"])
        environments.append(server.ask("POST", "/v1/environments", {"name": "e"}, key=key)["id"])
        made = {"agent": agents[-1], "environment_id": environments[-1]}
        sessions.append(server.ask("POST", "/v1/sessions", made, key=key)["id"])
    ids = {"agent_id": agents, "environment_id": environments, "session_id": sessions}
    environ = {**os.environ, "SCHEMATHESIS_HOOKS": "support.schemathesis_hooks", "ACCEPT_KEYS": json.dumps(keys),
               "PYTHONPATH": str(pathlib.Path(__file__).parent), "ACCEPT_IDS": json.dumps(ids), "ACCEPT_ADMIN": ADMIN,
               "NO_COLOR": "1"}
    command = [tools / "bin" / "st", "run", f"{server.url}/openapi.json", "--max-examples", EXAMPLES,
               "--checks", ",".join(CHECKS), "--exclude-path-regex", ENDLESS, "--request-timeout", "20",
               "--generation-deterministic", "--no-shrink", "--warnings", "off",
               "--suppress-health-check", "all", "--continue-on-failure", "--max-failures", "20"]
    began = time.monotonic()
    done = subprocess.run(list(map(str, command)), env=environ, cwd=server.data.parent, timeout=300)
    assert done.returncode == 0, "schemathesis has found what is not as the document says"
    print(f"ok {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
