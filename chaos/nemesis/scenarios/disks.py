"""Disks that are full, silent, failing, and machines whose power goes."""
from nemesis import asks
from nemesis.faults import preload
from nemesis.faults.disk_errors import (DieInWrite, FailingReads, FailingSync, FailingWrites, SlowDisk,
                                        StuckDisk, TornWrites)
from nemesis.faults.disk_images import PowerLoss
from nemesis.faults.disk_space import DiskFull
from nemesis.faults.process import Kill
from nemesis.scenario import Scenario

SERVE_SECONDS = 90
HIT_SECONDS, ABSENCES_MAX, ABSENT_ANSWERS = 5, 3, 150
# Of the leader itself, and of a node that passes on what the leader said.
REFUSALS = ("read-only", "no writes are taken (disk space")


class AllDisksFull(Scenario):
    """Every node's disk is full at the same moment, under load, first down to the watermark and then to
    the last byte. Every process lives, writes are refused in words and are not in the log, reads and
    probes go on; a node that is killed meanwhile starts on its full disk. With room again everything
    goes on by itself."""
    name, answers = "all-disks-full", "a full disk kills every node in apply (dqlite PR #401)"
    preload = DiskFull.preload
    needs = DiskFull.needs

    def prepare(self, context):
        DiskFull("all").prepare(context)

    def timeline(self, context):
        sites = context.sites
        for leave in (16, 0):
            with context.during(DiskFull("all", leave_mib=leave)):
                context.expect("every node says that it is read-only", context.until(
                    lambda: all(asks.status_of(m).get("read_only") for m in sites.members),
                    "all to be read-only", 20), "with %d MiB left" % leave)
                for member in sites.data():
                    asks.refuses_with(context, "a write is refused in words", member, REFUSALS, 30)
                    context.expect("reads go on", context.until(
                        lambda: asks.ok(asks.read(member, 10)), "a read at node %d" % member.node_id, 30),
                                   "node %d" % member.node_id)
                if leave == 0:
                    self.start_on_full_disk(context)
            context.wait_answers(60, SERVE_SECONDS)


    @staticmethod
    def start_on_full_disk(context):
        """The fault holds every node, so this kill is the scenario's own."""
        leader = context.leader()
        victim = next(m for m in context.sites.data() if m is not leader)
        context.kill([victim])
        context.start(victim)
        context.expect("a node starts on its full disk", context.until(
            lambda: asks.ok(asks.read(victim, 10)), "a read at node %d" % victim.node_id, 60),
                       "node %d serves reads again" % victim.node_id)


def struck(context, name, members):
    """A fault of a disk that no call of a node came upon has tried nothing."""
    counts = [preload.struck(m) for m in members]
    context.attack("the fault struck", counts and all(counts), "%s: calls of nodes %s: %s" % (
        name, [m.node_id for m in members], counts))


class LeadersDiskStuck(Scenario):
    """The leader's disk does not answer: leadership goes to the other site within a second or two, or
    the process ends; a follower's and the witness's delay nobody. When they answer again the nodes
    are followers like any."""
    name, answers = "stuck-disks", "slow and silent disks (no entry of its own)"
    preload = ("disk",)

    def timeline(self, context):
        sites = context.sites
        old = sites.wait_leader()
        with context.during(StuckDisk("node-%d" % old.node_id)):
            context.expect("another node leads", context.until(
                lambda: sites.leader_now([m for m in sites.members if m is not old]),
                "another leader", SERVE_SECONDS), "while node %d waits for its disk" % old.node_id)
            context.wait_answers(60, SERVE_SECONDS)
            struck(context, "stuck-disk", [old])
        for whom in ("follower", "witness"):
            sites.wait_leader()
            stuck = StuckDisk(whom)
            with context.during(stuck):
                context.wait_answers(60, SERVE_SECONDS)
                struck(context, stuck.name, stuck.taken)
        with context.during(SlowDisk("all", delay_ms=20.0)):
            context.wait_answers(60, SERVE_SECONDS)
            struck(context, "slow-disk", sites.members)


class FailingDisks(Scenario):
    """Syncs, writes and reads fail with EIO, one node after the other, and writes come back short. A
    node whose write or sync failed does not know what its disk holds: it ends and says so, is
    started again and catches up. Nobody else is disturbed for longer than an election takes."""
    name, answers = "failing-disks", "kill at every write boundary (dqlite #190, #575)"
    preload = ("disk",)

    def timeline(self, context):
        for kind, whom, must_end in ((FailingSync, "leader", True), (FailingWrites, "follower", True),
                                     (FailingSync, "witness", True), (FailingReads, "leader", False),
                                     (TornWrites, "leader", False)):
            fault = kind(whom)
            with context.during(fault):
                victim = fault.taken[0]
                if must_end:
                    status = asks.ended(context, victim, 10)
                    context.expect("a node whose disk failed ends", status not in (None, 0),
                                   "%s at node %d: %s" % (fault.name, victim.node_id, status))
                if kind is FailingReads:
                    self.have_read(context, victim)
                context.wait_answers(40, SERVE_SECONDS)
                struck(context, fault.name, [victim])
            context.wait_answers(20, SERVE_SECONDS)

    @staticmethod
    def have_read(context, victim):
        """A node reads its files for another one that was away: without the other it leads. It may
        end at its first read, and then nobody answers until the other is back."""
        other = next(m for m in context.sites.data() if m is not victim)

        def hit():
            return preload.struck(victim)
        for _ in range(ABSENCES_MAX):
            goal = context.answers() + ABSENT_ANSWERS
            with context.during(Kill("node-%d" % other.node_id)):
                context.until(lambda: hit() or context.answers() >= goal, "answers", SERVE_SECONDS)
            if context.until(hit, "a read to be hit", HIT_SECONDS):
                return


class DieInWrites(Scenario):
    """Processes end in the middle of a write, at a random one of the next forty, again and again, at any
    node and at the leader: half of the bytes are on the disk. Each comes back with everything that it
    had acknowledged."""
    name, answers = "die-in-write", "kill at every write boundary (dqlite #190, #575)"
    preload = ("disk",)

    def timeline(self, context):
        died = 0
        for _ in range(10):
            fault = DieInWrite(context.draw.choice(("leader", "any")), every=context.draw.randint(1, 40))
            with context.during(fault) as begun:
                if begun:
                    status = asks.ended(context, fault.taken[0], 10)
                    context.expect("it dies in a write, or lives", status in (-9, None), "%s" % status)
                    died += status == -9
            context.wait_answers(20, SERVE_SECONDS)
        context.attack("processes did die in writes", died >= 5, "%d of 10" % died)


class AllPowerLost(Scenario):
    """The power of all machines goes at once, three times: of what was not synced a random part is
    gone everywhere. Everything that was acknowledged is on the disks; nothing but that has to be."""
    name, answers = "all-power-lost", "an acknowledged write lost by a single node (etcd #14370)"
    preload = ("power",)

    def timeline(self, context):
        met = 0
        for _ in range(3):
            context.wait_answers(60, SERVE_SECONDS)
            fault = PowerLoss("all", seed=context.draw.getrandbits(62), amid="store")
            with context.during(fault):
                context.wait(0.3)
            met += fault.met
            context.expect("it leads again", context.until(context.sites.leader_now, "a leader",
                                                           SERVE_SECONDS), "after the loss")
        context.attack("there was something to lose", met > 0,
                       "%d of 3 times pages of a store were written and not synced" % met)
        context.wait_answers(60, SERVE_SECONDS)


class PowerInCheckpoint(Scenario):
    """Checkpoints are made all the time (several a second), and single machines lose their power in the
    middle of one, with pages of the store written and not synced, or die by kill -9 at any moment: the
    applied index and the data that belong to it are in one transaction, so what the node starts with
    is some moment of the ledger and never two."""
    name, answers = "power-in-checkpoint", "applied index and data not atomic (etcd #13766)"
    preload = ("power",)
    settings = {"checkpoint": {"interval_ms": 40}}

    def timeline(self, context):
        met = 0
        for number in range(8):
            whom = "leader" if number % 2 else "follower"
            if number % 4 == 3:
                with context.during(Kill(whom)):
                    context.wait(0.3)
                context.wait_answers(25, SERVE_SECONDS)
                continue
            fault = PowerLoss(whom, seed=context.draw.getrandbits(62), amid="store")
            with context.during(fault):
                context.wait(0.3)
            met += fault.met
            context.wait_answers(25, SERVE_SECONDS)
        context.attack("power went in the middle of checkpoints", met >= 2,
                       "%d of 6 times pages of the store were written and not synced" % met)
