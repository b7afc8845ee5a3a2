"""Every result is what the oracle says: acceptances, refusals and their reasons, in commit order.

What clients were told and what is on record is compared with a second, slow model of the ledger
(oracle.py) that executes the whole history in the order of its stamps.
"""
from .findings import Findings

CLAIM = "outcomes"


def check(history):
    found = Findings(CLAIM).absorb(history.replay.outcomes)
    if not found.checked:
        found.lacks = "no answered request"
    return found
