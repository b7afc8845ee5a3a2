"""Request uniqueness: repeats, reused nonces, fences, the window, and what became of a request."""
import time

import client
from client import account, ledger, transfer

A, B = (n.to_bytes(16, "big") for n in (1, 2))
HOUR = 3600 * 10 ** 9
SETTINGS = {}


def prepare(node):
    business = node.api("business")
    assert business.create_ledgers([ledger(1)]) == [0]
    assert business.create_accounts([account(A), account(B)]) == [0, 0]


def body_of(api, value=1, identity=None, count=1):
    return api.write_body("CreateTransfers", "transfers",
                          [transfer(A, B, value) for _ in range(count)], identity)


def outcome(t, api, identity, **more):
    answer = api.ask("GetRequest", identity=identity, **more)
    names = {n: name for name, n in t.run.schema.enum("tally.v1.Outcome").items()}
    return names[answer.outcome], answer


# The same bytes ten times over several connections: one execution, ten identical answers.
def test_repeat_is_identical_and_posts_once(t):
    channel = t.node.api("channel")
    before = channel.posted(A)
    body = body_of(channel, 5, count=3)
    first = channel.raw("CreateTransfers", body)
    t.code(first, "OK")
    for api in (channel, t.node.api("channel"), t.node.api("channel_two")):
        for _ in range(3):
            again = api.raw("CreateTransfers", body)
            t.code(again, "OK", "repeat (by another instance of the same principal, too)")
            t.equal(again.body, first.body, "answer")
    t.equal(channel.posted(A)[0] - before[0], 15, "posted once")


# Many at once with one identity: whoever comes first executes, all get the same bytes.
def test_concurrent_repeats_are_identical(t):
    channel = t.node.api("channel")
    before = channel.posted(A)
    body = body_of(channel, 7)
    calls = [channel.start("CreateTransfers", body) for _ in range(50)]
    answers = [channel.outcome(c) for c in calls]
    for answer in answers:
        t.code(answer, "OK")
    t.equal(len({a.body for a in answers}), 1, "different bodies")
    t.equal(channel.posted(A)[0] - before[0], 7, "posted once")


# Refusals inside an executed request are part of the answer, and repeat alike.
def test_refused_events_repeat_alike(t):
    channel = t.node.api("channel")
    body = channel.write_body("CreateTransfers", "transfers",
                              [transfer(A, client.new_id(), 1), transfer(A, B, 0)])
    first = channel.raw("CreateTransfers", body)
    # The account comes into being; the stored answer does not change.
    t.code(first, "OK")
    t.equal(channel.raw("CreateTransfers", body).body, first.body)


# The same nonce with other content, another issue time or another method: refused, nothing moves.
def test_nonce_reused(t):
    channel = t.node.api("channel")
    identity = channel.identity()
    first = channel.raw("CreateTransfers", body_of(channel, 1, identity))
    t.code(first, "OK")
    before = channel.posted(A)
    later = dict(identity, issued_at_ns=identity["issued_at_ns"] + 1)
    for what, method, body in (
            ("other content", "CreateTransfers", body_of(channel, 2, identity)),
            ("other issue time", "CreateTransfers", body_of(channel, 1, later))):
        answer = channel.raw(method, body)
        t.code(answer, "FAILED_PRECONDITION", what)
        t.equal(answer.trailers.get("tally-outcome"), "NONCE_REUSED", what)
    t.equal(channel.posted(A), before, "balances")
    t.equal(outcome(t, channel, later)[0], "NONCE_REUSED", "asked with the other issue time")
    # A nonce belongs to a principal: another one may draw the same.
    t.code(t.node.api("other").raw("CreateTransfers", body_of(channel, 1, identity)), "OK")
    business = t.node.api("business")
    mine = business.identity()
    t.equal(business.create_ledgers([ledger(90)], identity=mine), [0])
    answer = business.raw("CreateAccounts", business.write_body(
        "CreateAccounts", "accounts", [account(client.new_id(), 90)], mine))
    t.code(answer, "FAILED_PRECONDITION", "other method")
    t.equal(answer.trailers.get("tally-outcome"), "NONCE_REUSED")


# Issue times: older than the window, too far ahead, and inside both bounds.
def test_issue_time(t):
    channel = t.node.api("channel")
    before = channel.posted(A)
    now = time.time_ns()
    for offset, expected in ((-25 * HOUR, "BEYOND_WINDOW"), (1 - now, "BEYOND_WINDOW"),
                             (HOUR, "ISSUED_TOO_FAR_AHEAD"),
                             (2 ** 64 - 1 - now, "ISSUED_TOO_FAR_AHEAD")):
        answer = channel.raw("CreateTransfers", body_of(
            channel, 1, channel.identity(issued_at_ns=now + offset)))
        t.code(answer, "FAILED_PRECONDITION", expected)
        t.equal(answer.trailers.get("tally-outcome"), expected)
    t.equal(channel.posted(A), before, "nothing moved")
    for offset in (-23 * HOUR, 30 * 10 ** 9):
        t.code(channel.raw("CreateTransfers", body_of(
            channel, 1, channel.identity(issued_at_ns=now + offset))), "OK", str(offset))
    t.equal(outcome(t, channel, channel.identity(issued_at_ns=now - 25 * HOUR))[0],
            "BEYOND_WINDOW", "asked")


# What became of it: never seen, executed with its answer byte for byte; only one's own.
def test_get_request_states(t):
    channel = t.node.api("channel")
    identity = channel.identity()
    t.equal(outcome(t, channel, identity)[0], "NOT_YET_SEEN")
    answer = channel.raw("CreateTransfers", body_of(channel, 3, identity))
    t.code(answer, "OK")
    name, told = outcome(t, channel, identity)
    t.equal((name, told.method), ("EXECUTED", "CreateTransfers"))
    t.equal(told.answer, answer.body, "stored answer")
    made = channel.methods["CreateTransfers"][2].FromString(answer.body)
    t.equal((told.index, told.timestamp), (made.index, made.timestamp))
    # Another channel has never seen it; an auditor may ask about anybody's.
    t.equal(outcome(t, t.node.api("other"), identity)[0], "NOT_YET_SEEN")
    auditor = t.node.api("auditor")
    t.equal(outcome(t, auditor, identity, principal="channel")[1].answer, answer.body, "auditor")
    asked = t.node.api("other")
    refused = asked.raw("GetRequest", asked.message("GetRequest", identity=identity,
                                                    principal="channel").SerializeToString())
    t.code(refused, "PERMISSION_DENIED", "somebody else's")
    bad = channel.raw("GetRequest", channel.message(
        "GetRequest", identity=channel.identity(nonce_bytes=b"short")).SerializeToString())
    t.code(bad, "INVALID_ARGUMENT", "nonce of 5 bytes")


# A fence before the request: it can never execute any more. Fencing again says the same.
def test_fence_before_the_request(t):
    channel = t.node.api("channel")
    before = channel.posted(A)
    identity = channel.identity()
    names = t.run.schema.enum("tally.v1.Outcome")
    fenced = channel.ask("FenceRequest", identity=identity)
    t.equal(fenced.outcome, names["REQUEST_FENCED"])
    answer = channel.raw("CreateTransfers", body_of(channel, 1, identity))
    t.code(answer, "FAILED_PRECONDITION")
    t.equal(answer.trailers.get("tally-outcome"), "REQUEST_FENCED")
    t.equal(channel.ask("FenceRequest", identity=identity).outcome, names["REQUEST_FENCED"])
    t.equal(outcome(t, channel, identity)[0], "REQUEST_FENCED")
    t.equal(channel.posted(A), before, "nothing moved")


# A fence after the request finds it executed, with the original answer.
def test_fence_after_the_request(t):
    channel = t.node.api("channel")
    identity = channel.identity()
    answer = channel.raw("CreateTransfers", body_of(channel, 4, identity))
    t.code(answer, "OK")
    fenced = channel.ask("FenceRequest", identity=identity)
    t.equal(fenced.outcome, t.run.schema.enum("tally.v1.Outcome")["EXECUTED"])
    t.equal(fenced.answer, answer.body)
    t.equal(channel.raw("CreateTransfers", body_of(channel, 4, identity)).code.name,
            "FAILED_PRECONDITION", "new ids under the old identity: other content")


# Fences, reuse and repeats mean the same after kill -9, from the journal, and after a graceful
# stop, from the checkpoint.
def test_requests_survive_restarts(t):
    node = t.fresh_node()
    business = node.api("business")
    t.equal(business.create_ledgers([ledger(1)]), [0])
    t.equal(business.create_accounts([account(A), account(B)]), [0, 0])
    channel = node.api("channel")
    executed, fenced = channel.identity(), channel.identity()
    body = body_of(channel, 9, executed)
    answer = channel.raw("CreateTransfers", body)
    t.code(answer, "OK")
    channel.ask("FenceRequest", identity=fenced)
    for stop in (node.kill, node.terminate):
        stop()
        node.start()
        channel = node.api("channel")
        t.equal(channel.raw("CreateTransfers", body).body, answer.body, "repeat")
        t.equal(outcome(t, channel, fenced)[0], "REQUEST_FENCED")
        t.code(channel.raw("CreateTransfers", body_of(channel, 9, fenced)), "FAILED_PRECONDITION")
        t.code(channel.raw("CreateTransfers", body_of(channel, 8, executed)),
               "FAILED_PRECONDITION")
        t.equal(channel.posted(A), (9, 0), "posted once")
