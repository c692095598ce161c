"""What a disk with a volatile cache holds after a power cut: all that was written before the last flush, and of what
came later some, in no order.

QEMU's `blklogwrites` notes each write and each flush of the guest, in the format of the kernel's dm-log-writes.
"""

import random
import struct

SECTOR = 512
MAGIC = 0x6A736677736872
SUPER = struct.Struct("<QQQI")
ENTRY = struct.Struct("<QQQQ")
FLUSH, DISCARD = 1, 4


class Torn(Exception):
    """The process was killed in the middle of its log, and flushes behind that place cannot be read."""


def apply(log, disk):
    """Makes of a disk, as it was when the log was begun, one as it is after the cut. Says what became of the writes."""
    with open(log, "rb") as log, open(disk, "r+b") as disk:
        entries, promised = list(read(log)), count(log)
        if len(entries) < promised:
            raise Torn(f"{len(entries)} of {promised} entries")
        flushed = max((number for number, (_, _, flags, _) in enumerate(entries) if flags & FLUSH), default=0)
        lost = 0
        for number, (sector, size, flags, at) in enumerate(entries):
            if not size or flags & DISCARD:
                continue
            if number > flushed and random.random() < 0.5:
                lost += 1
                continue
            log.seek(at)
            disk.seek(sector * SECTOR)
            disk.write(log.read(size))
        after = len(entries) - 1 - flushed
        return f"{len(entries)} writes and flushes, {after} after the last flush, {lost} of them lost"


def count(log):
    log.seek(0)
    head = log.read(SUPER.size)
    if len(head) < SUPER.size:
        # Nothing was flushed yet.
        return 0
    magic, _, entries, sector = SUPER.unpack(head)
    assert (magic, sector) == (MAGIC, SECTOR), "this is no log of writes"
    return entries


def read(log):
    """Where each entry was written, its size in bytes, its flags, and where its data is in the log."""
    at = SECTOR
    while True:
        log.seek(at)
        head = log.read(ENTRY.size)
        if len(head) < ENTRY.size or not any(head):
            return
        sector, sectors, flags, _ = ENTRY.unpack(head)
        size = 0 if flags & DISCARD else sectors * SECTOR
        yield sector, size, flags, at + SECTOR
        at += SECTOR + size
