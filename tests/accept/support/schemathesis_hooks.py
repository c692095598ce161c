"""What schemathesis needs to know of the server that it asks: keys, so that no key comes too often, and ids of things
that are there, so that more than their absence is tried.
"""

import itertools
import json
import os

import schemathesis

KEYS = itertools.cycle(json.loads(os.environ["ACCEPT_KEYS"]))
# Every third time it is what schemathesis has made up.
IDS = {name: itertools.cycle([found for two in zip(ids[::2], ids[1::2]) for found in (*two, None)])
       for name, ids in json.loads(os.environ["ACCEPT_IDS"]).items()}


@schemathesis.auth(refresh_interval=None)
class KeyRing:
    def get(self, case, context):
        return next(KEYS)

    def set(self, case, key, context):
        if case.path.startswith(("/host/v1/keys", "/host/v1/workspaces", "/metrics")):
            key = os.environ["ACCEPT_ADMIN"]
        # A made-up workspace is refused, whatever else is asked.
        kept = {name: value for name, value in (case.headers or {}).items() if name.lower() != "anthropic-workspace-id"}
        case.headers = {**kept, "authorization": f"Bearer {key}"}


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    for name in path_parameters or {}:
        path_parameters[name] = there(name) or path_parameters[name]
    return path_parameters


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict) and context.operation.path == "/v1/sessions":
        for field, name in (("agent", "agent_id"), ("environment_id", "environment_id")):
            if isinstance(body.get(field), str):
                body[field] = there(name) or body[field]
    return body


def there(name):
    return next(IDS[name]) if name in IDS else None
