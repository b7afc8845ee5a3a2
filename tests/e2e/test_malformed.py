"""Bytes that no proper client sends. Each is refused with INVALID_ARGUMENT and words about what is
wrong, nothing is applied, and the connection lives on."""
import time

import client
from client import account, ledger, new_id
from wire import field_bytes, field_fixed32, field_fixed64, field_varint, tag, varint, BYTES

A, B = (n.to_bytes(16, "big") for n in (1, 2))


def prepare(node):
    business = node.api("business")
    assert business.create_ledgers([ledger(1)]) == [0]
    assert business.create_accounts([account(A), account(B)]) == [0, 0]


def identity(nonce=None, issued=None):
    return field_bytes(1, (field_bytes(1, client.nonce() if nonce is None else nonce)
                           + field_fixed64(2, time.time_ns() if issued is None else issued)))


def one(**changes):
    """A good transfer of 1 unit, some of its fields replaced by other bytes."""
    fields = {"id": field_bytes(1, new_id()), "debit": field_bytes(2, A),
              "credit": field_bytes(3, B), "amount": field_varint(4, 1),
              "ledger": field_varint(10, 1), "code": field_varint(11, 1)}
    fields.update(changes)
    return field_bytes(2, b"".join(fields.values()))


def refused(t, body, what, method="CreateTransfers", name="channel"):
    """Sends it and asserts that it was refused, in words, and that no balance moved."""
    api = t.node.api(name)
    before = t.node.api("auditor").ask("TrialBalance", ledger=1)
    answer = api.raw(method, body)
    t.code(answer, "INVALID_ARGUMENT", what)
    t.true(len(answer.details or "") > 5, "%s: no words: %r" % (what, answer))
    after = t.node.api("auditor").ask("TrialBalance", ledger=1)
    t.equal((after.debits_posted, after.digest, after.ledger.account_count),
            (before.debits_posted, before.digest, before.ledger.account_count),
            "%s: state" % what)
    api.close()


# The control: the same bytes, well formed, are accepted.
def test_control_is_accepted(t):
    answer = t.node.api("channel").raw("CreateTransfers", identity() + one())
    t.code(answer, "OK")
    t.equal(answer.body[:3], b"\x0a\x01\x00", "one result, OK")


# A known field with another wire type: never skipped (a skipped amount would read as zero).
def test_wrong_wire_types(t):
    for name, field, right in (("id", 1, "bytes"), ("debit", 2, "bytes"), ("credit", 3, "bytes"),
                               ("amount", 4, "varint"), ("ledger", 10, "varint"),
                               ("code", 11, "varint")):
        for kind, wrong in (("bytes", field_bytes(field, new_id())),
                            ("varint", field_varint(field, 1)),
                            ("fixed64", field_fixed64(field, 1)),
                            ("fixed32", field_fixed32(field, 1))):
            if kind != right:
                refused(t, identity() + one(**{name: wrong}), "%s as %s" % (name, kind))
    refused(t, field_varint(1, 5) + one(), "identity as varint")
    refused(t, identity() + field_varint(2, 1), "transfer as varint")


# Fields that the schema does not have, at every level.
def test_unknown_fields(t):
    refused(t, identity() + one() + field_varint(15, 1), "in the request")
    refused(t, identity() + one(more=field_varint(99, 1)), "in the transfer")
    refused(t, field_bytes(1, field_bytes(1, client.nonce())
                           + field_fixed64(2, time.time_ns()) + field_varint(3, 1)) + one(),
            "in the identity")
    refused(t, identity() + field_bytes(2, field_varint(1, 1) + field_varint(50, 1)),
            "in a ledger", "CreateLedgers", "business")
    refused(t, field_varint(77, 1), "in a question", "ListLedgers")


# Cut, endless or contradictory encodings.
def test_broken_encodings(t):
    good = identity() + one()
    refused(t, good[:-1], "cut by one byte")
    refused(t, good + b"\x12", "tag without value")
    refused(t, good + tag(2, BYTES) + varint(1000) + b"x", "length beyond the end")
    refused(t, good + tag(2, BYTES) + b"\xff" * 9 + b"\x7f", "length beyond 64 bits")
    refused(t, identity() + one(amount=tag(4, 0) + b"\xff" * 11), "varint of 11 bytes")
    refused(t, good + b"\x00\x01", "field number 0")
    refused(t, good + b"\x13\x14", "group")
    refused(t, good + b"\x16", "wire type 6")
    refused(t, b"\xff" * 100, "noise")


# Numbers that their field cannot hold are refused, not truncated.
def test_numbers_out_of_range(t):
    for name, field in (("ledger", 10), ("code", 11)):
        refused(t, identity() + one(**{name: field_varint(field, 2 ** 32 + 1)}),
                "%s beyond 32 bits" % name)
    refused(t, identity() + one(code=field_varint(11, 65537)), "code beyond 16 bits")
    refused(t, identity() + one(flags=field_varint(12, 65536)), "flags beyond 16 bits")


# Ids and user data of another length than 16 bytes.
def test_wrong_lengths(t):
    for length in (0, 1, 15, 17, 32):
        if length:
            refused(t, identity() + one(id=field_bytes(1, b"i" * length)), "id of %d" % length)
            refused(t, identity() + one(more=field_bytes(6, b"u" * length)), "data of %d" % length)
        refused(t, identity(nonce=b"n" * length) + one(), "nonce of %d" % length)
    refused(t, one(), "no identity")
    refused(t, b"", "nothing at all")
    refused(t, identity(), "no transfer")


# Values longer or larger than a record can hold.
def test_values_beyond_their_room(t):
    business, site = t.node.api("business"), t.node.api("site")
    for what, change in (("currency", {"currency": "EURO"}), ("name", {"name": "x" * 65}),
                         ("exponent", {"exponent": 256})):
        refused(t, business.write_body("CreateLedgers", "ledgers", [dict(ledger(9), **change)]),
                what, "CreateLedgers", "business")
    good = {"uri": "tally://test/x", "name": "x", "role": "CHANNEL"}
    for what, change in (("uri", {"uri": "u" * 256}), ("name", {"name": "x" * 65}),
                         ("role", {"role": 300})):
        refused(t, site.write_body("SetPrincipals", "principals", [dict(good, **change)]), what,
                "SetPrincipals", "site")


# One transfer more than fits, and a message larger than the limit.
def test_too_many_and_too_large(t):
    answer = t.node.api("channel").raw("CreateTransfers", identity() + one() * 8191)
    t.true(answer.code.name in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"), repr(answer))
    t.true(answer.details, "words")
    # The same events in accounts, whose encoding is short enough to pass the size limit.
    small = field_bytes(2, field_bytes(1, A) + field_varint(5, 1) + field_varint(6, 1))
    refused(t, identity() + small * 8191, "8191 accounts", "CreateAccounts", "business")
    answer = t.node.api("channel").raw("CreateTransfers", b"\0" * 1_100_001)
    t.code(answer, "RESOURCE_EXHAUSTED", "a byte too many")
    t.contains(answer.details, "1100000", "the limit is named")
    t.code(t.node.api("channel").raw("CreateTransfers", identity() + one()), "OK", "afterwards")


# A unary call with no message, and with two.
def test_unary_needs_exactly_one_message(t):
    import grpc
    api = t.node.api("channel")
    for count in (0, 2):
        call = api.channel.stream_unary(api.methods["CreateTransfers"][0])
        try:
            call(iter([identity() + one() for _ in range(count)]), timeout=60)
            t.true(False, "%d messages were answered" % count)
        except grpc.RpcError as error:
            t.true(error.code().name in ("INVALID_ARGUMENT", "UNIMPLEMENTED", "INTERNAL"),
                   "%d messages: %s" % (count, error.code()))
            t.true(error.details(), "words")


# The log of all this names failures, never content: no payload, no key.
def test_log_holds_no_payload(t):
    secret = b"SecretPayload016"
    t.code(t.node.api("channel").raw("CreateTransfers", identity(nonce=secret) + one(
        id=field_bytes(1, secret), more=field_bytes(6, secret), code=field_bytes(11, secret))),
        "INVALID_ARGUMENT")
    t.code(t.node.api("channel").raw("CreateTransfers", identity(nonce=secret) + one(
        id=field_bytes(1, secret), more=field_bytes(6, secret))), "OK")
    log = t.node.log_text()
    t.true(log, "there is a log")
    for trace in (secret.decode(), secret.hex(), "PRIVATE KEY"):
        t.true(trace not in log, "the log contains %r" % trace)
