"""Money is conserved: debits equal credits at every instant that anybody looked at.

At rest: every account's balances are the sums over its posted transfers, each ledger's debits equal its
credits over its accounts and in its trial balance. On the way: each trial balance that a client read
is balanced, and is what the transfers up to its index add up to.
"""
from .findings import Findings

CLAIM = "money"


def check(history):
    found = Findings(CLAIM).absorb(history.replay.money)
    for read in history.logs.reads:
        if read.kind == "totals":
            found.checked += 1
            line = read.line
            if line["debits"] != line["credits"] or line["balanced"] is not True:
                found.add("not balanced", "%s: node %s said debits %d, credits %d, balanced %s of ledger "
                          "%s", read.where, read.node, line["debits"], line["credits"],
                          line["balanced"], line["ledger"])
    if not found.checked:
        found.lacks = "no exported ledger, and nobody read a trial balance"
    return found
