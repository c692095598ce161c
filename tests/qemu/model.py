"""A model API on the host, which outlives the guest: its ledger has what it was asked for, whatever the guest lost.

A message `job-S-N do K` is worked on in K calls, one or two at a time. Each call appends a word that no other call has
to one file; every other call syncs the file before it comes back. `show-S-N` prints the file.
"""

import dataclasses
import http.server
import itertools
import json
import pathlib
import random
import re
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "accept"))

from support.upstream import Server, events, said, use

WORDS = "/workspace/words"
WORD = re.compile(r"echo (job-\d+-\d+-w\d+) ")
JOB = re.compile(r"(job-(\d+)-\d+) do (\d+)$|(show-(\d+)-\d+)$", re.MULTILINE)
USAGE = {"input_tokens": 100, "output_tokens": 20}


@dataclasses.dataclass
class Asked:
    request_id: str
    session: int
    bytes: int
    # Those of the calls that the conversation has.
    words: set
    whole: bool = False


class Model:
    def __init__(self):
        self.lock, self.ledger, self.sessions = threading.Lock(), [], {}
        self.numbers = itertools.count(1)
        model = self

        class Handler(Answer):
            def __init__(self, *given):
                self.model = model
                super().__init__(*given)

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def note(self, messages, size, conversation):
        """A conversation that has lost its beginning is known by its name."""
        with self.lock:
            if found := job(messages):
                self.sessions[conversation] = found[2]
            words = set(WORD.findall(made(messages)))
            asked = Asked(f"req_qemu{len(self.ledger)}", self.sessions.get(conversation), size, words)
            self.ledger.append(asked)
        return asked

    def reply(self, messages):
        """The blocks of the answer to a conversation."""
        if not (found := job(messages)):
            return [said("I do not know what to do.")]
        name, steps, _ = found
        if name.startswith("show"):
            if is_shown(messages):
                return [said(f"done {name}")]
            return [use("Bash", command=f"cat {WORDS} 2>&1; echo shown")]
        left = steps - len({word for word in WORD.findall(made(messages)) if word.startswith(f"{name}-")})
        if left <= 0:
            return [said(f"done {name}")]
        calls = random.randint(1, min(left, 2))
        return [said(f"{left} to go"), *(self.append(name) for _ in range(calls))]

    def append(self, name):
        word = f"{name}-w{next(self.numbers)}"
        synced = f"sync {WORDS}" if is_synced(word) else "true"
        return use("Bash", command=f"sleep 0.2; echo {word} >> {WORDS}; {synced}; sleep 0.2; echo appended")


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_error(404)

    def do_POST(self):
        size = int(self.headers["content-length"])
        request = json.loads(self.rfile.read(size))
        asked = self.model.note(request["messages"], size, self.headers["x-claude-code-session-id"])
        blocks = self.model.reply(request["messages"])
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("request-id", asked.request_id)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in events(request["model"], blocks, USAGE):
            data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
            time.sleep(random.uniform(0, 0.2))
        # The guest cannot have had all of it before.
        asked.whole = True
        self.wfile.write(b"0\r\n\r\n")


def is_synced(word):
    return int(word.rpartition("w")[2]) % 2 == 0


def job(messages):
    """The name, the steps and the session of the last one that the user named; no tool prints one."""
    texts = [text for message in messages if message["role"] == "user" for text in texts_of(message)]
    found = [match.groups() for text in texts for match in JOB.finditer(text)]
    if not found:
        return None
    name, session, steps, show, shown = found[-1]
    return (name, int(steps), int(session)) if name else (show, 0, int(shown))


def made(messages):
    """The calls that were made."""
    return json.dumps([message["content"] for message in messages if message["role"] == "assistant"])


def texts_of(message):
    content = message["content"]
    if isinstance(content, str):
        return [content]
    return [block["text"] for block in content if block["type"] == "text"]


def is_shown(messages):
    """Whether the words came back since they were asked for. Results of a turn that was cut come with the next message.
    """
    content = messages[-1]["content"]
    if isinstance(content, str) or any(JOB.search(text) for text in texts_of(messages[-1])):
        return False
    return any(block["type"] == "tool_result" and not block.get("is_error") for block in content)
