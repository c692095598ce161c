"""A client that follows a session for as long as it is there, and comes back to it whatever happens to the server."""

import contextlib
import http.client
import json
import threading
import time


class Follower:
    def __init__(self, server, session, key):
        self.server, self.session, self.key = server, session, key
        self.events, self.connections, self.ended, self.failed = [], 0, False, None
        self.connected = threading.Event()
        threading.Thread(target=self.follow, daemon=True).start()
        assert self.connected.wait(60), "no stream was opened"

    def ids(self):
        """Of the events that it was shown, in that order. What it could not read is an error of the test's."""
        assert self.failed is None, f"the client of {self.session} failed: {self.failed!r}"
        return [event["id"] for event in self.events]

    def follow(self):
        try:
            while not self.ended:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    self.once()
                time.sleep(0.05)
        except Exception as error:
            self.failed = error

    def once(self):
        path = f"/v1/sessions/{self.session}/events/stream"
        headers = {"authorization": f"Bearer {self.key}"}
        if self.events:
            headers["last-event-id"] = self.events[-1]["id"]
        with contextlib.closing(http.client.HTTPConnection(self.server.listen, timeout=60)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            if answer.status in (401, 404):
                # The key was revoked, or the session deleted.
                self.ended = True
            if answer.status != 200:
                return
            self.connections += 1
            self.connected.set()
            while line := answer.readline():
                if line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    if "id" in event:
                        self.events.append(event)
                    self.ended |= event["type"] == "session.deleted"
