"""Each identity took effect at most once, and its answer is the same for ever, whoever is asked.

Repeats at other nodes, after failovers, and questions about a request all go into one story per
identity: every answer in it is the first one, byte for byte. In the ledger an id is there once, and a
request never meets the effect of an earlier execution of itself.
"""
from . import wire
from .export import ID, STAMP
from .findings import Findings

CLAIM = "identity"


def check(history):
    found = Findings(CLAIM)
    for request in history.requests.values():
        if request.body is not None:
            found.checked += 1 + request.repeats
        for where, body in request.others:
            found.checked += 1
            found.add("repeat differs", "request %s: %s says %s..., the first answer was %s...",
                      request.nonce, where, body[:80], request.body[:80])
    if history.export is None:
        found.lacks = "no exported ledger: answers are compared, effects are not"
        return found
    seen = set()
    for row in history.export.transfers:
        if row[ID] in seen:
            found.add("id twice", "transfer %s", row[ID])
        seen.add(row[ID])
    for request in history.executed:
        if request.method == "CreateTransfers" and wire.EXISTS in request.decoded[0]:
            check_first(found, history, request)
    return found


def check_first(found, history, request):
    """An event that EXISTS was there before; had only this request sent it, it executed before."""
    results, _, stamp = request.decoded
    for event, result in zip(request.events, results):
        if result == wire.EXISTS:
            row = history.export.by_id.get(event[0])
            if row is not None and row[STAMP] < stamp and \
                    all(other is request for other, _ in history.sent[event[0]]):
                found.add("executed twice", "transfer %s of request %s was posted at %d and met again "
                          "at %d", event[0], request.nonce, row[STAMP], stamp)
