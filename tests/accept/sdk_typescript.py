"""The official TypeScript SDK, unchanged: every endpoint, and every event that is told, as typescript/*.mjs ask for them."""

import json
import os
import pathlib
import shutil
import subprocess

from sdk_events import CRATES, OF_RUN_ALONE, SCRIPT, names
from support.server import serving

SDK = "@anthropic-ai/sdk@1.12.0"
HERE = pathlib.Path(__file__).parent / "typescript"
PARTS = ["resources.mjs", "sessions.mjs", "events.mjs"]


def main():
    package = pathlib.Path(os.environ["HOSTLER_BIN"]).parent / "accept" / "typescript-sdk"
    package.mkdir(parents=True, exist_ok=True)
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", package, SDK]
    subprocess.run(npm, check=True, timeout=300)
    for part in HERE.iterdir():
        shutil.copy(part, package)
    told = sorted(names(CRATES / "wire/src/event.rs", "Body") - OF_RUN_ALONE)
    with serving(SCRIPT) as server:
        for part in PARTS:
            key = server.key(part.removesuffix(".mjs"))["secret"]
            environment = {**os.environ, "SERVER_URL": server.url, "SERVER_KEY": key, "TOLD": json.dumps(told)}
            subprocess.run(["node", package / part], env=environment, check=True, timeout=300)


if __name__ == "__main__":
    main()
