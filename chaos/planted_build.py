"""Builds in which faults can be planted: their names, and whether a build is one."""
import os
import re
import subprocess

HEADER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                      "core", "planted_fault.h")


def names():
    """As the environment variable TALLY_PLANTED takes them."""
    with open(HEADER) as file:
        return tuple(name.lower() for name in re.findall(r"^\s*X\((\w+)\)", file.read(), re.M))


def refusal(build, fault, program="server/tallyd"):
    """Why this fault cannot be planted in the build, or None. A fault that is silently not planted
    would look like one that nobody finds."""
    path = os.path.join(build, program)
    if not os.path.exists(path):
        return "%s is not there: build it first" % path
    for name, status in ((fault, 0), ("no-such-fault", 2)):
        done = subprocess.run([path, "--help"], env=dict(os.environ, TALLY_PLANTED=name),
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)
        if done.returncode != status:
            return ("%s is no build in which %s can be planted (meson configure "
                    "-Dplanted_fault=any)" % (build, fault))
    return None
