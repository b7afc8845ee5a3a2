"""A certificate never claims too much.

A certificate says: as of T everything acknowledged has an index of at most N, entry N is committed, the
chain head there is H, and so much is on both sites. Every certificate that any node showed is held
against
  - the clients: no answer that had arrived by T names an index above N;
  - its maker: a leader that shows its own certificate has committed N in the same look;
  - the log: N is not beyond what the nodes have at rest, and at N every other head that was seen is H
    (also the claim "chains");
  - the other certificates: one (term, sequence) is one certificate; within a term N never goes back; what
    it calls on both sites is at most N.
Needs both clocks of meta.json to compare T with clients' times. T is by the nodes' wall clocks: while
the attack has set one of them, T is not held against the clients.
"""
from .findings import Findings

CLAIM = "certificates"
CLOCK_NS = 2_000_000        # T and clients' times come from two clocks, read together twice in a run
AFTER_CLOCK_NS = 5_000_000_000      # certificates of the moved clock may still be the newest


def distinct(history, found):
    """Certificates by (epoch, term, sequence), each with the first look that showed it."""
    every = {}
    for seen in history.observations:
        certificate = seen.status.get("certificate") if seen.status is not None else None
        if not certificate:
            continue
        if seen.status.get("leads") and int(certificate["node"]) == seen.node \
                and certificate["term"] == seen.status.get("term"):
            found.checked += 1
            if certificate["index"] > seen.index("commit"):
                found.add("not committed", "node %d leads, has committed %d, and its certificate names "
                          "entry %d", seen.node, seen.index("commit"), certificate["index"], t=seen.t)
        key = (seen.status.get("epoch", 0), certificate["term"], certificate["sequence"])
        first, _ = every.setdefault(key, (certificate, seen))
        if any(first.get(name) != certificate.get(name)
               for name in ("node", "index", "head", "time_ns", "both_index")):
            found.add("two certificates", "term %s sequence %s: index %s head %s at node %d, index %s "
                      "head %s before", key[1], key[2], certificate["index"], certificate["head"], seen.node,
                      first["index"], first["head"], t=seen.t)
        if (certificate.get("both_index") or 0) > certificate["index"]:
            found.add("both beyond it", "term %s sequence %s: both sites have %s, and its index is %s",
                      key[1], key[2], certificate["both_index"], certificate["index"], t=seen.t)
    return [every[key] + (key,) for key in sorted(every)]


def check_order(found, certificates):
    before, before_key = None, None
    for certificate, _, key in certificates:
        if before is not None and before_key[:2] == key[:2] and certificate["index"] < before["index"]:
            found.add("went back", "term %s: sequence %s names entry %s, sequence %s entry %s", key[1],
                      before_key[2], before["index"], key[2], certificate["index"])
        before, before_key = certificate, key


def check_rest(found, history, certificates):
    """Entry N has to be in the log at rest, and its head the one that others saw there."""
    if history.heads is not None and history.at_rest:
        end = max(row["index"] for row in history.heads)
        for certificate, seen, key in certificates:
            found.checked += 1
            if certificate["index"] > end:
                found.add("beyond the log", "term %s sequence %s at node %d names entry %s; the log ends "
                          "at %d", key[1], key[2], seen.node, certificate["index"], end, t=seen.t)
    heads = {row["index"]: (row["head"], "node %s at rest" % row["node"])
             for row in (history.heads or () if history.at_rest else ())}
    for seen in history.observations:
        if seen.status is not None and seen.head and seen.index("synced") <= seen.index("commit"):
            heads.setdefault(seen.index("synced"), (seen.head, "node %d" % seen.node))
    for certificate, seen, key in certificates:
        other = heads.get(certificate["index"])
        if other:
            found.checked += 1
            if other[0] != certificate["head"]:
                found.add("wrong head", "term %s sequence %s names head %s at entry %s; %s has %s",
                          key[1], key[2], certificate["head"], certificate["index"], other[1], other[0],
                          t=seen.t)


def clocks_moved(history):
    """[(from, to)] while the attack had some node's clock set."""
    windows = []
    for event in history.events:
        if "clock" in str(event.get("kind", "")):
            if event.get("what") == "fault-begin":
                windows.append([event["t"], float("inf")])
            elif event.get("what") == "fault-end":
                for window in windows:
                    window[1] = min(window[1], event["t"] + AFTER_CLOCK_NS)
    return windows


def check_clients(found, history, certificates):
    """Everything that had been answered by T is at or below N."""
    mono_of_wall = history.mono_of_wall
    if mono_of_wall is None:
        found.lacks = "meta.json tells no clocks: times of certificates are not compared"
        return
    acknowledged = sorted((request.ended_t, request.decoded[1], request.nonce)
                          for request in history.executed if request.ended_t is not None)
    moved = clocks_moved(history)
    ordered = []
    for certificate, seen, key in certificates:
        t = mono_of_wall(int(certificate["time_ns"])) - CLOCK_NS
        if any(begin <= seen.t <= end for begin, end in moved):
            continue            # T may be by a clock that was set: it is that clock's claim
        ordered.append((t, certificate["index"], key, seen.node))
    ordered.sort()
    at, highest, name = 0, 0, ""
    for t, index, key, node in ordered:
        while at < len(acknowledged) and acknowledged[at][0] <= t:
            if acknowledged[at][1] > highest:
                _, highest, name = acknowledged[at]
            at += 1
        found.checked += 1
        if highest > index:
            found.add("claims too much", "term %s sequence %s, seen at node %d, says that all "
                      "acknowledged by its time is at or below entry %d; request %s had been answered at entry %d",
                      key[1], key[2], node, index, name, highest, t=t)


def check(history):
    found = Findings(CLAIM)
    certificates = distinct(history, found)
    if not certificates:
        found.lacks = "no certificate was seen"
        return found
    check_order(found, certificates)
    check_rest(found, history, certificates)
    check_clients(found, history, certificates)
    return found
