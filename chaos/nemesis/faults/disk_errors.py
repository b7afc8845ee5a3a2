"""A disk that is slow, silent or fails while the node runs (preload.py, chaos/power_loss/disk_fault.c).

Promised: a follower's disk delays nobody, a leader's hands leadership over; a failed write or sync
ends the process, because nobody knows any more what the disk holds; the node comes back and catches
up. A disk that says "synced" and is not is outside the promises (docs/guarantees.md, "Not promised")
and no fault here.
"""
import os

from nemesis.fault import Fault
from nemesis.faults import preload

LEDGER_FILES = ("journal", "store")


class DiskFault(Fault):
    """`calls` of `files` get `error`; subclasses say which."""
    kind, preload = "disk", ("disk",)
    calls, error, files = (), "late", LEDGER_FILES
    hits = 0

    def settings(self):
        """What goes to preload.strike_disk(), from the parameters."""
        return {key: self.parameters[key] for key in ("delay_ms", "every") if key in self.parameters}

    def begin(self, context):
        for member in self.take(context):
            preload.strike_disk(member, self.calls, self.error, files=self.files, **self.settings())

    def end(self, context):
        for member in self.taken:
            count = preload.mend_disk(member)
            self.hits += count
            context.note("%s hit %d calls of node %d" % (self.name, count, member.node_id))
            context.start(member)       # one that went down with its disk


class SlowDisk(DiskFault):
    """Every write and sync takes some milliseconds more."""
    name, seconds, weight = "slow-disk", (0.5, 5.0), 2
    calls = ("write", "sync")

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader", "data", "any", "other-site")),
                   delay_ms=draw.choice((2.0, 10.0, 40.0)))

    def settings(self):
        return {"delay_ms": self.parameters.get("delay_ms", 10.0)}


class StuckDisk(DiskFault):
    """Writes and syncs do not return. A leader hands over after 500 ms, or ends."""
    name, seconds, weight, may_exit = "stuck-disk", (0.3, 4.0), 2, True
    calls, error = ("write", "sync"), "HANG"


class SlowReads(DiskFault):
    """Reads are late: catch-up and copies, which read files, take longer."""
    name, seconds, weight = "slow-reads", (0.5, 5.0), 1
    calls = ("read",)

    def settings(self):
        return {"delay_ms": self.parameters.get("delay_ms", 5.0)}


class FailingReads(DiskFault):
    """Reads of files fail with EIO: the journal's, and copies of a store. A store itself is read
    through a mapping, where the library (chaos/power_loss/disk_fault.c) sees nothing."""
    name, seconds, weight, may_exit = "failing-reads", (0.2, 3.0), 1, True
    calls, error = ("read",), "EIO"


class FailingSync(DiskFault):
    """A sync fails, as on a disk that lost contact. What the kernel still holds is unknown then: the
    process must not go on, and must not sync again and believe it."""
    name, seconds, weight, may_exit = "failing-sync", (0.2, 2.0), 1, True
    calls, error = ("sync",), "EIO"


class FailingWrites(DiskFault):
    """Writes fail with EIO."""
    name, seconds, weight, may_exit = "failing-writes", (0.2, 2.0), 1, True
    calls, error = ("write",), "EIO"


class TornWrites(DiskFault):
    """Every so many-th write is made by half and says so: the journal writes the rest; LMDB takes it for
    an error, and the process ends."""
    name, seconds, weight, may_exit = "torn-writes", (0.5, 4.0), 1, True
    calls, error = ("write",), "SHORT"

    def settings(self):
        return {"every": self.parameters.get("every", 3)}


class NoSpaceCalls(DiskFault):
    """Files do not grow and writes say "no space", though the file system still shows some: a quota.
    A disk that is really full is disk_space.py."""
    name, seconds, weight, may_exit = "no-space", (0.3, 3.0), 1, True
    calls, error = ("write", "allocate"), "ENOSPC"


class DieInWrite(DiskFault):
    """The process is ended in the middle of its n-th write from now: half of it is on the disk, to the end
    of a sector."""
    name, seconds, weight, may_exit = "die-in-write", (0.3, 2.0), 1, True
    calls, error = ("write",), "KILL"

    @classmethod
    def draw(cls, draw, topology):
        return cls(draw.choice(("leader", "any")), every=draw.randint(1, 40))

    def settings(self):
        return {"every": self.parameters.get("every", 1)}


class MisdirectedWrites(DiskFault):
    """Writes to the journal are made 4 KiB further on, and reported as made."""
    name = "misdirected-write"
    may_exit = True
    calls, error, files = ("write",), "SHIFT", ("journal",)

    def settings(self):
        return {"shift": 4096}


def data_bytes(member):
    """How much a node's data directory takes, for scenarios that bound it."""
    total = 0
    for folder, _, files in os.walk(member.data):
        for name in files:
            try:
                total += os.stat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:
                pass                    # segments and runs come and go
    return total
