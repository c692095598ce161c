"""File systems that a test mounts."""

import contextlib
import subprocess

from .server import until


@contextlib.contextmanager
def mounted(directory, *arguments):
    """What `mount` mounts there with these arguments, for as long as the block lasts."""
    directory.mkdir(exist_ok=True)
    subprocess.run(["mount", *arguments, directory], check=True)
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        # Disks of sandboxes take a moment to be let go of.
        with contextlib.suppress(AssertionError):
            until("nothing holds it", lambda: not subprocess.run(["umount", directory], capture_output=True).returncode, 20)
        if directory.is_mount():
            subprocess.run(["umount", "--lazy", directory], check=True)
