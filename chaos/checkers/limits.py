"""No limit is broken at any point of the commit order.

The ledger's own record is replayed transfer by transfer: after each of them neither account is
beyond its limit. A ledger that let a limit be broken for one transfer and mended it by the next is found.
"""
from .findings import Findings

CLAIM = "limits"


def check(history):
    found = Findings(CLAIM).absorb(history.replay.limits)
    if not found.checked:
        found.lacks = "no transfer of an account with a limit is on record"
    return found
