"""One leader a term: nobody else says that it leads in that term.

Evidence: observations of nodes that lead, certificates (their maker led in their term), and the line
`leader_elected` in nodes' logs. Whom a follower takes for the leader is no evidence: it keeps the name
of the one before until it hears the new one. Two leaders of one term that nobody looked at, and that
logged nothing, are not seen.
"""
from .findings import Findings

CLAIM = "leaders"


def statements(history):
    """(term, node, who said it, when if that is known)"""
    for node, term in history.elections:
        yield term, node, "the log of node %d" % node, None
    for seen in history.observations:
        status = seen.status
        if status is None or not status.get("term"):
            continue
        if status.get("leads"):
            yield status["term"], seen.node, "node %d, which leads" % seen.node, seen.t
        certificate = status.get("certificate")
        if certificate:
            yield (certificate["term"], int(certificate["node"]),
                   "a certificate at node %d" % seen.node, seen.t)


def check(history):
    found = Findings(CLAIM)
    first, told = {}, set()
    for term, node, who, t in statements(history):
        found.checked += 1
        leader, said_by = first.setdefault(term, (node, who))
        if leader != node and (term, node) not in told:
            told.add((term, node))
            found.add("two leaders", "term %d: node %d by %s, node %d by %s", term, leader, said_by,
                      node, who, t=t)
    if not found.checked:
        found.lacks = "no observation, and no election in a log"
    return found
