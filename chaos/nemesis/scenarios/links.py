"""Links between sites and witness that fail in the ways that broke others. Clients reach every node all
the while, so that whoever is cut off is asked for what he must not promise."""
import statistics
import time

from nemesis import asks
from nemesis.faults.network import (Flapping, Isolate, Lossy, Narrow, OneWay, Resets, SitesCut,
                                    SlowLink)
from nemesis.faults.process import Kill, SiteLoss
from nemesis.scenario import Scenario

SERVE_SECONDS = 90          # bound on "goes on"; how fast it is has a program of its own
STALL_MS, SLOW_MS = 200, 100    # what is lost comes so much later (tests/e2e/proxy.py)
NARROW_BYTES, FELT_SECONDS, USUAL = 16 << 10, 20, 5


def not_reached(*sites):
    """The words of a refusal that names whom the node misses."""
    return tuple("site %s is not reached" % site for site in sites)


def acknowledged(members):
    """How far each says that the log is agreed on."""
    return [asks.status_of(m).get("index", {}).get("commit") for m in members]


class LinkCut(Scenario):
    """The link between the sites is cut while both see the witness. One side goes on after about a
    second, degraded, with the witness's voice; the other refuses writes and newest reads and says whom
    it misses; terms do not keep rising. When the link is back so is SYNC, and both have everything."""
    name = "link-cut"
    answers = "the link between the sites cut while both see the witness"
    shares, bends = True, True

    def timeline(self, context):
        sites = context.sites
        with context.during(SitesCut("sites", way="both")):
            told = asks.mode_is(context, "degraded", SERVE_SECONDS)
            if not context.expect("one side degrades", told, "the leader's mode is degraded"):
                return
            side = sites.wait_leader()
            lost = [m for m in sites.data() if m.site != side.site]
            asks.serves(context, "one side serves", side, SERVE_SECONDS)
            term = asks.status_of(side).get("term", 0)
            for member in lost:
                asks.refuses(context, "the other side refuses", member, not_reached(side.site))
            context.wait_answers(25, site=side.site)
            context.wait(3)
            rose = asks.status_of(sites.wait_leader()).get("term", 0) - term
            context.expect("terms do not keep rising", rose <= 4, "%d further terms in 3 s" % rose,
                           timed=True)
        context.expect("SYNC comes back", asks.mode_is(context, "sync", 60), "after the cut")
        context.wait_answers(30)


class OneWayCuts(Scenario):
    """Each node in turn is not heard, then does not hear, while the other way works. Whoever believes
    to lead and is not heard by a majority, or does not hear one, acknowledges nothing; service goes
    on or comes back each time."""
    name, answers = "one-way-cuts", "one-way cuts"
    bends, long = True, True

    def timeline(self, context):
        for whom in ("leader", "leader", "follower", "witness"):
            for way in ("out", "in"):
                with context.during(OneWay(whom, way=way)) as cut:
                    context.wait(1.2)           # longer than an election takes to begin
                    if cut:
                        self.felt(context, cut)
                    context.wait_answers(15, SERVE_SECONDS)
        context.wait_answers(30)

    @staticmethod
    def felt(context, cut):
        """Who led and is cut off leads no longer; anybody else is missed by one, or misses one."""
        struck, = cut.struck

        def missed():
            return any(not row.get("linked", True) for member in context.sites.members
                       for row in asks.status_of(member).get("members", ())
                       if struck.node_id in (member.node_id, row.get("node")))

        def replaced():
            return context.sites.leader_now() not in (None, struck)
        leads = cut.whom == "leader"
        context.expect("a one-way cut is felt", context.until(
            replaced if leads else missed, "node %d to be missed" % struck.node_id, SERVE_SECONDS),
                       "%s: %s" % (cut.describe(),
                                   "another one leads" if leads else "it is missed"))


class FlappingLink(Scenario):
    """The link between the sites goes and comes, at first faster than anything is noticed, then just
    slowly enough that the site is given up each time. A bounded number of changes of mode, every
    request ends, nothing is lost; after the last one SYNC comes back."""
    name, answers = "flapping-link", "flapping links"
    bends, long = True, True

    def timeline(self, context):
        number = asks.status_of(context.sites.wait_leader()).get("number", 0)
        began = time.monotonic()
        with context.during(Flapping("sites", down=0.25, up=0.25)):
            context.wait(5)
        with context.during(Flapping("sites", down=1.6, up=0.9)):
            context.wait(12)
        context.wait_answers(50)
        changes = asks.status_of(context.sites.wait_leader()).get("number", 0) - number
        context.expect("the site is given up", changes >= 1, "%d changes of mode" % changes)
        # Dwells allow no more than one way and back in four seconds.
        seconds = time.monotonic() - began
        context.expect("changes of mode are bounded", changes <= 2 * (seconds / 4 + 1),
                       "%d in %.1f s" % (changes, seconds))
        context.expect("SYNC comes back", asks.mode_is(context, "sync", 60), "after the flapping")


class LeaderCutOff(Scenario):
    """The leader is cut off from everybody but its clients, and believes for a moment that it leads.
    The others elect another one. The old one acknowledges nothing that they do not have, serves no
    newest read from the past, in no moment there are two leaders of one term."""
    name, answers = "leader-cut-off", "two leaders in one term, stale read (raft #386)"
    bends, long = True, True

    def timeline(self, context):
        for _ in range(2):
            old = context.sites.wait_leader()
            with context.during(Isolate("node-%d" % old.node_id)):
                rest = [m for m in context.sites.members if m is not old]
                new = context.sites.wait_leader(rest)
                context.expect("another one leads", new is not old, "node %d" % new.node_id)
                asks.serves(context, "the others serve", new, SERVE_SECONDS)
                asks.refuses(context, "who is cut off refuses", old, not_reached(new.site, "C"))
                context.wait_answers(15, site=new.site)
            context.wait_answers(30)


class WitnessThenSite(Scenario):
    """The witness is lost, which nobody notices; then a site is lost as well. With one voter of three
    left nothing is acknowledged and nothing false is answered: it says that it has no majority. As
    soon as one of the two is back service goes on, and nothing acknowledged is missing."""
    name, answers = "witness-then-site", "the witness lost, then a site"
    shares = True

    def timeline(self, context):
        sites = context.sites
        with context.during(Kill("witness")):
            context.wait_answers(40, SERVE_SECONDS)
            def may_be_lost():
                return asks.status_of(sites.wait_leader()).get("survives_loss", {})
            context.expect("it is known what may not be lost now", context.until(
                lambda: may_be_lost().get("A") is False and may_be_lost().get("B") is False,
                "the leader to know it", 20), repr(may_be_lost()))
            with context.during(SiteLoss("leader-site")):
                left = [m for m in sites.data() if m.alive]
                context.wait(1)
                for member in left:
                    asks.refuses(context, "no majority, no answer", member, not_reached("C"))
                before = acknowledged(left)
                context.wait(1.5)
                context.expect("nothing is agreed on", acknowledged(left) == before, "the commit "
                               "indexes are %s, and were %s" % (acknowledged(left), before))
            context.wait_answers(60, SERVE_SECONDS)
        context.wait_answers(30)


class DegradeThenPrimaryDies(Scenario):
    """One site is lost, the cluster degrades and goes on at the other; then that one is lost as well, in
    the middle of its work, and the first comes back alone, without what was acknowledged meanwhile.
    With the witness, which holds the journal, it may go on only with all of it: the witness leads for
    as long as it takes to hand it over. Nothing acknowledged is missing."""
    name, answers = "degrade-then-primary-dies", "degrade and then the primary dies"
    shares = True

    def timeline(self, context):
        with context.during(SiteLoss("other-site")):
            context.expect("it degrades", asks.mode_is(context, "degraded", SERVE_SECONDS), "by policy")
            context.wait_answers(60, SERVE_SECONDS)
            had = asks.status_of(context.sites.wait_leader()).get("index", {}).get("commit", 0)
            primary = SiteLoss("leader-site")
            context.begin(primary)
            context.wait(0.5)
        # The first site is back now, and the one that worked meanwhile is not.
        leader = context.sites.wait_leader()
        asks.serves(context, "the old site serves, with everything", leader, SERVE_SECONDS)
        told = []

        def read():
            told[:] = [asks.read(leader)]
            return asks.ok(told[0])
        shown = context.until(read, "a read", SERVE_SECONDS) and int(
            told[0].trailers["tally-index"])
        context.expect("with what was agreed on without it", shown and 0 < had <= shown,
                       "agreed on was %s: %r" % (had, told))
        context.wait_answers(40, SERVE_SECONDS)
        context.end(primary)
        context.expect("SYNC comes back", asks.mode_is(context, "sync", 60), "with both sites")
        context.wait_answers(30)


class BadLinks(Scenario):
    """The link between the sites loses a third of what it is given, then takes its time for all of
    it, then carries next to nothing, under load; then connections between all nodes are reset,
    again and again. What both sites have to have takes as long as such a link takes, or the site is
    given up; clients are answered all the while, and SYNC comes back each time."""
    name, answers = "bad-links", "slow, lossy and narrow links, resets (no entry of its own)"
    network = "relay"                   # the kernel's delays nothing
    bends, long = True, True

    def timeline(self, context):
        for fault, slower_ms in ((Lossy("sites", percent=33), STALL_MS),
                                 (SlowLink("sites", ms=SLOW_MS), 2 * SLOW_MS),
                                 (Narrow("sites", bytes_per_s=NARROW_BYTES), STALL_MS)):
            context.expect("SYNC comes back", asks.mode_is(context, "sync", 60),
                           "before " + fault.name)
            # What a write takes here and now without the fault is no trace of it.
            slow_ms = slower_ms + statistics.median(self.write(context)[1] for _ in range(USUAL))
            with context.during(fault):
                felt = context.until(lambda: self.felt(context, slow_ms), fault.name, FELT_SECONDS)
                context.attack("a bad link is felt", felt, "%s: %s" % (fault.describe(), felt))
                context.wait_answers(20, SERVE_SECONDS)
        context.expect("SYNC comes back", asks.mode_is(context, "sync", 60), "before resets")
        broke = {m: broken_links(m) for m in context.sites.members}
        with context.during(Resets("all")):
            context.wait(1)
        context.attack("connections were reset", all(
            broken_links(m) > broke[m] for m in broke), "of each node: %s" % [
                broken_links(m) - broke[m] for m in broke])
        context.wait_answers(20, SERVE_SECONDS)
        context.expect("SYNC comes back", asks.mode_is(context, "sync", 60), "after all of it")

    @staticmethod
    def write(context):
        """(which sites have it, or why it was refused; how many ms it took)"""
        leader = context.sites.wait_leader()
        began = time.monotonic()
        told = asks.write(leader)
        took_ms = (time.monotonic() - began) * 1000
        return told.trailers.get("tally-durability") if asks.ok(told) else told.code.name, took_ms

    def felt(self, context, slow_ms):
        """In words: a write that both sites have took so long, or one site has to do."""
        had_by, took_ms = self.write(context)
        if had_by != "both-sites" or took_ms >= slow_ms:
            return "%s after %d ms, slow is %d" % (had_by, took_ms, slow_ms)
        return None


def broken_links(member):
    return member.log_text().count("event=peer_down")
