"""`hostler runtimes` against an npm registry on this machine: a download that is ended in the middle goes on where it was, a
newer version is tried and taken back, and what cannot be had is said with what to do.
"""

import base64
import contextlib
import hashlib
import http.server
import io
import json
import os
import signal
import subprocess
import tarfile
import threading

from support.server import environment as variables, place

HOSTLER = os.environ["HOSTLER_BIN"]
PACKAGE = "@anthropic-ai/claude-code"
PLATFORMS = [f"linux-{machine}{libc}" for machine in ("x64", "arm64") for libc in ("", "-musl")]
# Of the noise in a program: it makes an archive that is not downloaded at once.
NOISE = 4 << 20


def archive(version):
    program = b"#!/bin/sh\nexit 0\n#" + os.urandom(NOISE)
    about = json.dumps({"name": f"{PACKAGE}-linux-x64", "version": version}).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content, mode in (("package/package.json", about, 0o644), ("package/claude", program, 0o755)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


class Npm:
    """A registry that may keep the second half of an archive back."""

    def __init__(self):
        self.archives, self.ranges, self.holds_back, self.half = {}, [], False, threading.Event()
        npm = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                npm.answer(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def publish(self, version):
        self.archives[version] = archive(version)

    def answer(self, asked):
        path = asked.path.replace("%2f", "/").replace("%2F", "/").lstrip("/")
        if path.startswith("archive/"):
            return self.send_archive(asked, path.removeprefix("archive/"))
        if not path.startswith(PACKAGE):
            return asked.send_error(404)
        own = path.removeprefix(PACKAGE)
        versions = {}
        for version, packed in self.archives.items():
            sum_of = base64.b64encode(hashlib.sha512(packed).digest()).decode()
            dist = {"tarball": f"{self.url}archive/{version}", "integrity": f"sha512-{sum_of}"}
            optional = {} if own else {f"{PACKAGE}-{platform}": version for platform in PLATFORMS}
            versions[version] = {"name": path, "version": version, "dist": dist, "optionalDependencies": optional}
        body = json.dumps({"name": path, "dist-tags": {"latest": list(versions)[-1]}, "versions": versions}).encode()
        asked.send_response(200)
        asked.send_header("content-type", "application/json")
        asked.send_header("content-length", str(len(body)))
        asked.end_headers()
        asked.wfile.write(body)

    def send_archive(self, asked, version):
        packed, given = self.archives[version], asked.headers.get("range")
        begin = int(given.removeprefix("bytes=").removesuffix("-")) if given else 0
        self.ranges.append(begin)
        asked.send_response(206 if begin else 200)
        asked.send_header("etag", f'"{version}"')
        asked.send_header("accept-ranges", "bytes")
        asked.send_header("content-length", str(len(packed) - begin))
        if begin:
            asked.send_header("content-range", f"bytes {begin}-{len(packed) - 1}/{len(packed)}")
        asked.end_headers()
        with contextlib.suppress(OSError):
            if self.holds_back:
                asked.wfile.write(packed[begin:len(packed) // 2])
                asked.wfile.flush()
                self.half.set()
                # Until the client is gone.
                asked.connection.recv(1)
            else:
                asked.wfile.write(packed[begin:])


class Place:
    def __init__(self, npm, directory):
        self.npm, self.data = npm, directory / "data"

    def begin(self, *words):
        return subprocess.Popen([HOSTLER, "runtimes", *words, "--data", self.data], stderr=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True, env=variables(npm_config_registry=self.npm.url))

    def call(self, *words, code=0):
        called = self.begin(*words)
        out, err = called.communicate(timeout=60)
        assert called.returncode == code, (words, called.returncode, out, err)
        return out + err

    def listed(self):
        return {one["version"]: one for one in map(json.loads, self.call("list", "--json").splitlines())}


def a_download_that_was_ended_goes_on_where_it_was(npm, place):
    npm.holds_back = True
    called = place.begin("install", "claude@2.1.330")
    lines = []
    while "downloaded" not in (lines or [""])[-1]:
        lines.append(called.stderr.readline())
        assert lines[-1], lines
    assert npm.half.wait(60)
    called.send_signal(signal.SIGINT)
    err = called.communicate(timeout=60)[1]
    assert called.returncode == 1 and "are kept: the same command goes on from there" in err, (called.returncode, err)
    assert place.listed() == {}
    npm.holds_back = False
    said = place.call("install", "claude@2.1.330")
    assert "claude 2.1.330 is installed" in said and "new sessions get it" in said, said
    first, second = npm.ranges
    assert first == 0 and second > 0, npm.ranges
    assert "was installed already" in place.call("install", "claude@2.1.330")


def a_newer_version_is_tried_taken_and_taken_back(npm, place):
    npm.publish("2.1.331")
    said = place.call("upgrade", "claude", "--share", "20")
    assert "20 % of new sessions get claude 2.1.331" in said, said
    assert place.listed()["2.1.331"]["canary_share_percent"] == 20 and place.listed()["2.1.330"]["default"]
    assert "is on trial as a canary" in place.call("rm", "claude@2.1.331", code=1)
    assert "2.1.331 is out of use; new sessions get 2.1.330" in place.call("rollback", "claude")
    assert "take it with --now" in place.call("upgrade", "claude", code=1)
    assert "new sessions get claude 2.1.331" in place.call("upgrade", "claude", "--now")
    assert "there is nothing newer" in place.call("upgrade", "claude")
    place.call("rm", "claude@2.1.330")
    assert list(place.listed()) == ["2.1.331"]


def what_cannot_be_had_is_said_with_what_to_do(npm, place):
    said = place.call("install", "claude@9.9.9", code=1)
    assert "has no version 9.9.9" in said and "2.1.331" in said and "\nhint: " in said, said
    said = place.call("install", "claude@nightly", code=1)
    assert "has no tag nightly" in said and "it has latest" in said, said
    npm.server.shutdown()
    npm.server.server_close()
    said = place.call("install", "claude", code=1)
    assert "was not reached" in said and "hint: without a registry: hostler runtimes install --file PATH" in said, said


CHECKS = [a_download_that_was_ended_goes_on_where_it_was, a_newer_version_is_tried_taken_and_taken_back,
          what_cannot_be_had_is_said_with_what_to_do]

if __name__ == "__main__":
    with place() as directory:
        npm = Npm()
        npm.publish("2.1.330")
        for check in CHECKS:
            check(npm, Place(npm, directory))
            print(f"ok {check.__name__}", flush=True)
