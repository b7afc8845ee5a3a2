"""Random mode: a scenario whose timeline is drawn from the seed before anything runs.

The plan is a list of occurrences, each with the moment it begins, what it is, whom it means and how
long it lasts. They overlap: two or three are under way at most times. A fault that is `alone` is a
barrier: everything before it has ended, every node is up and the mode is SYNC, so that a disk may be
taken away without taking anything that nobody else has. Any number of processes and any power may go
together, as in chaos/faults.py: what was acknowledged is on disks. So whatever the plan does, nothing
acknowledged may be lost, and a checker may say so.

The same seed, length, topology and machine give the same plan. Whom "any" or "leader" is, and what
the processes make of it, differs from run to run.
"""
import heapq
import random
import time

from nemesis.fault import all_faults
from nemesis.links import lacks
from nemesis.scenario import Scenario

GAP_SECONDS = 1.6           # mean time between two beginnings
QUIET_SHARE = 0.12          # of the gaps are long: everything may come back before the next one
QUIET_SECONDS = (3.0, 6.0)
PRELOADS = (("disk", "clock"), ("power", "clock"))     # a run has the one or the other
ALONE_SECONDS = 8.0         # what a barrier is taken to cost, when the plan is drawn
OPEN_MAX = 6
BEGIN_SECONDS = 0.5         # a fault that takes longer to begin (nobody leads, say) delays the others


class Occurrence:
    def __init__(self, at, fault, seconds):
        self.at, self.fault, self.seconds = at, fault, seconds

    def __str__(self):
        return "%7.2f s  %s, %.2f s%s" % (self.at, self.fault.describe(), self.seconds,
                                          ", alone" if self.fault.alone else "")


def usable(preload, topology, network, without=(), only=()):
    """([classes that can be drawn here], {name: why another one cannot})"""
    chosen, missing = [], {}
    for name, kind in sorted(all_faults().items()):
        if kind.weight <= 0 or (only and name not in only):
            continue
        why = ("left out" if name in without else
               "not on the %s network" % network if network not in kind.networks else
               "not on %s" % topology if topology not in kind.topologies else
               "nodes are started without \"%s\" in this run" % "\", \"".join(
                   sorted(set(kind.preload) - set(preload)))
               if set(kind.preload) - set(preload) else
               kind.needs() or lacks(network, kind.kind == "network"))
        if why:
            missing[name] = why
        else:
            chosen.append(kind)
    return chosen, missing


def draw_plan(draw, kinds, seconds, topology):
    """The occurrences of so many seconds."""
    plan, at = [], draw.uniform(0.5, 2.0)
    weights = [kind.weight for kind in kinds]
    while kinds and at < seconds:
        kind = draw.choices(kinds, weights)[0]
        fault = kind.draw(draw, topology)
        lasts = draw.uniform(*kind.seconds)
        plan.append(Occurrence(at, fault, lasts))
        if kind.alone:
            at += lasts + ALONE_SECONDS
        elif draw.random() < QUIET_SHARE:
            at += lasts + draw.uniform(*QUIET_SECONDS)
        else:
            at += draw.expovariate(1 / GAP_SECONDS)
    return plan


class RandomScenario(Scenario):
    """Faults of every kind that this machine can do, drawn from the seed; they overlap. Whatever they
    do together, nothing acknowledged is lost, no answer is false, and when they end all is well."""

    faults_may_pass = True      # the plan does not know who leads and who is struck already

    def __init__(self, seed, minutes, topology, network, without=(), only=()):
        self.name, self.minutes = "random", minutes
        draw = random.Random("%s/plan" % seed)
        self.preload = draw.choice(PRELOADS)
        kinds, self.missing = usable(self.preload, topology, network, without, only)
        self.plan = draw_plan(draw, kinds, minutes * 60, topology)
        self.kinds = [kind.name for kind in kinds]
        self.unused = set(self.preload) - {p for o in self.plan for p in o.fault.preload}
        # A library that no fault of the plan needs is not in the way of what is tested.
        self.preload = tuple(p for p in self.preload if p not in self.unused)

    def prepare(self, context):
        for occurrence in self.plan:
            occurrence.fault.prepare(context)

    def timeline(self, context):
        began, open_faults, slack = time.monotonic(), [], 0.0
        for number, occurrence in enumerate(self.plan):
            self.run_until(context, began + slack + occurrence.at, open_faults)
            if occurrence.fault.alone or len(open_faults) >= OPEN_MAX:
                # The plan's clock stands still for as long as a barrier takes.
                before = time.monotonic()
                self.barrier(context, open_faults)
                slack += time.monotonic() - before
            before = time.monotonic()
            struck = context.begin(occurrence.fault)
            slack += max(0.0, time.monotonic() - before - BEGIN_SECONDS)
            if struck:
                heapq.heappush(open_faults, (time.monotonic() + occurrence.seconds, number,
                                             occurrence.fault))
                if occurrence.fault.alone:
                    before = time.monotonic()
                    self.run_until(context, before + occurrence.seconds, [])
                    self.barrier(context, open_faults)
                    slack += max(0.0, time.monotonic() - before - ALONE_SECONDS)
        self.run_until(context, began + slack + self.minutes * 60, open_faults)

    @staticmethod
    def run_until(context, moment, open_faults):
        """Ends what is due, until that moment."""
        while True:
            due = open_faults[0][0] if open_faults else moment
            context.wait(max(0.0, min(due, moment) - time.monotonic()))
            if open_faults and open_faults[0][0] <= time.monotonic():
                context.end(heapq.heappop(open_faults)[2])
            elif time.monotonic() >= moment:
                return

    @staticmethod
    def barrier(context, open_faults):
        """Everything ends; every node is up, service is there and the mode is SYNC."""
        while open_faults:
            context.end(heapq.heappop(open_faults)[2])
        context.settle()
        context.wait_answers(5)
        context.run.wait_sync(60)
