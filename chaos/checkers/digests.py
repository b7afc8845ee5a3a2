"""Equal index, equal state: digests of all data nodes, at every index at which any two were seen.

Evidence: digest and applied index in each observation, the digest that a node noted at the last multiple
of its interval, trial balances that clients read, the nodes at rest, and the exports of all data
nodes, which have to be equal byte by byte where all nodes came to rest at one index. A state that was wrong
only between two looks is not seen.
"""
from .export import first_difference
from .findings import Findings

CLAIM = "digests"


class Meeting:
    """Values by index; two different ones at one index are a violation."""

    def __init__(self, found, kind, what):
        self.found, self.kind, self.what = found, kind, what
        self.first = {}             # index -> (value, who said it)
        self.compared = 0

    def say(self, index, value, who):
        if not index or not value or not value.strip("0"):
            return
        value_of_first, first = self.first.setdefault(index, (value, who))
        if first != who:
            self.compared += 1
        if value_of_first != value:
            self.found.add(self.kind, "%s at index %d: %s at %s, %s at %s", self.what, index,
                           value_of_first, first, value, who)


def check_rest(found, heads):
    """The nodes at rest: one index, one digest, one head."""
    for key in ("index", "digest"):
        values = {}
        for row in heads:
            if row[key] is not None:
                values.setdefault(row[key], []).append(row["node"])
        if len(values) != 1:
            found.add("nodes differ", "%s at rest: %s", key, ", ".join(
                "%s at nodes %s" % item for item in values.items()) or "none")
        found.checked += sum(map(len, values.values())) - 1 if values else 0


def check(history):
    found = Findings(CLAIM)
    meeting = Meeting(found, "digests differ", "digest")
    for seen in history.observations:
        if seen.status is None or seen.status.get("kind") == "witness":
            continue
        who = "node %d" % seen.node
        meeting.say(seen.index("applied"), seen.status.get("digest"), who)
        noted = seen.status.get("digest_at") or {}
        meeting.say(noted.get("index"), noted.get("digest"), who)
    for read in history.logs.reads:
        if read.kind == "totals" and read.index is not None:
            meeting.say(read.index, read.line.get("digest"), "%s (node %s)" % (read.where, read.node))
    if history.heads is not None and history.at_rest:
        check_rest(found, history.heads)
        for row in history.heads:
            if row["digest"] is not None:
                meeting.say(row["index"], row["digest"], "node %s at rest" % row["node"])
    found.checked += meeting.compared
    paths = list(history.exports.values())
    for path in paths[1:] if history.at_rest else ():
        found.checked += 1
        difference = first_difference(paths[0], path)
        if difference:
            number, one, two = difference
            found.add("nodes differ", "line %d is %r in %s and %r in %s", number,
                      (one or b"missing")[:200], paths[0], (two or b"missing")[:200], path)
    if not found.checked:
        found.lacks = "no two nodes were seen at one index"
    return found
