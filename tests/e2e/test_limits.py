"""Work in flight is bounded per principal; what is refused was not done and says when to retry."""
import signal
import time

from client import account, ledger, transfer

A, B = (n.to_bytes(16, "big") for n in (1, 2))
CAP = 3


# 60 requests of a principal that may have 3 in flight arrive at once (the node is held with SIGSTOP
# while they are sent): some are refused with RESOURCE_EXHAUSTED, and of these none is in the log.
# Another principal is not disturbed, and the cap is free again afterwards.
def test_in_flight_cap(t):
    node = t.fresh_node()
    business = node.api("business")
    t.equal(business.create_ledgers([ledger(1)]), [0])
    t.equal(business.create_accounts([account(A), account(B)]), [0, 0])
    site = node.api("site")
    row = {"uri": "tally://test/channel", "name": "channel", "role": "CHANNEL",
           "in_flight_max": CAP}
    t.equal(list(site.write("SetPrincipals", "principals", [row]).results), [0])

    channel, other = node.api("channel"), node.api("other")
    t.equal(channel.create_transfers([transfer(A, B, 1)]), [0])
    t.equal(other.create_transfers([transfer(A, B, 1)]), [0])
    identities = [channel.identity() for _ in range(60)]
    bodies = [channel.write_body("CreateTransfers", "transfers", [transfer(A, B, 1)], i)
              for i in identities]
    node.signal(signal.SIGSTOP)
    try:
        calls = [channel.start("CreateTransfers", body) for body in bodies]
        theirs = [other.start("CreateTransfers", other.write_body(
            "CreateTransfers", "transfers", [transfer(A, B, 1)])) for _ in range(20)]
        time.sleep(3)       # they are on their way, also if the machine stands still meanwhile
    finally:
        node.signal(signal.SIGCONT)
    answers = [channel.outcome(c) for c in calls]
    refused = [i for i, a in enumerate(answers) if a.code.name != "OK"]
    t.true(len(refused) >= 1, "60 at once and none refused")
    t.true(len(refused) <= 60 - CAP, "fewer than the cap were accepted")
    names = t.run.schema.enum("tally.v1.Outcome")
    for i in refused:
        t.code(answers[i], "RESOURCE_EXHAUSTED")
        t.equal(answers[i].trailers.get("tally-outcome"), "NOT_ACCEPTED")
        t.true(int(answers[i].trailers.get("tally-retry-ms", "0")) > 0, "retry hint")
        t.equal(channel.ask("GetRequest", identity=identities[i]).outcome, names["NOT_YET_SEEN"])
    t.equal({other.outcome(c).code.name for c in theirs}, {"OK"}, "the other principal")
    t.equal(channel.posted(A)[0], 2 + 20 + 60 - len(refused), "posted")
    for i in refused[:5]:
        t.code(channel.raw("CreateTransfers", bodies[i]), "OK", "retry with the same identity")


# A client that opens a hundred connections is served on each of them.
def test_many_connections(t):
    node = t.node
    apis = [node.api("channel") for _ in range(100)]
    calls = [api.start("ListLedgers", b"") for api in apis]
    t.equal({api.outcome(c).code.name for api, c in zip(apis, calls)}, {"OK"})
    for api in apis:
        api.close()


# Long reads of one client, many at once, keep nobody else out: others are answered between them.
def test_many_long_reads_keep_nobody_out(t):
    node = t.fresh_node()
    business = node.api("business")
    business.create_ledgers([ledger(1)])
    for first in range(0, 20 * 8000, 8000):
        accounts = [account((first + k + 1).to_bytes(16, "big")) for k in range(8000)]
        business.create_accounts(accounts, timeout=60)
    auditor, other = node.api("auditor"), node.api("channel")
    wanted = other.message("ListLedgers").SerializeToString()
    t.code(other.raw("ListLedgers", wanted), "OK", "connected")
    question = auditor.message("TrialBalance", ledger=1).SerializeToString()
    t.code(auditor.raw("TrialBalance", question), "OK", "connected")

    def once():
        """A client that stands still asks seldom: then once more."""
        reads = [auditor.start("TrialBalance", question, timeout=120) for _ in range(300)]
        between = 0
        while not all(read.done() for read in reads):
            t.code(other.raw("ListLedgers", wanted, timeout=60), "OK", "another client")
            between += 1
        for read in reads:
            t.code(auditor.outcome(read), "OK", "a long read")
        t.undisturbed(between >= 10, "only %d calls were answered during %d long reads" % (
            between, len(reads)))

    t.attempts(once)
