"""What a row of the matrix is made of: a bug, and those who have to see it."""
import functools
import os
import re
from dataclasses import dataclass

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCES = ("core", "storage", "net", "replication", "server", "client")


@dataclass(frozen=True)
class Simulator:
    """tally-sim, seed after seed, until one of the checkers `by` (checkers.py; none: any) speaks."""
    by: tuple = ()
    seeds: int = 1000           # many times what a find takes: a fresh seed must not miss it by luck
    seconds: int = 40           # virtual, of faults per seed
    topology: str = "1+1+1"
    options: tuple = ()         # more of tally-sim's
    row: str = ""               # an error that the simulator plants itself: chaos/sim/planted.c


@dataclass(frozen=True)
class GuardSearch:
    """libraft behind its guard alone, whole clusters on a virtual world, seed after seed
    (docs/raft-guard.md), without the repairs that the bug switches off."""
    seeds: int = 2000
    seconds: int = 150          # virtual, per seed
    options: tuple = ()         # more of raft_search's


@dataclass(frozen=True)
class Tests:
    """A test that fails with the bug and passes without it; with `schedule` one that plants the bug
    itself and passes because it saw the promise break."""
    program: str                # below tests/ of the build
    only: str = ""              # Criterion's filter
    schedule: bool = False


@dataclass(frozen=True)
class FaultLoop:
    """Real processes under faults, judged by chaos/judge.py."""
    faults: int = 12
    seconds: int = 120          # no further fault begins after so long
    topology: str = "1+1+1"


@dataclass(frozen=True)
class Nemesis:
    """Real processes in a scenario of tally-chaos, or in its random mode, seed after seed, until
    each of the claims `by` was broken."""
    scenario: str
    by: tuple
    options: tuple = ()
    runs: int = 3               # a scheduler has its say in each


@dataclass(frozen=True)
class Bug:
    name: str
    story: str                  # what the programmer did, and what it costs
    finders: tuple              # each has to find it; the first is the one that CI runs
    fault: str = ""             # in core/planted_fault.h
    guard_off: tuple = ()       # repairs of the guard that are switched off
    rare: bool = False          # takes its first finder more than some seconds

    def where(self):
        """Files of the product that have the bug when it is planted."""
        if not self.fault:
            return ["replication/guard" if self.guard_off else
                    "chaos/nemesis" if isinstance(self.finders[0], Nemesis) else
                    "chaos/sim/plant.c"]
        return sorted(sources().get("PLANTED_" + self.fault.upper(), ()))


@functools.lru_cache(maxsize=None)
def guard_parts():
    """The numbers of the guard's repairs, as raft_search takes them, by their names."""
    with open(os.path.join(ROOT, "replication", "guard", "raft_guard.h")) as file:
        return dict(re.findall(r"define RAFT_GUARD_(\w+)\s+RAFT_GUARD_PART\((\d+)\)", file.read()))


@functools.lru_cache(maxsize=None)
def sources():
    """Files of the product by the fault that they ask for."""
    found = {}
    for top in SOURCES:
        for directory, _, files in os.walk(os.path.join(ROOT, top)):
            for path in (os.path.join(directory, name) for name in files if name.endswith(".c")):
                with open(path) as file:
                    for fault in re.findall(r"planted\((PLANTED_\w+)\)", file.read()):
                        found.setdefault(fault, set()).add(os.path.relpath(path, ROOT))
    return found
