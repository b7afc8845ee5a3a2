"""Which faults a loop strikes with, and how each begins and ends.

A plan is drawn from the seed before the first fault: how many of each sort there are is fixed, only
their order, kinds, victims and lengths are random.

  single     one node: the leader in 45 % of them, otherwise any
  two        two processes at once; on 2+2+1 every other time the leader's whole site
  all        every node loses power at once
  catch_up   a data node is down until the leader no longer holds in memory what it lacks; when it is
             seen catching up, it or its leader is struck
"""
import math
import os
import random
import struct
import subprocess
import time

from clients import LoopFailure

LEADER_SHARE = 0.45
SORTS_PER_500 = {"two": 25, "catch_up": 25, "all": 5}
KINDS = ("kill", "kill", "kill", "power", "power", "stop", "stop", "hole", "hole", "one_way", "cut")
LENGTHS = {"kill": (0.0, 1.5), "power": (0.0, 1.5), "stop": (0.05, 2.5), "hole": (0.1, 3.0),
           "one_way": (0.1, 3.0), "cut": (0.05, 2.0)}
# Until the clients' entries fill what the leader keeps after a catch-up; a slow machine takes its time.
LEFT_BEHIND_SECONDS = 180
CATCH_UP_SECONDS = 30       # from its start until a node is seen catching up


class Fault:
    """One entry of the plan."""

    def __init__(self, draw, sort):
        self.sort = sort
        self.kind = "power" if sort == "all" else draw.choice(
            ("kill", "power", "stop", "hole") if sort == "two" else KINDS)
        self.at_leader = False          # of a single one, set by plan()
        self.seconds = draw.uniform(*LENGTHS[self.kind])
        self.seed = draw.getrandbits(62)

    def __str__(self):
        return "%s %s" % (self.sort, self.kind)


def plan(seed, count):
    """The faults of a run, in order."""
    draw = random.Random(seed)
    sorts = []
    for sort, per_500 in SORTS_PER_500.items():
        sorts += [sort] * max(1, count * per_500 // 500)
    sorts = (sorts + ["single"] * count)[:count]
    draw.shuffle(sorts)
    faults = [Fault(draw, sort) for sort in sorts]
    single = [fault for fault in faults if fault.sort == "single"]
    for fault in draw.sample(single, math.ceil(LEADER_SHARE * len(single))):
        fault.at_leader = True
    return faults


UNDO_RECORD = struct.Struct("=IIQQII")
UNDO_BEGIN, UNDO_OLD, UNDO_DURABLE = 1, 2, 3


def pending_pages(log):
    """Numbers of the pages that a file's undo log would bring back."""
    pages, at = set(), 0
    while at + UNDO_RECORD.size <= len(log):
        _, kind, page, _, size, _ = UNDO_RECORD.unpack_from(log, at)
        at += UNDO_RECORD.size + size
        if kind == UNDO_BEGIN:
            pages.clear()
        elif kind == UNDO_OLD:
            pages.add(page)
        elif kind == UNDO_DURABLE:
            pages.discard(page)
    return pages


class Power:
    """Nodes under a library that records what is not synced, and the loss of it.

    A plain kill -9 loses nothing that was written; then the record is thrown away before the next
    start. With `everything` all that was not synced goes, as on a disk that lied: what is left is
    old and fits together. Otherwise a random part of it goes.
    """

    def __init__(self, build, everything=False):
        directory = os.path.join(os.path.abspath(build), "chaos", "power_loss")
        self.apply = os.path.join(directory, "powerloss-apply")
        self.library = os.path.join(directory, "libpowerloss.so")
        self.everything = everything
        for file in (self.apply, self.library):
            if not os.path.exists(file):
                raise LoopFailure("%s is not there: build it first" % file)

    @staticmethod
    def log(member):
        return os.path.join(member.directory, "power-loss")

    def environment(self, member):
        os.makedirs(self.log(member), exist_ok=True)
        return {"LD_PRELOAD": self.library, "TALLY_POWERLOSS_DIR": member.data,
                "TALLY_POWERLOSS_LOG": self.log(member), "TALLY_POWERLOSS_FAST": "1"}

    def forget(self, member):
        """What the last process wrote is on the disk."""
        for name in os.listdir(self.log(member)):
            os.unlink(os.path.join(self.log(member), name))

    def unsynced(self, member, part):
        """How many pages of the files in the member's directories of these names are written and not
        synced, by their undo logs (power_loss/undo_log.h)."""
        found = 0
        for folder in os.listdir(member.data):
            if not folder.startswith(part):
                continue
            for name in os.listdir(os.path.join(member.data, folder)):
                try:
                    info = os.stat(os.path.join(member.data, folder, name))
                    with open(os.path.join(self.log(member), "%d-%d.undo" % (
                            info.st_dev, info.st_ino)), "rb") as file:
                        found += len(pending_pages(file.read()))
                except FileNotFoundError:
                    pass                # gone since, or nothing was ever written to it
        return found

    def strike(self, member, seed):
        """The power of a killed node goes and comes back."""
        which = "ALL" if self.everything else str(seed)
        done = subprocess.run([self.apply, self.log(member), member.data, which],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        if done.returncode != 0:
            raise LoopFailure("powerloss-apply: %s" % done.stdout.decode(errors="replace"))


class Striker:
    """Carries out faults on a cluster, and counts what it hit."""

    def __init__(self, sites, power):
        self.sites, self.power = sites, power
        self.counts = {"faults": 0, "at leader": 0, "during catch-up": 0, "two at once": 0,
                       "all at once": 0}

    def count(self, name):
        self.counts[name] += 1

    # ---- victims ----

    def leader(self):
        """The leader of this moment, waited for."""
        return self.sites.wait_leader()

    def victims(self, fault, draw):
        leader = self.leader()
        others = [m for m in self.sites.members if m is not leader]
        if fault.sort == "all":
            chosen = list(self.sites.members)
        elif fault.sort == "two":
            mates = [m for m in self.sites.site(leader.site) if m is not leader]
            if mates and draw.random() < 0.5:
                chosen = [leader] + mates
            else:
                chosen = draw.sample(self.sites.members, 2)
        else:
            chosen = [leader] if fault.at_leader else [draw.choice(others)]
        if self.sites.leader_now() in chosen:
            self.count("at leader")
        return chosen

    # ---- one fault ----

    def begin(self, kind, members, draw, seed):
        network = self.sites.network
        if kind in ("kill", "power"):
            for member in members:
                member.signal(9)            # all at once, then wait for each
            for member in members:
                member.kill()
            if kind == "power":
                for number, member in enumerate(members):
                    self.power.strike(member, seed + number)
        elif kind == "stop":
            for member in members:
                member.pause()
        elif kind in ("hole", "cut"):
            network.isolate([m.node_id for m in members], kind)
        else:
            one = members[0].node_id
            other = draw.choice([n for n in network.nodes if n != one])
            network.one_way(*draw.choice(((one, other), (other, one))), "hole")

    def end(self, members):
        self.sites.network.heal()
        for member in members:
            if member.stopped:
                member.resume()
            if member.process is None:
                member.spawn()

    def strike(self, fault):
        draw = random.Random(fault.seed)
        self.count("faults")
        if fault.sort == "catch_up":
            self.strike_catch_up(fault, draw)
            return
        members = self.victims(fault, draw)
        if fault.sort == "two":
            self.count("two at once")
        elif fault.sort == "all":
            self.count("all at once")
        self.begin(fault.kind, members, draw, fault.seed)
        time.sleep(fault.seconds)
        self.end(members)

    # ---- during catch-up ----

    def strike_catch_up(self, fault, draw):
        """Brings a data node far behind, and strikes when it is seen catching up."""
        leader = self.leader()
        late = draw.choice([m for m in self.sites.data() if m is not leader])
        # It may just have been started, after the fault before.
        status = self.until(late.brief, "node %d to answer" % late.node_id)
        reached = status["index"]["last"]
        late.kill()
        self.until(lambda: self.log_begins(self.sites.leader_now()) > reached + 1,
                   "the leader's memory to leave node %d behind" % late.node_id,
                   seconds=LEFT_BEHIND_SECONDS)
        leader = self.leader()
        late.spawn()
        if not self.until(lambda: self.catching_up(late), "node %d to catch up" % late.node_id,
                          needed=False):
            return
        self.count("during catch-up")
        time.sleep(draw.uniform(0, 0.2))
        victim = draw.choice((late, leader))
        if victim is leader:
            self.count("at leader")
        self.begin(fault.kind, [victim], draw, fault.seed)
        time.sleep(fault.seconds)
        self.end([victim])

    @staticmethod
    def log_begins(member):
        """The oldest entry in a node's memory; 0: no answer."""
        status = member.brief(1) if member else None
        return status["log"]["first_index"] if status else 0

    @staticmethod
    def catching_up(member):
        status = member.brief(1)
        return bool(status and status.get("catch_up", {}).get("active"))

    @staticmethod
    def until(question, text, needed=True, seconds=CATCH_UP_SECONDS):
        """The first answer that is true; without `needed` None when there was none in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = question()
            if answer:
                return answer
            time.sleep(0.005)
        if needed:
            raise LoopFailure("waited %d s for %s" % (seconds, text))
        return None
