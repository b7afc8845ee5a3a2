"""How long clients may wait while one thing is wrong and everything else is well: the times that
docs/guarantees.md promises, as windows of a run that the checkers hold it to (claim `pauses`).

    {"from": ns, "to": ns, "sites": ["B"], "ms": 6000, "why": "..."}    in meta.json, bounds.pauses

In that window the longest pause of one of these sites' clients is at most so long. A window is opened
by a fault that the table of times knows, when nothing else is under way, every node is ready, the mode
is SYNC and the leader itself says that the site that is struck may be lost now (`survives_loss`);
everybody at the other site is to be served. It goes on behind the fault's end, since nobody has to
wait for a node that comes back, up to whatever is done next. What is no single loss (the power of
all, full disks, storms of faults) promises no time, and opens none.

The times are those of a machine that does what the table assumes. Tests run beside other tests: they
allow three times as long, and never less than an election takes on a machine that has little time for
it; stalls of the machine widen that (pulse.py).
"""
import time

LEADERS_SITE_MS, OTHER_SITE_MS, LINK_MS, WITNESS_MS, UNDISTURBED_MS = 2000, 1500, 2000, 100, 100
SLACK, LEAST_MS = 3, 2000
LOOK_SECONDS = 1.0          # for a node to say how it is
# Faults that take a node away for all others, by silence or by death, and do nothing else.
LOSSES = ("kill", "site-loss", "pause", "isolate", "power-loss", "wiped-disk", "roll-back", "bit-rot",
          "certificate-revoked", "failing-sync", "failing-writes", "die-in-write")


def allowed(ms):
    return max(LEAST_MS, SLACK * ms)


def leader_of_a_well_cluster(context):
    """(leader, what it says), when everybody is up, equal in what they say, and under SYNC; or None."""
    sites = context.sites
    if context.open or context.held or any(m.node_id in context.down for m in sites.members):
        return None
    told = {m: m.brief(LOOK_SECONDS) for m in sites.members}
    if not all(status and status.get("ready") for status in told.values()):
        return None
    leaders = [(m, status) for m, status in told.items() if status.get("role") == "leader"]
    if len(leaders) != 1 or not leaders[0][0].is_data:
        return None
    status = leaders[0][1]
    return leaders[0] if status.get("mode") == status.get("mode_committed") == "sync" else None


def promises(fault, leader, status, sites):
    """[(sites of which one has to be served, ms, why)] while this fault lasts."""
    places = sorted({m.site for m in sites.data()})
    struck = [m for m in sites.members if m.node_id in fault.nodes()]
    lost = {m.site for m in struck}
    if fault.name == "sites-cut":
        # Whoever of the two has the witness goes on; who that is turns out.
        return [(places, LINK_MS, "the link between the sites is lost")] if (
            fault.parameters.get("way", "both") == "both") else []
    if fault.name not in LOSSES or len(lost) != 1:
        return []
    site = lost.pop()
    if site not in places:
        return [([place], WITNESS_MS, "the witness is lost") for place in places]
    if not (status.get("survives_loss") or {}).get(site):
        return []
    ms, who = (LEADERS_SITE_MS, "leader's") if leader in struck else (OTHER_SITE_MS, "other")
    return [([place], ms, "of the %s site node %s is lost (%s)" % (
        who, ", ".join(str(m.node_id) for m in struck), fault.name)) for place in places if place != site]


class Pauses:
    """The windows of a run."""

    def __init__(self, context):
        self.context, self.windows, self.open = context, [], []
        self.killed = set()             # ids, since look()
        self.asked = None               # ids that the observer asks for ever, by the engine; None: all

    def witnessed(self, places):
        """Whether somebody asks at each of these sites: the observer knows the first nodes only."""
        there = {m.site for m in self.context.sites.data() if self.asked is None or m.node_id in self.asked}
        return set(places) <= there

    def unwatched(self):
        """Sites whose nodes, as the observer knows them, are all there no more: its canaries there have
        nobody to ask, not even about what became of them."""
        if self.asked is None:
            return set()
        members = self.context.sites.data()
        return {m.site for m in members} - {m.site for m in members if m.node_id in self.asked}

    def look(self):
        """Before a fault begins: what promises() wants to know, None when nothing is promised."""
        self.killed = set()
        return leader_of_a_well_cluster(self.context)

    def struck(self, fault, t, seen):
        """It began at t, when look() had said so."""
        if seen and self.killed <= set(fault.nodes()):
            self.open += [{"from": t, "sites": list(places), "ms": allowed(ms), "why": why}
                          for places, ms, why in promises(fault, *seen, self.context.sites)
                          if self.witnessed(places)]

    def close(self, t=None, killed=()):
        """Something else is done now: up to here."""
        self.killed.update(killed)
        t = time.monotonic_ns() if t is None else t
        self.windows += [dict(window, to=t) for window in self.open]
        self.open = []

    def undisturbed(self, why):
        """From now on up to whatever is done next nobody waits, at either site."""
        t = time.monotonic_ns()
        self.close(t)
        self.open = [{"from": t, "sites": [place], "ms": allowed(UNDISTURBED_MS), "why": why}
                     for place in sorted({m.site for m in self.context.sites.data()})
                     if self.witnessed([place])]
