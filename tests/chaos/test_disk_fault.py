#!/usr/bin/python3
"""libdiskfault, driven through its control file: each fault does what its name says, to the calls and
files that are meant and to no others, and is counted. A fault that hits nothing would let every
scenario built on it pass.

    tests/chaos/test_disk_fault.py BUILD
"""
import os
import subprocess
import sys
import tempfile
import time

CHAOS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
                     "chaos")
sys.path.insert(0, CHAOS)
import nemesis  # noqa: E402,F401
from nemesis.faults import preload  # noqa: E402

ANSWER_SECONDS = 20
# Does one call a line, and says what came of it.
VICTIM = r"""
import os, sys
def call(word, *rest):
    if word == "write":
        return os.pwrite(os.open(rest[0], os.O_RDWR), b"w" * int(rest[2]), int(rest[1]))
    if word == "read":
        return os.pread(os.open(rest[0], os.O_RDONLY), int(rest[2]), int(rest[1])).hex()
    if word == "sync":
        return os.fsync(os.open(rest[0], os.O_RDWR))
    if word == "allocate":
        return os.truncate(os.open(rest[0], os.O_RDWR), int(rest[1]))
    if word == "name":
        return os.mkdir(rest[0])
for line in sys.stdin:
    try:
        print("did", call(*line.split()), flush=True)
    except OSError as error:
        print("failed", error.errno, flush=True)
"""


class Member:
    """What preload.py wants to know of a node."""

    def __init__(self, directory):
        self.directory, self.data = directory, os.path.join(directory, "data")
        for name in ("journal-1", "store-1"):
            os.makedirs(os.path.join(self.data, name))
        self.journal, self.store, self.other, self.outside = (os.path.join(self.data, name) for name in (
            "journal-1/a.seg", "store-1/data.mdb", "hard_state", "../outside"))
        self.clean()

    def clean(self):
        for path in (self.journal, self.store, self.other, self.outside):
            with open(path, "wb") as file:
                file.write(b"." * 64)


class Victim:
    def __init__(self, build, member):
        environment = dict(os.environ, **preload.environment(build, member, ("disk",)))
        self.process = subprocess.Popen(["/usr/bin/python3", "-c", VICTIM], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env=environment, text=True)

    def tell(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()

    def hear(self):
        return self.process.stdout.readline().strip()

    def do(self, *words):
        self.tell(*words)
        return self.hear()

    def close(self):
        self.process.stdin.close()
        self.process.wait(ANSWER_SECONDS)
        self.process.stdout.close()


def content(path):
    with open(path, "rb") as file:
        return file.read()


def equal(is_, expected, what):
    if is_ != expected:
        raise AssertionError("%s: is %r, expected %r" % (what, is_, expected))


def await_struck(member):
    end = time.monotonic() + ANSWER_SECONDS
    while preload.struck(member) == 0 and time.monotonic() < end:
        time.sleep(0.01)


def check(build, member, victim):
    journal = member.journal
    equal(victim.do("write", journal, 0, 8), "did 8", "nothing is wrong yet")
    equal(victim.do("read", journal, 0, 4), "did 77777777", "nothing is wrong yet")
    for error, code in (("EIO", 5), ("ENOSPC", 28)):
        for call, arguments in (("write", (journal, 0, 8)), ("read", (journal, 0, 8)),
                                ("sync", (journal,)), ("allocate", (journal, 10)),
                                ("name", (os.path.join(member.data, "journal-1/new"),))):
            preload.strike_disk(member, (call,), error)
            equal(victim.do(call, *arguments), "failed %d" % code, "%s of %s" % (error, call))
            equal(preload.mend_disk(member), 1, "%s of %s is counted" % (error, call))
    equal(victim.do("write", journal, 0, 8), "did 8", "it ends when it is mended")

    preload.strike_disk(member, ("write",), "EIO", files=("journal",))
    for path, told in ((journal, "failed 5"), (member.store, "did 8"), (member.other, "did 8"),
                       (member.outside, "did 8")):
        equal(victim.do("write", path, 0, 8), told, "only the journal: %s" % path)
    equal(victim.do("read", journal, 0, 4), "did 77777777", "only writes")
    preload.strike_disk(member, ("write",), "EIO", files=("store", "other"))
    equal([victim.do("write", path, 0, 8) for path in (journal, member.store, member.other,
                                                       member.outside)],
          ["did 8", "failed 5", "failed 5", "did 8"], "all but the journal, and nothing outside")
    preload.strike_disk(member, ("write",), "EIO", every=3)
    equal([victim.do("write", journal, 0, 8) for _ in range(6)].count("failed 5"), 2, "each third")

    member.clean()
    preload.strike_disk(member, ("write",), "LOSE")
    equal((victim.do("write", journal, 0, 8), content(journal)), ("did 8", b"." * 64), "LOSE")
    preload.strike_disk(member, ("write",), "SHIFT", shift=16)
    victim.do("write", journal, 0, 8)
    equal(content(journal), b"." * 16 + b"w" * 8 + b"." * 40, "SHIFT")
    member.clean()
    preload.strike_disk(member, ("write",), "ROT")
    victim.do("write", journal, 0, 8)
    equal(content(journal)[:8], b"wwww" + bytes([ord("w") ^ 0x10]) + b"www", "ROT of a write")
    preload.strike_disk(member, ("read",), "ROT")
    equal(victim.do("read", member.store, 0, 4), "did %s" % bytes(
        [46, 46, 46 ^ 0x10, 46]).hex(), "ROT of a read")
    preload.strike_disk(member, ("write",), "SHORT")
    equal(victim.do("write", journal, 0, 8), "did 4", "SHORT")

    preload.strike_disk(member, ("sync",), delay_ms=150)
    began = time.monotonic()
    equal(victim.do("sync", journal), "did None", "late, and done")
    if not 0.14 < time.monotonic() - began < ANSWER_SECONDS:
        raise AssertionError("a delay of 150 ms took %.3f s" % (time.monotonic() - began))
    preload.strike_disk(member, ("sync",), "HANG")
    victim.tell("sync", journal)
    await_struck(member)
    time.sleep(0.1)
    equal(preload.mend_disk(member), 1, "it hangs")
    equal(victim.hear(), "did None", "and goes on")
    for error, told in (("HANG", "did None"), ("EIO", "failed 5")):
        preload.strike_disk(member, ("sync",), "HANG")
        victim.tell("sync", journal)
        await_struck(member)
        preload.strike_disk(member, ("sync",), error)
        await_struck(member)
        if error == "HANG":
            preload.mend_disk(member)
        equal(victim.hear(), told, "a call that hangs belongs to the next fault: %s" % error)
        equal(preload.mend_disk(member), 1, "and is counted by it: %s" % error)

    member.clean()
    preload.strike_disk(member, ("write",), "KILL")
    equal(victim.do("write", journal, 500, 2000), "", "KILL")
    equal((victim.process.wait(ANSWER_SECONDS), len(content(journal))), (-9, 1024),
          "half of it is there, up to a sector's end")


def main():
    build = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="tally-disk-fault-") as directory:
        member = Member(directory)
        victim = Victim(build, member)
        try:
            check(build, member, victim)
        finally:
            victim.close()
    equal(preload.conflict(("disk", "power")) is None, False, "disk and power together")
    print("every fault does what it says")
    return 0


if __name__ == "__main__":
    sys.exit(main())
