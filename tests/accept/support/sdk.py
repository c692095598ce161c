"""The official Python SDK, in an environment of its own beside the binary, where the next script finds it."""

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import venv

SDK = "anthropic==2.12.0"


def install():
    """Makes `import anthropic` work."""
    sys.path.insert(0, str(site_packages(environment("python-sdk", SDK))))


def environment(name, *packages):
    """A virtual environment with these packages; one that is there is taken."""
    target = pathlib.Path(os.environ["HOSTLER_BIN"]).parent / "accept" / name
    target.parent.mkdir(exist_ok=True)
    with open(target.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        whole = target / "packages"
        if not whole.exists() or whole.read_text() != repr(packages):
            shutil.rmtree(target, ignore_errors=True)
            venv.create(target, with_pip=True)
            pip = [target / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, *packages], check=True, timeout=300)
            whole.write_text(repr(packages))
    return target


def site_packages(target):
    ask = [target / "bin" / "python", "-c", "import site; print(site.getsitepackages()[0])"]
    return pathlib.Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
