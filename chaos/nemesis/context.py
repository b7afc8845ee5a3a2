"""What faults and scenarios see of a run: the cluster, the record, and the ways to wait."""
import contextlib
import random
import subprocess
import threading
import time

from cluster import Failure
from nemesis.budgets import Pauses
from nemesis.fault import Passed

LEADER_SECONDS = 2.5        # a fault that wants the leader waits so long for one
AWAITED_SECONDS = 20        # and so long where it may not pass by
CHECK_SECONDS = 0.05
STALL_MS_MAX = 250          # the election timeout of a node
AFTERMATH_SECONDS = 5       # a process may still end so long after a fault that may end it


class RunFailure(Exception):
    """The run itself cannot go on: no verdict about the cluster follows from it."""


class Found(Exception):
    """Seen while it ran: a promise is broken. The text says which and how."""


class Context:
    def __init__(self, run, history, draw):
        self.run, self.history, self.draw = run, history, draw
        # Who "any" is depends on who is free just then; that must not bend what is drawn otherwise.
        self.chance = random.Random(draw.getrandbits(62))
        self.sites = self.links = None          # by the engine, when the cluster is there
        self.scratch, self.build = run.scratch, run.build
        self.open, self.endings = [], []
        self.held = {}                          # node id -> fault
        self.down = set()                       # ids that are meant to be gone
        self.forgiven = {}                      # node id -> until when it may end by itself
        self.broken = []                        # (claim, text): expectations that did not hold
        self.missed = []                        # attacks that did not come about, in words
        self.begun = {}                         # name of a fault -> how often it began
        self.counts = {}                        # and how often it struck: Fault.hits
        self.may_pass = False                   # Scenario.faults_may_pass
        self.lock = threading.RLock()
        self.pauses = Pauses(self)              # how long clients may wait, and when

    # ---- the record ----

    def note(self, text, **fields):
        self.history.event("note", text=text, **fields)

    def expect(self, claim, holds, text, timed=False):
        """A scenario's own claim; a broken one makes the verdict, the run goes on. One that hangs on
        elections or answers in time is `timed`: it is not judged on a machine that stood still for
        longer than an election takes."""
        stalls = self.run.pulse.told()
        if timed and not holds and stalls["worst_ms"] > STALL_MS_MAX:
            self.note("not judged, since this machine stood still for up to %d ms: %s: %s" % (
                stalls["worst_ms"], claim, text), kind=claim)
            return False
        self.history.event("expectation", kind=claim, holds=bool(holds), text=text)
        if not holds:
            self.broken.append((claim, text))
        return bool(holds)

    def attack(self, moment, met, text):
        """Whether the attack itself came about: the moment was met, calls were hit. One that did not
        says nothing about the cluster, and has tried nothing: the run is no good one, and breaks no
        claim. A search tries it again with another seed."""
        self.note("%s: %s: %s" % ("the attack came about" if met else "THE ATTACK DID NOT COME ABOUT",
                                  moment, text))
        if not met:
            self.missed.append("%s: %s" % (moment, text))
        return bool(met)

    def at_end(self, function):
        """Called when all processes are gone, whatever became of the run, last one first."""
        self.endings.append(function)

    # ---- faults ----

    def begin(self, fault, may_pass=None):
        """Begins it and says so; the same fault, or None when it could not strike. That is an attack
        that did not come about, unless it may (`may_pass`; None: as the scenario has it): a story that
        counts on the fault has not happened then."""
        for kind in getattr(fault, "preload", ()):
            if kind not in self.run.preload:
                raise RunFailure("%s needs nodes started with preload \"%s\"" % (fault.name, kind))
        seen = self.pauses.look()
        with self.lock:
            self.open.append(fault)
        try:
            # Said before it strikes: what follows is not earlier than its cause.
            t = time.monotonic_ns()
            self.pauses.close(t)
            fault.begin(self)
        except Passed as passed:
            self.history.event("note", text="%s: %s" % (fault.describe(), passed))
            self.drop(fault)
            if not (self.may_pass if may_pass is None else may_pass):
                self.attack("the fault strikes", False, "%s: %s" % (fault.describe(), passed))
            return None
        except BaseException:
            self.history.event("note", text="%s could not begin" % fault.describe())
            raise
        fault.began = True
        self.pauses.struck(fault, t, seen)
        self.begun[fault.name] = self.begun.get(fault.name, 0) + 1
        if fault.hits is None:
            self.struck(fault)
        self.history.event("fault-begin", t=t, kind=fault.name, nodes=fault.nodes(),
                           site=self.site_of(fault), text=fault.describe())
        return fault

    def struck(self, fault):
        self.counts[fault.name] = self.counts.get(fault.name, 0) + 1

    def drop(self, fault):
        try:
            fault.end(self)
        finally:
            fault.release(self)
            with self.lock:
                self.open.remove(fault)
            if fault.began and fault.hits:
                self.struck(fault)

    def end(self, fault):
        """Ends it; nothing when it has ended, or never began."""
        if fault is None or fault not in self.open:
            return
        nodes, site = fault.nodes(), self.site_of(fault)
        self.drop(fault)
        self.history.event("fault-end", kind=fault.name, nodes=nodes, site=site,
                           text=fault.describe())

    @contextlib.contextmanager
    def during(self, fault, may_pass=None):
        began = self.begin(fault, may_pass)
        try:
            yield began
        finally:
            self.end(fault)

    def end_all(self):
        """Ends what is open, last first; one that cannot be ended keeps no other from it."""
        failure = None
        for fault in reversed(list(self.open)):
            try:
                self.end(fault)
            except Exception as error:
                self.note("%s could not be ended: %s" % (fault.describe(), error))
                failure = failure or error
        if failure:
            raise failure

    def site_of(self, fault):
        sites = {self.sites[n].site for n in fault.nodes()
                 if any(m.node_id == n for m in self.sites.members)}
        return sites.pop() if len(sites) == 1 else None

    # ---- who ----

    def take(self, member, fault):
        """Holds a node for a fault that changes its process; False when another one does."""
        with self.lock:
            if self.held.get(member.node_id) not in (None, fault) or member.node_id in self.down:
                return False
            self.held[member.node_id] = fault
            return True

    def release(self, member, fault):
        with self.lock:
            if self.held.get(member.node_id) is fault:
                del self.held[member.node_id]
                if fault.may_exit:
                    self.forgiven[member.node_id] = time.monotonic() + AFTERMATH_SECONDS

    def leader(self):
        """Who leads now, waited for a little, and longer in a story that counts on one; None when
        nobody does."""
        deadline = self.run.pulse.deadline(LEADER_SECONDS if self.may_pass else AWAITED_SECONDS)
        while True:
            leader = self.sites.leader_now()
            if leader or deadline.over():
                return leader
            self.wait(CHECK_SECONDS)

    def members(self, whom):
        """Who is meant by a word of fault.WHOM, or "node-N"."""
        sites = self.sites
        if whom.startswith("node-"):
            return [sites[int(whom[5:])]]
        if whom in ("site-A", "site-B", "witness", "all"):
            return {"witness": [sites.witness], "all": list(sites.members)}.get(
                whom) or sites.site(whom[5:])
        if whom in ("any", "data"):
            return [self.draw_one(sites.members if whom == "any" else sites.data())]
        leader = self.leader()
        if leader is None:
            raise Passed("nobody leads")
        if whom == "leader":
            return [leader]
        if whom == "follower":
            return [self.draw_one([m for m in sites.data() if m is not leader])]
        if whom in ("leader-site", "other-site"):
            here = leader.site if leader.is_data else "A"
            return sites.site(here if whom == "leader-site" else "B" if here == "A" else "A")
        raise ValueError("nobody is called %r" % whom)

    def draw_one(self, members):
        free = [m for m in members if m.node_id not in self.held and m.node_id not in self.down]
        if not free:
            raise Passed("everybody is struck already")
        return self.chance.choice(free)

    def draw_word(self, words):
        return self.chance.choice(words)

    def ways(self, some, others, both=True):
        """Pairs of node ids between two groups of members."""
        pairs = [(a.node_id, b.node_id) for a in some for b in others if a is not b]
        return pairs + ([(b, a) for a, b in pairs] if both else [])

    def others(self, members):
        return [m for m in self.sites.members if m not in members]

    def give_up(self, member, why):
        """From here on it is meant to stay down, or to be refused: nobody waits for it or asks it."""
        with self.lock:
            self.down.add(member.node_id)
        self.note("node %d is given up: %s" % (member.node_id, why), nodes=[member.node_id])

    def may_exit(self, member):
        """Whether its process may end by itself now."""
        fault = self.held.get(member.node_id)
        return (member.node_id in self.down or bool(fault and fault.may_exit)
                or time.monotonic() < self.forgiven.get(member.node_id, 0.0))

    # ---- processes ----

    def start(self, member):
        """Starts a node's process unless it runs, and says so."""
        if member.process is not None and member.process.poll() is None:
            return
        member.process = None
        member.spawn()
        self.history.event("start", nodes=[member.node_id], site=member.site)

    def kill(self, members):
        """kill -9 of all of them at once."""
        self.pauses.close(killed=[m.node_id for m in members])
        self.history.event("kill", nodes=[m.node_id for m in members],
                           text="nodes %s" % ", ".join(str(m.node_id) for m in members))
        for member in members:
            if member.process is not None:
                member.signal(9)
        for member in members:
            member.kill()

    def mend(self):
        """Ends all faults; every node that is not meant to be gone runs."""
        try:
            self.end_all()
        finally:
            self.links.clear()
            for member in self.sites.members:
                if member.node_id in self.down:
                    continue
                if member.stopped:
                    member.resume()
                self.start(member)

    def settle(self, seconds=None):
        self.run.settle(seconds)

    # ---- operators, clients, time ----

    def tally(self, *words, nodes=None, seconds=60, role="site"):
        """(exit status, output) of tally, as an operator would call it; said in the history."""
        begin = time.monotonic_ns()
        self.pauses.close(begin)
        try:
            status, output = self.sites.tool(*words, seconds=seconds, nodes=nodes, role=role)
        except (Failure, subprocess.TimeoutExpired) as failure:
            status, output = None, str(failure)
        self.history.event("note", t=begin, kind="operator", text="tally %s: %s" % (
            " ".join(str(word) for word in words),
            "did not end" if status is None else "exit %d" % status),
            output=output[-600:], ended=time.monotonic_ns())
        return status, output

    def storm(self, seconds, clients=40):
        """A crowd of further clients at both sites, for some time; they settle at the end."""
        self.pauses.close()
        return self.run.load.storm(seconds, clients)

    def joined(self, member):
        """A node has taken another one's place: clients hear of it."""
        self.run.load.joined(member)

    def answers(self, site=None):
        return self.run.load.answers(site)

    def wait_answers(self, count, seconds=60, site=None):
        """Until so many more answers were had; the run fails when they do not come."""
        goal, deadline = self.answers(site) + count, self.run.pulse.deadline(seconds)
        while self.answers(site) < goal:
            self.run.check()
            if deadline.over():
                raise Found("liveness: %d of %d answers%s in %d s\n%s" % (
                    count - goal + self.answers(site), count,
                    " at site %s" % site if site else "", seconds, self.sites.describe()))
            time.sleep(CHECK_SECONDS)

    def wait(self, seconds):
        end = time.monotonic() + seconds
        while True:
            self.run.check()
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, CHECK_SECONDS))

    def until(self, question, what, seconds=30):
        """Waits until the question is answered truly: the answer, or None after the time."""
        deadline = self.run.pulse.deadline(seconds)
        while not deadline.over():
            answer = question()
            if answer:
                return answer
            self.wait(CHECK_SECONDS)
        self.note("waited %d s in vain for %s" % (seconds, what))
        return None
