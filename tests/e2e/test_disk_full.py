"""A full disk: read-only with an alarm, reads go on, space comes back, nothing is lost. The disk is
a small tmpfs of the test's own, so this needs root."""
import contextlib
import errno
import os
import subprocess

from client import account, ledger, transfer

A, B = (n.to_bytes(16, "big") for n in (1, 2))
MIB = 1 << 20
WATERMARK = 24 * MIB


@contextlib.contextmanager
def small_disk(t, directory, size):
    """Mounts a tmpfs there for the time of the block."""
    if os.geteuid() != 0:
        t.skip("needs root to mount a small disk")
    os.makedirs(directory, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d" % size, "tmpfs", directory],
                          stderr=subprocess.PIPE)
    if done.returncode != 0:
        t.skip("cannot mount a tmpfs here: %s" % done.stderr.decode().strip())
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


def free_bytes(directory):
    told = os.statvfs(directory)
    return told.f_bavail * told.f_frsize


def fill(path, leave):
    """A file that leaves at most so many bytes free. The node goes on writing meanwhile: what is
    free is asked for anew before each piece, and a disk that is full sooner is what is wanted."""
    try:
        with open(path, "ab", buffering=0) as file:
            while (more := free_bytes(os.path.dirname(path)) - leave) > 0:
                file.write(bytes(min(more, MIB)))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def test_full_disk_is_survived(t):
    node = t.new_node({"journal": {"segment_bytes": 2 * MIB}, "checkpoint": {"interval_ms": 200},
                       "disk": {"watermark_bytes": WATERMARK}})
    disk = os.path.join(node.directory, "disk")
    with small_disk(t, disk, 192 * MIB):
        node.data = os.path.join(disk, "data")
        node.config["node"]["directory"] = node.data
        try:
            exercise(t, node, os.path.join(disk, "filler"))
        finally:
            node.close()


def exercise(t, node, filler):
    node.init().start()
    business, channel = node.api("business"), node.api("channel")
    t.equal(business.create_ledgers([ledger(1)]), [0])
    t.equal(business.create_accounts([account(A), account(B)]), [0, 0])
    acknowledged = 0

    def write(count=1):
        return channel.raw("CreateTransfers", channel.write_body(
            "CreateTransfers", "transfers", [transfer(A, B, 1) for _ in range(count)]))

    for round_number, leave in enumerate((16 * MIB, 0)):
        # Below the watermark, and then not one byte free.
        fill(filler, leave)
        last = None
        for _ in range(2000):
            last = write(100)
            if last.code.name != "OK":
                break
            acknowledged += 100
        t.true(last.code.name in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"), repr(last))
        t.equal(last.trailers.get("tally-outcome"), "NOT_ACCEPTED", "it says: not in the log")
        t.contains(last.details, "read-only", "the words say why")
        # Reads go on, probes and metrics tell, and the process lives.
        t.equal(channel.posted(A), (acknowledged, 0), "balances while read-only")
        # A journal that met the end first may find room once more, where a checkpoint lets a segment
        # go; space is looked at once a second, and then it stays so.
        def has_seen_it():
            status = node.status()
            return status["read_only"] and status["free_bytes"] < WATERMARK
        t.eventually(has_seen_it, 20, "status says so")
        t.equal(node.get("/livez")[0], 200, "alive")
        t.contains(node.get("/metrics")[1], "\ntally_read_only 1\n", "the alarm's metric")
        t.contains(node.log_text(), "read", "the log")
        if round_number == 1:
            # Restarted on the full disk, after kill -9 and after a clean stop: reads go on.
            for stop in (node.kill, node.terminate):
                stop()
                fill(filler, 0)
                node.start()
                channel = node.api("channel")
                t.equal(channel.posted(A), (acknowledged, 0), "balances after a restart, disk full")
                t.true(node.status()["read_only"], "still read-only")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(filler)
        t.eventually(lambda: write().code.name == "OK", 60, "writes go on once there is space")
        acknowledged = channel.posted(A)[0]

    node.kill()
    node.start()
    channel = node.api("channel")
    t.equal(channel.posted(A), (acknowledged, 0), "after kill -9")
    t.true(channel.ask("TrialBalance", ledger=1).balanced, "balanced")
    status, output = node.verify_journal()
    t.equal(status, 0, output)
