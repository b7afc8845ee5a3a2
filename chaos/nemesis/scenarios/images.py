"""Files that are not what their node acknowledged: old, gone, twice, rotten, written elsewhere."""
import os
import shutil

from nemesis import asks
from nemesis.faults import preload
from nemesis.faults.disk_errors import MisdirectedWrites
from nemesis.faults.disk_images import BitRot, RollBack, WipedDisk, image_path, take_images
from nemesis.scenario import Scenario
from sites import Member

DAMAGED = 65            # exit status of tallyd
FOUND = 6               # exit status of tally
REPLACE_SECONDS = 60
FOUND_SECONDS = 40
REMEMBERED_SECONDS = 30     # promised are two, of a machine that is not busy


def replace(context, lost, claim):
    """An operator puts a new node in the place of a lost one; it becomes a member like any."""
    sites = context.sites
    new = sites.new_member(lost.site, lost.kind)
    sites.prepare_joiner(new)
    status, output = context.tally("member", "replace", lost.node_id, "--member-file", new.member_file,
                                   seconds=REPLACE_SECONDS)
    context.expect(claim, status == 0, "node %d takes the place of node %d: %s" % (
        new.node_id, lost.node_id, output[-300:]))
    if lost.alive:
        context.kill([lost])
    sites.members.remove(lost)
    context.joined(new)
    return new


class OneRolledBack(Scenario):
    """A machine of site B is restored from an old snapshot, and its node started. It has lost entries
    that it acknowledged, and its peers remember that it had them: each of them refuses it by name, it
    stops and its files are quarantined, and it stops again at the next start. The others serve all
    the while, and an operator replaces it."""
    name, answers = "one-rolled-back", "all disks rolled back to an old image: detect and refuse"

    def timeline(self, context):
        sites = context.sites
        sites.lead_at("A")
        victim, = sites.data("B")
        take_images(context, [victim])
        context.wait_answers(40)
        context.settle()
        context.wait_answers(40)
        self.remembered(context, victim)
        fault = RollBack("node-%d" % victim.node_id)
        fault.meanwhile = lambda: self.meanwhile(context)
        with context.during(fault):
            status = asks.ended(context, victim, FOUND_SECONDS)
            context.expect("a node that lost acknowledged entries stops", status == DAMAGED,
                           "node %d ended with %s\n%s" % (victim.node_id, status, victim.log_tail(5)))
            asks.says(context, "it says why it stops", victim, (
                "was acknowledged by this node and is committed", "tally node repair"))
            for member in context.others([victim]):
                asks.says(context, "each of the others refuses it by name", member, (
                    "peer_lost_entries", "node %d acknowledged entry" % victim.node_id))
            context.start(victim)
            again = asks.ended(context, victim, FOUND_SECONDS)
            context.expect("it stops again at its next start", again == DAMAGED,
                           "node %d ended with %s" % (victim.node_id, again))
            context.wait_answers(30)
            context.give_up(victim, "its disk is old, and it was found out")
        replace(context, victim, "a rolled-back node is replaced")
        context.wait_answers(40)

    @staticmethod
    def remembered(context, victim):
        """What the image lacks is old enough: members know of it over restarts within two seconds."""
        others = context.others([victim])
        had = asks.status_of(context.sites.wait_leader())["index"]["commit"]
        context.expect("what a node had is remembered by all others", context.until(
            lambda: all(asks.floor_of(m, victim.node_id) >= had for m in others),
            "everybody to remember entry %d" % had, REMEMBERED_SECONDS), "up to %d: %s" % (
                had, [asks.floor_of(m, victim.node_id) for m in others]))

    def meanwhile(self, context):
        """While the machine is away: nothing."""


class RolledBackAfterElection(OneRolledBack):
    """The same, and while the machine is away all others are killed and start again: nobody leads who
    counted what the node had acknowledged, in a later term, with nothing of it in memory. It is
    found all the same, before it votes or acknowledges as its old self: every member had written down
    what each one had."""
    name = "rolled-back-after-election"

    def meanwhile(self, context):
        before = context.until(lambda: self.term(context), "a term", FOUND_SECONDS) or 0
        others = [m for m in context.sites.members if m.node_id not in context.held]
        context.kill(others)
        for member in others:
            context.start(member)
        context.expect("somebody leads in a later term", context.until(
            lambda: self.term(context) > before, "a later term than %d" % before, FOUND_SECONDS),
                       "the term was %d, and is %d" % (before, self.term(context)))

    @staticmethod
    def term(context):
        """Of whoever leads now; 0 when nobody does."""
        leader = context.sites.leader_now()
        return asks.status_of(leader).get("term", 0) if leader else 0


class AllRolledBack(Scenario):
    """Every machine is restored from one older snapshot, at once: the cluster is a consistent one,
    of some seconds ago, and nothing on its own disks says otherwise. What is promised: the loss is
    *found* by whatever was kept elsewhere. A certificate that somebody holds outside is not covered
    by these journals, so `tally certificate verify` proves nothing and names how many entries are
    missing; a client that passes the index it has seen as min_index gets no older answer; and the
    checkers, which know what clients were told, find the loss. What is *not* promised, and shown
    here as a fact: the nodes do not refuse to serve by themselves."""
    name = "all-rolled-back"
    answers = "all disks rolled back to an old image: found, not refused"
    must_break = ("acknowledged",)
    # What else follows from it: the log goes on from an old index, in terms that were there before.
    may_break = ("identity", "unknown", "linearizable", "outcomes", "money", "limits", "stamps", "digests",
                 "chains", "leaders", "both-sites", "certificates", "run: liveness")
    observe = False

    def timeline(self, context):
        sites = context.sites
        take_images(context, list(sites.members))
        sites.wait_leader()
        context.wait_answers(150)
        seen = asks.read(sites.wait_leader())
        index = int(seen.trailers["tally-index"])
        held = self.kept_elsewhere(context, index)
        with context.during(RollBack("all")):
            leader = sites.wait_leader()
            told = asks.status_of(leader)["index"]["commit"]
            context.note("the nodes lead and serve: the newest index is %d, a client had seen %d" % (
                told, index))
            if told < index:
                answer = asks.read(leader, seconds=1, min_index=index)
                late = asks.status_of(leader)["index"]["commit"]
                context.expect("min_index gets no older answer",
                               not asks.ok(answer) or late >= index,
                               "min_index %d at index %d: %r" % (index, late, answer))
            self.judge_offline(context, held)

    @staticmethod
    def kept_elsewhere(context, index):
        """What an auditor outside keeps: a certificate that covers what was acknowledged."""
        member = context.sites.data()[0]
        path = os.path.join(context.scratch, "kept-certificate")

        context.expect("a certificate covers what was acknowledged", context.until(
            lambda: asks.certified(member) >= index, "a certificate for %d" % index),
                       "%d, for %d" % (asks.certified(member), index))
        shutil.copyfile(os.path.join(member.data, "certificate"), path)
        return path

    @staticmethod
    def judge_offline(context, held):
        """The old images alone look whole; beside what was kept they do not."""
        images = [image_path(context, m) for m in context.sites.members]
        status, document = asks.verify_certificate(context, images)
        context.note("without anything kept elsewhere the verdict is %s (exit %s): one older copy of "
                     "everything looks like a cluster that stopped then" % (document["verdict"], status))
        shutil.copyfile(held, os.path.join(images[0], "certificate"))
        status, document = asks.verify_certificate(context, images)
        context.expect("a kept certificate finds the loss",
                       document["verdict"] == "UNKNOWN" and int(document["missing_at_least"] or 0) > 0,
                       "the verdict is %s, missing at least %s" % (
                           document["verdict"], document.get("missing_at_least")))


def refused_starts(member):
    return member.log_text().count("event=start_failed")


class Rotten(Scenario):
    part = "journal"

    def rot(self, context, victim, **where):
        """Bits turn, the node starts on what is left, somebody looks: did it end by itself?"""
        fault = BitRot("node-%d" % victim.node_id, part=self.part, **where)
        before = refused_starts(victim)
        with context.during(fault):
            context.attack("bits did turn", len(fault.turned) * 4 >= where["count"], "%s: at %s" % (
                fault.describe(), [offset for _, offset in fault.turned]))
            status = asks.ended(context, victim, 8)
            if status is not None:
                context.expect("damage ends the start with its own status", status == DAMAGED,
                               "node %d ended with %s" % (victim.node_id, status))
                context.expect("damage is named", refused_starts(victim) > before,
                               "node %d says start_failed" % victim.node_id)
            else:
                context.note("node %d runs: what rotted is behind it" % victim.node_id)
                context.kill([victim])
            self.look(context, victim)
            context.wait_answers(30)
            self.afterwards(context, victim)
        return status is not None

    def look(self, context, victim):
        raise NotImplementedError

    def afterwards(self, context, victim):
        """Before the fault ends."""


class RottenJournal(Rotten):
    """Bits of a follower's journal turn while it is down: one that says something, one of the zeros
    between a record's payload and its chain head, one that the header keeps for later. It must not
    serve what they changed: either it refuses to start, naming file and index, or `tally journal
    verify` names the damage in a part that the node has no need of any more. Padding is vouched for
    like everything else: a bit of it ends the start. Turned back, it is a follower like any."""
    name, answers = "rotten-journal", "misdirected writes, rot in padding (TigerBeetle #2711, #2681)"

    def timeline(self, context):
        victim = context.members("follower")[0]
        context.wait_answers(40)
        self.rot(context, victim, count=1)
        for padding in ("record", "header"):
            context.until(lambda: asks.status_of(victim).get("ready"), "the node to be ready")
            ended = self.rot(context, victim, count=1, padding=padding)
            context.expect("padding is vouched for", ended, "a bit of the %s's padding %s" % (
                padding, "ends the start" if ended else "does not end the start"))
        context.wait_answers(30)

    def look(self, context, victim):
        code, output = asks.verify_journal(context, victim.data)
        context.expect("damage in a journal is found", code == FOUND, output[-400:])


class RottenStore(Rotten):
    """Bits of a follower's store turn while it is down, a few dozen of them. The checkpoint is read at
    the start, with its checksums: the node refuses, or `tally store verify` names the table. No
    client is told a changed balance. An operator replaces the node."""
    name, answers = "rotten-store", "misdirected writes, rot in padding (TigerBeetle #2711, #2681)"
    part = "store"

    def timeline(self, context):
        victim = context.members("follower")[0]
        context.wait_answers(40)
        self.rot(context, victim, count=40)
        replace(context, victim, "a node with a rotten store is replaced")
        context.wait_answers(30)

    def look(self, context, victim):
        code, output = asks.run_tally(context, "store", "verify", victim.data)
        context.expect("damage in a store is found", code not in (0, 2), output[-400:])

    def afterwards(self, context, victim):
        context.give_up(victim, "its store is rotten")


class MisdirectedWrite(Scenario):
    """A follower's disk writes to the wrong place for a while, and says that it did as it was told.
    Running, the node cannot know; what it acknowledged is not there. After its next start that is
    found (damage in the middle, or a journal that ends below what it acknowledged), it does not
    take part with it, and an operator replaces it. Nobody lost anything: the others have all."""
    name, answers = "misdirected-write", "misdirected writes, rot in padding (TigerBeetle #2711, #2681)"
    preload = ("disk",)

    def timeline(self, context):
        sites = context.sites
        sites.lead_at("A")
        victim, = sites.data("B")
        context.wait_answers(40)
        fault = MisdirectedWrites("node-%d" % victim.node_id)
        with context.during(fault):
            context.wait_answers(30)
            context.attack("the disk did write elsewhere", preload.struck(victim) > 0, "writes hit")
            context.kill([victim])
            context.start(victim)
            status = asks.ended(context, victim, 20)
            context.expect("a node that lost acknowledged entries stops", status not in (None, 0),
                           "node %d ended with %s\n%s" % (victim.node_id, status, victim.log_tail(5)))
            context.give_up(victim, "its journal is not what it acknowledged")
            context.wait_answers(30)
        replace(context, victim, "it is replaced")
        context.wait_answers(30)



class WipedNode(Scenario):
    """A data node loses its disk, and somebody makes it anew under its old number, with a new
    directory. It would vote twice. Everybody refuses it by its incarnation, it gets no entry and
    serves nobody, and the cluster goes on without that site. Under a new number it takes the old
    one's place, with everything in it."""
    name, answers = "wiped-node", "a wiped node votes (TigerBeetle #2996)"

    def timeline(self, context):
        sites = context.sites
        sites.lead_at("A")
        victim, = sites.data("B")
        context.wait_answers(40)
        with context.during(WipedDisk("node-%d" % victim.node_id)):
            asks.says(context, "the others refuse it", context.leader(),
                      ("peer_refused", "is incarnation"))
            context.wait_answers(20, site="A")
            told = asks.status_of(victim)
            context.expect("a wiped node takes no part",
                           not told.get("ready") and told.get("index", {}).get("commit", 0) == 0,
                           "node %d: ready %s, index %s" % (victim.node_id, told.get("ready"),
                                                            told.get("index")))
            context.give_up(victim, "its disk was lost")
        replace(context, victim, "a wiped node is replaced")
        context.wait_answers(40)


class CopiedDirectory(Scenario):
    """Somebody copies a node's directory to another machine and starts both. The second process is
    refused for as long as the first lives, leads nothing and changes nothing; the first goes on."""
    name, answers = "copied-directory", "a wiped node votes (TigerBeetle #2996)"
    network = "relay"           # the copy needs an address of its own beside the original's

    def timeline(self, context):
        sites = context.sites
        sites.lead_at("A")
        first, = sites.data("B")
        context.wait_answers(30)
        context.kill([first])
        second = Member(sites, first.node_id, first.site, first.kind,
                        os.path.join(context.scratch, "copied"))
        shutil.copytree(first.data, second.data)
        context.start(first)
        context.until(lambda: asks.status_of(first).get("ready"), "node %d" % first.node_id)
        second.spawn()
        context.at_end(second.close)
        context.pauses.undisturbed("a second process of node %d disturbs nobody" % first.node_id)
        try:
            context.expect("the second process is refused", context.until(
                lambda: any("another process with the id" in m.log_text() for m in sites.members),
                "somebody to refuse the copy", 20), "said by a member")
            context.wait_answers(40)
            told = asks.status_of(second)
            context.expect("the copy takes no part", told.get("role") != "leader",
                           "its role is %s" % told.get("role"))
            refused = asks.write(second, 2)
            context.expect("the copy takes no write", not asks.ok(refused), repr(refused))
        finally:
            second.kill()
        context.wait_answers(30)
