"""Requests without the SDK: as they are, one connection each."""

import contextlib
import dataclasses
import http.client
import json as encoding


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return encoding.loads(self.body)

    @property
    def error(self):
        """The status and the error's type, of an error that has the API's shape."""
        body = self.json
        assert body["type"] == "error" and set(body) == {"type", "error", "request_id"}, body
        assert body["error"]["message"], body
        assert body["request_id"] == self.headers["request-id"] and body["request_id"].startswith("req_"), self
        return self.status, body["error"]["type"]

    @property
    def code(self):
        return (self.json["error"].get("details") or {}).get("error_code")

    @property
    def message(self):
        return self.json["error"]["message"]


def ask(listen, method, path, body=None, key=None, headers=None, timeout=60):
    """Bytes are sent as they are, anything else as JSON."""
    data = body if body is None or isinstance(body, bytes) else encoding.dumps(body, ensure_ascii=False).encode()
    sent = {"content-type": "application/json", **(headers or {})}
    if key:
        sent["authorization"] = f"Bearer {key}"
    with contextlib.closing(http.client.HTTPConnection(listen, timeout=timeout)) as connection:
        connection.request(method, path, data, sent)
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
