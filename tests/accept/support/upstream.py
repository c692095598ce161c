"""A model API on this machine that can be out, and that counts what it has answered.

The last line of the last message says what to do, with a token that the answer repeats: `append TOKEN`, `custom TOKEN`,
`spend TOKEN`, `slow TOKEN`, `show TOKEN`, or `say TOKEN`.
"""

import contextlib
import http.server
import json
import re
import socket
import struct
import threading
import time

# Of an answer; more than anybody who saw only a part of it would guess.
TOKENS = 60
TOKEN = re.compile(r"m-([a-z0-9]{6})-\d+")


class Upstream:
    def __init__(self):
        self.lock, self.calls, self.out, self.server = threading.Lock(), [], None, None
        self.port = 0
        self.listen()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def listen(self):
        upstream = self

        class Handler(Answer):
            def __init__(self, *given):
                self.upstream = upstream
                super().__init__(*given)

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @contextlib.contextmanager
    def outage(self, how):
        """Connections are refused, reset in the middle of an answer, or answered 503."""
        if how == "refused":
            self.server.shutdown()
            self.server.server_close()
            self.server.cut_all()
            yield
            self.listen()
        else:
            self.out = how
            yield
            self.out = None

    def note(self, session, most):
        call = {"session": session, "usage": None, "most": most}
        with self.lock:
            self.calls.append(call)
        return call

    def sent(self, session):
        """Of each answer that was begun, what the client was told to have used, and what the whole of it would be."""
        with self.lock:
            return [(call["usage"], call["most"]) for call in self.calls if call["session"] == session and call["usage"]]


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, *given):
        self.open = set()
        super().__init__(*given)

    def get_request(self):
        connection, address = super().get_request()
        self.open.add(connection)
        return connection, address

    def shutdown_request(self, request):
        self.open.discard(request)
        super().shutdown_request(request)

    def cut_all(self):
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_):
        """Clients that leave are no news here."""


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.whole(404, {"type": "error", "error": {"type": "not_found_error", "message": "no"}})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.upstream.out == "503":
            self.whole(503, {"type": "error", "error": {"type": "api_error", "message": "the upstream is out"}})
            return
        session = TOKEN.search(json.dumps(request["messages"]))[1]
        blocks, output = reply(request["messages"])
        usage = {"input_tokens": 100 + len(request["messages"]), "output_tokens": output}
        call = self.upstream.note(session, usage)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number, event in enumerate(events(request["model"], blocks, usage)):
            if self.upstream.out == "reset" and number == 2:
                self.reset()
                return
            data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
            call["usage"] = event.get("message", {}).get("usage") or call["usage"]
            if event["type"] == "message_delta":
                call["usage"] = usage
            if event["type"] == "content_block_delta" and len(blocks) == 1 and "slow" in json.dumps(event):
                time.sleep(0.1)
        self.wfile.write(b"0\r\n\r\n")

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def whole(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def events(model, blocks, usage):
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": None,
             "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(blocks):
        if block["type"] == "text":
            yield {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}
            deltas = [{"type": "text_delta", "text": part} for part in re.findall(r"\S+\s*", block["text"])]
        else:
            yield {"type": "content_block_start", "index": index, "content_block": {**block, "input": {}}}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    stop = "tool_use" if blocks[-1]["type"] == "tool_use" else "end_turn"
    yield {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None},
           "usage": {"output_tokens": usage["output_tokens"]}}
    yield {"type": "message_stop"}


def reply(messages):
    """The blocks of the answer, and how many tokens it has."""
    content = messages[-1]["content"]
    content = [{"type": "text", "text": content}] if isinstance(content, str) else content
    texts = [block["text"] for block in content if block["type"] == "text"]
    last = texts[-1].splitlines()[-1] if texts else ""
    results = [block for block in content if block["type"] == "tool_result"]
    word, _, token = last.partition(" ")
    if TOKEN.fullmatch(token):
        if word == "append":
            return [use("Bash", command=f"echo {token} >> /workspace/lines && echo appended {token}")], TOKENS
        if word == "custom":
            return [use("get_weather", city=token)], TOKENS
        if word == "show":
            return [use("Bash", command=f"sort /workspace/lines # {token}")], TOKENS
        if word == "spend":
            return [said(f"spent {token}")], 20_000
        return [said(f"{word} " * (20 if word == "slow" else 3) + token)], TOKENS
    if results:
        return [said(f"done {json.dumps(results)}")], TOKENS
    # After a cut the runtime says in its own words that it goes on.
    return [said("going on")], TOKENS


def said(text):
    return {"type": "text", "text": text}


def use(name, **given):
    return {"type": "tool_use", "id": f"toolu_{time.monotonic_ns():x}", "name": name, "input": given}
