"""What was unknown is resolved, to one final word that never changes again.

A call that ended without an answer says nothing about the outcome. Whatever is said later - by a
repeat, by GetRequest, by FenceRequest - must agree: once executed always executed, a fenced request
has no effect, what was final is never "not yet seen" again.

The observer knows the nodes that there were at the begin. When all of a site have been replaced (its
name is in meta.json, "unwatched") nobody is left whom its canaries of that site could ask.
"""
import os

from .export import ID, REFUSED
from .findings import Findings

CLAIM = "unknown"


def check(history):
    found = Findings(CLAIM)
    unwatched = history.canaries_at(history.meta.get("unwatched", ()))
    for request in history.requests.values():
        found.checked += request.not_in_log or request.fenced
        if request.open and request.client not in unwatched:
            found.add("outcome unknown", "request %s of %s has no final answer", request.nonce,
                      os.path.basename(request.client))
        if len(request.outcomes) > 1:
            found.add("outcome changed", "request %s was first %s, then %s", request.nonce,
                      request.outcomes[0], ", ".join(request.outcomes[1:]))
        if request.unseen:
            found.add("outcome lost", "request %s was final and is not seen any more (%s)",
                      request.nonce, request.unseen)
        if "REQUEST_FENCED" in request.outcomes and not request.fenced:
            found.add("fenced by nobody", "request %s", request.nonce)
    if history.export is None:
        found.lacks = "no exported ledger: words are compared, effects are not"
        return found
    for row in history.export.transfers:
        # Whoever sent this id was refused as a whole, every time.
        origins = history.sent.get(row[ID], ())
        if origins and all(request.refused for request, _ in origins):
            found.add("refused but posted", "transfer %s is %s: its request %s was %s", row[ID],
                      "on record" if row[REFUSED] else "posted", origins[0][0].nonce,
                      origins[0][0].refused)
    accounts = [request for request in history.requests.values()
                if request.method == "CreateAccounts"]
    made = {event[0] for request in accounts if not request.refused for event in request.events}
    for request in accounts:
        for event in request.events if request.refused else ():
            if event[0] in history.export.accounts and event[0] not in made:
                found.add("refused but posted", "account %s is there: its request %s was %s",
                          event[0], request.nonce, request.refused)
    return found
