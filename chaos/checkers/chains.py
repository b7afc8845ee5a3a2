"""Equal index, equal past: the journals' chain heads agree wherever two were seen at one index.

Evidence: heads of nodes at rest, heads in observations (of the newest synced entry: only those at or
below what the same look called committed, since a tail may be cut off rightly), and the heads that
certificates name. The witness has no state but has a chain.
"""
from .digests import Meeting
from .findings import Findings

CLAIM = "chains"


def check(history):
    found = Findings(CLAIM)
    meeting = Meeting(found, "heads differ", "chain head")
    for seen in history.observations:
        if seen.status is None:
            continue
        if seen.head and seen.index("synced") <= seen.index("commit"):
            meeting.say(seen.index("synced"), seen.head, "node %d" % seen.node)
        certificate = seen.status.get("certificate")
        if certificate:
            meeting.say(certificate["index"], certificate["head"], "the certificate %s.%s of node %s" % (
                certificate["term"], certificate["sequence"], certificate["node"]))
    if history.heads is not None and history.at_rest:
        values = {}
        for row in history.heads:
            values.setdefault(row["head"], []).append(row["node"])
            meeting.say(row["index"], row["head"], "node %s at rest" % row["node"])
        found.checked += len(history.heads) - 1
        if len(values) != 1:
            found.add("nodes differ", "chain heads at rest: %s", ", ".join(
                "%s at nodes %s" % item for item in values.items()))
    found.checked += meeting.compared
    if not found.checked:
        found.lacks = "no two chain heads were seen at one index"
    return found
