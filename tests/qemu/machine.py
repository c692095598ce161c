"""A machine whose power can be cut: a QEMU guest with a root file system that nothing changes, and a data disk."""

import http.client
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "accept"))

import write_log
from support import http as api
from support.server import ADMIN, until

HERE = pathlib.Path(__file__).resolve().parent / "guest"
MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "virtio-rng", "loop", "overlay"]
PACKAGES = "e2fsprogs,busybox-static,ca-certificates,procps"
# A guest without KVM is slow.
BOOT = 180


class Machine:
    def __init__(self, directory, binary, model, port):
        self.directory, self.model = directory, model
        self.listen = f"127.0.0.1:{port}"
        self.kernel = sorted(pathlib.Path("/boot").glob("vmlinuz-*-cloud-amd64"))[-1]
        self.root, self.initrd = directory / "root.img", directory / "initrd.gz"
        # The disk as it was at the last cut, the one that the guest works with, and what it has written to it since.
        self.disk, self.working, self.log = (directory / name for name in ("data.img", "working.img", "writes.log"))
        self.console = directory / "console.log"
        self.process, self.cut_at = None, None
        self.build(binary)

    def build(self, binary):
        tree = self.directory / "root"
        if not tree.exists():
            unfinished = self.directory / "root.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            run("mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "--customize-hook=mkdir $1/data",
                "--customize-hook=chroot $1 useradd --system --user-group hostler", "bookworm", unfinished)
            unfinished.rename(tree)
        shutil.copy(binary, tree / "usr/bin/hostler")
        shutil.copy(HERE / "start", tree / "start")
        format_disk(self.root, "1G", "-d", tree)
        format_disk(self.disk, "2G")
        self.build_initrd(self.directory / "initrd")

    def build_initrd(self, tree):
        shutil.rmtree(tree, ignore_errors=True)
        for name in ("bin", "dev", "modules", "root"):
            (tree / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", tree / "bin/busybox")
        shutil.copy(HERE / "init", tree / "init")
        (tree / "init").chmod(0o755)
        release = self.kernel.name.removeprefix("vmlinuz-")
        order = []
        for module in MODULES:
            shown = run("modprobe", "-S", release, "--show-depends", module)
            for line in shown.splitlines():
                if line.startswith("insmod ") and (path := pathlib.Path(line.split()[1])).name not in order:
                    order.append(path.name)
                    shutil.copy(path, tree / "modules")
        (tree / "modules/order").write_text("\n".join(order))
        run("sh", "-c", f"cd {tree} && find . | cpio --quiet -o -H newc | gzip -1 > {self.initrd}")

    def power_on(self):
        run("cp", "--sparse=always", self.disk, self.working)
        self.log.write_bytes(b"")
        data = (f"driver=blklogwrites,node-name=data,file.driver=file,file.filename={self.working},"
                f"log.driver=file,log.filename={self.log},log.cache.no-flush=on")
        forward = f"user,id=net,hostfwd=tcp:{self.listen}-:8700"
        command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "qemu64", "-M", "pc", "-m", "2048", "-smp", "2",
                   "-nographic", "-no-reboot", "-kernel", self.kernel, "-initrd", self.initrd,
                   "-append", f"console=ttyS0 quiet panic=-1 model={self.model}",
                   "-blockdev", f"driver=file,node-name=root,read-only=on,filename={self.root}", "-blockdev", data,
                   "-device", "virtio-blk-pci,drive=root", "-device", "virtio-blk-pci,drive=data,write-cache=on",
                   "-netdev", forward, "-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"]
        with open(self.console, "ab") as console:
            self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=console,
                                            stderr=console)

    def serves(self):
        until("the guest's server answers", self.is_ready, BOOT, 0.5)

    def is_ready(self):
        assert self.process.poll() is None, f"the guest has ended: {self.console.read_text(errors='replace')[-2000:]}"
        try:
            return api.ask(self.listen, "GET", "/readyz", timeout=10).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def cut(self):
        """The power goes. Says what the disk has lost."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.cut_at = time.time()
        try:
            return write_log.apply(self.log, self.disk)
        except write_log.Torn as torn:
            shutil.move(self.working, self.disk)
            return f"nothing is lost that reached the disk, since the log is torn ({torn})"

    def keep(self, name):
        """The disk as it is after a cut, beside the one that goes on."""
        run("cp", "--sparse=always", self.disk, self.directory / name)

    def forget(self, name):
        (self.directory / name).unlink()

    def off(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def ask(self, method, path, body=None, key=ADMIN, **more):
        answer = api.ask(self.listen, method, path, body, key=key, **more)
        assert answer.status == 200, (method, path, answer)
        return answer.json


def format_disk(image, size, *more):
    image.unlink(missing_ok=True)
    run("mkfs.ext4", "-q", "-F", *more, image, size)


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == 0, (command, done.stdout[-1000:], done.stderr[-1000:])
    return done.stdout
