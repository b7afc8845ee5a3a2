"""Hands inside a running node: libraries that are preloaded, each driven through a file while the node
runs. Said once, before the first start, so that a node under attack is the same process as before.

  clock   libwallclock (chaos/clock): what is added to the wall clock
  disk    libdiskfault (chaos/power_loss/disk_fault.c): which calls fail, wait, lie or rot
  power   libpowerloss (chaos/power_loss/shim.c): remembers what a loss of power would take away

`disk` and `power` each are the last station before the kernel, so one node has the one or the other.
"""
import os
import struct

import faults as loop_faults        # chaos/faults.py
from clients import LoopFailure

KINDS = ("clock", "disk", "power")
LIBRARIES = {"clock": os.path.join("chaos", "clock", "libwallclock.so"),
             "disk": os.path.join("chaos", "power_loss", "libdiskfault.so"),
             "power": os.path.join("chaos", "power_loss", "libpowerloss.so")}

# As in disk_fault.c.
CALLS = {"write": 1 << 1, "sync": 1 << 2, "allocate": 1 << 3, "name": 1 << 4, "malloc": 1 << 5,
         "read": 1 << 6}
ERRORS = {"late": 0, "EIO": 5, "ENOSPC": 28, "SHORT": -1, "KILL": -2, "HANG": -3, "LOSE": -4,
          "SHIFT": -5, "ROT": -6}
FILES = {"journal": 1, "store": 2, "other": 4}
CHANGING = 1 << 63                      # calls that sleep go on sleeping
CONTROL = struct.Struct("=QQqQQQq")     # what is written here: up to the shift
COUNTS = struct.Struct("=QQ")           # what the library writes behind it


def library(build, kind):
    return os.path.join(os.path.abspath(build), LIBRARIES[kind])


def conflict(kinds):
    """Why these cannot be together, or None."""
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        return "there is no preload %s: there are %s" % (", ".join(unknown), ", ".join(KINDS))
    if {"disk", "power"} <= set(kinds):
        return "\"disk\" and \"power\" both stand between a node and the kernel: choose one"
    return None


def missing(build, kinds):
    """Which library is not built, in words, or None."""
    for kind in kinds:
        if not os.path.exists(library(build, kind)):
            return "%s is not there: build it first" % library(build, kind)
    return None


def environment(build, member, kinds):
    """The variables a member is started with; its files are made, and say that nothing is wrong."""
    why = conflict(kinds) or missing(build, kinds)
    if why:
        raise LoopFailure(why)
    found = {}
    if "clock" in kinds:
        move_clock(member, 0)
        found["TALLY_WALLCLOCK_FILE"] = clock_file(member)
    if "disk" in kinds:
        with open(control_file(member), "wb") as file:
            file.write(bytes(CONTROL.size + COUNTS.size))
        found["TALLY_DISKFAULT_DIR"] = member.data
        found["TALLY_DISKFAULT_CONTROL"] = control_file(member)
    if "power" in kinds:
        found.update(loop_faults.Power(build).environment(member))
    if kinds:
        found["LD_PRELOAD"] = ":".join(library(build, kind) for kind in sorted(kinds))
    return found


# ---- the clock ----

def clock_file(member):
    return os.path.join(member.directory, "clock")


def move_clock(member, offset_ns):
    """From now on the member's wall clock is so far off."""
    path = clock_file(member)
    with open(path, "r+b" if os.path.exists(path) else "wb") as file:
        file.write(struct.pack("=q", offset_ns))


# ---- the disk ----

def control_file(member):
    return os.path.join(member.directory, "disk-control")


def strike_disk(member, calls, error="late", delay_ms=0.0, every=1, files=(), shift=0):
    """From now on these calls of the member go wrong. What the library does is in disk_fault.c."""
    mask = 0
    for call in calls:
        mask |= CALLS[call]
    which = 0
    for kind in files:
        which |= FILES[kind]
    with open(control_file(member), "r+b") as file:
        descriptor = file.fileno()
        fault = CONTROL.unpack(os.pread(descriptor, CONTROL.size, 0))[1] + 1
        os.pwrite(descriptor, struct.pack("=Q", CHANGING), 0)   # quiet while the rest changes
        os.pwrite(descriptor, CONTROL.pack(CHANGING, fault, ERRORS[error], int(delay_ms * 1000), every,
                                           which, shift) + bytes(COUNTS.size), 0)
        os.pwrite(descriptor, struct.pack("=Q", mask), 0)


def mend_disk(member):
    """Ends it; how many calls were hit since it began."""
    with open(control_file(member), "r+b") as file:
        os.pwrite(file.fileno(), bytes(8), 0)
    return struck(member)


def struck(member):
    with open(control_file(member), "rb") as file:
        file.seek(CONTROL.size)
        return COUNTS.unpack(file.read(COUNTS.size))[1]
