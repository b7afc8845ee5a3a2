"""Commit implies both sites: what was said to be on both was there, stayed there, and still is at rest.

Promises are held against what nodes say to have synced, without asking the rule:
  - a client was told durability "both-sites" for an entry;
  - a leader under SYNC had committed an entry, or a node or its certificate called one "on both sites".
From the moment of a promise every further look at the data nodes of each site has to find one that has
synced so far, and at rest it has to be in the log, and its transfers in the export, of a data node of
every site. A disk that lost what it had acknowledged shows as a synced index that went back. A node that
the attack itself robbed of its disk proves and disproves nothing until it has caught up again.

Looks come five times a second: what was missing for less than that is not seen.
"""
import bisect

from . import wire
from .export import ID, REFUSED, STAMP, Export
from .findings import Findings

CLAIM = "both-sites"
LOOK_NS = 2_000_000_000     # a look may tell of so long before, where it has no "began"; and a promise
                            # that is seen so shortly after a disk was taken was made before
SOON_NS = 5_000_000_000     # a member that is seen first so soon may be there already


class Node:
    """The newest look at a data node, and what may have been lost with a disk of it."""

    def __init__(self):
        self.began_t, self.synced, self.incarnation = None, 0, None
        self.excused = 0        # promised before its disk was taken away: may have been only there
        self.first_t = self.last_t = None       # of all looks at it


def told_by(seen):
    """[(index, words)] of what an observation says to be on both sites."""
    status = seen.status
    if status.get("leads") and status.get("mode") == status.get("mode_committed") == "sync":
        yield seen.index("commit"), "committed under SYNC by leader %d" % seen.node
    if status.get("both"):
        yield status["both"], "on both sites by node %d" % seen.node
    certificate = status.get("certificate")
    if certificate and certificate.get("both_index"):
        yield certificate["both_index"], "on both sites by a certificate of node %s" % (
            certificate["node"])


class Promises:
    """What had been promised up to a moment: the highest index, and in whose words."""

    def __init__(self, history):
        every = [(request.both_t, request.decoded[1], "on both sites by the answer of request %s"
                  % request.nonce) for request in history.executed if request.both_t]
        for seen in history.observations:
            if seen.status is not None and seen.status.get("rule") == "site":
                every += [(seen.t, index, words) for index, words in told_by(seen)]
        every.sort(key=lambda promise: promise[0])
        self.count = len(every)
        self.times, self.highest = [], []
        for t, index, words in every:
            if not self.highest or index > self.highest[-1][0]:
                self.times.append(t)
                self.highest.append((index, words))

    def before(self, t):
        at = bisect.bisect_left(self.times, t)
        return self.highest[at - 1] if at else (0, "")


def data_nodes(history):
    """site -> {node: Node}"""
    sites, nodes = {}, {}
    for node, (site, kind) in history.members.items():
        if kind == "data":
            nodes[node] = sites.setdefault(site, {})[node] = Node()
    for seen in history.observations:
        if seen.status is not None and seen.node in nodes and seen.index("synced"):
            node = nodes[seen.node]
            node.first_t, node.last_t = node.first_t or seen.t, seen.t
    return sites


def counted(nodes, now):
    """Nodes of a site whose looks decide; [] when somebody may have what nobody looked at yet."""
    looked_at = []
    for node in nodes.values():
        if node.began_t is not None:
            # Whoever lost its disk and is not seen again is no holder of what is promised now.
            if not (node.excused and now > node.last_t):
                looked_at.append(node)
        elif node.first_t is not None and node.first_t - now < SOON_NS:
            return []
    return looked_at


def check_looks(found, history):
    sites, promises = data_nodes(history), Promises(history)
    if len(sites) < 2 or not promises.count:
        return
    damaged, told = sorted(history.damaged, key=lambda fault: fault[0]), set()
    for seen in history.observations:
        site = history.members.get(seen.node, ("", ""))[0]
        node = sites.get(site, {}).get(seen.node)
        if seen.status is None or node is None or not seen.index("synced"):
            continue                # it has no journal open: that tells nothing
        while damaged and damaged[0][0] <= seen.t:
            robbed_t, numbers = damaged.pop(0)
            for nodes in sites.values():
                for number in numbers & set(nodes):
                    nodes[number].excused = promises.before(robbed_t + LOOK_NS)[0]
        incarnation = seen.status.get("incarnation")
        if node.incarnation not in (None, incarnation):
            node.excused = promises.before(seen.t)[0]
        node.incarnation, node.synced = incarnation, seen.index("synced")
        node.began_t = seen.began_t if seen.began_t is not None else seen.t - LOOK_NS
        nodes = counted(sites[site], seen.t)
        if not nodes:
            continue
        # What had been promised before the oldest of the newest looks must be at one of the nodes.
        index, words = promises.before(min(n.began_t for n in nodes))
        best = max(n.synced for n in nodes)
        found.checked += index > 0
        if index > max(best, max(n.excused for n in sites[site].values())) \
                and (site, index) not in told:
            told.add((site, index))
            found.add("not on both sites", "entry %d is %s, and at %d no data node of site %s has synced "
                      "more than %d", index, words, seen.t, site, best, t=seen.t)


def check_rest(found, history):
    """What clients were told to be on both sites, at what is left of each."""
    told = [request for request in history.executed if request.both_t is not None]
    reaches = {}                    # site -> highest entry synced at its data nodes, in the end
    for row in history.heads or ():
        site, kind = history.members.get(int(row["node"]), ("", ""))
        if kind == "data" and (history.at_rest or "synced" in row):
            reaches[site] = max(reaches.get(site, 0), row.get("synced", row["index"]))
    if not history.at_rest and history.logs.unfinished:
        return                      # the load went on: what was promised when, nobody knows
    for site, reach in reaches.items():
        beyond = [request for request in told if request.decoded[1] > reach]
        found.checked += len(told)
        for request in beyond:
            found.add("not at the site", "request %s was answered both-sites at index %d; site %s "
                      "ends at %d", request.nonce, request.decoded[1], site, reach, t=request.both_t)
    if not told or not history.at_rest:
        return
    for site, paths in exports_by_site(history).items():
        best = None
        for path in paths:
            # Exports that are equal to the first, which is the rule, need not be read again.
            export = history.export if path == history.export.path else Export(path)
            missing = [event[0] for request in told for event in missing_of(export, request)]
            if best is None or len(missing) < len(best):
                best = missing
            if not best:
                break
        found.checked += len(told)
        if best:
            found.add("not at the site", "%d transfers answered both-sites are at no data node of site "
                      "%s, e.g. %s", len(best), site, min(best))


def exports_by_site(history):
    sites = {}
    for node, path in history.exports.items():
        site, _ = history.members.get(node, ("", ""))
        if site:
            sites.setdefault(site, []).append(path)
    return sites


def missing_of(export, request):
    """Events of an answered request that are posted and not in this export."""
    results, _, stamp = request.decoded
    if request.method != "CreateTransfers" or len(results) != len(request.events):
        return
    for k, (event, result) in enumerate(zip(request.events, results)):
        if result == wire.OK:
            row = export.by_id.get(event[0])
            if row is None or row[ID] != event[0] or row[STAMP] != stamp + k or row[REFUSED]:
                yield event


def check(history):
    found = Findings(CLAIM)
    check_looks(found, history)
    check_rest(found, history)
    if not found.checked:
        found.lacks = "nobody said that anything is on both sites, or no site was seen"
    return found
