"""No acknowledged request is lost, and nothing is there that nobody sent.

Some node's log at rest reaches every index that was ever answered. Every event that a client was told of
is looked up in the exported ledger: posted ones are there
with the same fields and the stamp that the answer gave, refused ones are not, and a refusal that spends
the id of a transfer is on record with its reason. In the other direction everything in the ledger was
sent, by a request that may have executed.
"""
from . import wire
from .export import ID, LEDGER, REFUSED, STAMP
from .findings import Findings

CLAIM = "acknowledged"


def check_transfer(found, export, request, event, result, stamp):
    row = export.by_id.get(event[0])
    mine = row is not None and row[STAMP] == stamp
    same = row is not None and row[ID:STAMP] == event
    if result == wire.OK:
        if row is None:
            found.add("lost", "transfer %s was acknowledged (request %s) and is not in the ledger",
                      event[0], request.nonce, t=request.ended_t)
        elif row[REFUSED] or not same:
            found.add("changed", "transfer %s was acknowledged as %s and is %s", event[0],
                      list(event), list(row), t=request.ended_t)
        elif not mine:
            found.add("changed", "transfer %s was acknowledged with stamp %d and has %d", event[0],
                      stamp, row[STAMP], t=request.ended_t)
    elif mine and not row[REFUSED]:
        found.add("refused but posted", "transfer %s was refused with %d", event[0], result,
                  t=request.ended_t)
    elif result in wire.REFUSED_BY_STATE:
        if not mine or row[REFUSED] != result:
            found.add("refusal lost", "transfer %s was refused with %d, on record is %s", event[0],
                      result, row and list(row), t=request.ended_t)
        elif any(ours not in ("", sent) for ours, sent in zip(row[ID:STAMP], event)):
            found.add("changed", "transfer %s was refused as %s and is on record as %s", event[0],
                      list(event), list(row))
    elif mine:
        found.add("refusal on record", "transfer %s was refused with %d, which spends nothing, and is "
                  "on record", event[0], result)


def check_account(found, export, _, event, result, stamp):
    row = export.accounts.get(event[0])
    if result == wire.OK:
        if row is None:
            found.add("lost", "account %s was acknowledged and is not in the ledger", event[0])
        elif tuple(row[1:5]) != event or row[10] != stamp:
            found.add("changed", "account %s was acknowledged as %s at %d and is %s", event[0],
                      list(event), stamp, row)
    elif row is not None and row[10] == stamp:
        found.add("refused but posted", "account %s was refused with %d", event[0], result)


def check_ledger(found, export, _, event, result, __):
    if result == wire.OK and event[0] not in export.ledgers:
        found.add("lost", "ledger %s was acknowledged and is not there", event[0])


CHECKS = {"CreateTransfers": check_transfer, "CreateAccounts": check_account,
          "CreateLedgers": check_ledger}


def check_answers(found, history):
    for request in history.executed:
        results, _, stamp = request.decoded
        if len(results) != len(request.events):
            found.add("results", "request %s: %d events, %d results", request.nonce,
                      len(request.events), len(results))
            continue
        check_event = CHECKS.get(request.method)
        if check_event and history.export:
            reach = history.reach[request.method != "CreateTransfers"]
            for k, (event, result) in enumerate(zip(request.events, results)):
                if stamp + k <= reach:
                    found.checked += 1
                    check_event(found, history.export, request, event, result, stamp + k)
    for request in history.requests.values():
        if request.unreadable:
            found.add("unreadable answer", "request %s: %s", request.nonce, request.unreadable)


def check_origins(found, history):
    """Everything in the ledger was sent, and by a request that may have executed."""
    sent = history.sent
    for row in history.export.transfers:
        id, stamp = row[ID], row[STAMP]
        origins = [(request, k) for request, k in sent.get(id, ())
                   if row[REFUSED] or request.events[k] == row[ID:STAMP]]
        if row[LEDGER] not in history.known_ledgers:
            continue
        found.checked += 1
        if not origins:
            found.add("invented", "transfer %s: nobody sent %s", id, list(row))
        elif not any(request.decoded is None or request.decoded[2] + k == stamp
                     for request, k in origins):
            found.add("invented", "transfer %s has stamp %d, which no answer gave", id, stamp)
    made = {event[0] for request in history.requests.values()
            if request.method == "CreateAccounts" and not request.refused
            for event in request.events}
    for id, row in history.export.accounts.items():
        if id not in made and id not in history.foreign_accounts \
                and row[2] in history.known_ledgers:
            found.add("invented", "account %s: nobody sent it", id)
    for id in history.export.twice:
        found.add("account twice", "account %s", id)


def check_reach(found, history):
    """Some node has the log as far as anybody was answered."""
    reach = max(row["index"] for row in history.heads)
    for request in history.executed:
        found.checked += 1
        if request.decoded[1] > reach:
            found.add("lost", "request %s was answered at index %d; all logs end at %d", request.nonce,
                      request.decoded[1], reach, t=request.ended_t)


def check(history):
    found = Findings(CLAIM)
    check_answers(found, history)
    if history.heads and history.at_rest:
        check_reach(found, history)
    if history.export:
        check_origins(found, history)
        if not history.at_rest:
            found.lacks = "exported under load: only a beginning of the ledger is compared"
    else:
        found.lacks = "no exported ledger"
    return found
