"""Commit stamps strictly increase in commit order: on record, and in what clients were told.

The order of the ledger is its sequence, without a gap. Answers name a log index and a stamp: sorted by
stamp their indexes never go down, and no two requests share a stamp.
"""
from .export import ID, SEQUENCE, STAMP
from .findings import Findings

CLAIM = "stamps"


def check(history):
    found = Findings(CLAIM)
    if history.export is not None:
        previous = -1
        for place, row in enumerate(history.export.transfers):
            found.checked += 1
            if row[SEQUENCE] != place:
                found.add("sequence", "transfer %s at place %d has sequence %d", row[ID], place,
                          row[SEQUENCE])
            if row[STAMP] <= previous:
                found.add("stamps", "transfer %s has stamp %d after %d", row[ID], row[STAMP], previous)
            previous = row[STAMP]
    else:
        found.lacks = "no exported ledger: answers are compared, records are not"
    before = None
    for request in history.executed:
        _, index, stamp = request.decoded
        if before is not None:
            found.checked += 1
            _, before_index, before_stamp = before.decoded
            if before_index > index or before_stamp + len(before.events) > stamp:
                found.add("stamps", "requests %s (index %d, stamp %d) and %s (index %d, stamp %d) overlap "
                          "or cross", before.nonce, before_index, before_stamp, request.nonce, index,
                          stamp)
        before = request
    return found
