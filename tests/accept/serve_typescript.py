"""The official TypeScript SDK, unchanged, against `hostler serve`."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from serve_python import SCRIPT, Server

SDK = "@anthropic-ai/sdk@1.12.0"
HERE = pathlib.Path(__file__).parent


def main():
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        # A server that was started as root reads it as another user.
        place.chmod(0o755)
        package = place / "package"
        package.mkdir()
        shutil.copy(HERE / "typescript" / "sdk.mjs", package)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", package, SDK],
                       check=True, timeout=300)
        script = place / "script.json"
        script.write_text(json.dumps(SCRIPT))
        with Server(place / "data", script) as server:
            environment = {**os.environ, "SERVER_URL": server.url, "SERVER_KEY": "the-admin-key-of-this-test"}
            subprocess.run(["node", package / "sdk.mjs"], env=environment, check=True, timeout=300)


if __name__ == "__main__":
    main()
