"""A real `hostler serve` on a data directory of its own, which can be ended, killed, started again and taken over."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from . import http

ADMIN = "the-admin-key-of-this-test"
PATIENCE = 60
# What would lead a server, or a client, somewhere else.
FOREIGN = ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "HOSTLER_API_KEY", "HOSTLER_URL", "HOSTLER_DATA", "HOSTLER_LISTEN")


def environment(**more):
    """This process's, without what is foreign, and with this."""
    left = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return {**left, **more}


@contextlib.contextmanager
def place():
    """A directory that goes with the test. A server that was started as root reads it as another user."""
    with tempfile.TemporaryDirectory(prefix="hostler-accept-", ignore_cleanup_errors=True) as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        yield directory


@contextlib.contextmanager
def serving(script, **more):
    """A server that plays a script."""
    with place() as directory:
        path = directory / "script.json"
        path.write_text(json.dumps(script))
        with Server(directory / "data", ["--simulate", path], **more) as server:
            yield server


class Server:
    def __init__(self, data, arguments, environment=None):
        self.data, self.arguments, self.environment = data, list(arguments), environment or {}
        self.log = data.parent / "serve.log"
        self.process, self.listen = None, "127.0.0.1:0"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.end()
        self.end_jailer()
        if kind:
            said = [line for line in self.said().splitlines() if '"message":"answered"' not in line]
            print("\n".join(said[-40:]), file=sys.stderr)

    @property
    def url(self):
        return f"http://{self.listen}"

    def start(self, *more):
        self.process = self.spawn(*more)

    def spawn(self, *more):
        """Another process on the same data directory and address, when it serves."""
        given = environment(HOSTLER_API_KEY=ADMIN, **self.environment)
        command = [os.environ["HOSTLER_BIN"], "serve", "--listen", self.listen, "--data", self.data,
                   "--pool", "2", *self.arguments, *more]
        with open(self.log, "a") as log:
            process = subprocess.Popen(list(map(str, command)), env=given, stdout=subprocess.PIPE,
                                       stderr=log, text=True)
        first = process.stdout.readline()
        assert first.startswith("export ANTHROPIC_BASE_URL=http://"), (first, self.said()[-2000:])
        self.listen = first.split("http://", 1)[1].strip()
        assert process.stdout.readline().startswith("export ANTHROPIC_API_KEY=")
        return process

    def take_over(self):
        """The next server takes this one's place; what is left of this one is handed back."""
        before = self.process
        self.start("--take-over")
        return before

    def end(self, how=signal.SIGINT):
        self.process.send_signal(how)
        code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        return code

    def end_jailer(self):
        """Started as root, a server leaves one behind, which has nothing to do any more."""
        for pid in self.jailers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        until("the jailer is gone", lambda: not self.jailers(), 10)

    def jailers(self):
        """The jailer of this data directory, and who watches over it."""
        return [int(process.name) for process in pathlib.Path("/proc").glob("[0-9]*") if self.is_jailer(process)]

    def is_jailer(self, process):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return b"jailer" in words and str(self.data).encode() in words

    def said(self):
        return self.log.read_text()

    def database(self):
        """Its file, for a test that looks into it or changes what no request can."""
        [found] = [path for path in self.data.iterdir() if path.suffix in (".db", ".sqlite", ".sqlite3")]
        return found

    def key(self, workspace="default"):
        """A key of its own has limits of its own: no check uses up another one's."""
        return self.ask("POST", "/host/v1/keys", {"workspace_id": workspace})

    def ask(self, method, path, body=None, key=ADMIN, **more):
        """What is answered, where that is no error."""
        answer = http.ask(self.listen, method, path, body, key=key, **more)
        assert answer.status == 200, (method, path, answer)
        return answer.json

    def client(self, api_key=None, **more):
        import anthropic

        return anthropic.Anthropic(base_url=self.url, api_key=api_key or self.key()["secret"], max_retries=0, **more)


def until(what, holds, patience=PATIENCE, pause=0.02):
    """Waits for a condition, and hands back what it gave."""
    end = time.monotonic() + patience
    while not (found := holds()):
        assert time.monotonic() < end, f"it did not become true within {patience} s that {what}"
        time.sleep(pause)
    return found


def main(checks, script, **more):
    """Runs checks of one server, each with the server alone."""
    with serving(script, **more) as server:
        for check in checks:
            began = time.monotonic()
            check(server)
            print(f"ok {check.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
