"""Linearizable: the order of the log is an order that nobody outside can contradict.

Every write took effect at one place of the log, its commit stamp; every read is of the state after one
log index. So no search is needed: given the places, three things have to hold, and together they are
linearizability.
  - Real time: what ended before something else began comes before it in the log (a read of index r
    comes behind everything up to r). For a read of bounded age only what ended that much earlier counts.
  - Reads tell the state of their index: balances as the oracle has them there, transfers that are
    posted up to there and no others.
  - The places are those of the ledger's order (the claim "stamps").
Times are those of CLOCK_MONOTONIC of one machine, noted before a call and after it, so an operation
seems longer than it was: this can miss a violation of some microseconds, and never invents one.
"""
from . import wire
from .findings import Findings

CLAIM = "linearizable"
LAST = 1 << 70      # a read's place in its index: behind every stamp


def operations(history):
    """[(began, ended or None, place, whether it is a read, name)] of whatever has its times."""
    for request in history.executed:
        if request.sent_t is not None:
            _, index, stamp = request.decoded
            yield request.sent_t, request.ended_t, (index, stamp), False, request.nonce
    for read in history.logs.reads:
        if read.index is not None and read.began_t is not None and read.ended_t is not None:
            began = read.began_t - int((read.max_age_ms or 0) * 1e6)
            yield began, read.ended_t, (read.index, LAST), True, read.where


def check_real_time(found, history):
    by_begin = sorted(operations(history), key=lambda op: op[0])
    by_end = sorted((op for op in by_begin if op[1] is not None), key=lambda op: op[1])
    latest, latest_name, latest_end, at = (-1, -1), "", 0, 0
    for began, _, place, is_read, name in by_begin:
        while at < len(by_end) and by_end[at][1] < began:
            if by_end[at][2] > latest:
                _, latest_end, latest, _, latest_name = by_end[at]
            at += 1
        found.checked += 1
        # Two reads may be of one state; a write is behind everything that ended before.
        if place < latest or (place == latest and not is_read):
            found.add("real time", "%s %s at index %d began %.3f ms after %s had ended at index %d",
                      "the read" if is_read else "request", name, place[0],
                      (began - latest_end) / 1e6, latest_name, latest[0], t=began)
    return bool(by_begin)


def posted_indexes(history):
    """id -> index at which it was posted, of the transfers that reads ask for; and those of which
    nobody knows the index."""
    wanted = {id for read in history.logs.reads if read.kind == "read" for id in read.line["ids"]}
    known, unsure = {}, set()
    for id in wanted:
        for request, k in history.sent.get(id, ()):
            if request.decoded is None:
                if not request.refused:
                    unsure.add(id)
            elif k < len(request.decoded[0]) and request.decoded[0][k] == wire.OK:
                known[id] = request.decoded[1]
    return known, unsure


def check_lookups(found, history):
    """Reads of transfers."""
    known, unsure = posted_indexes(history)
    for read in history.logs.reads:
        if read.min_index is not None and read.index is not None:
            found.checked += 1
            if read.index < read.min_index:
                found.add("stale read", "%s: index %d was asked for, node %s answered from %d",
                          read.where, read.min_index, read.node, read.index)
        if read.kind != "read":
            continue
        found.checked += 1
        ids, there = read.line["ids"], set(read.line["found"])
        if read.index is None:
            # Clients of the loops ask for what was acknowledged before, and for nothing else.
            missing = [id for id in ids if id not in there]
        else:
            missing = [id for id in ids if id not in there
                       and known.get(id, LAST) <= read.index]
            early = [id for id in ids if id in there and id not in unsure
                     and known.get(id, LAST) > read.index]
            if early:
                found.add("read differs", "%s: node %s showed at index %d transfer %s, which was "
                          "posted %s", read.where, read.node, read.index, early[0],
                          "at %d" % known[early[0]] if early[0] in known else "by no known request",
                          t=read.ended_t)
        if missing:
            found.add("stale read", "%s: node %s did not show %d of %d acknowledged transfers, e.g. %s",
                      read.where, read.node, len(missing), len(ids), min(missing), t=read.ended_t)


def check(history):
    found = Findings(CLAIM)
    timed = check_real_time(found, history)
    if not timed:
        found.lacks = "no times in the clients' logs: each client's own order only"
    for request in history.executed:
        found.checked += request.floor > 0
        if request.decoded[2] <= request.floor:
            found.add("real time", "request %s has stamp %d, its client had seen %d before it sent it",
                      request.nonce, request.decoded[2], request.floor)
    check_lookups(found, history)
    return found.absorb(history.replay.reads)
