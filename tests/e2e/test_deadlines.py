"""Deadlines and cancels: the client may give up, the outcome is still one of two, and is found."""
import signal
import time

from client import account, ledger, transfer

A, B = (n.to_bytes(16, "big") for n in (1, 2))


def prepare(node):
    business = node.api("business")
    assert business.create_ledgers([ledger(1)]) == [0]
    assert business.create_accounts([account(A), account(B)]) == [0, 0]


def settle(t, channel, identity, body, value, before):
    """After a call whose outcome is unknown: GetRequest and the ledger agree at any time, and a
    repeat makes it final, exactly once."""
    outcomes = t.run.schema.enum("tally.v1.Outcome")
    told = channel.ask("GetRequest", identity=identity)
    t.true(told.outcome in (outcomes["EXECUTED"], outcomes["NOT_YET_SEEN"]), repr(told))
    again = channel.raw("CreateTransfers", body)
    t.code(again, "OK", "repeat")
    if told.outcome == outcomes["EXECUTED"]:
        t.equal(again.body, told.answer, "repeat and stored answer")
    t.equal(channel.ask("GetRequest", identity=identity).answer, again.body, "final answer")
    t.equal(channel.posted(A)[0] - before, value, "posted exactly once")


# The client gives up at once, before or after the request was taken: 40 times, at growing delays.
def test_cancel_leaves_a_findable_outcome(t):
    channel = t.node.api("channel")
    for delay in range(40):
        identity = channel.identity()
        before = channel.posted(A)[0]
        body = channel.write_body("CreateTransfers", "transfers", [transfer(A, B, 3)], identity)
        call = channel.start("CreateTransfers", body)
        time.sleep(delay * 0.0002)
        call.cancel()
        settle(t, channel, identity, body, 3, before)


# Deadlines from hopeless to barely enough.
def test_deadline_leaves_a_findable_outcome(t):
    channel = t.node.api("channel")
    for tenths in range(1, 41):
        identity = channel.identity()
        before = channel.posted(A)[0]
        body = channel.write_body("CreateTransfers", "transfers", [transfer(A, B, 3)], identity)
        answer = channel.raw("CreateTransfers", body, timeout=tenths * 0.0002)
        # The server's own word may come just before the client's time is up: it says what is certain.
        told = (answer.code.name == "UNAVAILABLE"
                and answer.trailers.get("tally-outcome") in ("UNKNOWN", "NOT_ACCEPTED"))
        t.true(told or answer.code.name in ("OK", "DEADLINE_EXCEEDED"), repr(answer))
        settle(t, channel, identity, body, 3, before)


# The node hangs (SIGSTOP) with the request on its way: the client's deadline passes on time, and
# the node, once it goes on, finds neither a broken connection nor a second execution.
def test_deadline_passes_while_the_node_hangs(t):
    channel = t.node.api("channel")
    identity = channel.identity()
    before = channel.posted(A)[0]
    body = channel.write_body("CreateTransfers", "transfers", [transfer(A, B, 3)], identity)
    t.node.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        answer = channel.raw("CreateTransfers", body, timeout=0.5)
        waited = time.monotonic() - began
    finally:
        t.node.signal(signal.SIGCONT)
    t.code(answer, "DEADLINE_EXCEEDED")
    t.true(waited < 10, "waited %.1f s" % waited)
    settle(t, channel, identity, body, 3, before)
