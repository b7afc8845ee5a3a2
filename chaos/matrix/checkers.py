"""Which checker speaks in a violation of the simulator.

The simulator has one way to say that something is broken: a sentence. Its checkers are told apart
by their words here, so that the matrix can say who saw a bug. The order counts: the first match is
the one. A sentence that nobody here knows is "other", never lost.
"""
import re

SIMULATOR = (
    ("process", "a broken invariant, a crash, a sanitizer",
     r"the process died"),
    ("node", "a node that stops itself or refuses its files, for no reason of the world",
     r"fail-stop without a reason|refuses to start|a job hangs|node_init|cannot read \d"),
    ("leaders", "one leader a term",
     r"two leaders in term"),
    ("damage", "a disk that does not keep what it was given is found, and named",
     r"over a damaged disk|all disks are from the past"),
    ("both sites", "commit implies both sites under SYNC",
     r"commit does not imply both sites|but synced only|no witness has synced|"
     r"leads and has committed \d+, which"),
    ("degrade", "degraded only with the witness",
     r"degraded before the witness holds it"),
    ("witness", "the witness is not ahead of a site, keeps what one lacks, notes what is committed",
     r"the witness is ahead|the witness keeps too little|the witness notes too much"),
    ("mode", "mode, policy and their numbers are those of the log",
     r"(durability|policy|return|degrade|release) entry|says mode|before it has caught up|was committed "
     r"under policy|was committed in mode"),
    ("both", "what is told to be on both sites is",
     r"is on both sites, and nobody"),
    ("certificate", "a certificate claims nothing too much",
     r"the certificate claims|cannot be read for a verdict"),
    ("replicas", "equal states and chains at equal indexes, nothing goes back",
     r"digests differ|heads differ|another digest|another state|another log|goes back to"),
    ("identity", "one request has one answer and one effect",
     r"was answered|is known at host|was executed and never sent|is fenced, and nobody|"
     r"host \d+ answers [A-Z_]+|results for|STATUS_INVALID|the library tells|too old, and it is not|"
     r"never would be"),
    ("order", "acknowledged before it was sent means a lower index; stamps rise",
     r"was acknowledged already|stamps go back|has stamp"),
    ("reads", "a read sees what was acknowledged before it began",
     r"stale read"),
    ("ledger", "results and balances are those of the model",
     r"the model says|saw account|credits .+, expected|transfers, the log|"
     r"missing or another one|trial balance"),
    ("lost", "what was acknowledged survives the loss of a place",
     r"nobody has the acknowledged|the acknowledged entry|acknowledged before, is not in the "
     r"journal|is at none of the data nodes"),
    ("progress", "everything goes on within a bounded time",
     r"all is well again, and host|is agreed, and has not committed it|"
     r"stuck:|nothing was acknowledged within|does not stand after|spins:|bytes of log in memory|"
     r"cannot be replaced|(a|second) command about a site"),
)
OTHER = "other"


def simulator_checker(sentence):
    for name, _, words in SIMULATOR:
        if re.search(words, sentence):
            return name
    return OTHER
